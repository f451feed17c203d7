//! libtorch: the same graph as the tract backend's, computed with tensors of PyTorch's C++ library,
//! and differentiated by its autograd.
//!
//! ```text
//! file ─ onnx, import, fold (shared with `tract`) ─▶ TypedModel for the asked taps ─ lower ─▶ Program: one kernel for each node
//!                                                                                               │ run on a whole batch
//!                                                                                               ▼
//!                                                       gradients ◀─ autograd ◀─ cotangents ── Pass
//! ```
//!
//! * **The graph** is tract's decluttered one, imported with N = 1 by the very code of the other
//!   backend, so layers, taps, shapes and places are the same by construction.
//! * **Batches.** Every value that depends on the input gets one more axis in front, and every
//!   operator is lowered for that axis (what `vmap` does elsewhere). A graph that has 1 written
//!   into it as its batch size is right for any batch, rows cannot meet, and one program serves
//!   every batch size. libtorch may sum in another order for another batch size, so a batch equals
//!   a loop to rounding, not to the bit.
//! * **Gradients** are libtorch's. Guided backpropagation, which is no derivative of anything, cuts
//!   the graph at every ReLU and pulls back from cut to cut.
//! * **Weights** are uploaded once for a network, whatever is tapped, and never differentiated.

// tract's own prelude is made to be imported whole; rules share one signature, whether or not each
// can fail.
#![allow(clippy::wildcard_imports, clippy::unnecessary_wraps)]

mod device;
mod lower;
mod network;
#[cfg(test)]
mod network_tests;
#[cfg(test)]
pub(in crate::backends) mod op_tests;
mod pass;
mod program;
mod rounding;
mod values;

use fame_core::contract::{Backend, LoadRequest, Network};
use fame_core::registry::{BuildContext, Parts, Plugin};
use fame_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use device::Device;

/// Runs ONNX networks with libtorch, on the CPU or on a CUDA device, forward and gradient.
///
/// A batch equals its rows one by one to rounding only: libtorch may sum in another order for
/// another batch size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tch {
    /// Where to compute. `Auto` takes the first CUDA device if there is one and else the CPU, and
    /// the record says which; `Cuda(n)` never falls back.
    pub device: Device,
    /// `F32`; `Tf32` on a CUDA device, for products of 10 bits added up in f32, about three digits;
    /// or `Bf16` for weights and activations in bfloat16: images, outputs and gradients stay f32,
    /// and about two digits remain.
    pub precision: Precision,
    /// Threads of one operator on the CPU; 0 = one for each core. The setting is the whole
    /// process's.
    pub threads: usize,
    /// How many rows go through the network at once; 0 = 4 on the CPU, 32 on a CUDA device.
    pub rows: usize,
}

/// The numbers computed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Single precision, but the operands of convolutions and matrix products are rounded to 10
    /// bits of mantissa, as the tensor cores of CUDA devices want them.
    Tf32,
    /// bfloat16: the exponent of f32, 8 bits of mantissa.
    Bf16,
}

impl Plugin<dyn Backend> for Tch {
    const NAME: &'static str = "Tch";
    const SUMMARY: &'static str = "libtorch on the CPU or a CUDA device, forward and gradient";
    const EXAMPLE: &'static str = "Tch(device: Cpu, precision: F32, threads: 2)";
    const REFERENCE: &'static str = "libtorch (PyTorch 2.13) through tch 0.26";

    fn resolve(&mut self, _: &BuildContext<'_>, parts: &mut Parts) {
        parts.check("threads", self.threads <= 1024, "must be at most 1024");
        parts.check("rows", self.rows <= 4096, "must be at most 4096");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Parts) -> Option<Box<dyn Backend>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Backend: Tch);

impl Backend for Tch {
    fn check(&self) -> Result<()> {
        device::check_library()?;
        let device = self.device.resolve()?;
        if self.precision == Precision::Tf32 && !device.is_cuda() {
            return Err(Error::new(
                "fame::backend::precision",
                "the precision Tf32 is arithmetic of CUDA devices, and this backend computes on the CPU.",
            )
            .with_help("Use `precision: F32`, or a CUDA device."));
        }
        Ok(())
    }

    fn load(&self, request: &LoadRequest) -> Result<Box<dyn Network>> {
        self.check()?;
        Ok(Box::new(network::TchNetwork::load(request, *self)?))
    }
}

/// What libtorch said, without its C++ stack.
fn failed(what: &str, error: &tch::TchError) -> Error {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default().trim_end_matches('.');
    Error::new("fame::backend::run", format!("{what} failed in libtorch: {line}."))
}
