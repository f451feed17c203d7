//! Scaled dot-product attention, `Attention` of opset 23 to 25.
//!
//! Source: the operator's reference function in ONNX. With `L` logits, one for each query and key,
//! and `B` the sum of all masks: `Y = softmax(softcap(scale · Q Kᵀ) + B) V`; a query that may see
//! no key gets zeros.

use tract_onnx::model::OnnxOpRegister;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::math;

use super::attention_microsoft::packed;
use super::heads::{shares, split};
use super::op::{Outputs, composed};
use super::writer::Writer;

pub(super) fn register(known: &mut OnnxOpRegister) {
    known.insert("Attention", |ctx, node| {
        if node.domain == "com.microsoft" {
            return composed(ctx, node, &[], packed);
        }
        composed(ctx, node, &[], attention)
    });
}

fn attention(w: &mut Writer) -> TractResult<Outputs> {
    let rank = w.rank(w.needed(0)?)?;
    ensure!(rank == 3 || rank == 4, "attention of {rank} axes");
    let q = heads(w, 0, "q_num_heads")?;
    let (mut k, mut v) = (heads(w, 1, "kv_num_heads")?, heads(w, 2, "kv_num_heads")?);
    let mut past = 0;
    if let (Some(keys), Some(values)) = (w.input(4), w.input(5)) {
        past = w.shape(keys)?[2];
        (k, v) = (w.concat(&[keys, k], 2)?, w.concat(&[values, v], 2)?);
    }
    let (present_key, present_value) = (k, v);
    let [_, query_heads, queries, size] = four(w, q)?;
    let [_, _, keys, _] = four(w, k)?;
    let (k, v) = (repeated(w, k, query_heads)?, repeated(w, v, query_heads)?);

    let scale = w.float("scale").unwrap_or_else(|| (size as f32).sqrt().recip());
    let q = w.scale(q, scale)?;
    let product = w.einsum("bhqd,bhkd->bhqk", &[q, k])?;
    let capped = match w.float("softcap").filter(|cap| *cap > 0.0) {
        Some(cap) => {
            let small = w.scale(product, cap.recip())?;
            let tanh = w.wire(math::tanh(), &[small])?;
            w.scale(tanh, cap)?
        }
        None => product,
    };
    let bias = bias(w, queries, keys, past)?;
    let (biased, share) = shares(w, capped, bias)?;
    let mut y = w.einsum("bhqk,bhkd->bhqd", &[share, v])?;
    if rank == 3 {
        let [batch, heads, queries, size] = four(w, y)?;
        y = w.transpose(y, &[0, 2, 1, 3])?;
        y = w.reshape(y, &[batch, queries, heads * size])?;
    }
    let told = match w.int("qk_matmul_output_mode").unwrap_or(0) {
        0 => product,
        1 => capped,
        2 => biased,
        _ => share,
    };
    Ok(tvec!(Some(y), Some(present_key), Some(present_value), Some(told)))
}

/// The extents of four axes.
fn four(w: &Writer, x: OutletId) -> TractResult<[usize; 4]> {
    let shape = w.shape(x)?;
    <[usize; 4]>::try_from(shape.as_slice()).map_err(|_| format_err!("{shape:?} has not four axes"))
}

/// Input `ix` as `[batch, heads, length, size]`; `[batch, length, heads · size]` is taken apart.
fn heads(w: &mut Writer, ix: usize, attribute: &str) -> TractResult<OutletId> {
    let x = w.needed(ix)?;
    if w.rank(x)? != 3 {
        return Ok(x);
    }
    let heads = w.int(attribute).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    let heads = heads.with_context(|| format!("three axes need the attribute `{attribute}`"))?;
    split(w, x, heads)
}

