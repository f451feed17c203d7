//! The gradient of an operator that, along one axis, is a sparse matrix.

use tract_onnx::tract_core::internal::*;

use crate::backends::onnx::axis_matrices::Entry;
use crate::backends::onnx::tensors::{around, floats, floats_mut};

/// Multiplies by the transposed matrix along `axis`: the cotangent, which has the output's extent
/// there, comes out with the input's.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct AxisGrad {
    /// The axis.
    pub(in super::super) axis: usize,
    /// Extent of the operator's input along it.
    pub(in super::super) from: usize,
    /// Extent of its output along it.
    pub(in super::super) to: usize,
    /// The entries that are not zero.
    pub(in super::super) entries: Vec<Entry>,
}

// Weights come from finite arithmetic on extents; none is NaN.
impl Eq for AxisGrad {}

impl Op for AxisGrad {
    fn name(&self) -> StaticName {
        "AxisGrad".into()
    }

    op_as_typed_op!();
}

impl EvalOp for AxisGrad {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let (outer, _, inner) = around(input.shape(), self.axis);
        let mut shape: TVec<usize> = input.shape().into();
        shape[self.axis] = self.from;
        let mut output = Tensor::zero::<f32>(&shape)?;
        let (cotangent, gradient) = (floats(&input)?, floats_mut(&mut output)?);
        for o in 0..outer {
            let from = &cotangent[o * self.to * inner..][..self.to * inner];
            let to = &mut gradient[o * self.from * inner..][..self.from * inner];
            for entry in &self.entries {
                let source = &from[entry.to * inner..][..inner];
                to[entry.from * inner..][..inner]
                    .iter_mut()
                    .zip(source)
                    .for_each(|(t, s)| *t += entry.weight * s);
            }
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for AxisGrad {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs[0].shape[self.axis] == self.to.to_dim(), "{self:?}: {:?}", inputs[0]);
        let mut fact = f32::fact(inputs[0].shape.to_tvec());
        fact.shape.set(self.axis, self.from.to_dim());
        Ok(tvec!(fact))
    }

    as_op!();
}
