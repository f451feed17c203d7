//! Normalisations.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, RmsNorm, Softmax, SoftmaxKind};
use tract_onnx_opl::lrn::Lrn;

use super::rule::Rule;
use super::tape::{Pull, Pulled};
use crate::backends::tract::ops::{LrnGrad, Norm, NormAxis, NormGrad, SoftmaxGrad};

pub(super) const RULES: &[Rule] = &[
    Rule::operator::<Softmax>(softmax),
    Rule::operator::<RmsNorm>(rms_norm),
    Rule::operator::<Norm>(norm),
    Rule::operator::<Lrn>(lrn),
];

/// `y · (g − Σ g·y)`, or for the logarithm `g − exp(y) · Σ g`.
fn softmax(pull: &mut Pull) -> TractResult<Pulled> {
    let op = pull.op::<Softmax>()?;
    let (g, y) = (pull.cotangent, pull.output()?);
    if let [axis] = *op.axes {
        let logarithm = matches!(op.kind, SoftmaxKind::LogSoftmax);
        return Ok(tvec!(Some(pull.wire(SoftmaxGrad { axis, logarithm }, &[g, y])?)));
    }
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
    let RmsNorm { axis, eps } = pull.op::<RmsNorm>()?;
    let over = NormAxis { axis: *axis, eps: eps.clone(), centred: false };
    let (g, x) = (pull.cotangent, pull.input(0)?);
    Ok(tvec!(Some(pull.wire(NormGrad { over, scale: None }, &[g, x])?)))
}

fn norm(pull: &mut Pull) -> TractResult<Pulled> {
    let Norm { over, affine } = pull.op::<Norm>()?.clone();
    let (g, x) = (pull.cotangent, pull.input(0)?);
    let scale = affine.map(|[scale, _]| scale);
    Ok(tvec!(Some(pull.wire(NormGrad { over, scale }, &[g, x])?)))
}

fn lrn(pull: &mut Pull) -> TractResult<Pulled> {
    let &Lrn { alpha, beta, bias, size } = pull.op::<Lrn>()?;
    let (g, x) = (pull.cotangent, pull.input(0)?);
    Ok(tvec!(Some(pull.wire(LrnGrad { alpha, beta, bias, size }, &[g, x])?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::rule_check::{CURVED, check};

    #[test]
    fn softmax_and_root_mean_square() {
        for axes in [tvec!(1), tvec!(0, 2)] {
            for kind in [SoftmaxKind::Softmax, SoftmaxKind::LogSoftmax] {
                check(&[2, 3, 4], &CURVED, |m, x| {
                    Ok(m.wire_node("s", Softmax::new(axes.clone(), None, kind), &[x])?[0])
                });
            }
        }
        for axis in 0..3 {
            let norm = RmsNorm { axis, eps: tensor0(1e-3f32).into_arc_tensor() };
            check(&[2, 3, 4], &CURVED, |m, x| Ok(m.wire_node("n", norm.clone(), &[x])?[0]));
        }
    }

    #[test]
    fn local_response_normalisation() {
        for size in [1, 2, 3, 5] {
            let op = Lrn { alpha: 0.8, beta: 0.75, bias: 1.5, size };
            check(&[1, 6, 2, 2], &CURVED, |m, x| Ok(m.wire_node("n", op.clone(), &[x])?[0]));
        }
    }
}
