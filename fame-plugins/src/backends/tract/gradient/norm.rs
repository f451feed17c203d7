//! Normalisations.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, RmsNorm, Softmax, SoftmaxKind};
use tract_onnx_opl::lrn::Lrn;

use super::super::ops::{LrnGrad, RmsNormGrad};
use super::{Pull, Pulled, Rule};

pub(super) const RULES: &[Rule] =
    &[Rule::of::<Softmax>(softmax), Rule::of::<RmsNorm>(rms_norm), Rule::of::<Lrn>(lrn)];

/// `y · (g − Σ g·y)`, or for the logarithm `g − exp(y) · Σ g`.
fn softmax(pull: &mut Pull) -> TractResult<Pulled> {
    let op = pull.op::<Softmax>()?;
    let (g, y) = (pull.cotangent, pull.output()?);
    let sum = Reduce::new(op.axes.clone(), Reducer::Sum);
    let gradient = match op.kind {
        SoftmaxKind::Softmax => {
            let products = pull.wire(math::mul(), &[g, y])?;
            let total = pull.wire(sum, &[products])?;
            let centred = pull.wire(math::sub(), &[g, total])?;
            pull.wire(math::mul(), &[centred, y])?
        }
        SoftmaxKind::LogSoftmax => {
            let total = pull.wire(sum, &[g])?;
            let p = pull.wire(math::exp(), &[y])?;
            let share = pull.wire(math::mul(), &[p, total])?;
            pull.wire(math::sub(), &[g, share])?
        }
    };
    Ok(tvec!(Some(gradient)))
}

fn rms_norm(pull: &mut Pull) -> TractResult<Pulled> {
    let op = pull.op::<RmsNorm>()?;
    let (g, x) = (pull.cotangent, pull.input(0)?);
    Ok(tvec!(Some(pull.wire(RmsNormGrad { axis: op.axis, eps: op.eps.clone() }, &[g, x])?)))
}

fn lrn(pull: &mut Pull) -> TractResult<Pulled> {
    let &Lrn { alpha, beta, bias, size } = pull.op::<Lrn>()?;
    let (g, x) = (pull.cotangent, pull.input(0)?);
    Ok(tvec!(Some(pull.wire(LrnGrad { alpha, beta, bias, size }, &[g, x])?)))
}
