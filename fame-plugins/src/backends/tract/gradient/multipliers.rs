//! Multipliers between two rows, as a backward model.
//!
//! It is the transform of gradients with quotients Δy / Δx between a row and its reference in place
//! of slopes, so that what comes to the input adds up: Σ m·Δx is the difference at the seeds, times
//! their cotangents (the Rescale rule; Shrikumar et al., Learning Important Features Through
//! Propagating Activation Differences, ICML 2017). What is linear passes a multiplier as it does a
//! gradient. Beside it there are four kinds of operators:
//!
//! * a **function of one value**: Δy / Δx, or the slope where nothing changes;
//! * a **product** of two values: Δ(a b) = Δa·b̄ + ā·Δb, with means over both rows; that is the
//!   gradient at the means;
//! * what **picks** a largest or smallest value: the way from the reference's y up to the larger of
//!   both is due to the value that the row picks, the way down from there to the value that the
//!   reference picks (the rule of Captum's max-pooling);
//! * softmax, y = exp z with z = x − ln Σ exp x: q = Δy / Δz value by value. Its values add up to 1
//!   in both rows, so that Σ q Δz = 0: the logarithm differs by the mean of Δx with the weights q,
//!   and Δy = q (Δx − Σ q Δx / Σ q). (Captum's rule, Δy / Δx less the mean, does not add up, and a
//!   network with attention is softmax upon softmax.)

use std::collections::{HashMap, HashSet};

use fame_core::contract::ReluRule;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, MaxPool, SumPool};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_core::ops::logic::Iff;
use tract_onnx::tract_core::ops::math::{self, Add, Div, Max, Min, Mul, Neg, Pow, Sub, SubF};
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, RmsNorm, Softmax, SoftmaxKind};

use super::rule::Rule;
use super::shape;
use super::table::rule_for;
use super::tape::{Backward, Pull, Pulled, Row, Tape, View};
use super::transform::{accumulate, descendants};
use crate::backends::onnx::axis_matrices::is_by_axes;
use crate::backends::onnx::flat::has_one_real_output;
use crate::backends::onnx::prelu::PRelu;
use crate::backends::onnx::quantize::Quantize;
use crate::backends::onnx::refusal::Refusal;
use crate::backends::tract::ops::{Pointwise, Rescale};

/// Writes the backward model of multipliers, from `seeds`, whose cotangents it takes, to `places`.
/// `kernels` as for gradients.
pub(in crate::backends::tract) fn multiply(
    forward: &TypedModel,
    seeds: &[OutletId],
    places: &[OutletId],
    kernels: bool,
) -> Result<Backward, Refusal> {
    let order = forward.eval_order()?;
    let live = descendants(forward, &order, &forward.inputs);
    let wanted = descendants(forward, &order, places);
    let mut tape = Tape::new(forward, wanted, ReluRule::Standard, kernels);
    let mut multipliers: HashMap<OutletId, OutletId> = HashMap::new();
    let sources = seeds
        .iter()
        .map(|&seed| tape.source("cotangent", seed))
        .collect::<TractResult<Vec<_>>>()?;
    for (&seed, &source) in seeds.iter().zip(&sources) {
        accumulate(&mut tape, &mut multipliers, seed, source)?;
    }
    for id in order.into_iter().rev() {
        pull_through(&mut tape, &mut multipliers, &live, forward.node(id))?;
    }
    let mut answers = vec![];
    for (ix, place) in places.iter().enumerate() {
        answers.push(*multipliers.get(place).ok_or(Refusal::NoPath(ix))?);
    }
    Ok(tape.finish(&sources, &answers)?)
}

