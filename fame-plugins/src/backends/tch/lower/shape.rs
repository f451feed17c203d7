//! Operators that only move values.

use tch::{TchError, Tensor};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::{
    Gather, MultiBroadcastTo, Pad, PadMode, Slice, TypedConcat,
};

use super::rule::Rule;
use super::site::{Lower, Lowered};
use crate::backends::onnx::slice::Pick;
use crate::backends::tch::values::{Layout, dims};

pub(super) const RULES: &[Rule] = &[
    Rule::operator::<AxisOp>(axis_op),
    Rule::operator::<MultiBroadcastTo>(broadcast),
    Rule::operator::<Slice>(slice),
    Rule {
        applies: |op| {
            op.downcast_ref::<Pad>().is_some_and(|op| matches!(op.mode, PadMode::Constant(_)))
        },
        lower: pad,
    },
    Rule::operator::<TypedConcat>(concat),
    Rule::operator::<Downsample>(downsample),
    Rule::operator::<Gather>(gather),
    Rule::operator::<Pick>(pick),
];

fn axis_op(l: &mut Lower) -> TractResult<Lowered> {
    let lead = l.lead(0)?;
    let axis = |at: usize| (at + lead) as i64;
    match l.op::<AxisOp>()? {
        AxisOp::Add(at) => {
            let at = axis(*at);
            l.map(move |x| x.f_unsqueeze(at))
        }
        AxisOp::Rm(at) => {
            let at = axis(*at);
            l.map(move |x| x.f_squeeze_dim(at))
        }
        AxisOp::Move(from, to) => {
            let (from, to) = (axis(*from), axis(*to));
            l.map(move |x| x.f_movedim_int(from, to))
        }
        AxisOp::Reshape(..) => {
            let shape = batched_shape(lead, l.output_shape()?);
            l.map(move |x| x.f_reshape(&shape[..]))
        }
    }
}

/// The shape with an open batch axis in front where there is one.
fn batched_shape(lead: usize, shape: &[usize]) -> Vec<i64> {
    let mut full = vec![-1; lead];
    full.extend(dims(shape));
    full
}

fn broadcast(l: &mut Lower) -> TractResult<Lowered> {
    let (lead, rank) = (l.lead(0)?, l.input_shape(0)?.len());
    let shape = batched_shape(lead, l.output_shape()?);
    let missing = l.output_shape()?.len() - rank;
    l.map(move |x| {
        // New axes go between the batch and the graph's own.
        let x = (0..missing).try_fold(x.shallow_clone(), |x, _| x.f_unsqueeze(lead as i64))?;
        x.f_expand(&shape[..], false)
    })
}

fn slice(l: &mut Lower) -> TractResult<Lowered> {
    let (op, lead) = (l.op::<Slice>()?, l.lead(0)?);
    let (axis, start, end) = ((op.axis + lead) as i64, op.start.to_i64()?, op.end.to_i64()?);
    l.map(move |x| x.f_slice(axis, start, end, 1))
}

fn pick(l: &mut Lower) -> TractResult<Lowered> {
    let (op, lead) = (l.op::<Pick>()?, l.lead(0)?);
    let (axis, step) = ((op.axis + lead) as i64, op.step.unsigned_abs() as i64);
    let is_backwards = op.step < 0;
    let start = if is_backwards { l.input_shape(0)?[op.axis] - 1 - op.start } else { op.start };
    let (start, reach) = (start as i64, (op.count as i64 - 1) * step + 1);
    l.map(move |x| {
        let x = if is_backwards { x.f_flip([axis])? } else { x.shallow_clone() };
        x.f_slice(axis, start, start + reach, step)
    })
}

fn pad(l: &mut Lower) -> TractResult<Lowered> {
    let op = l.op::<Pad>()?;
    let PadMode::Constant(value) = &op.mode else { bail!("a border that is not constant") };
    let value = value.cast_to_scalar::<f64>()?;
    // libtorch counts from the last axis, and the batch is never padded.
    let pads: Vec<i64> =
        op.pads.iter().rev().flat_map(|(before, after)| [*before as i64, *after as i64]).collect();
    l.map(move |x| x.f_pad(&pads[..], "constant", value))
}

fn concat(l: &mut Lower) -> TractResult<Lowered> {
    let axis = l.op::<TypedConcat>()?.axis;
    let all: Vec<usize> = (0..l.arity()).collect();
    let leads = all.iter().map(|&ix| Ok(l.lead(ix)? == 1)).collect::<TractResult<Vec<_>>>()?;
    let Some(batch) = leads.iter().position(|lead| *lead) else {
        return l.on(&all, move |t| Tensor::f_cat(t, axis as i64));
    };
    l.on(&all, move |t| {
        let rows = t[batch].size()[0];
        // A constant part is the same in every row.
        let part = |(x, lead): (&&Tensor, &bool)| -> Result<Tensor, TchError> {
            if *lead {
                return Ok(x.shallow_clone());
            }
            let shape: Vec<i64> = std::iter::once(rows).chain(x.size()).collect();
            x.f_unsqueeze(0)?.f_expand(&shape[..], false)
        };
        let parts = t.iter().zip(&leads).map(part).collect::<Result<Vec<_>, _>>()?;
        Tensor::f_cat(&parts, axis as i64 + 1)
    })
}

fn downsample(l: &mut Lower) -> TractResult<Lowered> {
    let (op, lead) = (l.op::<Downsample>()?, l.lead(0)?);
    let (axis, stride) = ((op.axis + lead) as i64, op.stride.unsigned_abs() as i64);
    if op.stride > 0 {
        let first = op.modulo as i64;
        return l.map(move |x| x.f_slice(axis, first, None::<i64>, stride));
    }
    ensure!(op.modulo == 0, "a downsampling backwards that skips elements");
    l.map(move |x| x.f_flip([axis])?.f_slice(axis, 0, None::<i64>, stride))
}

fn gather(l: &mut Lower) -> TractResult<Lowered> {
    let (op, data, picks) = (l.op::<Gather>()?, l.lead(0)?, l.lead(1)?);
    ensure!(data + picks < 2, "both the data and the indices depend on the input");
    let axis = (op.axis + data) as i64;
    let extent = l.input_shape(0)?[op.axis] as i64;
    let shape = batched_shape(data + picks, l.output_shape()?);
    if picks == 1 {
        ensure!(op.axis == 0, "indices that depend on the input pick along an inner axis");
        return l.zip(move |x, at| {
            let at = at.f_to_kind(tch::Kind::Int64)?.f_remainder(extent)?.f_flatten(0, -1)?;
            x.f_index_select(0, &at)?.f_reshape(&shape[..])
        });
    }
    let indices = l.constant(1)?.cast_to::<i64>()?.into_owned();
    let picked: Vec<i64> =
        indices.to_plain_array_view::<i64>()?.iter().map(|at| at.rem_euclid(extent)).collect();
    let indices = l.upload(&tensor1(&picked), Layout::Plain)?;
    let inputs = vec![l.slot(0)?, indices];
    // Indices of any rank are one list; the shape says what they stand for.
    Ok(Lowered::new(inputs, move |t| t[0].f_index_select(axis, t[1])?.f_reshape(&shape[..])))
}
