//! Softmax over the last axis, in one pass.

use fame_kernels::{Level, Softmax};
use tract_onnx::tract_core::internal::*;

use super::unwritten;
use crate::backends::onnx::tensors::{fact_like, floats, floats_mut};

/// Softmax, or its logarithm, over the last axis. tract's own falls back to several passes, each by
/// short calls, where a row is no multiple of a vector, as the 197 tokens of a vision transformer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct SoftmaxRows {
    /// Whether the logarithm is taken.
    pub(in super::super) logarithm: bool,
}

impl Op for SoftmaxRows {
    fn name(&self) -> StaticName {
        "SoftmaxRows".into()
    }

    op_as_typed_op!();
}

impl EvalOp for SoftmaxRows {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let x = args_1!(inputs);
        // The kernel writes every value.
        let mut y = unwritten(x.shape())?;
        let width = x.shape().last().copied().context("softmax of a number")?;
        if width > 0 {
            let of = Softmax { width, logarithm: self.logarithm };
            of.run(Level::best(), floats(&x)?, floats_mut(&mut y)?);
        }
        Ok(tvec!(y.into_tvalue()))
    }
}

impl TypedOp for SoftmaxRows {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs[0].rank() > 0, "{self:?} of {:?}", inputs[0]);
        Ok(fact_like(inputs[0]))
    }

    as_op!();
}
