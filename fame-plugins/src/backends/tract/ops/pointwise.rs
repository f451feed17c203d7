//! `cotangent · f'(x)` for every differentiable function of one variable.

use tract_onnx::tract_core::internal::*;

use crate::backends::onnx::tensors::{fact_like, floats, floats_mut};

/// Multiplies cotangents by a derivative, given the values it is written in and up to two
/// parameters. It works on whole slices so that each derivative is compiled into a vectorised loop
/// of its own.
pub(in super::super) type Slope = fn(cotangent: &mut [f32], at: &[f32], parameters: [f32; 2]);

/// Inputs: the cotangent and the value the derivative is written in (the function's input or its
/// output). Works in place.
#[derive(Clone)]
pub(in super::super) struct Pointwise {
    /// The function differentiated, for dumps and for telling operators apart.
    pub(in super::super) name: &'static str,
    /// What to do.
    pub(in super::super) slope: Slope,
    /// Parameters of the function (bounds, exponent).
    pub(in super::super) parameters: [f32; 2],
}

impl Pointwise {
    /// The name under which the derivative of a clamp is told, with its bounds as parameters.
    pub(in super::super) const CLAMP: &str = "Clamp";

    /// Whether it keeps cotangents strictly between two bounds and makes the others 0.
    pub(in super::super) fn is_clamp(&self) -> bool {
        self.name == Self::CLAMP
    }
}

impl std::fmt::Debug for Pointwise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "d{}{:?}", self.name, self.parameters)
    }
}

impl PartialEq for Pointwise {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.parameters.map(f32::to_bits) == other.parameters.map(f32::to_bits)
    }
}

impl Eq for Pointwise {}

impl Op for Pointwise {
    fn name(&self) -> StaticName {
        format!("d{}", self.name).into()
    }

    op_as_typed_op!();
}

impl EvalOp for Pointwise {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (cotangent, at) = args_2!(inputs);
        let mut gradient = cotangent.into_tensor();
        (self.slope)(floats_mut(&mut gradient)?, floats(&at)?, self.parameters);
        Ok(tvec!(gradient.into_tvalue()))
    }
}

impl TypedOp for Pointwise {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(
            inputs[0].shape == inputs[1].shape,
            "{self:?}: {:?} against {:?}",
            inputs[0],
            inputs[1]
        );
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
        Ok(Some(AxisChangeConsequence::new(model, node, None, change)))
    }

    as_op!();
}
