//! The gradient of max and average pooling.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::PoolSpec;

use super::unwritten;
use crate::backends::onnx::tensors::{fact_like, floats, floats_mut};
use fame_kernels::MaxWindows;

/// Which pooling is differentiated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum PoolKind {
    /// The cotangent goes to the first maximum of its window, as in every framework.
    Max,
    /// The cotangent is spread over its window.
    Sum {
        /// Divide by the count.
        normalize: bool,
        /// Padding counts.
        count_include_pad: bool,
    },
}

/// Inputs: the cotangent and the pooling's input (only its shape matters for [`PoolKind::Sum`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct PoolGrad {
    /// Window, stride, padding and layout.
    pub(in super::super) pool: PoolSpec,
    /// Max or sum.
    pub(in super::super) kind: PoolKind,
}

/// One spatial axis: for every output position, the taps inside the input.
struct Walk {
    stride: usize,
    dilation: usize,
    kernel: usize,
    before: usize,
    input: usize,
    output: usize,
    /// Extent of input and padding together: what ceil mode may overrun.
    padded: usize,
    input_step: usize,
    output_step: usize,
}

impl Walk {
    const ALONE: Self = Self {
        stride: 1,
        dilation: 1,
        kernel: 1,
        before: 0,
        input: 1,
        output: 1,
        padded: 1,
        input_step: 0,
        output_step: 0,
    };

    /// Input offsets of the taps of output position `o` that are not padding.
    fn taps(&self, o: usize) -> impl Iterator<Item = usize> + use<> {
        let (base, before, input, step, dilation) =
            (o * self.stride, self.before, self.input, self.input_step, self.dilation);
        (0..self.kernel).filter_map(move |k| {
            let at = (base + k * dilation).checked_sub(before)?;
            (at < input).then_some(at * step)
        })
    }

    /// Whether two windows may have a tap in common.
    fn overlaps(&self) -> bool {
        self.stride < (self.kernel - 1) * self.dilation + 1
    }

    /// Whether windows lie side by side, without a gap, from the first input position to the last.
    fn covers(&self) -> bool {
        let is_dense = self.dilation == 1 && self.stride == self.kernel;
        is_dense && self.before == 0 && self.output * self.kernel >= self.input
    }

    /// How many taps of output position `o` count when padding counts.
    fn padded_taps(&self, o: usize) -> usize {
        (0..self.kernel).filter(|k| o * self.stride + k * self.dilation < self.padded).count()
    }
}

impl PoolGrad {
    fn walks(&self, input: &[usize], output: &[usize]) -> TractResult<[Walk; 3]> {
        let from = self.pool.data_format.shape(input.to_vec())?;
        let to = self.pool.data_format.shape(output.to_vec())?;
        let padding = self.pool.computed_padding(from.hw_dims());
        let walk = |k: usize| Walk {
            stride: self.pool.stride(k),
            dilation: self.pool.dilation(k),
            kernel: self.pool.kernel_shape[k],
            before: padding[k].pad_before,
            input: from.hw_dims()[k],
            output: to.hw_dims()[k],
            padded: from.hw_dims()[k] + padding[k].pad_before + padding[k].pad_after,
            input_step: from.hw_strides()[k],
            output_step: to.hw_strides()[k],
        };
        match self.pool.rank() {
            1 => Ok([Walk::ALONE, Walk::ALONE, walk(0)]),
            2 => Ok([Walk::ALONE, walk(0), walk(1)]),
            3 => Ok([walk(0), walk(1), walk(2)]),
            rank => bail!("pooling over {rank} axes"),
        }
    }

    /// Routes one cotangent to the first maximum among the taps.
    fn route(gradient: &mut [f32], x: &[f32], cotangent: f32, rows: &[usize], columns: &[usize]) {
        let mut best: Option<usize> = None;
        for row in rows {
            for column in columns {
                let at = row + column;
                // `!(<=)` so that a NaN wins: it must not vanish on the way back.
                if best.is_none_or(|b| x[at] > x[b] || x[at].is_nan()) {
                    best = Some(at);
                }
            }
        }
        if let Some(best) = best {
            gradient[best] += cotangent;
        }
    }

    fn spread(gradient: &mut [f32], cotangent: f32, rows: &[usize], columns: &[usize]) {
        for row in rows {
            for column in columns {
                gradient[row + column] += cotangent;
            }
        }
    }

