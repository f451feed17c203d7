//! Microsoft's `Attention` and `MultiHeadAttention`, as onnxruntime's optimiser leaves them in
//! files of transformers, and its `FusedMatMul`.
//!
//! Source: onnxruntime's document of its contrib operators.

use tract_onnx::model::OnnxOpRegister;
use tract_onnx::tract_core::internal::*;

use super::heads::{shares, split};
use super::op::{Outputs, composed};
use super::writer::Writer;

/// What a masked logit gets added.
const FILTER: f32 = -10_000.0;

pub(super) fn register(known: &mut OnnxOpRegister) {
    known.insert("MultiHeadAttention", |ctx, node| composed(ctx, node, &[], multi_head));
    known.insert("FusedMatMul", |ctx, node| composed(ctx, node, &[], fused_mat_mul));
}

fn head_count(w: &Writer) -> TractResult<usize> {
    let heads = w.int("num_heads").and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    heads.context("it has no `num_heads`")
}

/// Queries, keys and values of all heads, and what is added to their logits.
struct Heads {
    q: OutletId,
    k: OutletId,
    v: OutletId,
    bias: Option<OutletId>,
}

impl Heads {
    fn attend(mut self, w: &mut Writer) -> TractResult<OutletId> {
        let (of_q, of_k) = (w.shape(self.q)?, w.shape(self.k)?);
        let (queries, keys, size) = (of_q[2], of_k[2], of_q[3]);
        if w.int("unidirectional").unwrap_or(0) != 0 {
            // Aligned at the end, as with a past.
            let mask: Vec<f32> = (0..queries * keys)
                .map(|at| at % keys > at / keys + keys - queries)
                .map(|hidden| if hidden { f32::NEG_INFINITY } else { 0.0 })
                .collect();
            let mask = w.floats(&[1, 1, queries, keys], &mask)?;
            self.add(w, mask)?;
        }
        let scale = w.float("scale").filter(|scale| *scale != 0.0);
        let q = w.scale(self.q, scale.unwrap_or_else(|| (size as f32).sqrt().recip()))?;
        let logits = w.einsum("bhqd,bhkd->bhqk", &[q, self.k])?;
        let (_, share) = shares(w, logits, self.bias)?;
        let y = w.einsum("bhqk,bhkd->bhqd", &[share, self.v])?;
        let shape = w.shape(y)?;
        let y = w.transpose(y, &[0, 2, 1, 3])?;
        w.reshape(y, &[shape[0], shape[2], shape[1] * shape[3]])
    }

    fn add(&mut self, w: &mut Writer, more: OutletId) -> TractResult<()> {
        self.bias = Some(match self.bias {
            Some(bias) => w.add(bias, more)?,
            None => more,
        });
        Ok(())
    }

    /// A mask of the keys, `[batch, keys]`, 0 where a key is padding.
    fn mask(&mut self, w: &mut Writer, mask: OutletId) -> TractResult<()> {
        let (shape, keys) = (w.shape(mask)?, w.shape(self.k)?[2]);
        ensure!(
            shape.len() == 2 && shape[1] == keys,
            "a mask of shape {shape:?} is not supported, only [batch, keys]"
        );
        let mask = w.as_f32(mask)?;
        let one = w.number(1.0)?;
        let hidden = w.sub(one, mask)?;
        let filter = w.float("mask_filter_value").unwrap_or(FILTER);
        let hidden = w.scale(hidden, filter)?;
        let hidden = w.reshape(hidden, &[shape[0], 1, 1, keys])?;
        self.add(w, hidden)
    }
}

/// The inputs of the positions `from` and behind are not supported.
fn refuse_inputs(w: &Writer, from: &[usize]) -> TractResult<()> {
    match from.iter().find(|ix| w.input(**ix).is_some()) {
        Some(ix) => bail!("its input {ix} is not supported"),
        None => Ok(()),
    }
}

