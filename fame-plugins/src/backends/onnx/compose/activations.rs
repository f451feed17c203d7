//! Activations whose usual lowering overflows: tract writes `ln(1 + eˣ)` and `eˣ − 1` out, and
//! beyond x = 88 the exponential is infinite. The value may survive that; the gradient, zero times
//! infinity, does not. So the exponent is clamped where it no longer matters.

use tract_onnx::model::OnnxOpRegister;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::math;

use super::op::{Outputs, composed};
use super::writer::Writer;

/// Puts ours in place of tract's.
pub(super) fn register(known: &mut OnnxOpRegister) {
    known.insert("Softplus", |ctx, node| {
        composed(ctx, node, &[], |w| Ok(tvec!(Some(softplus(w)?))))
    });
    known.insert("Mish", |ctx, node| composed(ctx, node, &[], mish));
    known.insert("Elu", |ctx, node| composed(ctx, node, &[], elu));
    known.insert("Selu", |ctx, node| composed(ctx, node, &[], selu));
    known.insert("Celu", |ctx, node| composed(ctx, node, &[], celu));
}

/// `ln(1 + e^min(x, far)) + max(x − far, 0)`.
fn softplus(w: &mut Writer) -> TractResult<OutletId> {
    /// From here on ln(1 + eˣ) is x: e⁻²⁰ is below half a rounding step of 20.
    const FAR: f32 = 20.0;
    let x = w.needed(0)?;
    let near = w.at_most(x, FAR)?;
    let (exp, one) = (w.wire(math::exp(), &[near])?, w.number(1.0)?);
    let more = w.add(exp, one)?;
    let (log, far) = (w.wire(math::ln(), &[more])?, w.number(FAR)?);
    let beyond = w.sub(x, far)?;
    let beyond = w.at_least(beyond, 0.0)?;
    w.add(log, beyond)
}

/// `x · tanh(softplus(x))`.
fn mish(w: &mut Writer) -> TractResult<Outputs> {
    let (x, soft) = (w.needed(0)?, softplus(w)?);
    let tanh = w.wire(math::tanh(), &[soft])?;
    Ok(tvec!(Some(w.mul(x, tanh)?)))
}

fn elu(w: &mut Writer) -> TractResult<Outputs> {
    let height = w.float("alpha").unwrap_or(1.0);
    exponential(w, 1.0, height, 1.0)
}

fn selu(w: &mut Writer) -> TractResult<Outputs> {
    let scale = w.float("gamma").unwrap_or(1.050_701);
    let height = w.float("alpha").unwrap_or(1.673_263_2);
    exponential(w, scale, height, 1.0)
}

fn celu(w: &mut Writer) -> TractResult<Outputs> {
    let alpha = w.float("alpha").unwrap_or(1.0);
    exponential(w, 1.0, alpha, alpha)
}

/// `scale · x` above zero, `scale · height · (e^(x / width) − 1)` below.
fn exponential(w: &mut Writer, scale: f32, height: f32, width: f32) -> TractResult<Outputs> {
    let x = w.needed(0)?;
    let (width, one, zero) = (w.number(width)?, w.number(1.0)?, w.number(0.0)?);
    let over = w.div(x, width)?;
    // Any bound above zero does: there the other branch is taken. At zero itself this branch is,
    // with its own slope.
    let near = w.at_most(over, 1.0)?;
    let exp = w.wire(math::exp(), &[near])?;
    let less = w.sub(exp, one)?;
    let below = w.scale(less, height)?;
    let positive = w.less(zero, x)?;
    let either = w.select(positive, x, below)?;
    Ok(tvec!(Some(w.scale(either, scale)?)))
}
