//! Normalisations. They sum in f32 whatever the precision: eight bits of mantissa do not hold a
//! mean of squares.

use tch::Kind;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::nn::{RmsNorm, Softmax, SoftmaxKind};

use tract_onnx_opl::lrn::Lrn;

use super::rule::Rule;
use super::site::{Lower, Lowered};

pub(super) const RULES: &[Rule] = &[
    Rule::operator::<Softmax>(softmax),
    Rule::operator::<RmsNorm>(rms_norm),
    Rule::operator::<Lrn>(lrn),
];

fn softmax(l: &mut Lower) -> TractResult<Lowered> {
    let (op, lead) = (l.op::<Softmax>()?, l.lead(0)?);
    let axes: Vec<i64> = op.axes.iter().map(|axis| (axis + lead) as i64).collect();
    match (op.kind, &*axes) {
        (SoftmaxKind::Softmax, &[axis]) => l.map(move |x| x.f_softmax(axis, None::<Kind>)),
        (SoftmaxKind::LogSoftmax, &[axis]) => l.map(move |x| x.f_log_softmax(axis, None::<Kind>)),
        (SoftmaxKind::Softmax, _) => {
            l.map(move |x| x.f_sub(&x.f_logsumexp(&axes[..], true)?)?.f_exp())
        }
        (SoftmaxKind::LogSoftmax, _) => l.map(move |x| x.f_sub(&x.f_logsumexp(&axes[..], true)?)),
    }
}

fn rms_norm(l: &mut Lower) -> TractResult<Lowered> {
    let (op, lead) = (l.op::<RmsNorm>()?, l.lead(0)?);
    let (axis, eps) = ((op.axis + lead) as i64, f64::from(op.eps.cast_to_scalar::<f32>()?));
    l.map(move |x| {
        let kind = x.f_kind()?;
        let x = x.f_to_kind(Kind::Float)?;
        let root = x
            .f_square()?
            .f_mean_dim(&[axis][..], true, Kind::Float)?
            .f_add_scalar(eps)?
            .f_rsqrt()?;
        x.f_mul(&root)?.f_to_kind(kind)
    })
}

/// `x / (bias + alpha / size · Σ x²)^beta`, the sum over `size` channels around each: axis 1 of the
/// graph.
fn lrn(l: &mut Lower) -> TractResult<Lowered> {
    let &Lrn { alpha, beta, bias, size } = l.op::<Lrn>()?;
    let (lead, shape) = (l.lead(0)?, l.input_shape(0)?);
    let axis = (1 + lead) as i64;
    let channels = shape[1] as i64;
    let before = (size as i64 - 1) / 2;
    let (alpha, beta, bias, size) =
        (f64::from(alpha), f64::from(beta), f64::from(bias), size as i64);
    // Padding counts from the last axis.
    let mut pads = vec![0i64; 2 * (shape.len() - 2)];
    pads.extend([before, size - 1 - before]);
    l.map(move |x| {
        let kind = x.f_kind()?;
        let x = x.f_to_kind(Kind::Float)?;
        let squares = x.f_square()?.f_constant_pad_nd(&pads[..])?;
        let mut sum = squares.f_narrow(axis, 0, channels)?;
        for k in 1..size {
            sum = sum.f_add(&squares.f_narrow(axis, k, channels)?)?;
        }
        let scale = sum
            .f_mul_scalar(alpha / size as f64)?
            .f_add_scalar(bias)?
            .f_pow_tensor_scalar(-beta)?;
        x.f_mul(&scale)?.f_to_kind(kind)
    })
}