/// `com.microsoft`'s Attention: input, weight and bias of queries, keys and values in one piece, a
/// mask of the keys, no past, a bias of the logits.
pub(super) fn packed(w: &mut Writer) -> TractResult<Outputs> {
    refuse_inputs(w, &[4, 6])?;
    ensure!(w.int("do_rotary").unwrap_or(0) == 0, "`do_rotary` is not supported");
    let heads = head_count(w)?;
    let (x, kernel) = (w.needed(0)?, w.needed(1)?);
    let whole = w.shape(kernel)?[1];
    let sizes = match w.ints("qkv_hidden_sizes").filter(|sizes| sizes.len() == 3) {
        Some(sizes) => sizes.iter().map(|n| usize::try_from(*n)).collect::<Result<_, _>>()?,
        None => vec![whole / 3; 3],
    };
    let mut all = w.einsum("bsi,io->bso", &[x, kernel])?;
    if let Some(bias) = w.input(2) {
        all = w.add(all, bias)?;
    }
    let mut start = 0;
    let mut parts = vec![];
    for size in sizes {
        let part = w.slice(all, 2, start, start + size)?;
        parts.push(split(w, part, heads)?);
        start += size;
    }
    let mut heads = Heads { q: parts[0], k: parts[1], v: parts[2], bias: w.input(5) };
    if let Some(mask) = w.input(3) {
        heads.mask(w, mask)?;
    }
    Ok(tvec!(Some(heads.attend(w)?)))
}

/// `com.microsoft`'s MultiHeadAttention of three tensors `[batch, length, channels]`, with a bias
/// of the projections, a mask of the keys and a bias of the logits, without a past.
fn multi_head(w: &mut Writer) -> TractResult<Outputs> {
    refuse_inputs(w, &[6, 7])?;
    let count = head_count(w)?;
    let mut parts = [w.needed(0)?, w.needed(1)?, w.needed(2)?];
    if let Some(bias) = w.input(3) {
        let mut start = 0;
        for part in &mut parts {
            let size = w.shape(*part)?.last().copied().unwrap_or_default();
            let own = w.slice(bias, 0, start, start + size)?;
            *part = w.add(*part, own)?;
            start += size;
        }
    }
    let [q, k, v] = parts;
    let (q, k, v) = (split(w, q, count)?, split(w, k, count)?, split(w, v, count)?);
    let mut heads = Heads { q, k, v, bias: w.input(5) };
    if let Some(mask) = w.input(4) {
        heads.mask(w, mask)?;
    }
    Ok(tvec!(Some(heads.attend(w)?)))
}

/// `alpha · A B`, either of them with its last two axes turned.
fn fused_mat_mul(w: &mut Writer) -> TractResult<Outputs> {
    for name in ["transBatchA", "transBatchB"] {
        ensure!(w.int(name).unwrap_or(0) == 0, "`{name}` is not supported");
    }
    let mut operand = |ix: usize, name: &str| -> TractResult<OutletId> {
        let x = w.needed(ix)?;
        let rank = w.rank(x)?;
        ensure!(rank >= 2, "FusedMatMul of a vector is not supported");
        let mut order: Vec<usize> = (0..rank).collect();
        if w.int(name).unwrap_or(0) != 0 {
            order.swap(rank - 2, rank - 1);
        }
        w.transpose(x, &order)
    };
    let (a, b) = (operand(0, "transA")?, operand(1, "transB")?);
    let (of_a, of_b) = (w.rank(a)?, w.rank(b)?);
    let batch: String = ('A'..='W').take(of_a.max(of_b) - 2).collect();
    let own = |rank: usize| &batch[batch.len() + 2 - rank..];
    let expression = format!("{}mk,{}kn->{batch}mn", own(of_a), own(of_b));
    let y = w.einsum(&expression, &[a, b])?;
    let alpha = w.float("alpha").unwrap_or(1.0);
    Ok(tvec!(Some(w.scale(y, alpha)?)))
}
