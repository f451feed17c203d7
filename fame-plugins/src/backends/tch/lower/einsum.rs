//! Products. tract writes dense layers, 1×1 convolutions and attention as EinSums.
//!
//! Those with a constant matrix over one axis go to the kernels made for them: a dense layer where
//! the axis is the last one, a 1×1 convolution where two spatial axes follow. Everything else is
//! `einsum`, with one more letter for the batch.

use tch::Tensor;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::einsum::EinSum;

use super::rule::Rule;
use super::site::{Lower, Lowered};
use crate::backends::tch::values::{Layout, dims};

pub(super) const RULES: &[Rule] = &[Rule {
    applies: |op| op.downcast_ref::<EinSum>().is_some_and(|op| op.q_params.is_none()),
    lower: einsum,
}];

fn einsum(l: &mut Lower) -> TractResult<Lowered> {
    if let Some(dense) = Dense::find(l)? {
        return dense.lower(l, None);
    }
    let op = l.op::<EinSum>()?;
    let axes: Vec<&Axis> = op.axes.iter_all_axes().collect();
    let rank = l.output_shape()?.len();
    // tract drops and makes axes of extent 1 in passing; the output's shape says where the new ones
    // are.
    let is_new = |axis: &Axis| axis.inputs.iter().all(TVec::is_empty);
    ensure!(axes.len() < 52, "a product over {} axes", axes.len());
    let letter = |n: usize| char::from(if n < 26 { b'a' + n as u8 } else { b'A' + (n - 26) as u8 });
    let batch = letter(axes.len());
    let name =
        |lead: bool, rank: usize, places: &dyn Fn(&Axis) -> TVec<usize>| -> TractResult<String> {
            let mut name = if lead { batch.to_string() } else { String::new() };
            for at in 0..rank {
                let axis = axes
                    .iter()
                    .position(|axis| places(axis).contains(&at))
                    .context("an axis without a name")?;
                if !is_new(axes[axis]) {
                    name.push(letter(axis));
                }
            }
            Ok(name)
        };
    let mut operands = vec![];
    let mut any = false;
    for ix in 0..l.arity() {
        let lead = l.lead(ix)? == 1;
        any |= lead;
        operands.push(name(lead, l.input_shape(ix)?.len(), &|axis| axis.inputs[ix].clone())?);
    }
    let output = name(any, rank, &|axis| axis.outputs[0].clone())?;
    let equation = format!("{}->{output}", operands.join(","));
    let mut new: Vec<i64> = axes
        .iter()
        .filter(|axis| is_new(axis))
        .flat_map(|axis| axis.outputs[0].iter())
        .map(|at| (*at + usize::from(any)) as i64)
        .collect();
    new.sort_unstable();
    let all: Vec<usize> = (0..l.arity()).collect();
    l.on(&all, move |t| {
        new.iter()
            .try_fold(Tensor::f_einsum(&equation, t, None::<&[i64]>)?, |y, &at| y.f_unsqueeze(at))
    })
}

/// A product with a constant matrix over one axis that stays in its place among the others. Axes of
/// extent 1 may come and go.
struct Dense {
    /// Which input is not the matrix.
    data: usize,
    /// Where the made axis is in the output.
    to: usize,
    /// Whether the matrix is `[in, out]`, not `[out, in]`.
    transposed: bool,
    /// The data's axes without those that go: all of them up to the channels, the channels, and
    /// what follows.
    core: (Vec<usize>, usize, Vec<usize>),
}

