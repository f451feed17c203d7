//! What all kinds of attention have in common: heads, and shares of masked logits.

use tract_onnx::tract_core::internal::*;

use super::writer::Writer;

/// What a masked logit becomes: so low that its share is zero, and a number, so that a row of
/// nothing else has a softmax.
const MASKED: f32 = -1e30;

/// `[batch, length, heads · size]` as `[batch, heads, length, size]`.
pub(super) fn split(w: &mut Writer, x: OutletId, heads: usize) -> TractResult<OutletId> {
    let shape = w.shape(x)?;
    let &[batch, length, hidden] = shape.as_slice() else {
        bail!("values of shape {shape:?} are not supported, only [batch, length, channels]")
    };
    ensure!(heads > 0 && hidden % heads == 0, "{hidden} channels are no multiple of {heads} heads");
    let x = w.reshape(x, &[batch, length, heads, hidden / heads])?;
    w.transpose(x, &[0, 2, 1, 3])
}

/// The logits with their bias, and the share of each key.
pub(super) fn shares(
    w: &mut Writer,
    logits: OutletId,
    bias: Option<OutletId>,
) -> TractResult<(OutletId, OutletId)> {
    let Some(bias) = bias else { return Ok((logits, w.softmax(logits, 3)?)) };
    let biased = w.add(logits, bias)?;
    let finite = w.at_least(biased, MASKED)?;
    let share = w.softmax(finite, 3)?;
    let last = w.rank(bias)? - 1;
    let best = w.max(bias, &[last])?;
    let bound = w.number(MASKED)?;
    let sees = w.less(bound, best)?;
    let sees = w.as_f32(sees)?;
    Ok((biased, w.mul(share, sees)?))
}
