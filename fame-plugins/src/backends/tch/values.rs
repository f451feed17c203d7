//! Between fame's tensors, tract's constants and libtorch's tensors.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use tch::{Kind, TchError, Tensor};
use tract_onnx::tract_core::internal::{DatumType, Tensor as TractTensor, TractResult, format_err};

use super::settings::Precision;

/// The extents as libtorch wants them.
pub(super) fn dims(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&d| d as i64).collect()
}

/// The values of a fame tensor, in f32 on `device`.
pub(super) fn upload(
    shape: &[i64],
    values: &[f32],
    device: tch::Device,
) -> Result<Tensor, TchError> {
    let there = Tensor::f_from_slice(values)?.f_reshape(shape)?;
    if !device.is_cuda() {
        return Ok(there);
    }
    // From pinned memory the copy need not be waited for. Not `pin_memory`: tch gives it an argument
    // that libtorch warns of at every call. Memory that cannot be pinned serves too.
    let pinned = there.f_internal_pin_memory(device).unwrap_or(there);
    pinned.f_to_device_(device, Kind::Float, true, false)
}

/// The values of a libtorch tensor in f32, row-major.
pub(super) fn download(tensor: &Tensor) -> Result<Vec<f32>, TchError> {
    let plain =
        tensor.f_detach()?.f_to_kind(Kind::Float)?.f_to_device(tch::Device::Cpu)?.f_contiguous()?;
    let mut values = vec![0f32; plain.numel()];
    let count = values.len();
    plain.f_copy_data(&mut values, count)?;
    Ok(values)
}

/// An error of libtorch on its way through tract's.
pub(super) fn torch(error: TchError) -> tract_onnx::tract_core::internal::TractError {
    format_err!("{}", error.to_string().lines().next().unwrap_or_default().to_owned())
}

/// How a constant lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Layout {
    /// Row-major.
    Plain,
    /// Row-major, but with the channels (axis 1 of 4) innermost: the kernels of convolutions, which
    /// then work in that layout.
    ChannelsLast,
}

/// The constants of a network on its device. Equal ones are uploaded once, however many programs
/// use them.
pub(super) struct Weights {
    pub(super) device: tch::Device,
    pub(super) precision: Precision,
    known: Mutex<HashMap<(u64, u64, Layout), Tensor>>,
}

impl Weights {
    pub(super) fn new(device: tch::Device, precision: Precision) -> Self {
        Self { device, precision, known: Mutex::default() }
    }

    /// What computes in place of a type of the graph.
    pub(super) fn kind(&self, of: DatumType) -> TractResult<Kind> {
        Ok(match of {
            DatumType::F32 | DatumType::F16 => self.precision.kind(),
            DatumType::F64 => Kind::Double,
            DatumType::Bool => Kind::Bool,
            DatumType::U8 => Kind::Uint8,
            DatumType::I8 => Kind::Int8,
            DatumType::I16 => Kind::Int16,
            DatumType::I32 => Kind::Int,
            DatumType::I64 | DatumType::TDim => Kind::Int64,
            other => return Err(format_err!("values of type {other:?} cannot be computed with")),
        })
    }

    /// The constant on the device.
    pub(super) fn upload(&self, constant: &TractTensor, layout: Layout) -> TractResult<Tensor> {
        // Two hashes of 64 bits: a collision of both between a few hundred weights is out of the
        // question.
        let hash = |salt: u64| {
            let mut hasher = DefaultHasher::new();
            salt.hash(&mut hasher);
            constant.hash(&mut hasher);
            hasher.finish()
        };
        let key = (hash(1), hash(2), layout);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tensor) = known.get(&key) {
            return Ok(tensor.shallow_clone());
        }
        let tensor = self.convert(constant, layout)?;
        known.insert(key, tensor.shallow_clone());
        Ok(tensor)
    }

    fn convert(&self, constant: &TractTensor, layout: Layout) -> TractResult<Tensor> {
        let kind = self.kind(constant.datum_type())?;
        let shape = dims(constant.shape());
        let plain = if constant.datum_type().is_float() {
            let values = constant.cast_to::<f32>()?;
            Tensor::f_from_slice(values.try_as_plain_ram()?.as_slice::<f32>()?)
        } else if constant.datum_type() == DatumType::Bool {
            Tensor::f_from_slice(constant.try_as_plain_ram()?.as_slice::<bool>()?)
        } else {
            let values = constant.cast_to::<i64>()?;
            Tensor::f_from_slice(values.try_as_plain_ram()?.as_slice::<i64>()?)
        };
        let place = || -> Result<Tensor, TchError> {
            let tensor = plain?.f_reshape(&shape[..])?.f_to_kind(kind)?;
            let tensor = if layout == Layout::ChannelsLast && shape.len() == 4 {
                tensor.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?
            } else {
                tensor
            };
            tensor.f_to_device(self.device)
        };
        place().map_err(torch)
    }
}