/// Keys or values with every head repeated until there are as many as queries have.
fn repeated(w: &mut Writer, x: OutletId, heads: usize) -> TractResult<OutletId> {
    let [batch, own, length, size] = four(w, x)?;
    if own == heads {
        return Ok(x);
    }
    ensure!(own > 0 && heads.is_multiple_of(own), "{heads} heads of queries share {own} of keys");
    let x = w.reshape(x, &[batch, own, 1, length, size])?;
    let x = w.broadcast(x, &[batch, own, heads / own, length, size])?;
    w.reshape(x, &[batch, heads, length, size])
}

/// The sum of all masks: the one given, causality, windows, and keys that are padding.
fn bias(w: &mut Writer, queries: usize, keys: usize, past: usize) -> TractResult<Option<OutletId>> {
    let mut bias = match w.input(3) {
        Some(mask) => Some(given_mask(w, mask, keys)?),
        None => None,
    };
    let (left, right) = (w.int("left_window_size"), w.int("right_window_size"));
    let causal = w.int("is_causal").unwrap_or(0) != 0;
    let valid = match w.input(6) {
        Some(valid) => Some(w.as_f32(valid)?),
        None => None,
    };
    // Query i stands at position i + offset among the keys. The number j − i − offset says how far
    // a key lies ahead.
    let ahead: Vec<f32> = (0..queries * keys)
        .map(|at| (at % keys) as f32 - (at / keys) as f32 - past as f32)
        .collect();
    let mut ahead = w.floats(&[1, 1, queries, keys], &ahead)?;
    if let (Some(valid), 0) = (valid, past) {
        let length = w.shape(valid)?.iter().product();
        let valid = w.reshape(valid, &[length, 1, 1, 1])?;
        let queries = w.number(queries as f32)?;
        let offset = w.sub(valid, queries)?;
        ahead = w.sub(ahead, offset)?;
    }
    let most = [Some(0).filter(|_| causal), right.filter(|size| *size >= 0)];
    for most in most.into_iter().flatten() {
        let bound = w.number(most as f32 + 0.5)?;
        let allowed = w.less(ahead, bound)?;
        bias = Some(masked(w, bias, allowed)?);
    }
    if let Some(left) = left.filter(|size| *size >= 0) {
        let bound = w.number(-0.5 - left as f32)?;
        let allowed = w.less(bound, ahead)?;
        bias = Some(masked(w, bias, allowed)?);
    }
    if let Some(valid) = valid {
        let length = w.shape(valid)?.iter().product();
        let valid = w.reshape(valid, &[length, 1, 1, 1])?;
        let places: Vec<f32> = (0..keys).map(|key| key as f32).collect();
        let places = w.floats(&[1, 1, 1, keys], &places)?;
        let allowed = w.less(places, valid)?;
        bias = Some(masked(w, bias, allowed)?);
    }
    Ok(bias)
}

/// The mask of the file as a summand, with keys behind its end masked.
fn given_mask(w: &mut Writer, mask: OutletId, keys: usize) -> TractResult<OutletId> {
    let mut mask = mask;
    if w.is_bool(mask)? {
        let (zero, far) = (w.floats(&[1], &[0.0])?, w.floats(&[1], &[f32::NEG_INFINITY])?);
        mask = w.select(mask, zero, far)?;
    }
    let shape = w.shape(mask)?;
    let mut pads = vec![(0, 0); shape.len()];
    let last = shape.len().checked_sub(1).context("a mask without axes")?;
    if shape[last] < keys && shape[last] > 1 {
        pads[last].1 = keys - shape[last];
    }
    w.pad(mask, &pads, f32::NEG_INFINITY)
}

/// `bias`, and −∞ where `allowed` does not hold.
fn masked(w: &mut Writer, bias: Option<OutletId>, allowed: OutletId) -> TractResult<OutletId> {
    let far = w.floats(&[1], &[f32::NEG_INFINITY])?;
    let zero = w.floats(&[1], &[0.0])?;
    let more = w.select(allowed, zero, far)?;
    match bias {
        Some(bias) => w.add(bias, more),
        None => Ok(more),
    }
}
