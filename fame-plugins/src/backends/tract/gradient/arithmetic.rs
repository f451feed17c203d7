//! Binary arithmetic with broadcasting, and selection.

use fame_core::contract::ReluRule;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::logic::{Iff, comp_eq, comp_gt};
use tract_onnx::tract_core::ops::math::{self, Add, Div, Max, Min, Mul, Pow, Sub, SubF};

use super::rule::Rule;
use super::tape::{Pull, Pulled};
use crate::backends::tract::ops::{Pointwise, Slope};

pub(super) const RULES: &[Rule] = &[
    Rule::binary::<Add>(add),
    Rule::binary::<Sub>(sub),
    Rule::binary::<SubF>(sub_flipped),
    Rule::binary::<Mul>(mul),
    Rule::binary::<Div>(div),
    Rule::binary::<Pow>(pow),
    Rule::binary::<Max>(max),
    Rule::binary::<Min>(min),
    Rule::operator::<Iff>(iff),
];

/// The gradient for both inputs, each computed only if it is needed and summed over broadcast axes.
fn each(
    pull: &mut Pull,
    rule: impl Fn(&mut Pull, usize) -> TractResult<OutletId>,
) -> TractResult<Pulled> {
    let mut pulled = tvec!();
    for ix in 0..2 {
        let gradient = if pull.needs(ix) {
            let full = rule(pull, ix)?;
            Some(pull.unbroadcast(full, ix)?)
        } else {
            None
        };
        pulled.push(gradient);
    }
    Ok(pulled)
}

fn negated(pull: &mut Pull) -> TractResult<OutletId> {
    let g = pull.cotangent;
    pull.wire(math::neg(), &[g])
}

fn add(pull: &mut Pull) -> TractResult<Pulled> {
    each(pull, |pull, _| Ok(pull.cotangent))
}

fn sub(pull: &mut Pull) -> TractResult<Pulled> {
    each(pull, |pull, ix| if ix == 0 { Ok(pull.cotangent) } else { negated(pull) })
}

fn sub_flipped(pull: &mut Pull) -> TractResult<Pulled> {
    each(pull, |pull, ix| if ix == 1 { Ok(pull.cotangent) } else { negated(pull) })
}

fn mul(pull: &mut Pull) -> TractResult<Pulled> {
    each(pull, |pull, ix| {
        let (g, other) = (pull.cotangent, pull.input(1 - ix)?);
        pull.wire(math::mul(), &[g, other])
    })
}

/// `d(a/b) = g/b`, `−g·a/b²`.
fn div(pull: &mut Pull) -> TractResult<Pulled> {
    each(pull, |pull, ix| {
        let (g, b) = (pull.cotangent, pull.input(1)?);
        let over = pull.wire(math::div(), &[g, b])?;
        if ix == 0 {
            return Ok(over);
        }
        let y = pull.output()?;
        let product = pull.wire(math::mul(), &[over, y])?;
        pull.wire(math::neg(), &[product])
    })
}

/// `d(aᵇ) = g·b·aᵇ⁻¹`, `g·aᵇ·ln a`.
fn pow(pull: &mut Pull) -> TractResult<Pulled> {
    each(pull, |pull, ix| {
        let (g, a) = (pull.cotangent, pull.input(0)?);
        let factor = if ix == 0 {
            let b = pull.input(1)?;
            let rank = pull.output_shape()?.len();
            let one = pull.scalar(1.0, rank)?;
            let less = pull.wire(math::sub(), &[b, one])?;
            let power = pull.wire(math::pow(), &[a, less])?;
            pull.wire(math::mul(), &[power, b])?
        } else {
            let y = pull.output()?;
            let log = pull.wire(math::ln(), &[a])?;
            pull.wire(math::mul(), &[y, log])?
        };
        pull.wire(math::mul(), &[g, factor])
    })
}

