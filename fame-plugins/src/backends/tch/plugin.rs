//! `Tch`: the backend on libtorch.

use std::path::PathBuf;

use fame_core::contract::{Backend, LoadRequest, Network};
use fame_core::registry::{Assembly, BuildContext, Plugin};
use fame_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::device::{Device, LIBTORCH, check_library};
use super::network::TchNetwork;
use super::settings::{Precision, Settings};
use crate::backends::onnx::HostOperatorKind;
use crate::backends::onnx::TRACT_VERSION;
use crate::backends::onnx::data_files::files_of;
use crate::backends::onnx::file::OnnxFile;
use crate::backends::onnx::operators::OperatorTable;
use crate::backends::onnx::plugin_operator::host_operators;

/// The version of the numbers that this backend gives with the same libtorch, raised by whatever
/// changes them: it is part of every key, so that maps of other numbers are not kept beside new ones.
/// 1: subnormal numbers are taken as 0 on the CPU, and plain walks are walked on the device.
const NUMBERS: u32 = 1;

/// Runs ONNX networks with libtorch, on the CPU or on a CUDA device, forward and gradient.
///
/// A batch equals its rows one by one to rounding only: libtorch may sum in another order for
/// another batch size.
///
/// Walks whose step is one formula (`Lots`, `Sign`, `L2`) are walked on the device: pictures lie
/// there from the first step to the last, and a step copies outputs of the target layer and their
/// cotangents only.
///
/// On the CPU subnormal numbers (closer to 0 than 1.2e-38) are taken as 0, forward and backward, on
/// the thread that computes. Threads of libtorch's own, which share large operators, keep the
/// setting that they were started with.
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

impl Plugin<dyn Backend> for Tch {
    const NAME: &'static str = "Tch";
    const SUMMARY: &'static str = "libtorch on the CPU or a CUDA device, forward and gradient";
    const EXAMPLE: &'static str = "Tch(device: Cpu, precision: F32, threads: 2)";
    const REFERENCE: &'static str = "libtorch (PyTorch 2.13) through tch 0.26";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("threads", self.threads <= 1024, "must be at most 1024");
        assembly.check("rows", self.rows <= 4096, "must be at most 4096");
    }

    fn build(self, _: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Backend>> {
        // Where there is no such device, `check` says so.
        let device = self.device.resolve().map_or_else(|_| "none".into(), |d| format!("{d:?}"));
        let engine = format!(
            "libtorch {LIBTORCH}, tract {TRACT_VERSION}, device {device}, numbers {NUMBERS}"
        );
        assembly.record("engine", engine.into());
        Some(Box::new(self))
    }
}

fame_core::register!(Backend: Tch);

impl Tch {
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
        let file = OnnxFile::read_for(request)?;
        let network = TchNetwork::new(
            file,
            OperatorTable::new(operators),
            request.input_shape.clone(),
            self.settings()?,
        )?;
        Ok(Box::new(network))
    }

    /// The parameters, with the device found.
    pub(super) fn settings(self) -> Result<Settings> {
        Ok(Settings {
            device: self.device.resolve()?,
            is_found: self.device == Device::Auto,
            precision: self.precision,
            threads: self.threads,
            rows: self.rows,
        })
    }
}

impl Backend for Tch {
    fn check(&self) -> Result<()> {
        check_library()?;
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
        self.load_with(request, host_operators(&request.operators))
    }

    fn files(&self, request: &LoadRequest) -> Result<Vec<PathBuf>> {
        files_of(&request.file)
    }
}
