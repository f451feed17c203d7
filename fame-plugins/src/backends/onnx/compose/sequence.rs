//! Operators that go along a sequence step by step.

use tract_onnx::model::OnnxOpRegister;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::sigmoid;

use super::heads::split;
use super::op::{Outputs, composed, tracts};
use super::writer::{Writer, axis};

/// The most steps that are written out one by one.
const MOST_STEPS: usize = 512;

pub(super) fn register(known: &mut OnnxOpRegister) {
    known.insert("LinearAttention", |ctx, node| composed(ctx, node, &[], linear_attention));
    known.insert("CausalConvWithState", |ctx, node| composed(ctx, node, &[], causal_conv));
    known.insert("TensorScatter", |ctx, node| composed(ctx, node, &[2], tensor_scatter));
    known.insert("ReverseSequence", |ctx, node| composed(ctx, node, &[1], reverse_sequence));
    known.insert("SwiGLU", |ctx, node| composed(ctx, node, &[], swiglu));
    known.insert("Swish", |ctx, node| {
        // Without `alpha` it is tract's own fused kernel.
        if node.attribute.iter().any(|a| a.name == "alpha" && a.f != 1.0) {
            return composed(ctx, node, &[], swish);
        }
        tracts("Swish", ctx, node)
    });
}

/// Source: ONNX's LinearAttention (opset 27): a state `S`, keys by values, that decays, is
/// corrected and written to at every step, and read by the queries.
fn linear_attention(w: &mut Writer) -> TractResult<Outputs> {
    let heads = |w: &Writer, name: &str| -> TractResult<usize> {
        let heads = w.int(name).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        heads.with_context(|| format!("LinearAttention without `{name}`"))
    };
    let (queries, own) = (heads(w, "q_num_heads")?, heads(w, "kv_num_heads")?);
    let rule = w.text("update_rule").unwrap_or_else(|| "gated_delta".to_owned());
    let (q, k, v) = (w.needed(0)?, w.needed(1)?, w.needed(2)?);
    let (q, k, v) = (split(w, q, queries)?, split(w, k, own)?, split(w, v, own)?);
    let (key_shape, size) = (w.shape(k)?, w.shape(v)?[3]);
    let &[batch, _, length, depth] = key_shape.as_slice() else { bail!("keys of four axes") };
    ensure!((1..=MOST_STEPS).contains(&length), "{length} steps are not written out");
    let gates = |w: &mut Writer, ix: usize| -> TractResult<OutletId> {
        let gate = w.needed(ix)?;
        let last = w.shape(gate)?.last().copied().unwrap_or_default();
        split(w, gate, if last == 1 { 1 } else { own })
    };
    let decay = if rule.starts_with("gated") { Some(gates(w, 4)?) } else { None };
    let beta = if rule.ends_with("delta") { Some(gates(w, 5)?) } else { None };
    let scale = w.float("scale").filter(|scale| *scale != 0.0);
    let scale = scale.unwrap_or_else(|| (depth as f32).sqrt().recip());
    let mut state = match w.input(3) {
        Some(state) => state,
        None => w.floats(&[batch, own, depth, size], &vec![0.0; batch * own * depth * size])?,
    };
    let mut rows = vec![];
    for step in 0..length {
        let mut at = |x: OutletId| w.slice(x, 2, step, step + 1);
        let (q, k, mut v) = (at(q)?, at(k)?, at(v)?);
        let decay = decay.map(&mut at).transpose()?;
        let beta = beta.map(&mut at).transpose()?;
        if let Some(decay) = decay {
            let kept = w.wire(math::exp(), &[decay])?;
            let kept = w.transpose(kept, &[0, 1, 3, 2])?;
            state = w.mul(state, kept)?;
        }
        if let Some(beta) = beta {
            let known = w.einsum("bhsd,bhdm->bhsm", &[k, state])?;
            let new = w.sub(v, known)?;
            v = w.mul(beta, new)?;
        }
        let written = w.einsum("bhsd,bhsm->bhdm", &[k, v])?;
        state = w.add(state, written)?;
        let shared = w.reshape(state, &[batch, own, 1, depth, size])?;
        let shared = w.broadcast(shared, &[batch, own, queries / own, depth, size])?;
        let shared = w.reshape(shared, &[batch, queries, depth, size])?;
        let read = w.einsum("bhsd,bhdm->bhsm", &[q, shared])?;
        rows.push(w.scale(read, scale)?);
    }
    let y = w.concat(&rows, 2)?;
    let y = w.transpose(y, &[0, 2, 1, 3])?;
    Ok(tvec!(Some(w.reshape(y, &[batch, length, queries * size])?), Some(state)))
}

