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

mod activations;
pub(in crate::backends) mod axis_matrices;
pub(in crate::backends) mod biases;
pub(in crate::backends) mod cache;
mod cut;
pub(in crate::backends) mod feed;
pub(in crate::backends) mod file;
#[cfg(test)]
pub(in crate::backends) mod fixtures;
mod fold;
pub(in crate::backends) mod host_op;
pub(in crate::backends) mod host_operator;
pub(in crate::backends) mod import;
mod inline;
mod input;
pub(in crate::backends) mod loaded_model;
mod number_types;
pub(in crate::backends) mod operators;
pub(in crate::backends) mod plugin_operator;
pub(in crate::backends) mod prelu;
pub(in crate::backends) mod refusal;
mod repair;
pub(in crate::backends) mod skeleton;
pub(in crate::backends) mod taps;
pub(in crate::backends) mod tensors;

pub use host_operator::{Attribute, Attributes, Build, HostOperator, HostOperatorKind};