/// Passes what came to `node`'s output on to those inputs that depend on a place.
fn pull_through(
    tape: &mut Tape,
    multipliers: &mut HashMap<OutletId, OutletId>,
    live: &HashSet<OutletId>,
    node: &TypedNode,
) -> Result<(), Refusal> {
    let Some(&cotangent) = multipliers.get(&node.id.into()) else { return Ok(()) };
    if !node.inputs.iter().any(|input| tape.is_wanted(*input)) {
        return Ok(());
    }
    let refusal =
        || Refusal::NoMultipliers { node: node.name.clone(), op: node.op.name().into_owned() };
    let rule =
        rule_for(node.op.as_ref()).filter(|_| has_one_real_output(node)).ok_or_else(refusal)?;
    let mut pull = Pull::new(tape, node, cotangent);
    let kind = kind(&pull, live)?.ok_or_else(refusal)?;
    let pulled = kind
        .pulled(&mut pull, rule)
        .with_context(|| format!("Comparing {node} with its reference"))?;
    for (&input, wire) in node.inputs.iter().zip(pulled) {
        if let Some(wire) = wire.filter(|_| tape.is_wanted(input)) {
            tape.check(wire, input)?;
            accumulate(tape, multipliers, input, wire)?;
        }
    }
    Ok(())
}

/// How an operator passes a multiplier.
#[derive(Clone, Copy)]
enum Kind {
    /// Linear in what depends on the network's input: as a gradient.
    Linear,
    /// A sum of products of two values, or of squares: the gradient at the means.
    Product,
    /// Each value of the output is a function of one value of this input.
    Function(usize),
    /// A quotient whose divisor is no constant.
    Quotient,
    /// The largest of several values, or the smallest.
    Pick {
        /// The largest.
        largest: bool,
    },
    /// A softmax.
    Softmax,
    /// Values divided by the root of the mean of their squares.
    Rms,
}

/// The kind of a node, if it has one.
fn kind(pull: &Pull, live: &HashSet<OutletId>) -> TractResult<Option<Kind>> {
    let (_, node) = pull.surroundings();
    let live: Vec<usize> =
        (0..node.inputs.len()).filter(|&ix| live.contains(&node.inputs[ix])).collect();
    if let Some(ElementWiseOp(op, _)) = node.op_as::<ElementWiseOp>() {
        return Ok(Some(if op.is::<Neg>() { Kind::Linear } else { Kind::Function(0) }));
    }
    if node.op_is::<PRelu>() || node.op_is::<Quantize>() {
        return Ok((live == [0]).then_some(Kind::Function(0)));
    }
    if let Some(TypedBinOp(op, _)) = node.op_as::<TypedBinOp>() {
        // The one input that the output is a function of, value by value.
        let alone = match *live {
            [ix] if pull.input_shape(ix)? == pull.output_shape()? => Some(ix),
            _ => None,
        };
        return Ok(if op.is::<Mul>() {
            Some(if live.len() == 2 { Kind::Product } else { Kind::Linear })
        } else if op.is::<Div>() {
            Some(if live.contains(&1) { Kind::Quotient } else { Kind::Linear })
        } else if op.is::<Pow>() {
            alone.map(Kind::Function)
        } else if op.is::<Max>() || op.is::<Min>() {
            Some(alone.map_or(Kind::Pick { largest: op.is::<Max>() }, Kind::Function))
        } else {
            let is_sum = op.is::<Add>() || op.is::<Sub>() || op.is::<SubF>();
            is_sum.then_some(Kind::Linear)
        });
    }
    if let Some(Reduce { reducer, .. }) = node.op_as::<Reduce>() {
        return Ok(match reducer {
            Reducer::Sum => Some(Kind::Linear),
            Reducer::MeanOfSquares => Some(Kind::Product),
            Reducer::Max => Some(Kind::Pick { largest: true }),
            Reducer::Min => Some(Kind::Pick { largest: false }),
            _ => None,
        });
    }
    if let Some(softmax) = node.op_as::<Softmax>() {
        return Ok(matches!(softmax.kind, SoftmaxKind::Softmax).then_some(Kind::Softmax));
    }
    if node.op_is::<EinSum>() {
        return Ok(match live.len() {
            0 | 1 => Some(Kind::Linear),
            2 => Some(Kind::Product),
            _ => None,
        });
    }
    Ok(if node.op_is::<MaxPool>() {
        Some(Kind::Pick { largest: true })
    } else if node.op_is::<RmsNorm>() {
        Some(Kind::Rms)
    } else if node.op_is::<Iff>() {
        (!live.contains(&0)).then_some(Kind::Linear)
    } else {
        is_linear(node.op.as_ref()).then_some(Kind::Linear)
    })
}

