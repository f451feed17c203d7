//! `cotangent · Δy / Δx` of a function `y = f(x)` between two rows.

use tract_onnx::tract_core::internal::*;

use crate::backends::onnx::tensors::{fact_like, floats, floats_mut};

/// A change below this share of y is rounding rather than a change: y has 24 binary digits, of
/// which a function may get the last few wrong.
const UNSEEN: f32 = 1e-5;

/// Inputs: the cotangent, the gradient at x (the cotangent times the slope), x and y in both rows,
/// each row's own before the reference's. Where neither Δy nor what the slope makes of Δx can be
/// told from rounding, the answer is the gradient; so it is where Δx is zero.
///
/// For a function that is straight on both sides of zero, such as ReLU, that is the quotient to the
/// last digit wherever x differs: if y hardly changes, x and the reference lie on the same side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Rescale;

impl Op for Rescale {
    fn name(&self) -> StaticName {
        "Rescale".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Rescale {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, mut inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        ensure!(inputs.len() == 6, "six values are read, not {}", inputs.len());
        let mut multiplier = inputs.remove(1).into_tensor();
        let [g, x, x0, y, y0] = [0, 1, 2, 3, 4].map(|ix| floats(&inputs[ix]));
        let (g, x, x0, y, y0) = (g?, x?, x0?, y?, y0?);
        let ends = x.iter().zip(x0).zip(y.iter().zip(y0));
        for ((m, g), ((x, x0), (y, y0))) in floats_mut(&mut multiplier)?.iter_mut().zip(g).zip(ends)
        {
            let (dx, dy) = (x - x0, y - y0);
            let least = UNSEEN * y.abs().max(y0.abs());
            let is_seen = dy.abs() > least || (*m * dx).abs() > g.abs() * least;
            if dx != 0.0 && is_seen {
                *m = g * dy / dx;
            }
        }
        Ok(tvec!(multiplier.into_tvalue()))
    }
}

impl TypedOp for Rescale {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let alike = inputs.iter().all(|input| input.shape == inputs[0].shape);
        ensure!(alike, "{self:?}: shapes differ: {inputs:?}");
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
