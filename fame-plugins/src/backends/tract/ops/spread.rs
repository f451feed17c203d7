//! The gradient of a sum: one value for every summand.

use tract_onnx::tract_core::internal::*;

/// Repeats the input along axes of extent 1 up to `shape`.
///
/// It is not tract's `MultiBroadcastTo`: that is moved behind a matrix product in front of it, and
/// the product then has another shape than its readers were promised (a convolution followed by a
/// mean could not be compiled).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Spread {
    /// The shape of the output; equal to the input's but where that has extent 1.
    pub(in super::super) shape: TVec<usize>,
}

impl Op for Spread {
    fn name(&self) -> StaticName {
        "Spread".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Spread {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        Ok(tvec!(input.broadcast_to_shape(&self.shape)?.into_tvalue()))
    }
}

impl TypedOp for Spread {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs[0].rank() == self.shape.len(), "{self:?}: {:?}", inputs[0]);
        Ok(tvec!(f32::fact(&self.shape)))
    }

    as_op!();
}
