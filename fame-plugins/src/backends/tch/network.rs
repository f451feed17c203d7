//! A loaded model: its layers, its programs and its weights.

use std::sync::Arc;

use fame_core::contract::{Network, Pass};
use fame_core::{Bias, GradientPlace, Layer, Result, Taps, Tensor};

use super::compile::{ENGINE, compile};
use super::device;
use super::failure::failed;
use super::lower::has_gradient;
use super::pass::{TchPass, source_shape};
use super::program::Program;
use super::settings::{Precision, Settings};
use super::values::{Weights, upload};
use crate::backends::onnx::biases::biases;
use crate::backends::onnx::cache::CompiledTaps;
use crate::backends::onnx::file::OnnxFile;
use crate::backends::onnx::loaded_model::LoadedModel;
use crate::backends::onnx::operators::OperatorTable;
use crate::backends::onnx::skeleton::row_shape;

/// Rows that a CPU is given at once. Four cost less a row than one on large networks
/// (docs/speed.md); more take memory, and were not measured.
const CPU_ROWS: usize = 4;
/// Rows that a CUDA device is given at once. On an H100 a LOTS step of ResNet-50 takes 10 to 14 ms
/// with one row or four, and 2.4 ms a row with 32.
const CUDA_ROWS: usize = 32;

/// A network run by libtorch.
pub(super) struct TchNetwork {
    model: LoadedModel,
    settings: Settings,
    weights: Weights,
    programs: CompiledTaps<Program>,
}

impl TchNetwork {
    /// A network of a file that is already read and checked.
    pub(super) fn new(
        file: OnnxFile,
        operators: OperatorTable,
        input_shape: Option<Vec<usize>>,
        settings: Settings,
    ) -> Result<Self> {
        let mut model = LoadedModel::new(file, operators, input_shape, ENGINE, has_gradient)?;
        let place = match settings.device {
            tch::Device::Cuda(n) => format!("CUDA device {n}"),
            _ => "CPU".to_owned(),
        };
        let chosen = if settings.is_found { "; `Auto` took what it found" } else { "" };
        model.notes.push(format!(
            "libtorch {} on the {place}, {:?}{chosen}",
            device::LIBTORCH,
            settings.precision
        ));
        Ok(Self {
            model,
            settings,
            weights: Weights::new(settings.device, settings.precision),
            programs: CompiledTaps::default(),
        })
    }

    fn program(&self, taps: &Taps, replaced: Option<&str>) -> Result<Arc<Program>> {
        self.programs.get(taps, replaced, || compile(&self.model, &self.weights, taps, replaced))
    }

    fn run<'n>(
        &'n self,
        program: Arc<Program>,
        inputs: &[(&[usize], &Tensor)],
    ) -> Result<Box<dyn Pass + 'n>> {
        let _rounding = self.settings.prepare()?;
        let rows = inputs[0].1.rows();
        let kind = match self.settings.precision {
            Precision::F32 | Precision::Tf32 => tch::Kind::Float,
            Precision::Bf16 => tch::Kind::BFloat16,
        };
        let input = |(shape, batch): &(&[usize], &Tensor)| {
            upload(&source_shape(rows, shape), batch.data(), self.settings.device)
                .and_then(|t| t.f_to_kind(kind))
                .map_err(|e| failed("reading the input", &e))
        };
        let values = program.run(inputs.iter().map(input).collect::<Result<_>>()?)?;
        Ok(Box::new(TchPass { settings: self.settings, program, rows, values }))
    }
}

impl Network for TchNetwork {
    fn input_shape(&self) -> &[usize] {
        &self.model.input_shape
    }

    fn layers(&self) -> &[Layer] {
        &self.model.skeleton.layers
    }

    fn why_no_layer(&self, name: &str) -> Option<String> {
        self.model.skeleton.why_no_layer(name)
    }

    fn check_gradient(&self, layer: &str, to: &GradientPlace) -> Result<()> {
        self.model.skeleton.check_gradient(layer, to)
    }

    fn preferred_rows(&self) -> usize {
        match self.settings.device {
            _ if self.settings.rows > 0 => self.settings.rows,
            tch::Device::Cuda(_) => CUDA_ROWS,
            _ => CPU_ROWS,
        }
    }

    fn notes(&self) -> &[String] {
        &self.model.notes
    }

    fn forward<'n>(&'n self, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>> {
        self.model.check_input(batch)?;
        let program = self.program(taps, None)?;
        self.run(program, &[(self.model.full_input()?, batch)])
    }

    fn forward_from<'n>(
        &'n self,
        layer: &str,
        value: &Tensor,
        batch: &Tensor,
        taps: &Taps,
    ) -> Result<Box<dyn Pass + 'n>> {
        let shape = self.model.skeleton.shape(layer)?;
        self.model.check_replaced(layer, value, batch, row_shape(shape))?;
        if layer == self.model.skeleton.layers[0].name {
            return self.forward(value, taps);
        }
        let program = self.program(taps, Some(layer))?;
        self.run(program, &[(self.model.full_input()?, batch), (shape, value)])
    }

    fn biases(&self) -> Result<Vec<Bias>> {
        biases(&self.model)
    }
}
