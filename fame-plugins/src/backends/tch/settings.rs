//! How a network computes: its device, its numbers, its threads.

use fame_core::Result;
use fame_kernels::without_subnormals;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rounding::{self, Rounding};

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

impl Precision {
    /// What values of f32 are computed in.
    pub(super) fn kind(self) -> tch::Kind {
        match self {
            Self::F32 | Self::Tf32 => tch::Kind::Float,
            Self::Bf16 => tch::Kind::BFloat16,
        }
    }
}

/// The parameters of a loaded network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Where to compute.
    pub(super) device: tch::Device,
    /// Whether the device is what was there rather than what was named.
    pub(super) is_found: bool,
    /// The numbers computed with.
    pub(super) precision: Precision,
    /// Threads of one operator on the CPU; 0 = one for each core.
    pub(super) threads: usize,
    /// How many rows are wanted at once; 0 = what suits the device.
    pub(super) rows: usize,
}

impl Settings {
    /// What `work` gives, done by these settings; on the CPU with subnormal numbers taken as 0.
    pub(super) fn compute<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let _rounding = self.prepare()?;
        if self.device.is_cuda() { work() } else { without_subnormals(work) }
    }

    /// Threads are a setting of the calling thread and of the process, and the rounding on CUDA
    /// devices is one of the process, so they are made before every use; what is returned is kept
    /// until it is over.
    fn prepare(&self) -> Result<Option<Rounding>> {
        let rounding = self
            .device
            .is_cuda()
            .then(|| rounding::hold(self.precision == Precision::Tf32))
            .transpose()?;
        let wanted = if self.threads > 0 {
            self.threads
        } else {
            std::thread::available_parallelism().map_or(1, usize::from)
        };
        let wanted = i32::try_from(wanted).unwrap_or(1);
        if tch::get_num_threads() != wanted {
            tch::set_num_threads(wanted);
        }
        Ok(rounding)
    }
}