/// Source: ONNX's CausalConvWithState (opset 27): a depthwise convolution of what went before and
/// what comes.
fn causal_conv(w: &mut Writer) -> TractResult<Outputs> {
    let (x, kernel) = (w.needed(0)?, w.needed(1)?);
    let (shape, taps) = (w.shape(x)?, w.shape(kernel)?);
    ensure!(shape.len() == 3 && taps.len() == 3, "CausalConvWithState of other than three axes");
    let (batch, channels, length, width) = (shape[0], shape[1], shape[2], taps[2]);
    let x = match w.input(3) {
        Some(past) => w.concat(&[past, x], 2)?,
        None => w.pad(x, &[(0, 0), (0, 0), (width - 1, 0)], 0.0)?,
    };
    let mut y = None;
    for tap in 0..width {
        let (part, factor) = (w.slice(x, 2, tap, tap + length)?, w.slice(kernel, 2, tap, tap + 1)?);
        let factor = w.reshape(factor, &[1, channels, 1])?;
        let part = w.mul(part, factor)?;
        y = Some(match y {
            Some(sum) => w.add(sum, part)?,
            None => part,
        });
    }
    let mut y = y.context("a kernel without taps")?;
    if let Some(bias) = w.input(2) {
        let bias = w.reshape(bias, &[1, channels, 1])?;
        y = w.add(y, bias)?;
    }
    match w.text("activation").as_deref() {
        None | Some("none") => {}
        Some("silu" | "swish") => y = swished(w, y, 1.0)?,
        Some(other) => bail!("the activation `{other}` is not known"),
    }
    let whole = length + width - 1;
    let state = if width > 1 { Some(w.slice(x, 2, whole + 1 - width, whole)?) } else { None };
    ensure!(w.shape(y)? == [batch, channels, length], "CausalConvWithState changes the shape");
    Ok(tvec!(Some(y), state))
}

/// Source: ONNX's TensorScatter (opset 24): a cache with the update written from a place on that
/// each row of the batch has for itself.
fn tensor_scatter(w: &mut Writer) -> TractResult<Outputs> {
    let (cache, update) = (w.needed(0)?, w.needed(1)?);
    let shape = w.shape(cache)?;
    let at = axis(w.int("axis").unwrap_or(-2), shape.len())?;
    let (extent, rows) = (shape[at], w.shape(update)?[at]);
    ensure!(at > 0 && rows <= extent, "an update of {rows} elements into {extent}");
    let starts = w.integers_input(2)?.unwrap_or_else(|| vec![0; shape[0]]);
    let circular = w.text("mode").as_deref() == Some("circular");
    let mut batches = vec![];
    for batch in 0..shape[0] {
        let start = usize::try_from(*starts.get(batch).context("a row without a place")?)?;
        ensure!(circular || start + rows <= extent, "the update ends behind the cache");
        // Behind the cache lies the update: every element is picked from one of the two.
        let (mine, new) =
            (w.slice(cache, 0, batch, batch + 1)?, w.slice(update, 0, batch, batch + 1)?);
        let both = w.concat(&[mine, new], at)?;
        let mut places: Vec<i64> = (0..extent as i64).collect();
        for row in 0..rows {
            places[(start + row) % extent] = (extent + row) as i64;
        }
        batches.push(w.pick(both, at, &places)?);
    }
    Ok(tvec!(Some(w.concat(&batches, 0)?)))
}

/// Source: ONNX's ReverseSequence: the first elements of each sequence turned round.
fn reverse_sequence(w: &mut Writer) -> TractResult<Outputs> {
    let x = w.needed(0)?;
    let shape = w.shape(x)?;
    let batch = axis(w.int("batch_axis").unwrap_or(1), shape.len())?;
    let time = axis(w.int("time_axis").unwrap_or(0), shape.len())?;
    let lengths = w.integers_input(1)?.context("no lengths are given")?;
    ensure!(lengths.len() == shape[batch], "{} lengths of {} rows", lengths.len(), shape[batch]);
    let mut rows = vec![];
    for (row, length) in lengths.iter().enumerate() {
        let turned = |at: i64| if at < *length { length - 1 - at } else { at };
        let places: Vec<i64> = (0..shape[time] as i64).map(turned).collect();
        let one = w.slice(x, batch, row, row + 1)?;
        rows.push(w.pick(one, time, &places)?);
    }
    Ok(tvec!(Some(w.concat(&rows, batch)?)))
}

/// `x · sigmoid(alpha · x)`.
fn swished(w: &mut Writer, x: OutletId, alpha: f32) -> TractResult<OutletId> {
    let scaled = w.scale(x, alpha)?;
    let gate = w.wire(sigmoid(), &[scaled])?;
    w.mul(x, gate)
}

fn swish(w: &mut Writer) -> TractResult<Outputs> {
    let (x, alpha) = (w.needed(0)?, w.float("alpha").unwrap_or(1.0));
    Ok(tvec!(Some(swished(w, x, alpha)?)))
}

/// Source: ONNX's SwiGLU (opset 28).
fn swiglu(w: &mut Writer) -> TractResult<Outputs> {
    let (a, b, alpha) = (w.needed(0)?, w.needed(1)?, w.float("alpha").unwrap_or(1.0));
    let gate = swished(w, a, alpha)?;
    Ok(tvec!(Some(w.mul(gate, b)?)))
}
