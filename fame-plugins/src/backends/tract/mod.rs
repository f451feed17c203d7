//! The embedded default backend: networks run and differentiated by
//! [tract](https://github.com/sonos/tract), in pure Rust.
//!
//! tract has no automatic differentiation, so `gradient` adds it as a graph transform. The way of a
//! model:
//!
//! ```text
//! file ─ `backends::onnx` ─▶ TypedModel for the asked taps ─ gradient ─▶ backward model
//!                                          │                                  │
//!                                          ▼ plan                             ▼ plan
//!                one row ───▶ layers and residuals ───▶ pass ─ cotangents ─▶ gradients
//! ```
//!
//! * Plans are for N = 1: tract fuses best there, and rows cannot influence one another. A batch is
//!   many runs in parallel on the threads asked for, and the rows of a thread go by a layer's weights
//!   together where these outweigh the values (`runner`). One plan is shared by all of them.
//! * Subnormal numbers are taken as 0: on some processors they cost more than all else.
//! * A plan pair is compiled for each distinct set of taps and kept. Fusion gives way only where a
//!   layer is tapped.
//! * Convolutions and dense layers are `fame_kernels`' wherever these can compute them, unless
//!   tract's are asked for: `place_kernels` replaces them in both models by what `kernel_rates` rates
//!   best. For the precision `Bf16` these multiply rounded factors.
//! * Layer normalisation, softmax and smooth activations are one pass over the memory each, and so
//!   are their gradients: `fuse_norms` finds normalisations again in front of the differentiation,
//!   `one_pass` does the rest behind it.
//! * `backends::onnx` refuses broken files before tract sees them; what tract itself panics on
//!   becomes an error too.

// tract's own prelude is made to be imported whole, and its macros need it; rules share one
// signature, whether or not each can fail.
#![allow(clippy::wildcard_imports, clippy::unnecessary_wraps)]

mod arrange;
mod chain;
mod dense;
mod fuse_norms;
mod gradient;
mod kernel_rates;
mod network;
#[cfg(test)]
mod network_tests;
mod one_pass;
mod ops;
mod order;
mod pass;
mod place_kernels;
mod plan;
mod plugin;
mod profile;
mod rate_file;
mod runner;

#[cfg(test)]
pub(in crate::backends) use gradient::differentiate;
pub use plugin::{Convolutions, Precision, Tract};

/// The network of a file that a test has read, with the checks and mends that the test wants.
#[cfg(test)]
pub(in crate::backends) fn load_file(
    file: super::onnx::file::OnnxFile,
) -> fame_core::Result<Box<dyn fame_core::contract::Network>> {
    let operators = super::onnx::operators::OperatorTable::new(vec![]);
    Ok(Box::new(network::TractNetwork::new(file, operators, None, 1, None)?))
}
