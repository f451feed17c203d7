//! Operators of our own: gradients, where one pass over the data beats a composition of tract's, and
//! convolutions by the engine's own kernels.
//!
//! They compute in `f32` only: every network is imported in `f32`.

mod axis_grad;
mod col2im;
mod conv_grad;
mod gather_grad;
mod interleave;
mod laid_out_conv;
mod lrn_grad;
mod pick_grad;
mod pointwise;
mod pool_grad;
mod prelu_grad;
mod quantize_grad;
mod rms_norm_grad;
mod spread;
mod turn;

pub(super) use axis_grad::AxisGrad;
pub(super) use col2im::Col2Im;
pub(super) use conv_grad::ConvGrad;
pub(super) use gather_grad::GatherGrad;
pub(super) use interleave::{Interleave, phase_start};
pub(super) use laid_out_conv::{After, LaidOutConv};
pub(super) use lrn_grad::LrnGrad;
pub(super) use pick_grad::PickGrad;
pub(super) use pointwise::{Pointwise, Slope};
pub(super) use pool_grad::{PoolGrad, PoolKind};
pub(super) use prelu_grad::PReluGrad;
pub(super) use quantize_grad::QuantizeGrad;
pub(super) use rms_norm_grad::RmsNormGrad;
pub(super) use spread::Spread;
pub(super) use turn::Turn;