/// Whether an operator without a kind of its own is linear in its first input, and moves or adds up
/// its others. Whatever is not known to be has no rule.
fn is_linear(op: &dyn TypedOp) -> bool {
    op.is::<Conv>()
        || op.is::<Deconv>()
        || op.is::<SumPool>()
        || op.is::<Cast>()
        || op.is::<Identity>()
        || is_by_axes(op)
        || shape::RULES.iter().any(|rule| (rule.applies)(op))
}

impl Kind {
    /// What comes to the inputs, by way of the node's gradient rule.
    fn pulled(self, pull: &mut Pull, rule: &Rule) -> TractResult<Pulled> {
        match self {
            Self::Linear => (rule.pull)(pull),
            Self::Product => {
                let cotangent = pull.cotangent;
                pull.seen_at(View::Mean, rule, cotangent)
            }
            Self::Function(ix) => {
                let multiplier = rescaled(pull, rule, ix)?;
                Ok(only(pull, ix, multiplier))
            }
            Self::Quotient => quotient(pull),
            Self::Pick { largest } => picked(pull, rule, largest),
            Self::Softmax => softmax(pull),
            Self::Rms => rms_norm(pull),
        }
    }
}

/// `wire` for input `ix` and nothing for the others.
fn only(pull: &Pull, ix: usize, wire: OutletId) -> Pulled {
    let mut pulled: Pulled = tvec!(None; pull.arity());
    pulled[ix] = Some(wire);
    pulled
}

/// `g · Δy / Δx` with x the value on input `ix`.
fn rescaled(pull: &mut Pull, rule: &Rule, ix: usize) -> TractResult<OutletId> {
    let g = pull.cotangent;
    let gradient = match (rule.pull)(pull)?[ix] {
        Some(gradient) => gradient,
        // A step: flat on both sides.
        None => {
            let shape: TVec<usize> = pull.output_shape()?.into();
            let zero = pull.scalar(0.0, shape.len())?;
            pull.broadcast(zero, &shape)?
        }
    };
    let (x, reference) = (pull.input_in(Row::Own, ix)?, pull.input_in(Row::Reference, ix)?);
    let (y, y_reference) = (pull.output_in(Row::Own)?, pull.output_in(Row::Reference)?);
    pull.wire(Rescale, &[g, gradient, x, reference, y, y_reference])
}

/// `Δ(a / b) = Δa · mean(1 / b) − ā · Δb / (b · b′)`.
fn quotient(pull: &mut Pull) -> TractResult<Pulled> {
    let g = pull.cotangent;
    let rank = pull.output_shape()?.len();
    let [b, reference] = [Row::Own, Row::Reference].map(|row| pull.input_in(row, 1));
    let (b, reference) = (b?, reference?);
    let half = pull.scalar(0.5, rank)?;
    let mut pulled: Pulled = tvec!(None, None);
    if pull.needs(0) {
        let (over, over_reference) =
            (pull.wire(math::recip(), &[b])?, pull.wire(math::recip(), &[reference])?);
        let sum = pull.wire(math::add(), &[over, over_reference])?;
        let mean = pull.wire(math::mul(), &[sum, half])?;
        let whole = pull.wire(math::mul(), &[g, mean])?;
        pulled[0] = Some(pull.unbroadcast(whole, 0)?);
    }
    if pull.needs(1) {
        let (a, a_reference) = (pull.input_in(Row::Own, 0)?, pull.input_in(Row::Reference, 0)?);
        let sum = pull.wire(math::add(), &[a, a_reference])?;
        let mean = pull.wire(math::mul(), &[sum, half])?;
        let square = pull.wire(math::mul(), &[b, reference])?;
        let slope = pull.wire(math::div(), &[mean, square])?;
        let product = pull.wire(math::mul(), &[g, slope])?;
        let whole = pull.wire(math::neg(), &[product])?;
        pulled[1] = Some(pull.unbroadcast(whole, 1)?);
    }
    Ok(pulled)
}

