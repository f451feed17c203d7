//! Smooth activations in one pass.

use fame_kernels::{Activation, Level};
use tract_onnx::tract_core::internal::*;

use super::unwritten;
use crate::backends::onnx::tensors::{fact_like, floats, floats_mut};

/// An activation, element by element.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Activate(pub(in super::super) Activation);

impl Op for Activate {
    fn name(&self) -> StaticName {
        format!("{:?}", self.0).into()
    }

    op_as_typed_op!();
}

impl EvalOp for Activate {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let x = args_1!(inputs);
        // Its argument is mostly read again, by the gradient: another tensor is written, every
        // value.
        let mut y = unwritten(x.shape())?;
        self.0.map(Level::best(), floats(&x)?, floats_mut(&mut y)?);
        Ok(tvec!(y.into_tvalue()))
    }
}

impl TypedOp for Activate {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(fact_like(inputs[0]))
    }

    as_op!();
}
