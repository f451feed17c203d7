//! Everything built in.
