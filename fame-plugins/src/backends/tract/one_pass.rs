//! Operators of ours in the place of tract's where these need several passes over the memory.
//!
//! It comes last, when both models are written and kernels placed: until then simplifications,
//! rules and chains know tract's operators.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::math::{Add, Mul};
use tract_onnx::tract_core::ops::nn::gelu_approximate::GeluApproximate;
use tract_onnx::tract_core::ops::nn::gelu_exact::GeluExact;
use tract_onnx::tract_core::ops::nn::silu::Silu;
use tract_onnx::tract_core::ops::nn::{RmsNorm, Softmax, SoftmaxKind};

use super::fuse_norms::is_read_once;
use super::ops::{Activate, Norm, NormAxis, NormGrad, SoftmaxRows};
use crate::backends::onnx::tensors::floats;
use fame_kernels::Activation;

/// Puts our operators in their places.
pub(super) fn in_one_pass(model: &mut TypedModel) -> TractResult<()> {
    for id in model.eval_order()? {
        if let Some(op) = replacement(model.node(id)) {
            model.node_mut(id).op = op;
        }
    }
    while let Some(patch) = next_join(model)? {
        patch.apply(model)?;
        // What was replaced would still count as a reader.
        model.compact()?;
    }
    Ok(())
}

/// The first factor or summand that can join its normalisation.
fn next_join(model: &TypedModel) -> TractResult<Option<TypedModelPatch>> {
    let mut found = model.eval_order()?.into_iter().map(|id| joined(model, model.node(id)));
    found.find_map(Result::transpose).transpose()
}

/// What computes the same as `node` in one pass.
fn replacement(node: &TypedNode) -> Option<Box<dyn TypedOp>> {
    let fact = &node.outputs.first()?.fact;
    if fact.datum_type != f32::datum_type() {
        return None;
    }
    if let Some(RmsNorm { axis, eps }) = node.op_as::<RmsNorm>() {
        let over = NormAxis { axis: *axis, eps: eps.clone(), centred: false };
        return Some(Box::new(Norm { over, affine: None }));
    }
    if let Some(op) = node.op_as::<Softmax>() {
        let logarithm = matches!(op.kind, SoftmaxKind::LogSoftmax);
        let is_last = op.axes.len() == 1 && op.axes[0] + 1 == fact.rank();
        return is_last.then(|| Box::new(SoftmaxRows { logarithm }) as Box<dyn TypedOp>);
    }
    let ElementWiseOp(op, None) = node.op_as::<ElementWiseOp>()? else { return None };
    let activation = if op.is::<GeluExact>() {
        Activation::Gelu
    } else if op.downcast_ref::<GeluApproximate>().is_some_and(|op| !op.fast_impl) {
        Activation::GeluTanh
    } else if op.is::<Silu>() {
        Activation::Silu
    } else {
        return None;
    };
    Some(Box::new(Activate(activation)))
}

/// A factor or a summand for each value along the normalised axis, joined to `node`'s normalisation
/// or to the gradient of one.
fn joined(model: &TypedModel, node: &TypedNode) -> TractResult<Option<TypedModelPatch>> {
    if let Some(op) = node.op_as::<NormGrad>() {
        return in_front(model, node, op);
    }
    let Some(op) = node.op_as::<Norm>() else { return Ok(None) };
    let here = OutletId::from(node.id);
    if !is_read_once(model, here) {
        return Ok(None);
    }
    let next = model.node(model.outlet_successors(here)[0].node);
    let Some((other, values)) = with_vector(model, next, &op.over)? else { return Ok(None) };
    let is_product = next.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Mul>());
    if other != here {
        return Ok(None);
    }
    let new = |value: f32| vec![value; values.len()];
    let known = op.affine.as_ref().map(|of| of.each_ref().map(|values| values.to_vec()));
    let [mut scale, mut shift] = known.unwrap_or_else(|| [new(1.0), new(0.0)]);
    if is_product {
        scale.iter_mut().chain(&mut shift).zip(values.iter().cycle()).for_each(|(v, by)| *v *= by);
    } else {
        shift.iter_mut().zip(&values).for_each(|(v, by)| *v += by);
    }
    let affine = Some([scale.into(), shift.into()]);
    let op = Norm { over: op.over.clone(), affine };
    Ok(Some(TypedModelPatch::replace_single_op(model, next, &node.inputs, op)?))
}

/// A factor of the cotangent joined to the gradient of a normalisation.
fn in_front(
    model: &TypedModel,
    node: &TypedNode,
    op: &NormGrad,
) -> TractResult<Option<TypedModelPatch>> {
    let [cotangent, x] = *node.inputs else { return Ok(None) };
    let before = model.node(cotangent.node);
    let is_product = before.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Mul>());
    if op.scale.is_some() || !is_product || !is_read_once(model, cotangent) {
        return Ok(None);
    }
    let Some((other, values)) = with_vector(model, before, &op.over)? else { return Ok(None) };
    let op = NormGrad { over: op.over.clone(), scale: Some(values.into()) };
    Ok(Some(TypedModelPatch::replace_single_op(model, node, &[other, x], op)?))
}

/// The argument that `node`, a sum or a product, gives its shape to, and the constant on its other
/// side, one value for each along the normalised axis.
fn with_vector(
    model: &TypedModel,
    node: &TypedNode,
    over: &NormAxis,
) -> TractResult<Option<(OutletId, Vec<f32>)>> {
    let is_either =
        node.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Mul>() || op.0.is::<Add>());
    let [a, b] = *node.inputs else { return Ok(None) };
    if !is_either {
        return Ok(None);
    }
    let shape = &node.outputs[0].fact.shape;
    for (value, constant) in [(a, b), (b, a)] {
        let (fact, constant) = (model.outlet_fact(value)?, model.outlet_fact(constant)?);
        if fact.shape == *shape && fact.konst.is_none() && over.axis < shape.rank() {
            let extent = shape[over.axis].to_usize()?;
            if let Some(values) = along(constant, over.axis, extent) {
                return Ok(Some((value, values)));
            }
        }
    }
    Ok(None)
}

/// The values of a constant that varies along `axis` only.
fn along(fact: &TypedFact, axis: usize, extent: usize) -> Option<Vec<f32>> {
    let constant = fact.konst.as_ref()?;
    let values = floats(constant).ok()?;
    let shape = constant.shape();
    let varies_elsewhere = shape.iter().enumerate().any(|(ix, &d)| ix != axis && d != 1);
    match (varies_elsewhere, values) {
        (false, [value]) => Some(vec![*value; extent]),
        (false, values) if values.len() == extent => Some(values.to_vec()),
        _ => None,
    }
}

#[cfg(test)]
#[path = "one_pass_tests.rs"]
mod tests;
