//! Perturbations: how a picture walks, one file each. `descent` and `stop` are what they share.

mod descent;
mod l2;
mod lots;
mod mask_walk;
mod noise;
mod sign;
mod stop;

pub use descent::{Clamp, Space};
pub use l2::L2;
pub use lots::Lots;
pub use mask_walk::MaskWalk;
pub use noise::Noise;
pub use sign::Sign;
pub use stop::StopRule;