/// With top the larger of y and its reference y′ (the smaller, for the smallest of values): `g (top
/// − y′)` goes where the row's pick is, `g (y − top)` where the reference's is, each over the
/// difference there. There is one: a pick that is above another's is above its own reference.
fn picked(pull: &mut Pull, rule: &Rule, largest: bool) -> TractResult<Pulled> {
    let g = pull.cotangent;
    let (y, reference) = (pull.output_in(Row::Own)?, pull.output_in(Row::Reference)?);
    let top = pull.wire(if largest { math::max() } else { math::min() }, &[y, reference])?;
    let share = |pull: &mut Pull, row: Row, ends: [OutletId; 2]| {
        let way = pull.wire(math::sub(), &ends)?;
        let over = pull.wire(math::mul(), &[g, way])?;
        pull.seen_at(View::At(row), rule, over)
    };
    let own = share(pull, Row::Own, [top, reference])?;
    let others = share(pull, Row::Reference, [y, top])?;
    let gradients = pull.seen_at(View::At(Row::Own), rule, g)?;
    let mut pulled: Pulled = tvec!();
    for (ix, ((own, other), gradient)) in own.into_iter().zip(others).zip(gradients).enumerate() {
        let (Some(own), Some(other), Some(gradient)) = (own, other, gradient) else {
            pulled.push(None);
            continue;
        };
        let whole = pull.wire(math::add(), &[own, other])?;
        let (x, x_reference) = (pull.input_in(Row::Own, ix)?, pull.input_in(Row::Reference, ix)?);
        let difference = pull.wire(math::sub(), &[x, x_reference])?;
        let quotient = pull.wire(over_difference(), &[whole, difference])?;
        let slope = pull.wire(where_alike(), &[gradient, difference])?;
        pulled.push(Some(pull.wire(math::add(), &[quotient, slope])?));
    }
    Ok(pulled)
}

/// `whole / difference`, 0 where there is no difference.
fn over_difference() -> Pointwise {
    Pointwise {
        name: "OverDifference",
        slope: |whole, difference, _| {
            whole.iter_mut().zip(difference).for_each(|(whole, by)| {
                *whole = if *by == 0.0 { 0.0 } else { *whole / by };
            });
        },
        parameters: [0.0; 2],
    }
}

/// The gradient where there is no difference, else 0.
fn where_alike() -> Pointwise {
    Pointwise {
        name: "WhereAlike",
        slope: |gradient, difference, _| {
            gradient.iter_mut().zip(difference).for_each(|(gradient, by)| {
                *gradient = if *by == 0.0 { *gradient } else { 0.0 };
            });
        },
        parameters: [0.0; 2],
    }
}

