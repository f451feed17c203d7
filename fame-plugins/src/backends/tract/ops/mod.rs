//! Graph operators of our own, where one pass over the data beats a composition of tract's.
//!
//! They compute in `f32` only: every network is imported in `f32`.

mod axis_grad;
mod col2im;
mod gather_grad;
mod interleave;
mod lrn_grad;
mod pointwise;
mod pool_grad;
mod prelu;
mod rms_norm_grad;

pub(super) use axis_grad::AxisGrad;
pub(in crate::backends) use axis_grad::Tap;
pub(super) use col2im::Col2Im;
pub(super) use gather_grad::GatherGrad;
pub(super) use interleave::{Interleave, phase_start};
pub(super) use lrn_grad::LrnGrad;
pub(super) use pointwise::{Pointwise, Slope};
pub(super) use pool_grad::{PoolGrad, PoolKind};
pub(in crate::backends) use prelu::PRelu;
pub(super) use prelu::PReluGrad;
pub(super) use rms_norm_grad::RmsNormGrad;

use tract_onnx::tract_core::internal::*;

/// The values of a plain `f32` tensor.
fn floats(tensor: &Tensor) -> TractResult<&[f32]> {
    tensor.try_as_plain_ram()?.as_slice::<f32>()
}

/// The values of a plain `f32` tensor, to change in place.
fn floats_mut(tensor: &mut Tensor) -> TractResult<&mut [f32]> {
    tensor.to_plain_array_view_mut::<f32>()?.into_slice().context("the tensor is not contiguous")
}

/// The fact of a plain `f32` tensor of the shape of `like`.
fn fact_like(like: &TypedFact) -> TVec<TypedFact> {
    tvec!(f32::fact(like.shape.to_tvec()))
}

/// Splits `shape` around `at`: the product before it, its extent, the product after it.
fn around(shape: &[usize], at: usize) -> (usize, usize, usize) {
    (shape[..at].iter().product(), shape[at], shape[at + 1..].iter().product())
}
