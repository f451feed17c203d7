//! Operators of our own: gradients, where one pass over the data beats a composition of tract's, and
//! convolutions by the engine's own kernels.
//!
//! They compute in `f32` only: every network is imported in `f32`.

mod activate;
mod axis_grad;
mod col2im;
mod conv_grad;
mod gather_grad;
mod interleave;
mod laid_out_conv;
mod lrn_grad;
mod norm;
mod norm_grad;
mod permute;
mod pick_grad;
mod pointwise;
mod pool_grad;
mod prelu_grad;
mod quantize_grad;
mod rescale;
mod softmax_grad;
mod softmax_rows;
mod spread;
mod turn;

pub(super) use activate::Activate;
pub(super) use axis_grad::AxisGrad;
pub(super) use col2im::Col2Im;
pub(super) use conv_grad::ConvGrad;
pub(super) use gather_grad::GatherGrad;
pub(super) use interleave::{Interleave, phase_start};
pub(super) use laid_out_conv::{After, LaidOutConv, with_threads};
pub(super) use lrn_grad::LrnGrad;
pub(super) use norm::{Norm, NormAxis};
pub(super) use norm_grad::NormGrad;
pub(super) use permute::Permute;
pub(super) use pick_grad::PickGrad;
pub(super) use pointwise::{Pointwise, Slope};
pub(super) use pool_grad::{PoolGrad, PoolKind};
pub(super) use prelu_grad::PReluGrad;
pub(super) use quantize_grad::QuantizeGrad;
pub(super) use rescale::Rescale;
pub(super) use softmax_grad::SoftmaxGrad;
pub(super) use softmax_rows::SoftmaxRows;
pub(super) use spread::Spread;
pub(super) use turn::Turn;

use tract_onnx::tract_core::internal::{Tensor, TractResult};

/// Memory for a result of which the operator writes every value, and reads none before. Zeros would
/// be written for nothing, through all caches: a tenth of a step.
///
/// In a debug build the values are NaN until they are written, so that whatever test compares an
/// operator's results sees one that was left out.
#[allow(unsafe_code, reason = "the only way to a tensor that is not filled first")]
fn unwritten(shape: &[usize]) -> TractResult<Tensor> {
    // SAFETY: every pattern of bits is an `f32`, nothing is dropped in it, and by the contract
    // above, which the few callers in this folder keep, no value is read before it is written.
    unsafe { Tensor::uninitialized::<f32>(shape) }
}
