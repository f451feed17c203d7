//! Sessions: onnxruntime's compiled models, and what goes in and out of them.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use half::{bf16, f16};
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor, TensorElementType, ValueType};

/// The session option that says where weights in files of their own lie.
const FOLDER_OF_WEIGHTS: &str = "session.model_external_initializers_file_folder_path";

/// How sessions are made.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// Sessions that run side by side, a row each.
    pub(super) lanes: usize,
    /// Threads of one session.
    pub(super) threads: usize,
    /// Whether onnxruntime may fuse operators.
    pub(super) optimize: bool,
    /// Where weights in files of their own lie.
    pub(super) folder: Option<String>,
}

/// A model compiled for some outputs, once for each lane.
pub(super) struct Compiled(Vec<Mutex<Session>>);

/// A tensor to feed: name, number type, full shape, values.
pub(super) struct Fed<'a> {
    pub(super) name: &'a str,
    pub(super) element: TensorElementType,
    pub(super) shape: &'a [usize],
    pub(super) values: &'a [f32],
}

/// A tensor as it came out: its number type, its full shape, its values rounded to `f32`.
pub(super) struct Got {
    pub(super) element: TensorElementType,
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

/// What onnxruntime says, in one line.
pub(super) fn reason(error: &ort::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_end_matches('.').chars().take(400).collect()
}

impl Compiled {
    /// Compiles the encoded `model`.
    pub(super) fn new(
        environment: &Environment,
        model: &[u8],
        options: &Options,
    ) -> ort::Result<Self> {
        let lanes =
            (0..options.lanes).map(|_| session(environment, model, options).map(Mutex::new));
        Ok(Self(lanes.collect::<ort::Result<_>>()?))
    }

    /// The number type of the input `name`; `None` when it is no tensor or not there.
    pub(super) fn input_element(&self, name: &str) -> Option<TensorElementType> {
        let session = self.0.first()?.lock().unwrap_or_else(PoisonError::into_inner);
        let input = session.inputs().iter().find(|input| input.name() == name)?;
        match input.dtype() {
            ValueType::Tensor { ty, .. } => Some(*ty),
            _ => None,
        }
    }

    /// Runs one row in lane `lane` and gives out `names`, `None` for those that hold no floats.
    pub(super) fn run(
        &self,
        lane: usize,
        inputs: &[Fed],
        names: &[String],
    ) -> ort::Result<Vec<Option<Got>>> {
        let fed = inputs.iter().map(|fed| Ok((Cow::from(fed.name), feed(fed)?.into())));
        let fed: Vec<(Cow<str>, SessionInputValue)> = fed.collect::<ort::Result<_>>()?;
        let lane = &self.0[lane % self.0.len()];
        let mut session = lane.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = session.run(fed)?;
        Ok(names.iter().map(|name| outputs.get(name).and_then(floats)).collect())
    }
}

fn session(environment: &Environment, model: &[u8], options: &Options) -> ort::Result<Session> {
    let level = if options.optimize {
        GraphOptimizationLevel::All
    } else {
        GraphOptimizationLevel::Disable
    };
    let mut builder = Session::builder(environment)?
        .with_log_level(LogLevel::Fatal)?
        .with_optimization_level(level)?
        .with_intra_threads(options.threads)?
        .with_inter_threads(1)?
        // Between two passes the processor belongs to others.
        .with_intra_op_spinning(false)?;
    if let Some(folder) = &options.folder {
        builder = builder.with_config_entry(FOLDER_OF_WEIGHTS, folder)?;
    }
    builder.commit_from_memory(model)
}

/// The values in the number type of the input; to whole numbers they are cut, as ONNX's Cast does.
fn feed(fed: &Fed) -> ort::Result<DynValue> {
    fn tensor<T>(fed: &Fed, to: impl Fn(f32) -> T) -> ort::Result<DynValue>
    where
        T: ort::value::PrimitiveTensorElementType + Clone + std::fmt::Debug + 'static,
    {
        let values: Vec<T> = fed.values.iter().map(|v| to(*v)).collect();
        Ok(Tensor::from_array((fed.shape.to_vec(), values))?.into_dyn())
    }
    match fed.element {
        TensorElementType::Float64 => tensor(fed, f64::from),
        TensorElementType::Float16 => tensor(fed, f16::from_f32),
        TensorElementType::Bfloat16 => tensor(fed, bf16::from_f32),
        TensorElementType::Uint8 => tensor(fed, |v| v as u8),
        TensorElementType::Int8 => tensor(fed, |v| v as i8),
        TensorElementType::Int32 => tensor(fed, |v| v as i32),
        TensorElementType::Int64 => tensor(fed, |v| v as i64),
        _ => tensor(fed, |v| v),
    }
}

/// A tensor of floats as `f32`; `None` for anything else.
fn floats(value: &DynValue) -> Option<Got> {
    fn got<T>(value: &DynValue, element: TensorElementType, to: impl Fn(T) -> f32) -> Option<Got>
    where
        T: ort::value::PrimitiveTensorElementType + Copy,
    {
        let (shape, values) = value.try_extract_tensor::<T>().ok()?;
        let shape = shape.iter().map(|d| usize::try_from(*d)).collect::<Result<_, _>>().ok()?;
        Some(Got { element, shape, values: values.iter().map(|v| to(*v)).collect() })
    }
    let ValueType::Tensor { ty, .. } = value.dtype() else { return None };
    match ty {
        TensorElementType::Float32 => got::<f32>(value, *ty, |v| v),
        TensorElementType::Float64 => got::<f64>(value, *ty, |v| v as f32),
        TensorElementType::Float16 => got::<f16>(value, *ty, f16::to_f32),
        TensorElementType::Bfloat16 => got::<bf16>(value, *ty, bf16::to_f32),
        _ => None,
    }
}