impl Dense {
    fn find(l: &mut Lower) -> TractResult<Option<Self>> {
        let op = l.op::<EinSum>()?;
        if l.arity() != 2 {
            return Ok(None);
        }
        for (data, matrix) in [(0, 1), (1, 0)] {
            let is_matrix = l.lead(data)? == 1
                && l.input_fact(matrix)?.konst.is_some()
                && l.input_shape(matrix)?.len() == 2;
            if is_matrix && let Some(found) = Self::matches(op, data, matrix, l)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn matches(op: &EinSum, data: usize, matrix: usize, l: &Lower) -> TractResult<Option<Self>> {
        let shape = l.input_shape(data)?;
        let (mut summed, mut made) = (None, None);
        // Where each kept axis of the data, and the matrix product, are in data and output.
        let mut moved: Vec<(usize, usize)> = vec![];
        for axis in op.axes.iter_all_axes() {
            match (&*axis.inputs[data], &*axis.inputs[matrix], &*axis.outputs[0]) {
                (&[at], &[of], &[]) if summed.is_none() => summed = Some((at, of)),
                (&[], &[_], &[to]) if made.is_none() => made = Some(to),
                (&[at], &[], &[to]) => moved.push((at, to)),
                (&[at], &[], &[]) if shape[at] == 1 => {}
                (&[], &[], &[_]) => {}
                _ => return Ok(None),
            }
        }
        let (Some((at, of)), Some(to)) = (summed, made) else { return Ok(None) };
        // An extent of 1 that stands for any is not a matrix product.
        if l.input_shape(matrix)?[of] != shape[at] {
            return Ok(None);
        }
        moved.push((at, to));
        moved.sort_unstable();
        let in_order = moved.windows(2).all(|pair| pair[0].1 < pair[1].1);
        let part = |keep: &dyn Fn(usize) -> bool| {
            moved.iter().map(|m| m.0).filter(|&m| keep(m)).map(|m| shape[m]).collect::<Vec<_>>()
        };
        let core = (part(&|m| m < at), shape[at], part(&|m| m > at));
        // The last axis, or channels in front of two spatial axes.
        let fits = in_order && (core.2.is_empty() || core.2.len() == 2);
        Ok(fits.then_some(Self { data, to, transposed: of == 0, core }))
    }

    /// The kernel, with the bias in this slot (`[O]`) added.
    fn lower(&self, l: &mut Lower, bias: Option<usize>) -> TractResult<Lowered> {
        let matrix = l.constant(1 - self.data)?.cast_to::<f32>()?.into_owned();
        let matrix = if self.transposed { matrix.permute_axes(&[1, 0])? } else { matrix };
        let (outputs, channels) = (matrix.shape()[0], matrix.shape()[1]);
        let (outer, _, inner) = &self.core;
        // Batches, and axes between the batch and the channels, are one axis to a convolution.
        let mut from = vec![-1];
        if inner.is_empty() {
            from.extend(dims(outer));
        }
        from.push(channels as i64);
        from.extend(dims(inner));
        let mut to = vec![-1];
        to.extend(dims(l.output_shape()?));
        let mut inputs = vec![l.slot(self.data)?];
        let mut kernel = matrix;
        if inner.is_empty() {
            inputs.push(l.upload(&kernel, Layout::Plain)?);
            inputs.extend(bias);
            let run = move |t: &[&Tensor]| {
                t[0].f_reshape(&from[..])?.f_linear(t[1], t.get(2).copied())?.f_reshape(&to[..])
            };
            return Ok(Lowered::new(inputs, run));
        }
        kernel.set_shape(&[outputs, channels, 1, 1])?;
        inputs.push(l.upload(&kernel, Layout::ChannelsLast)?);
        inputs.extend(bias);
        let run = move |t: &[&Tensor]| {
            // Axes of extent 1 come and go without a copy, whatever the layout.
            let x = t[0].f_reshape(&from[..])?;
            x.f_conv2d(t[1], t.get(2).copied(), [1, 1], [0, 0], [1, 1], 1)?.f_reshape(&to[..])
        };
        Ok(Lowered::new(inputs, run))
    }
}

/// For a sum: a product and a constant that is its bias are one kernel.
pub(super) fn with_bias(l: &mut Lower) -> TractResult<Option<Lowered>> {
    for (product, bias) in [(0, 1), (1, 0)] {
        let Some(constant) =
            l.input_fact(bias)?.konst.clone().filter(|k| k.datum_type().is_float())
        else {
            continue;
        };
        let below = l.node.inputs[product];
        let model = l.slots.model;
        let inner = model.node(below.node);
        let alone = inner.outputs[0].successors.len() == 1 && !model.outputs.contains(&below);
        if !alone || !inner.op_is::<EinSum>() {
            continue;
        }
        let shape = l.output_shape()?;
        let mut inner = Lower { slots: l.slots, node: inner };
        let Some(dense) = Dense::find(&mut inner)? else { continue };
        let is_bias = constant.rank() == shape.len()
            && shape == inner.output_shape()?
            && (0..shape.len())
                .all(|at| constant.shape()[at] == if at == dense.to { shape[at] } else { 1 });
        if is_bias {
            let flat: Vec<f32> =
                constant.cast_to::<f32>()?.to_plain_array_view::<f32>()?.iter().copied().collect();
            let bias = inner.upload(&tensor1(&flat), Layout::Plain)?;
            return dense.lower(&mut inner, Some(bias)).map(Some);
        }
    }
    Ok(None)
}
