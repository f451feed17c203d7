//! fame-core
pub mod contract;
mod error;
pub mod model;
mod tensor;

pub use contract::{Bias, Layer, LoadRequest, Place, Seed, Taps};
pub use error::{Error, Result};
pub use tensor::{Tensor, max_abs};
