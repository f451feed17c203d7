//! Backends: the engines that run networks and pull gradients back through them.

#[cfg(all(test, feature = "tch"))]
mod engine_tests;
#[cfg(test)]
mod flat_tests;
#[cfg(test)]
mod host_operator_tests;
pub mod onnx;
pub mod ort;
pub(crate) mod random_weights;
#[cfg(test)]
mod rule_check;
#[cfg(feature = "tch")]
pub mod tch;
pub mod tract;
pub mod verify;

pub use fame_kernels::product_peak;
pub use random_weights::{Layers, RandomWeights};

#[cfg(not(feature = "tch"))]
fame_core::registry::inventory::submit! {
    fame_core::registry::Absent {
        kind: fame_core::registry::Kind::Backend,
        name: "Tch",
        choices: &[("precision", "Tf32")],
        way: "this build of fame has no libtorch: build fame-cli with `--features tch`, or load the plugin `libfame_tch` (README, Backends)",
    }
}