fn max(pull: &mut Pull) -> TractResult<Pulled> {
    extremum(pull, true)
}

fn min(pull: &mut Pull) -> TractResult<Pulled> {
    extremum(pull, false)
}

fn extremum(pull: &mut Pull, is_max: bool) -> TractResult<Pulled> {
    for ix in 0..2 {
        if let Some(bound) = uniform(pull, 1 - ix)?
            && pull.input_shape(ix)? == pull.output_shape()?
        {
            let gradient = clamp(pull, is_max, bound)?;
            let mut pulled: Pulled = tvec!(None, None);
            pulled[ix] = Some(gradient);
            return Ok(pulled);
        }
    }
    each(pull, |pull, ix| {
        let (a, b) = (pull.input(0)?, pull.input(1)?);
        let (greater, less) = if is_max { (a, b) } else { (b, a) };
        // On a tie the second input gets the cotangent.
        let first = pull.wire(TypedBinOp(comp_gt(), None), &[greater, less])?;
        select(pull, first, ix == 0)
    })
}

/// The cotangent where `condition == keep`, else zero.
fn select(pull: &mut Pull, condition: OutletId, keep: bool) -> TractResult<OutletId> {
    let g = pull.cotangent;
    let rank = pull.shape_of(g)?.len();
    let zero = pull.scalar(0.0, rank)?;
    let branches = if keep { [condition, g, zero] } else { [condition, zero, g] };
    pull.wire(Iff, &branches)
}

/// The one value of input `ix` if it is a constant of one value.
fn uniform(pull: &Pull, ix: usize) -> TractResult<Option<f32>> {
    let Some(konst) = &pull.input_fact(ix)?.konst else { return Ok(None) };
    konst.as_uniform().map(|value| value.cast_to_scalar::<f32>()).transpose()
}

/// ReLU, ReLU6, Clip: the mask is read off the *output*, so that the clamp can stay fused into the
/// operator in front of it. At the bound itself the derivative is zero.
fn clamp(pull: &mut Pull, is_max: bool, bound: f32) -> TractResult<OutletId> {
    let at = clamped_further(pull, is_max, bound)?;
    let y = pull.value(at)?;
    if is_max && bound == 0.0 && pull.relu() == ReluRule::Guided {
        let guided: Slope = |g, y, _| {
            g.iter_mut().zip(y).for_each(|(g, y)| *g = if *y > 0.0 { g.max(0.0) } else { 0.0 });
        };
        return pull.pointwise("GuidedRelu", guided, [0.0; 2], y);
    }
    let (low, high) = if is_max { (bound, f32::INFINITY) } else { (f32::NEG_INFINITY, bound) };
    pull.pointwise(
        Pointwise::CLAMP,
        |g, y, [low, high]| {
            g.iter_mut()
                .zip(y)
                .for_each(|(g, y)| *g = if *y > low && *y < high { *g } else { 0.0 });
        },
        [low, high],
        y,
    )
}

/// Where a clamp from below is followed by one from above (or the other way round), the second
/// output tells on which side of the first bound a value lies just as well, and using it leaves the
/// pair fused.
fn clamped_further(pull: &Pull, is_max: bool, bound: f32) -> TractResult<OutletId> {
    let (model, node) = pull.surroundings();
    let here = OutletId::from(node.id);
    let [next] = &*node.outputs[0].successors else { return Ok(here) };
    let next = model.node(next.node);
    let Some(op) = next.op_as::<TypedBinOp>() else { return Ok(here) };
    if model.outputs.contains(&here) || !(if is_max { op.0.is::<Min>() } else { op.0.is::<Max>() })
    {
        return Ok(here);
    }
    for input in &next.inputs {
        let other = model.outlet_fact(*input)?.konst.as_ref().and_then(|konst| konst.as_uniform());
        let Some(other) = other else { continue };
        let other = other.cast_to_scalar::<f32>()?;
        if (is_max && other > bound) || (!is_max && other < bound) {
            return Ok(next.id.into());
        }
    }
    Ok(here)
}

