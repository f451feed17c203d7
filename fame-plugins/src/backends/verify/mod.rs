//! Verification of a network: its values against an independent engine's, its gradients against
//! slopes.
//!
//! Nothing here trusts the engine under test: values are compared layer by layer with a witness
//! that read the file itself ([`Ort`](super::ort::Ort)), and a gradient with differences of the
//! witness's forward pass. Where something differs, the graph of the file says at which node it
//! begins.

mod directional;
mod graph;
mod inputs;
mod slopes;
#[cfg(test)]
mod tests;
mod values;

pub use directional::SLOPE_TOLERANCE;
pub use graph::Graph;
pub use inputs::{Input, pictures, random};
pub use slopes::{Slopes, check_slopes};
pub use values::{VALUE_TOLERANCE, Values, compare_values};

/// A layer that is not what it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The layer.
    pub layer: String,
    /// What differs, by how much, and the node where it begins.
    pub sentence: String,
}
