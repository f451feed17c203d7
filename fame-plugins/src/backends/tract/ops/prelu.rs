//! PReLU, which tract would lower to a comparison, a product and a selection: three passes instead
//! of one in place.

use tract_onnx::tract_core::internal::*;

use super::{fact_like, floats, floats_mut};

/// `x` where `x > 0`, else `slope · x`. Inputs: `x`, and a slope of the same rank that broadcasts
/// to it. Works in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::backends) struct PRelu;

/// Inputs: the cotangent, a value with the sign of `x` (`x` itself, or the output where no slope is
/// negative), the slope. In place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct PReluGrad;

/// Calls `f(range, slope)` for every run of consecutive elements of `shape` that share one slope.
fn each_run(
    shape: &[usize],
    slope: &Tensor,
    mut f: impl FnMut(std::ops::Range<usize>, f32),
) -> TractResult<()> {
    let slopes = floats(slope)?;
    ensure!(
        slope.rank() == shape.len(),
        "a slope of shape {:?} for values of shape {shape:?}",
        slope.shape()
    );
    let varying = slope.shape().iter().rposition(|&d| d != 1).map_or(0, |axis| axis + 1);
    let run: usize = shape[varying..].iter().product();
    let outer = &shape[..varying];
    for i in 0..outer.iter().product() {
        // Row-major coordinates of `i` in `outer`, folded into an index of the slope tensor.
        let (mut rest, mut index, mut stride) = (i, 0, 1);
        for axis in (0..varying).rev() {
            let coordinate = rest % outer[axis];
            rest /= outer[axis];
            if slope.shape()[axis] != 1 {
                index += coordinate * stride;
                stride *= slope.shape()[axis];
            }
        }
        f(i * run..(i + 1) * run, slopes[index]);
    }
    Ok(())
}

impl Op for PRelu {
    fn name(&self) -> StaticName {
        "PRelu".into()
    }

    op_as_typed_op!();
}

impl EvalOp for PRelu {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (x, slope) = args_2!(inputs);
        let mut y = x.into_tensor();
        let shape: TVec<usize> = y.shape().into();
        let values = floats_mut(&mut y)?;
        each_run(&shape, &slope, |run, slope| {
            values[run].iter_mut().for_each(|v| *v = if *v > 0.0 { *v } else { slope * *v });
        })?;
        Ok(tvec!(y.into_tvalue()))
    }
}

impl Op for PReluGrad {
    fn name(&self) -> StaticName {
        "PReluGrad".into()
    }

    op_as_typed_op!();
}

impl EvalOp for PReluGrad {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (cotangent, sign, slope) = args_3!(inputs);
        let mut gradient = cotangent.into_tensor();
        let shape: TVec<usize> = gradient.shape().into();
        let (values, signs) = (floats_mut(&mut gradient)?, floats(&sign)?);
        each_run(&shape, &slope, |run, slope| {
            let signs = &signs[run.clone()];
            values[run]
                .iter_mut()
                .zip(signs)
                .for_each(|(g, s)| *g = if *s > 0.0 { *g } else { slope * *g });
        })?;
        Ok(tvec!(gradient.into_tvalue()))
    }
}

macro_rules! natural_typed_op {
    ($op:ty) => {
        impl TypedOp for $op {
            fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
                ensure!(inputs.iter().all(|fact| fact.rank() == inputs[0].rank()), "ranks differ");
                Ok(fact_like(inputs[0]))
            }

            fn axes_mapping(
                &self,
                inputs: &[&TypedFact],
                outputs: &[&TypedFact],
            ) -> TractResult<AxesMapping> {
                AxesMapping::natural(inputs, outputs)
            }

            fn change_axes(
                &self,
                model: &TypedModel,
                node: &TypedNode,
                _io: InOut,
                change: &AxisOp,
            ) -> TractResult<Option<AxisChangeConsequence>> {
                // A reshape would tear the broadcast slope apart; moving, adding and removing axes
                // does not.
                if matches!(change, AxisOp::Reshape(..)) {
                    return Ok(None);
                }
                Ok(Some(AxisChangeConsequence::new(model, node, None, change)))
            }

            as_op!();
        }
    };
}

natural_typed_op!(PRelu);
natural_typed_op!(PReluGrad);
