//! A loaded model: its layers, its programs and its weights.

use std::sync::Arc;

use fame_core::contract::{DeviceRows, Network, Pass, PlainStep};
use fame_core::{Bias, GradientPlace, Layer, Result, Taps, Tensor};

use super::compile::{ENGINE, compile};
use super::device;
use super::failure::failed;
use super::lower::has_gradient;
use super::pass::{TchPass, source_shape};
use super::program::Program;
use super::rows::TchRows;
use super::settings::Settings;
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
    pub(super) settings: Settings,
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
        let rows = inputs[0].1.rows();
        let input = |(shape, batch): &(&[usize], &Tensor)| {
            upload(&source_shape(rows, shape), batch.data(), self.settings.device)
                .map_err(|e| failed("reading the input", &e))
        };
        let inputs = inputs.iter().map(input).collect::<Result<_>>()?;
        Ok(Box::new(self.run_on_device(program, inputs, rows)?))
    }

    /// Runs `program` for `rows` rows whose f32 inputs, `[N, …]`, are on the device.
    fn run_on_device(
        &self,
        program: Arc<Program>,
        inputs: Vec<tch::Tensor>,
        rows: usize,
    ) -> Result<TchPass> {
        let settings = self.settings;
        let values = settings.compute(|| {
            let kind = settings.precision.kind();
            let input = |input: &tch::Tensor| {
                input.f_to_kind(kind).map_err(|e| failed("reading the input", &e))
            };
            program.run(inputs.iter().map(input).collect::<Result<_>>()?)
        })?;
        Ok(TchPass { settings, program, rows, values })
    }

    /// Runs `rows` rows forward from `batch`, `[N, …input_shape]` in f32 on the device.
    pub(super) fn forward_on_device(
        &self,
        batch: &tch::Tensor,
        rows: usize,
        taps: &Taps,
    ) -> Result<TchPass> {
        let program = self.program(taps, None)?;
        let shape = source_shape(rows, self.model.full_input()?);
        let input = batch.f_reshape(&shape[..]).map_err(|e| failed("reading the input", &e))?;
        self.run_on_device(program, vec![input], rows)
    }

    /// Refuses a batch that the network cannot take.
    pub(super) fn check_input(&self, batch: &Tensor) -> Result<()> {
        self.model.check_input(batch)
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

    fn device_rows<'n>(
        &'n self,
        step: &PlainStep,
        layers: &[String],
    ) -> Result<Option<Box<dyn DeviceRows + 'n>>> {
        step.check(&self.model.input_shape)?;
        Ok(Some(Box::new(TchRows::new(self, step, layers)?)))
    }

    fn biases(&self) -> Result<Vec<Bias>> {
        biases(&self.model)
    }
}
