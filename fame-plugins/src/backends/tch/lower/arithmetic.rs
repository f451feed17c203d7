//! Binary arithmetic with broadcasting, and bounds.
//!
//! At a bound itself the derivative of a clamp is zero, and on a tie of two values the second gets
//! it, as in the tract backend: libtorch's own `clamp` and `maximum` decide otherwise, and a ReLU's
//! input is exactly zero more often than chance would have it.

use fame_core::Result;
use fame_core::contract::ReluRule;
use tch::{TchError, Tensor};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::math::{Add, Div, Max, Min, Mul, Pow, Rem, Sub, SubF};

use super::rule::Rule;
use super::site::{Lower, Lowered};
use crate::backends::tch::failure::failed;
use crate::backends::tch::program::{Computation, CustomFunction};

pub(super) const RULES: &[Rule] = &[
    Rule::binary::<Add>(add),
    Rule::binary::<Sub>(|l| l.zip(Tensor::f_sub)),
    Rule::binary::<SubF>(|l| l.zip(|a, b| b.f_sub(a))),
    Rule::binary::<Mul>(mul),
    Rule::binary::<Div>(div),
    Rule::binary::<Rem>(|l| l.zip(Tensor::f_fmod_tensor)),
    Rule::binary::<Pow>(|l| l.zip(Tensor::f_pow)),
    Rule::binary::<Max>(max),
    Rule::binary::<Min>(min),
];

/// The index of the other input and the value, if one input is a constant of one value and
/// broadcasts to the other.
fn with_number(l: &Lower) -> TractResult<Option<(usize, f64)>> {
    let float = l.output_fact()?.datum_type.is_float();
    for ix in 0..2 {
        if let Some(number) = l.uniform(1 - ix)?.filter(|_| float)
            && l.input_shape(ix)? == l.output_shape()?
        {
            return Ok(Some((ix, number)));
        }
    }
    Ok(None)
}

fn add(l: &mut Lower) -> TractResult<Lowered> {
    if let Some((ix, number)) = with_number(l)? {
        return l.on(&[ix], move |t| t[0].f_add_scalar(number));
    }
    if let Some(fused) = super::einsum::with_bias(l)? {
        return Ok(fused);
    }
    l.zip(Tensor::f_add)
}

fn mul(l: &mut Lower) -> TractResult<Lowered> {
    match with_number(l)? {
        Some((ix, number)) => l.on(&[ix], move |t| t[0].f_mul_scalar(number)),
        None => l.zip(Tensor::f_mul),
    }
}

fn div(l: &mut Lower) -> TractResult<Lowered> {
    if l.output_fact()?.datum_type.is_float() {
        l.zip(Tensor::f_div)
    } else {
        l.zip(|a, b| a.f_div_tensor_mode(b, "trunc"))
    }
}

fn max(l: &mut Lower) -> TractResult<Lowered> {
    let Some((ix, bound)) = with_number(l)? else {
        return l.zip(|a, b| a.f_where_self(&a.f_gt_tensor(b)?, b));
    };
    if bound == 0.0 {
        if l.slots.relu == ReluRule::Guided && l.slots.gradients {
            let inputs = vec![l.slot(ix)?];
            return Ok(Lowered { inputs, work: Computation::Custom(Box::new(GuidedRelu)) });
        }
        return l.on(&[ix], |t| t[0].f_relu());
    }
    l.on(&[ix], move |t| t[0].f_threshold(bound, bound))
}

fn min(l: &mut Lower) -> TractResult<Lowered> {
    if let Some(relu6) = relu6(l)? {
        return Ok(relu6);
    }
    let Some((ix, bound)) = with_number(l)? else {
        return l.zip(|a, b| a.f_where_self(&a.f_lt_tensor(b)?, b));
    };
    l.on(&[ix], move |t| t[0].f_neg()?.f_threshold(-bound, -bound)?.f_neg())
}

/// A maximum with 0 under a minimum with 6 is one kernel. Guided backpropagation wants to see the
/// two.
fn relu6(l: &mut Lower) -> TractResult<Option<Lowered>> {
    let Some((ix, 6.0)) = with_number(l)? else { return Ok(None) };
    let below = l.node.inputs[ix];
    let inner = l.slots.model.node(below.node);
    let is_max = inner.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Max>());
    if !is_max || l.slots.relu == ReluRule::Guided || l.slots.model.outputs.contains(&below) {
        return Ok(None);
    }
    let inner = Lower { slots: l.slots, node: inner };
    let Some((ix, 0.0)) = with_number(&inner)? else { return Ok(None) };
    let slot = inner.slots.slot_of(inner.node.inputs[ix])?;
    Ok(Some(Lowered::new(vec![slot], |t| t[0].f_relu6())))
}

/// A ReLU under guided backpropagation: only what is positive, where the output is, goes on.
struct GuidedRelu;

impl CustomFunction for GuidedRelu {
    fn forward(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        inputs[0].f_relu().map_err(|e| failed("a ReLU", &e))
    }

    fn pull_back(
        &self,
        _inputs: &[&Tensor],
        output: &Tensor,
        cotangent: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let pull = || -> Result<Tensor, TchError> {
            let open = output.f_gt(0.0)?.f_to_kind(cotangent.f_kind()?)?;
            cotangent.f_relu()?.f_mul(&open)
        };
        Ok(vec![Some(pull().map_err(|e| failed("a ReLU", &e))?)])
    }
}
