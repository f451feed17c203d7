//! The contracts, one file each.

mod backend;

pub use backend::{Backend, Bias, Layer, LoadRequest, Network, Pass, Place, Seed, Taps};
