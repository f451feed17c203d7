//! Checks: what recomputes a part of every explanation, one file each.

mod forward_check;

pub use forward_check::ForwardCheck;
