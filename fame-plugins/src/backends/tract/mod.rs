//! The embedded default backend: networks run and differentiated by
//! [tract](https://github.com/sonos/tract), in pure Rust.
//!
//! tract has no automatic differentiation, so `gradient` adds it as a graph transform. The way of a
//! model:
//!
//! ```text
//! file ─ onnx ─▶ protobuf, checked ─ import ─▶ TypedModel for the asked taps ─ gradient ─▶ backward model
//!                                                        │                                    │
//!                                                        ▼ plan                               ▼ plan
//!                              one row ───▶ layers and residuals ───▶ Pass ── cotangents ──▶ gradients
//! ```
//!
//! * One row is one run with N = 1: tract fuses best there, rows cannot influence one another, and
//!   a batch is many runs in parallel on the threads asked for. One plan is shared by all of them.
//! * A plan pair is compiled for each distinct set of taps and kept. Fusion gives way only where a
//!   layer is tapped.
//! * `onnx` refuses broken files before tract sees them; what tract itself panics on becomes an
//!   error too.

// tract's own prelude is made to be imported whole, and its macros need it; rules share one
// signature, whether or not each can fail.
#![allow(clippy::wildcard_imports, clippy::unnecessary_wraps)]

mod activations;
mod biases;
mod fold;
mod gradient;
mod import;
mod kernels;
mod loaded;
mod network;
#[cfg(test)]
pub(in crate::backends) mod network_tests;
pub(in crate::backends) mod onnx;
mod ops;
mod pass;
mod plan;
mod skeleton;

/// What the tch backend shares: reading, importing and naming are the same, so that layers and
/// numerics agree by construction.
#[cfg(feature = "tch")]
pub(in crate::backends) mod shared {
    pub(in crate::backends) use super::biases::biases;
    pub(in crate::backends) use super::gradient::resample::{is_by_axes, matrices};
    pub(in crate::backends) use super::import::{Wanted, typed_model};
    pub(in crate::backends) use super::loaded::{Kept, Loaded};
    pub(in crate::backends) use super::onnx::{OnnxFile, guarded};
    pub(in crate::backends) use super::ops::PRelu;
    pub(in crate::backends) use super::skeleton::{Skeleton, no_rule, reason, row_shape};
}

pub(in crate::backends) use fold::floats as tensor_floats;

use fame_core::contract::{Backend, LoadRequest, Network};
use fame_core::registry::{BuildContext, Parts, Plugin};
use fame_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Runs ONNX networks on the CPU with tract, forward and gradient, without any library to install.
///
/// Rows of a batch run in parallel, one per thread, and give the same bits whatever batch they are
/// in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tract {
    /// How many rows run at once; 0 = one on each core.
    pub threads: usize,
}

impl Plugin<dyn Backend> for Tract {
    const NAME: &'static str = "Tract";
    const SUMMARY: &'static str = "Pure Rust on the CPU, forward and gradient";
    const EXAMPLE: &'static str = "Tract(threads: 2)";
    const REFERENCE: &'static str = "tract (sonos); the gradient is a graph transform of ours";

    fn resolve(&mut self, _: &BuildContext<'_>, parts: &mut Parts) {
        parts.check("threads", self.threads <= 1024, "must be at most 1024");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Parts) -> Option<Box<dyn Backend>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Backend: Tract);

impl Tract {
    /// How many threads are really used.
    fn resolved_threads(self) -> usize {
        if self.threads > 0 {
            self.threads
        } else {
            std::thread::available_parallelism().map_or(1, usize::from)
        }
    }
}

impl Backend for Tract {
    fn check(&self) -> Result<()> {
        /// More than any machine has; a typing error, or a way to exhaust memory.
        const MOST_THREADS: usize = 4096;
        if self.threads > MOST_THREADS {
            let text = format!(
                "`threads: {}` is more than the {MOST_THREADS} the tract backend starts.",
                self.threads
            );
            return Err(Error::new("fame::backend::threads", text)
                .with_help("Use 0 for one thread on each core."));
        }
        Ok(())
    }

    fn load(&self, request: &LoadRequest) -> Result<Box<dyn Network>> {
        self.check()?;
        Ok(Box::new(network::TractNetwork::load(request, self.resolved_threads())?))
    }
}
