//! libtorch: the same graph as the tract backend's, computed with tensors of PyTorch's C++ library,
//! and differentiated by its autograd.
//!
//! ```text
//! file ─ `backends::onnx` ─▶ TypedModel for the asked taps ─ lower ─▶ program: a step for each node
//!                                                                        │ run on a whole batch
//!                                                                        ▼
//!                                gradients ◀─ autograd ◀─ cotangents ── pass
//! ```
//!
//! * **The graph** is tract's decluttered one, imported with N = 1 by the front end that every
//!   engine shares, so layers, taps, shapes and places are the same by construction.
//! * **Batches.** Every value that depends on the input gets one more axis in front, and every
//!   operator is lowered for that axis (what `vmap` does elsewhere). A graph that has 1 written
//!   into it as its batch size is right for any batch, rows cannot meet, and one program serves
//!   every batch size. libtorch may sum in another order for another batch size, so a batch equals
//!   a loop to rounding, not to the bit.
//! * **Gradients** are libtorch's. Where they are not (guided backpropagation at a ReLU, which is no
//!   derivative of anything; an operator of a third party), the graph is cut, and what arrives at a
//!   cut is pulled back through it by other means: from the last cut to the first.
//! * **Walks** whose step is one formula are walked where the network is (`rows.rs`).
//! * **Weights** are uploaded once for a network, whatever is tapped, and never differentiated.

// tract's own prelude is made to be imported whole; rules share one signature, whether or not each
// can fail.
#![allow(clippy::wildcard_imports, clippy::unnecessary_wraps)]

mod compile;
mod device;
mod failure;
mod lower;
mod network;
#[cfg(test)]
mod network_tests;
#[cfg(test)]
pub(in crate::backends) mod op_tests;
mod pass;
mod plugin;
mod program;
mod rounding;
mod rows;
mod settings;
mod values;

pub use device::Device;
pub use plugin::Tch;
pub use settings::Precision;