    /// All channels of a picture whose channels lie last.
    fn pixels(
        &self,
        gradient: &mut [f32],
        x: &[f32],
        cotangent: &[f32],
        channels: usize,
        walks @ [d, h, w]: &[Walk; 3],
        columns: &[Vec<usize>],
    ) {
        let adds = walks.iter().any(Walk::overlaps);
        for (oz, oy) in (0..d.output).flat_map(|oz| (0..h.output).map(move |oy| (oz, oy))) {
            let rows: TVec<usize> =
                d.taps(oz).flat_map(|slice| h.taps(oy).map(move |row| slice + row)).collect();
            let line = &cotangent[oz * d.output_step + oy * h.output_step..];
            if self.kind == PoolKind::Max {
                let cotangents = &line[..w.output * channels];
                let (values, gradient, lines) = (x, &mut *gradient, rows.as_slice());
                let windows =
                    MaxWindows { values, gradient, cotangents, lines, columns, channels, adds };
                windows.pull_back();
                continue;
            }
            for (ox, columns) in columns.iter().enumerate() {
                let g = &line[ox * w.output_step..][..channels];
                let factor = match self.kind {
                    PoolKind::Max | PoolKind::Sum { normalize: false, .. } => 1.0,
                    PoolKind::Sum { count_include_pad: true, .. } => {
                        let count = d.padded_taps(oz) * h.padded_taps(oy) * w.padded_taps(ox);
                        1.0 / count.max(1) as f32
                    }
                    PoolKind::Sum { .. } => 1.0 / (rows.len() * columns.len()).max(1) as f32,
                };
                for at in rows.iter().flat_map(|row| columns.iter().map(move |at| row + at)) {
                    let to = &mut gradient[at..][..channels];
                    to.iter_mut().zip(g).for_each(|(to, g)| *to += g * factor);
                }
            }
        }
    }

    /// One channel.
    fn plane(
        &self,
        gradient: &mut [f32],
        x: &[f32],
        cotangent: &[f32],
        [d, h, w]: &[Walk; 3],
        columns: &[Vec<usize>],
    ) {
        for (oz, oy) in (0..d.output).flat_map(|oz| (0..h.output).map(move |oy| (oz, oy))) {
            let rows: TVec<usize> =
                d.taps(oz).flat_map(|slice| h.taps(oy).map(move |row| slice + row)).collect();
            let line = oz * d.output_step + oy * h.output_step;
            for (ox, columns) in columns.iter().enumerate() {
                let g = cotangent[line + ox * w.output_step];
                match self.kind {
                    PoolKind::Max => Self::route(gradient, x, g, &rows, columns),
                    PoolKind::Sum { normalize: false, .. } => {
                        Self::spread(gradient, g, &rows, columns);
                    }
                    PoolKind::Sum { count_include_pad, .. } => {
                        let count = if count_include_pad {
                            d.padded_taps(oz) * h.padded_taps(oy) * w.padded_taps(ox)
                        } else {
                            rows.len() * columns.len()
                        };
                        Self::spread(gradient, g / count.max(1) as f32, &rows, columns);
                    }
                }
            }
        }
    }
}

impl Op for PoolGrad {
    fn name(&self) -> StaticName {
        "PoolGrad".into()
    }

    op_as_typed_op!();
}

impl EvalOp for PoolGrad {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (cotangent, x) = args_2!(inputs);
        let walks = self.walks(x.shape(), cotangent.shape())?;
        let columns: Vec<Vec<usize>> =
            (0..walks[2].output).map(|ox| walks[2].taps(ox).collect()).collect();
        let from = self.pool.data_format.shape(x.shape().to_vec())?;
        let to = self.pool.data_format.shape(cotangent.shape().to_vec())?;
        // Where each position is a tap of one window, every element is written.
        let is_written = self.kind == PoolKind::Max
            && self.pool.data_format.c_is_last()
            && walks.iter().all(Walk::covers);
        let mut output =
            if is_written { unwritten(x.shape())? } else { Tensor::zero::<f32>(x.shape())? };
        let (gradient, x, cotangent) = (floats_mut(&mut output)?, floats(&x)?, floats(&cotangent)?);
        for n in 0..from.n().copied().unwrap_or(1) {
            if self.pool.data_format.c_is_last() {
                let at = n * from.n_stride().copied().unwrap_or(0);
                let back = n * to.n_stride().copied().unwrap_or(0);
                let (gradient, x, cotangent) = (&mut gradient[at..], &x[at..], &cotangent[back..]);
                self.pixels(gradient, x, cotangent, *from.c(), &walks, &columns);
                continue;
            }
            for c in 0..*from.c() {
                let at = n * from.n_stride().copied().unwrap_or(0) + c * from.c_stride();
                let back = n * to.n_stride().copied().unwrap_or(0) + c * to.c_stride();
                self.plane(&mut gradient[at..], &x[at..], &cotangent[back..], &walks, &columns);
            }
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for PoolGrad {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(fact_like(inputs[1]))
    }

    as_op!();
}
