//! The gradient of picking slices by constant indices.

use tract_onnx::tract_core::internal::*;

use crate::backends::onnx::tensors::{around, floats, floats_mut};

/// Adds slice `i` of the input along `axis` to slice `indices[i]` of an otherwise zero output of
/// the given extent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct GatherGrad {
    /// The axis picked from.
    pub(in super::super) axis: usize,
    /// Which slices were picked, already made non-negative.
    pub(in super::super) indices: Vec<usize>,
    /// The extent of the axis.
    pub(in super::super) extent: usize,
}

impl Op for GatherGrad {
    fn name(&self) -> StaticName {
        "GatherGrad".into()
    }

    op_as_typed_op!();
}

impl EvalOp for GatherGrad {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let (outer, picked, inner) = around(input.shape(), self.axis);
        let mut shape: TVec<usize> = input.shape().into();
        shape[self.axis] = self.extent;
        let mut output = Tensor::zero::<f32>(&shape)?;
        let (from, to) = (floats(&input)?, floats_mut(&mut output)?);
        for o in 0..outer {
            for (i, &index) in self.indices.iter().enumerate() {
                let source = &from[(o * picked + i) * inner..][..inner];
                to[(o * self.extent + index) * inner..][..inner]
                    .iter_mut()
                    .zip(source)
                    .for_each(|(t, s)| *t += *s);
            }
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for GatherGrad {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(
            inputs[0].shape[self.axis] == self.indices.len().to_dim(),
            "{self:?}: {:?}",
            inputs[0]
        );
        let mut fact = f32::fact(inputs[0].shape.to_tvec());
        fact.shape.set(self.axis, self.extent.to_dim());
        Ok(tvec!(fact))
    }

    as_op!();
}
