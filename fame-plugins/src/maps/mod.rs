//! Map steps: from what moved to a finished map, one file each.

mod abs;
mod channels;
mod gaussian_blur;
mod gray;
mod max_normalize;
mod min_max_normalize;

pub use abs::Abs;
pub use channels::{Channels, Reduce};
pub use gaussian_blur::GaussianBlur;
pub(crate) use gaussian_blur::blur;
pub use gray::{Gray, Order, Weights};
pub use max_normalize::MaxNormalize;
pub use min_max_normalize::MinMaxNormalize;
