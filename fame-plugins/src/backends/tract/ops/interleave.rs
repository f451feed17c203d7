//! Puts the phases of a strided operator's gradient back between one another.

use tract_onnx::tract_core::internal::*;

use super::unwritten;
use crate::backends::onnx::tensors::{floats, floats_mut};

/// The adjoint of taking every `stride`-th row and column.
///
/// Input `inputs[py * stride[1] + px]` holds the output elements whose padded coordinates are `py`
/// modulo `stride[0]` and `px` modulo `stride[1]`; where it is `None` those elements are zero.
/// Input rows start at the first padded coordinate of the phase that lies inside the output.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Interleave {
    /// The first of the two adjacent axes; a single axis is written as the second of extent 1 with
    /// stride 1.
    pub(in super::super) axis: usize,
    /// How many axes are interleaved, 1 or 2.
    pub(in super::super) axes: usize,
    /// Stride along the axes.
    pub(in super::super) stride: [usize; 2],
    /// Padding in front of the axes.
    pub(in super::super) before: [usize; 2],
    /// Extent of the output's axes.
    pub(in super::super) extent: [usize; 2],
    /// Which input, if any, holds each phase.
    pub(in super::super) phases: Vec<Option<usize>>,
}

/// The first index of phase `phase` (its coordinates are `phase + stride · index`) that does not
/// lie in the padding.
pub(in super::super) fn phase_start(phase: usize, stride: usize, before: usize) -> usize {
    before.saturating_sub(phase).div_ceil(stride)
}

impl Interleave {
    /// The extent of `phase` along interleaved axis `k`: how many of its coordinates lie inside the
    /// output.
    pub(in super::super) fn phase_extent(&self, k: usize, phase: usize) -> usize {
        let end = (self.before[k] + self.extent[k]).saturating_sub(phase).div_ceil(self.stride[k]);
        end.saturating_sub(phase_start(phase, self.stride[k], self.before[k]))
    }

    fn output_shape(&self, input: &[usize]) -> TVec<usize> {
        let mut shape: TVec<usize> = input.into();
        shape[self.axis..self.axis + self.axes].copy_from_slice(&self.extent[..self.axes]);
        shape
    }

    /// Writes one phase of one outer index.
    fn scatter(&self, out: &mut [f32], phase: &[f32], (py, px): (usize, usize), inner: usize) {
        let ([sy, sx], [by, bx], [_, width]) = (self.stride, self.before, self.extent);
        let (rows, columns) = (self.phase_extent(0, py), self.phase_extent(1, px));
        let (top, left) =
            (phase_start(py, sy, by) * sy + py - by, phase_start(px, sx, bx) * sx + px - bx);
        for row in 0..rows {
            let from = &phase[row * columns * inner..][..columns * inner];
            let to = &mut out[(top + row * sy) * width * inner..][..width * inner];
            if inner == 1 {
                to.iter_mut().skip(left).step_by(sx).zip(from).for_each(|(t, f)| *t = *f);
            } else {
                for (column, values) in from.chunks_exact(inner).enumerate() {
                    to[(left + column * sx) * inner..][..inner].copy_from_slice(values);
                }
            }
        }
    }
}

impl Op for Interleave {
    fn name(&self) -> StaticName {
        "Interleave".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Interleave {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let shape = self.output_shape(inputs[0].shape());
        let outer: usize = shape[..self.axis].iter().product();
        let inner: usize = shape[self.axis + self.axes..].iter().product();
        // Where every phase has an input, every element is written.
        let is_whole = self.phases.iter().flatten().count() == self.stride[0] * self.stride[1];
        let mut output = if is_whole { unwritten(&shape)? } else { Tensor::zero::<f32>(&shape)? };
        let block = self.extent[0] * self.extent[1] * inner;
        let values = floats_mut(&mut output)?;
        for (phase, input) in self.phases.iter().enumerate() {
            let Some(input) = input else { continue };
            let place = (phase / self.stride[1], phase % self.stride[1]);
            let from = floats(&inputs[*input])?;
            let size = from.len() / outer.max(1);
            for o in 0..outer {
                self.scatter(
                    &mut values[o * block..][..block],
                    &from[o * size..][..size],
                    place,
                    inner,
                );
            }
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Interleave {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape = inputs[0].shape.as_concrete().context("shapes are concrete")?;
        for (phase, input) in self.phases.iter().enumerate() {
            let Some(input) = input else { continue };
            let got = inputs[*input].shape.as_concrete().context("shapes are concrete")?;
            for k in 0..self.axes {
                let along = if k == 0 { phase / self.stride[1] } else { phase % self.stride[1] };
                ensure!(
                    got[self.axis + k] == self.phase_extent(k, along),
                    "{self:?}: phase {phase} has shape {got:?}"
                );
            }
        }
        Ok(tvec!(f32::fact(self.output_shape(shape))))
    }

    as_op!();
}
