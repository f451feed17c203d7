//! A loaded model: its layers, its programs and its weights.

use std::sync::Arc;

use fame_core::contract::{Network, Pass};
use fame_core::{Bias, Layer, LoadRequest, Place, Result, Taps, Tensor};

use super::pass::{TchPass, source_shape};
use super::program::Program;
use super::rounding::{self, Rounding};
use super::values::{Weights, upload};
use super::{Device, Precision, Tch, device, failed, lower};
use crate::backends::tract::shared::{Kept, Loaded, OnnxFile, Skeleton, biases, row_shape};

/// Rows that a CPU is given at once. Four cost less a row than one on large networks
/// (docs/speed.md); more take memory, and were not measured.
const CPU_ROWS: usize = 4;
/// Rows that a CUDA device is given at once. On an H100 a LOTS step of ResNet-50 takes 10 to 14 ms
/// with one row or four, and 2.4 ms a row with 32.
const CUDA_ROWS: usize = 32;

/// A network run by libtorch.
pub(super) struct TchNetwork {
    about: Loaded,
    options: Tch,
    weights: Weights,
    programs: Kept<Program>,
}

impl TchNetwork {
    pub(super) fn load(request: &LoadRequest, options: Tch) -> Result<Self> {
        Self::new(OnnxFile::read(&request.file)?, request.input_shape.clone(), options)
    }

    /// A network of a file that is already read and checked.
    pub(super) fn new(
        file: OnnxFile,
        input_shape: Option<Vec<usize>>,
        options: Tch,
    ) -> Result<Self> {
        let device = options.device.resolve()?;
        let mut about =
            Loaded::new(file, input_shape, Skeleton::TCH, |op| lower::rule_for(op).is_some())?;
        let place = match device {
            tch::Device::Cuda(n) => format!("CUDA device {n}"),
            _ => "CPU".to_owned(),
        };
        let chosen =
            if options.device == Device::Auto { "; `Auto` took what it found" } else { "" };
        about.notes.push(format!(
            "libtorch {} on the {place}, {:?}{chosen}",
            device::LIBTORCH,
            options.precision
        ));
        Ok(Self {
            about,
            options,
            weights: Weights::new(device, options.precision),
            programs: Kept::default(),
        })
    }

    pub(super) fn device(&self) -> tch::Device {
        self.weights.device
    }

    /// Threads are a setting of the calling thread and of the process, and the rounding on CUDA
    /// devices is one of the process, so they are made before every use; what is returned is kept
    /// until it is over.
    pub(super) fn prepare(&self) -> Result<Option<Rounding>> {
        let rounding = self
            .device()
            .is_cuda()
            .then(|| rounding::hold(self.options.precision == Precision::Tf32))
            .transpose()?;
        let wanted = if self.options.threads > 0 {
            self.options.threads
        } else {
            std::thread::available_parallelism().map_or(1, usize::from)
        };
        let wanted = i32::try_from(wanted).unwrap_or(1);
        if tch::get_num_threads() != wanted {
            tch::set_num_threads(wanted);
        }
        Ok(rounding)
    }

    fn program(&self, taps: &Taps, replaced: Option<&str>) -> Result<Arc<Program>> {
        self.programs.get(taps, replaced, || {
            Program::compile(&self.about.file, &self.about.skeleton, &self.weights, taps, replaced)
        })
    }

    fn run<'n>(
        &'n self,
        program: Arc<Program>,
        inputs: &[(&[usize], &Tensor)],
    ) -> Result<Box<dyn Pass + 'n>> {
        let _rounding = self.prepare()?;
        let rows = inputs[0].1.rows();
        let kind = match self.options.precision {
            Precision::F32 | Precision::Tf32 => tch::Kind::Float,
            Precision::Bf16 => tch::Kind::BFloat16,
        };
        let input = |(shape, batch): &(&[usize], &Tensor)| {
            upload(&source_shape(rows, shape), batch.data(), self.device())
                .and_then(|t| t.f_to_kind(kind))
                .map_err(|e| failed("reading the input", &e))
        };
        let values = program.run(inputs.iter().map(input).collect::<Result<_>>()?)?;
        Ok(Box::new(TchPass { network: self, program, rows, values }))
    }
}

impl Network for TchNetwork {
    fn input_shape(&self) -> &[usize] {
        &self.about.input_shape
    }

    fn layers(&self) -> &[Layer] {
        &self.about.skeleton.layers
    }

    fn check_gradient(&self, layer: &str, to: &Place) -> Result<()> {
        self.about.skeleton.check_gradient(layer, to)
    }

    fn preferred_rows(&self) -> usize {
        match self.device() {
            _ if self.options.rows > 0 => self.options.rows,
            tch::Device::Cuda(_) => CUDA_ROWS,
            _ => CPU_ROWS,
        }
    }

    fn notes(&self) -> &[String] {
        &self.about.notes
    }

    fn forward<'n>(&'n self, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>> {
        self.about.check_input(batch)?;
        let program = self.program(taps, None)?;
        self.run(program, &[(self.about.full_input()?, batch)])
    }

    fn forward_from<'n>(
        &'n self,
        layer: &str,
        value: &Tensor,
        batch: &Tensor,
        taps: &Taps,
    ) -> Result<Box<dyn Pass + 'n>> {
        let shape = self.about.skeleton.shape(layer)?;
        self.about.check_replaced(layer, value, batch, row_shape(shape))?;
        if layer == self.about.skeleton.layers[0].name {
            return self.forward(value, taps);
        }
        let program = self.program(taps, Some(layer))?;
        self.run(program, &[(self.about.full_input()?, batch), (shape, value)])
    }

    fn biases(&self) -> Result<Vec<Bias>> {
        biases(&self.about.file, &self.about.skeleton.layers)
    }
}
