//! `Tract`: the embedded default backend.

use std::path::PathBuf;

use fame_core::contract::{Backend, LoadRequest, Network};
use fame_core::registry::{Assembly, BuildContext, Plugin};
use fame_core::{Error, Result};
use fame_kernels::bf16_products;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kernel_rates::{Rating, by_rule, in_bf16, rates};
use super::network::TractNetwork;
use crate::backends::onnx::data_files::files_of;
use crate::backends::onnx::operators::OperatorTable;
use crate::backends::onnx::plugin_operator::host_operators;
use crate::backends::onnx::{HostOperatorKind, TRACT_VERSION};

/// Runs ONNX networks on the CPU with tract, forward and gradient, without any library to install.
///
/// Rows of a batch run in parallel; where there are fewer than threads, several share the large layers
/// of a row. A row gives the same bits whatever batch it is in, and on however many threads. Subnormal
/// numbers, closer to 0 than 1.2e-38, are taken as 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tract {
    /// How many threads run a batch; 0 = one on each core.
    pub threads: usize,
    /// The kernels that compute convolutions and dense layers.
    pub convolutions: Convolutions,
    /// `F32`; or `Bf16` for products of bfloat16 in convolutions, dense layers and their gradients,
    /// of which about two digits remain. Worth it on a CPU with AMX, where a step takes about half
    /// the time; with `convolutions: Own` only.
    pub precision: Precision,
}

/// The numbers that convolutions, dense layers and their gradients multiply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// bfloat16, the upper half of an f32: its range, and 8 bits of mantissa in place of 24. Both
    /// factors are rounded, products are added up in f32, and all else stays f32: activations, norms,
    /// attention, depthwise convolutions, layers of fewer than 16 input channels and shares of
    /// relevance. A CPU with neither AMX nor AVX-512 BF16 multiplies the rounded factors in f32, and
    /// gains nothing.
    Bf16,
}

/// The kernels that compute convolutions, dense layers and their gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Convolutions {
    /// fame's own (Winograd's algorithms, products over windows, depthwise kernels), with what
    /// stands around a layer computed along. Which one a layer gets follows from its shape
    /// alone, so that all machines with the same instructions give the same bytes. tract's compute
    /// what these cannot.
    #[default]
    Own,
    /// The same, but each layer gets the one that was measured to be fastest when a network is first
    /// compiled, remembered in fame's cache for this processor: another machine, or an emptied
    /// cache, may choose otherwise and round otherwise.
    Fastest,
    /// tract's, in 1.5 to 4 times the time.
    Tract,
}

/// The version of the numbers that this engine gives, a part of every item's key: raised with every
/// change of a kernel, of its place or of a rule of the backward pass, so that no map of the old
/// numbers stands beside one of the new.
const NUMBERS: u32 = 4;

impl Plugin<dyn Backend> for Tract {
    const NAME: &'static str = "Tract";
    const SUMMARY: &'static str = "Pure Rust on the CPU, forward and gradient";
    const EXAMPLE: &'static str = "Tract(threads: 2)";
    const REFERENCE: &'static str = "tract (sonos); the gradient is a graph transform of ours";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("threads", self.threads <= 1024, "must be at most 1024");
    }

    fn build(self, _: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Backend>> {
        assembly.record("engine", format!("tract {TRACT_VERSION}, numbers {NUMBERS}").into());
        if self.precision == Precision::Bf16 {
            assembly.record("bf16_products", bf16_products().into());
        }
        Some(Box::new(self))
    }
}

fame_core::register!(Backend: Tract);

impl Tract {
    /// Loads the network of `request`, with operators of third parties.
    ///
    /// # Errors
    /// As [`Backend::load`], and what an operator says of its node.
    pub fn load_with(
        &self,
        request: &LoadRequest,
        operators: Vec<HostOperatorKind>,
    ) -> Result<Box<dyn Network>> {
        self.check()?;
        let operators = OperatorTable::new(operators);
        let threads = self.resolved_threads();
        let rating = match (self.convolutions, self.precision) {
            (Convolutions::Own, Precision::F32) => Some(by_rule as Rating),
            (Convolutions::Own, Precision::Bf16) => Some(in_bf16 as Rating),
            (Convolutions::Fastest, _) => Some(rates as Rating),
            (Convolutions::Tract, _) => None,
        };
        Ok(Box::new(TractNetwork::load(request, operators, threads, rating)?))
    }

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
        if self.precision == Precision::Bf16 && self.convolutions != Convolutions::Own {
            let text = format!(
                "`precision: Bf16` is arithmetic of fame's own kernels, and `convolutions: {:?}` asks \
                 for others.",
                self.convolutions
            );
            return Err(Error::new("fame::backend::precision", text)
                .with_help("Leave out `convolutions`, or use `precision: F32`."));
        }
        Ok(())
    }

    fn load(&self, request: &LoadRequest) -> Result<Box<dyn Network>> {
        self.load_with(request, host_operators(&request.operators))
    }

    fn files(&self, request: &LoadRequest) -> Result<Vec<PathBuf>> {
        files_of(&request.file)
    }
}
