//! One suite for every backend: small problems, one for each operator and each way of using it, and
//! whole networks; forward and gradient; alone and in a batch; against PyTorch in f64 and against
//! one another.
//!
//! Backends are built from recipe text by the registry. One that is not compiled in, or that this
//! machine cannot run, is *said aloud* and left out. `FAME_BACKENDS` (specs separated by `;`)
//! replaces the list, `FAME_ONLY` keeps the problems whose names hold a text.
//!
//! ```text
//! cargo test -p fame-tests --test conformance -- --nocapture
//! FAME_ZOO=DIR cargo test --release -p fame-tests --test conformance -- --ignored zoo_table --nocapture
//! ```
//!
//! The second prints the table of the network zoo (`models/exporters/zoo.py` makes `DIR`).

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used)]

mod backends;
mod forward_only;
mod layers;
mod measure;
mod networks;
mod problems;
mod walks;
mod zoo;