fn iff(pull: &mut Pull) -> TractResult<Pulled> {
    let condition = pull.input(0)?;
    let mut pulled: Pulled = tvec!(None);
    for ix in 1..3 {
        let gradient = if pull.needs(ix) {
            let selected = select(pull, condition, ix == 1)?;
            Some(pull.unbroadcast(selected, ix)?)
        } else {
            None
        };
        pulled.push(gradient);
    }
    Ok(pulled)
}

/// 1 where `a == b`, else 0.
pub(super) fn equality(pull: &mut Pull, a: OutletId, b: OutletId) -> TractResult<OutletId> {
    let same = pull.wire(TypedBinOp(comp_eq(), None), &[a, b])?;
    pull.wire(tract_onnx::tract_core::ops::cast::cast(f32::datum_type()), &[same])
}

#[cfg(test)]
mod tests {
    use tract_onnx::tract_core::ops::binary::TypedBinOp;
    use tract_onnx::tract_core::ops::{logic, math};

    use super::*;
    use crate::backends::rule_check::{CURVED, Inputs, KINKED, POSITIVE, check};

    #[test]
    fn arithmetic_broadcasts() {
        for op in [math::add(), math::sub(), math::mul(), math::div(), math::pow()] {
            for shape in [&[2usize, 3, 4], &[1, 3, 1], &[2, 1, 4]] {
                for flip in [false, true] {
                    check(shape, &POSITIVE, |m, x| {
                        let full = Inputs::Positive.make(&[2, 3, 4]);
                        let k = m.add_const("k", Tensor::from_shape(&[2, 3, 4], &full)?)?;
                        Ok(m.wire_node("o", op.clone(), &if flip { [k, x] } else { [x, k] })?[0])
                    });
                }
            }
        }
        // A value used twice gets both gradients.
        check(&[2, 3], &CURVED, |m, x| {
            let y = m.wire_node("sin", math::sin(), &[x])?[0];
            Ok(m.wire_node("mul", math::mul(), &[y, x])?[0])
        });
    }

    #[test]
    fn clamps_and_extrema() {
        for op in [math::max(), math::min()] {
            check(&[2, 9], &KINKED, |m, x| {
                let k = m.add_const("k", tensor2(&[[0f32]]))?;
                Ok(m.wire_node("o", op.clone(), &[x, k])?[0])
            });
            check(&[2, 9], &KINKED, |m, x| {
                let k = m.add_const(
                    "k",
                    Tensor::from_shape(
                        &[1, 9],
                        &[0f32, 0.1, 0.2, 0.3, 0.4, -0.1, -0.2, -0.3, 9.0],
                    )?,
                )?;
                Ok(m.wire_node("o", op.clone(), &[k, x])?[0])
            });
        }
        // ReLU6-like: both masks come from the last output.
        for order in [[0, 1], [1, 0]] {
            check(&[1, 20], &KINKED, |m, x| {
                let bounds = [
                    m.add_const("low", tensor2(&[[-0.3f32]]))?,
                    m.add_const("high", tensor2(&[[0.6f32]]))?,
                ];
                let mut wire = x;
                for which in order {
                    let op = if which == 0 { math::max() } else { math::min() };
                    wire = m.wire_node(format!("clamp{which}"), op, &[wire, bounds[which]])?[0];
                }
                Ok(wire)
            });
        }
        check(&[1, 20], &KINKED, |m, x| {
            let zero = m.add_const("zero", tensor2(&[[0f32]]))?;
            let positive = m.wire_node("gt", TypedBinOp(logic::comp_gt(), None), &[x, zero])?[0];
            let double = m.wire_node("double", math::add(), &[x, x])?[0];
            Ok(m.wire_node("iff", logic::Iff, &[positive, double, x])?[0])
        });
    }
}
