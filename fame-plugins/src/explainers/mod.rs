//! Explainers: from samples to attribution maps, one file each.

mod attention_rollout;
pub mod black_box;
pub mod face;
mod fame;
mod finish;
mod meter;
mod precomputed;
mod random;

pub use attention_rollout::{AttentionRollout, Heads};
pub use fame::Fame;
pub use precomputed::Precomputed;
