//! The gradient of a slice with a step.

use tract_onnx::tract_core::internal::tract_ndarray::Axis as NdAxis;
use tract_onnx::tract_core::internal::*;

use crate::backends::onnx::slice::Pick;

/// Puts the elements of its input back to where they were picked from, among zeros.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct PickGrad {
    /// What was picked.
    pub(in super::super) pick: Pick,
    /// The extent of the axis that it was picked from.
    pub(in super::super) extent: usize,
}

impl Op for PickGrad {
    fn name(&self) -> StaticName {
        "PickGrad".into()
    }

    op_as_typed_op!();
}

impl EvalOp for PickGrad {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let cotangent = args_1!(inputs);
        let mut shape: TVec<usize> = cotangent.shape().into();
        shape[self.pick.axis] = self.extent;
        let mut gradient = Tensor::zero::<f32>(&shape)?;
        gradient
            .to_plain_array_view_mut::<f32>()?
            .slice_axis_mut(NdAxis(self.pick.axis), self.pick.as_slice())
            .assign(&cotangent.to_plain_array_view::<f32>()?);
        Ok(tvec!(gradient.into_tvalue()))
    }
}

impl TypedOp for PickGrad {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut shape = inputs[0].shape.to_tvec();
        shape[self.pick.axis] = self.extent.to_dim();
        Ok(tvec!(f32::fact(shape)))
    }

    as_op!();
}
