//! The gradient of softmax, and of its logarithm, in one pass.

use fame_kernels::{Level, Softmax};
use tract_onnx::tract_core::internal::*;

use crate::backends::onnx::tensors::{around, fact_like, floats, floats_mut};

/// Inputs: the cotangent `g` and the output `y`. The gradient is `y · (g − Σ g·y)`, for the
/// logarithm `g − exp(y) · Σ g`. In place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct SoftmaxGrad {
    /// The axis that is summed over.
    pub(in super::super) axis: usize,
    /// Whether the logarithm was taken.
    pub(in super::super) logarithm: bool,
}

impl SoftmaxGrad {
    /// Along an axis that is not the last: whole rows of `inner` at a time, as walking along the
    /// axis would miss the cache at every step.
    fn across(&self, g: &mut [f32], y: &[f32], [extent, inner]: [usize; 2]) {
        let block = extent * inner;
        let mut total = vec![0f32; inner];
        for (g, y) in g.chunks_exact_mut(block).zip(y.chunks_exact(block)) {
            total.fill(0.0);
            for (g, y) in g.chunks_exact(inner).zip(y.chunks_exact(inner)) {
                let values = total.iter_mut().zip(g.iter().zip(y));
                values.for_each(|(sum, (g, y))| *sum += if self.logarithm { *g } else { g * y });
            }
            for (g, y) in g.chunks_exact_mut(inner).zip(y.chunks_exact(inner)) {
                for (total, (g, y)) in total.iter().zip(g.iter_mut().zip(y)) {
                    *g = if self.logarithm { *g - y.exp() * total } else { y * (*g - total) };
                }
            }
        }
    }
}

impl Op for SoftmaxGrad {
    fn name(&self) -> StaticName {
        "SoftmaxGrad".into()
    }

    op_as_typed_op!();
}

impl EvalOp for SoftmaxGrad {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (cotangent, y) = args_2!(inputs);
        let mut gradient = cotangent.into_tensor();
        let (_, extent, inner) = around(y.shape(), self.axis);
        let (g, y) = (floats_mut(&mut gradient)?, floats(&y)?);
        if inner > 1 && extent > 0 {
            self.across(g, y, [extent, inner]);
        } else if extent > 0 {
            Softmax { width: extent, logarithm: self.logarithm }.pull(Level::best(), g, y);
        }
        Ok(tvec!(gradient.into_tvalue()))
    }
}

impl TypedOp for SoftmaxGrad {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [g, y] = inputs else { bail!("{} inputs of {self:?}", inputs.len()) };
        ensure!(g.shape == y.shape && self.axis < y.rank(), "{self:?}: {g:?} against {y:?}");
        Ok(fact_like(g))
    }

    fn change_axes(
        &self,
        model: &TypedModel,
        node: &TypedNode,
        _io: InOut,
        change: &AxisOp,
    ) -> TractResult<Option<AxisChangeConsequence>> {
        let Some(axis) = change.transform_axis(self.axis) else { return Ok(None) };
        let op = Box::new(Self { axis, ..self.clone() });
        Ok(Some(AxisChangeConsequence::new(model, node, Some(op), change)))
    }

    as_op!();
}