/// `m = q (g − Σ q g / Σ q)`, q the quotients of y over its logarithm. What all values of x change
/// by alike changes nothing, and where nothing changes q is y and this the gradient.
fn softmax(pull: &mut Pull) -> TractResult<Pulled> {
    let axes = pull.op::<Softmax>()?.axes.clone();
    let g = pull.cotangent;
    let shape: TVec<usize> = pull.output_shape()?.into();
    let over = |reducer: Reducer| Reduce::new(axes.clone(), reducer);
    // Of x, and not of y, which may be too small for a float.
    let logarithm = |pull: &mut Pull, row: Row| {
        let x = pull.input_in(row, 0)?;
        let top = pull.wire(over(Reducer::Max), &[x])?;
        let below = pull.wire(math::sub(), &[x, top])?;
        let powers = pull.wire(math::exp(), &[below])?;
        let sum = pull.wire(over(Reducer::Sum), &[powers])?;
        let of_sum = pull.wire(math::ln(), &[sum])?;
        pull.wire(math::sub(), &[below, of_sum])
    };
    let (z, z_reference) = (logarithm(pull, Row::Own)?, logarithm(pull, Row::Reference)?);
    let (y, y_reference) = (pull.output_in(Row::Own)?, pull.output_in(Row::Reference)?);
    let one = pull.scalar(1.0, shape.len())?;
    let one = pull.broadcast(one, &shape)?;
    // d exp z / dz is y.
    let quotients = pull.wire(Rescale, &[one, y, z, z_reference, y, y_reference])?;
    let weighed = pull.wire(math::mul(), &[g, quotients])?;
    let sum = pull.wire(over(Reducer::Sum), &[weighed])?;
    let weights = pull.wire(over(Reducer::Sum), &[quotients])?;
    let mean = pull.wire(math::div(), &[sum, weights])?;
    let apart = pull.wire(math::sub(), &[g, mean])?;
    let multiplier = pull.wire(math::mul(), &[quotients, apart])?;
    Ok(only(pull, 0, multiplier))
}

/// Of `y = x r`, r = (mean(x²) + ε)^−½: `Δr = −(r r′)² / (r + r′) · Δmean(x²)`, so that
/// `m = g r̄ − x̄ · 2/n · (r r′)² / (r + r′) · Σ g x̄`.
fn rms_norm(pull: &mut Pull) -> TractResult<Pulled> {
    let RmsNorm { axis, eps } = pull.op::<RmsNorm>()?;
    let (g, axis, eps) = (pull.cotangent, *axis, eps.cast_to_scalar::<f32>()?);
    let shape: TVec<usize> = pull.output_shape()?.into();
    let rank = shape.len();
    let inverse = |pull: &mut Pull, row: Row| {
        let x = pull.input_in(row, 0)?;
        let squares = pull.wire(Reduce::new(tvec!(axis), Reducer::MeanOfSquares), &[x])?;
        let eps = pull.scalar(eps, rank)?;
        let sum = pull.wire(math::add(), &[squares, eps])?;
        TractResult::Ok((x, pull.wire(math::rsqrt(), &[sum])?))
    };
    let (x, r) = inverse(pull, Row::Own)?;
    let (x_reference, r_reference) = inverse(pull, Row::Reference)?;
    let half = pull.scalar(0.5, rank)?;
    let sum = pull.wire(math::add(), &[x, x_reference])?;
    let mean = pull.wire(math::mul(), &[sum, half])?;
    let both = pull.wire(math::add(), &[r, r_reference])?;
    let mean_root = pull.wire(math::mul(), &[both, half])?;
    let straight = pull.wire(math::mul(), &[g, mean_root])?;
    let product = pull.wire(math::mul(), &[r, r_reference])?;
    let square = pull.wire(math::mul(), &[product, product])?;
    let slope = pull.wire(math::div(), &[square, both])?;
    let shares = pull.wire(math::mul(), &[g, mean])?;
    let total = pull.wire(Reduce::new(tvec!(axis), Reducer::Sum), &[shares])?;
    let factor = pull.scalar(2.0 / shape[axis] as f32, rank)?;
    let turned = pull.wire(math::mul(), &[total, slope])?;
    let turned = pull.wire(math::mul(), &[turned, factor])?;
    let turned = pull.wire(math::mul(), &[mean, turned])?;
    Ok(tvec!(Some(pull.wire(math::sub(), &[straight, turned])?)))
}

#[cfg(test)]
mod tests;
