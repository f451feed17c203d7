//! Layer normalisation found again in what it was taken apart into.
//!
//! tract takes ONNX's `LayerNormalization` apart while importing it, and older files have it in
//! pieces from the start. Simplified, both are
//!
//! ```text
//! x ─┬─ sum ─ · 1/n ─┐
//!    └────────────── − ─ by the root mean square ─ · scale ─ + shift
//! ```
//!
//! The first three and the normalisation become one operator, which has a gradient of its own.
//! Factors and summands stay apart until the kernels are placed: a convolution or a product takes
//! them into its weights (`chain`), and only what none has taken joins the operator (`one_pass`).
//!
//! Where a value between them is an output of the model, a tapped layer or another place of a
//! gradient, or is read by something else, they stay apart.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::{BinMiniOp, TypedBinOp};
use tract_onnx::tract_core::ops::math::{Mul, Sub};
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, RmsNorm};

use super::ops::{Norm, NormAxis};

/// How far a factor may be from `1/n`, relative: rounding of `f32`.
const ROUNDING: f64 = 1e-6;

/// Puts one operator in the place of every layer normalisation of `model`, a simplified one.
pub(super) fn fuse_norms(model: &mut TypedModel) -> TractResult<()> {
    model.compact()?;
    for id in model.eval_order()? {
        let node = model.node(id);
        let Some(RmsNorm { axis, eps }) = node.op_as::<RmsNorm>() else { continue };
        let Some(x) = centred(model, node, *axis)? else { continue };
        let over = NormAxis { axis: *axis, eps: eps.clone(), centred: true };
        let op = Norm { over, affine: None };
        TypedModelPatch::replace_single_op(model, node, &[x], op)?.apply(model)?;
    }
    // What was replaced would still count as a reader.
    model.compact()
}

/// What `node`, a normalisation by the root mean square over `axis`, normalises less its mean over
/// the same axis, if that is what it does.
fn centred(model: &TypedModel, node: &TypedNode, axis: usize) -> TractResult<Option<OutletId>> {
    let [difference] = *node.inputs else { return Ok(None) };
    let Some([x, mean]) = binary::<Sub>(model, difference) else { return Ok(None) };
    let fact = model.outlet_fact(x)?;
    let Some(shape) = fact.shape.as_concrete() else { return Ok(None) };
    let is_alike = fact.shape == model.outlet_fact(difference)?.shape;
    if fact.datum_type != f32::datum_type() || !is_alike {
        return Ok(None);
    }
    let Some(factors) = binary::<Mul>(model, mean) else { return Ok(None) };
    for (sum, factor) in [(factors[0], factors[1]), (factors[1], factors[0])] {
        if !is_one_over(model.outlet_fact(factor)?, shape[axis]) {
            continue;
        }
        let summing = model.node(sum.node);
        let sums = summing.op_as::<Reduce>().is_some_and(|op| {
            op.reducer == Reducer::Sum && *op.axes == [axis] && summing.inputs[0] == x
        });
        let inside = [difference, mean, sum];
        return Ok((sums && inside.iter().all(|&value| is_read_once(model, value))).then_some(x));
    }
    Ok(None)
}

/// The arguments of the operator `O` that gives `outlet`, if it does.
fn binary<O: BinMiniOp>(model: &TypedModel, outlet: OutletId) -> Option<[OutletId; 2]> {
    let node = model.node(outlet.node);
    let is_it = node.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<O>());
    is_it.then_some([*node.inputs.first()?, *node.inputs.get(1)?])
}

/// Whether a constant is `1/n` everywhere.
fn is_one_over(fact: &TypedFact, n: usize) -> bool {
    let value = fact.uniform.as_ref().and_then(|value| value.cast_to_scalar::<f32>().ok());
    value.is_some_and(|value| (f64::from(value) * n as f64 - 1.0).abs() <= ROUNDING)
}

/// Whether exactly one node reads `outlet`, once, and nobody outside of the model.
pub(super) fn is_read_once(model: &TypedModel, outlet: OutletId) -> bool {
    model.outlet_successors(outlet).len() == 1 && !model.outputs.contains(&outlet)
}
