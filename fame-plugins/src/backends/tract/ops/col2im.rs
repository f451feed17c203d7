//! Adds the columns of a convolution's gradient into the picture they were taken from.

use tract_onnx::tract_core::internal::*;

use crate::backends::onnx::tensors::{floats, floats_mut};

/// Input `[…, channels · kh · kw, oh · ow]`, output `[…, channels, h, w]`: every column is added
/// where the convolution read it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Col2Im {
    /// Channels of the output.
    pub(in super::super) channels: usize,
    /// Extent of the kernel.
    pub(in super::super) kernel: [usize; 2],
    /// Stride of the convolution.
    pub(in super::super) stride: [usize; 2],
    /// Dilation of the convolution.
    pub(in super::super) dilation: [usize; 2],
    /// Padding in front.
    pub(in super::super) before: [usize; 2],
    /// Extent of the convolution's output.
    pub(in super::super) columns: [usize; 2],
    /// Extent of the picture.
    pub(in super::super) extent: [usize; 2],
}

impl Col2Im {
    /// The convolution's output positions whose tap `k` along axis `a` lies inside the picture, and
    /// the picture's first position.
    fn span(&self, a: usize, k: usize) -> (std::ops::Range<usize>, usize) {
        let offset = k * self.dilation[a];
        let first = self.before[a].saturating_sub(offset).div_ceil(self.stride[a]);
        let last = (self.extent[a] + self.before[a])
            .saturating_sub(offset)
            .div_ceil(self.stride[a])
            .min(self.columns[a]);
        let start = (first * self.stride[a] + offset).saturating_sub(self.before[a]);
        (first..last.max(first), start)
    }

    fn add_tap(&self, picture: &mut [f32], column: &[f32], ky: usize, kx: usize) {
        let ((rows, top), (span, left)) = (self.span(0, ky), self.span(1, kx));
        for (i, row) in rows.enumerate() {
            let from = &column[row * self.columns[1]..][span.clone()];
            let to = &mut picture[(top + i * self.stride[0]) * self.extent[1]..][..self.extent[1]];
            if self.stride[1] == 1 {
                to[left..].iter_mut().zip(from).for_each(|(t, f)| *t += *f);
            } else {
                to.iter_mut()
                    .skip(left)
                    .step_by(self.stride[1])
                    .zip(from)
                    .for_each(|(t, f)| *t += *f);
            }
        }
    }
}

impl Op for Col2Im {
    fn name(&self) -> StaticName {
        "Col2Im".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Col2Im {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let outer = input.rank() - 2;
        let mut shape: TVec<usize> = input.shape()[..outer].into();
        shape.extend([self.channels, self.extent[0], self.extent[1]]);
        let mut output = Tensor::zero::<f32>(&shape)?;
        let (size, taps) = (self.columns[0] * self.columns[1], self.kernel[0] * self.kernel[1]);
        let columns = floats(&input)?;
        for (c, picture) in
            floats_mut(&mut output)?.chunks_exact_mut(self.extent[0] * self.extent[1]).enumerate()
        {
            for tap in 0..taps {
                self.add_tap(
                    picture,
                    &columns[(c * taps + tap) * size..][..size],
                    tap / self.kernel[1],
                    tap % self.kernel[1],
                );
            }
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Col2Im {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let outer = inputs[0].rank() - 2;
        let mut shape: TVec<TDim> = inputs[0].shape[..outer].into();
        shape.extend([self.channels.to_dim(), self.extent[0].to_dim(), self.extent[1].to_dim()]);
        Ok(tvec!(f32::fact(shape)))
    }

    as_op!();
}
