//! The front end that every engine shares: from an ONNX file to a typed graph whose layers have
//! names.
//!
//! ```text
//! file ─▶ operators (which can be imported) ─▶ skeleton (layers, where gradients go)
//!                                                  │ taps (what one pass asks for)
//!                                                  ▼
//!                      cut ─▶ fold ─▶ import ─▶ TypedModel ─▶ an engine
//! ```
//!
//! Reading, importing and naming happen here and nowhere else, so layers, shapes and numerics of
//! two engines agree by construction. Nothing in this folder knows an engine.

// tract's own prelude is made to be imported whole, and its macros need it.
#![allow(clippy::wildcard_imports)]

mod attributes;
pub(in crate::backends) mod axis_matrices;
pub(in crate::backends) mod biases;
mod built_in;
pub(in crate::backends) mod cache;
mod compose;
mod constants;
mod control_flow;
mod cut;
pub(in crate::backends) mod data_files;
pub(in crate::backends) mod declutter;
pub(in crate::backends) mod feed;
mod few_bits;
pub(in crate::backends) mod file;
#[cfg(test)]
pub(in crate::backends) mod fixtures;
pub(in crate::backends) mod flat;
mod fold;
mod fused;
pub(in crate::backends) mod host_op;
pub(in crate::backends) mod host_operator;
pub(in crate::backends) mod import;
mod inline;
mod input;
pub(in crate::backends) mod loaded_model;
mod narrow;
mod number_types;
pub(in crate::backends) mod operators;
pub(in crate::backends) mod plugin_operator;
pub(in crate::backends) mod prelu;
pub(in crate::backends) mod quantize;
mod quantized;
mod random;
pub(in crate::backends) mod refusal;
mod repair;
pub(in crate::backends) mod skeleton;
pub(in crate::backends) mod slice;
pub(in crate::backends) mod taps;
pub(in crate::backends) mod tensors;
mod unsupported;

/// The version of tract, part of the key of every result.
pub(in crate::backends) const TRACT_VERSION: &str = "0.23.9";

pub use host_operator::{Attribute, Attributes, Build, HostOperator, HostOperatorKind};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_tract_is_that_of_the_lock_file() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");
        let lock = std::fs::read_to_string(path).unwrap();
        let entry = format!("name = \"tract-onnx\"\nversion = \"{TRACT_VERSION}\"\n");
        assert!(lock.contains(&entry), "tract was updated: write its version here too");
    }
}
