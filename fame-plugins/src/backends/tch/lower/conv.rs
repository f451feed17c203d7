//! Convolutions and transposed convolutions.

use tch::{TchError, Tensor};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv};
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::rule::Rule;
use super::site::{Lower, Lowered};
use crate::backends::tch::values::{Layout, dims};

pub(super) const RULES: &[Rule] = &[
    Rule {
        applies: |op| {
            op.downcast_ref::<Conv>()
                .is_some_and(|op| op.q_params.is_none() && op.pool_spec.rank() <= 3)
        },
        lower: conv,
    },
    Rule {
        applies: |op| op.downcast_ref::<Deconv>().is_some_and(|op| op.pool_spec.rank() <= 3),
        lower: deconv,
    },
];

/// How data of a graph's layout become the `[N, C, …]` that libtorch's windows slide over, and
/// back.
pub(super) struct Window {
    /// The graph's N, when it is not dropped.
    inner: Option<i64>,
    batched: bool,
    channels_last: bool,
    /// One spatial axis that libtorch is to see as the second of two.
    widened: bool,
    rank: usize,
}

impl Window {
    /// The window over input 0; pooling (`planar`) wants at least two spatial axes.
    pub(super) fn for_input(l: &mut Lower, format: DataFormat, rank: usize) -> TractResult<Self> {
        let batched = l.lead(0)? == 1;
        let inner = if format.has_n() { Some(l.input_shape(0)?[0] as i64) } else { None };
        Ok(Self { inner, batched, channels_last: format.c_is_last(), widened: rank == 1, rank })
    }

    /// Data as `[N, C, …]` with at least two spatial axes.
    pub(super) fn planes(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let x = match (self.batched, self.inner) {
            (true, Some(1)) => x.f_squeeze_dim(1)?,
            (true, Some(_)) => x.f_flatten(0, 1)?,
            (false, None) => x.f_unsqueeze(0)?,
            _ => x.shallow_clone(),
        };
        let x = if self.channels_last {
            let last = self.rank as i64 + 1;
            x.f_movedim_int(last, 1)?
        } else {
            x
        };
        if self.widened { x.f_unsqueeze(2) } else { Ok(x) }
    }

    /// The inverse of [`Window::planes`].
    pub(super) fn restored(&self, y: &Tensor) -> Result<Tensor, TchError> {
        let y = if self.widened { y.f_squeeze_dim(2)? } else { y.shallow_clone() };
        let y = if self.channels_last { y.f_movedim_int(1, self.rank as i64 + 1)? } else { y };
        match (self.batched, self.inner) {
            (true, Some(1)) => y.f_unsqueeze(1),
            (true, Some(n)) => y.f_unflatten(0, [-1, n]),
            (false, None) => y.f_squeeze_dim(0),
            _ => Ok(y),
        }
    }
}

/// The kernel as `[O, I / group, …]`, or for a transposed convolution as `[I, O / group, …]`, with
/// a spatial axis added to a single one.
fn kernel(
    format: tract_onnx::tract_core::ops::cnn::KernelFormat,
    kernel: &tract_onnx::prelude::Tensor,
    group: usize,
    taps: &[usize],
    transposed: bool,
) -> TractResult<tract_onnx::prelude::Tensor> {
    // [group, O / group, I / group, taps]
    let grouped = format.kernel_as_group_o_i_hw(kernel.cast_to::<f32>()?.as_ref(), group)?;
    let view = grouped.to_plain_array_view::<f32>()?;
    let &[groups, outputs, inputs, _] = view.shape() else {
        bail!("a kernel of shape {:?}", view.shape())
    };
    let (view, mut shape) = if transposed {
        (view.permuted_axes(vec![0, 2, 1, 3]), vec![groups * inputs, outputs])
    } else {
        (view, vec![groups * outputs, inputs])
    };
    shape.extend(widened(taps, 1));
    tract_onnx::prelude::Tensor::from_shape(&shape, &view.iter().copied().collect::<Vec<f32>>())
}

/// Puts `alone` in front of a list of one.
fn widened(list: &[usize], alone: usize) -> Vec<usize> {
    if list.len() == 1 { vec![alone, list[0]] } else { list.to_vec() }
}

/// The slot of the bias, `[O]`, if it says anything.
fn bias(l: &mut Lower, ix: usize, channels: usize) -> TractResult<Option<usize>> {
    if l.arity() <= ix || l.uniform(ix)? == Some(0.0) {
        return Ok(None);
    }
    let values = l.constant(ix)?.cast_to::<f32>()?.into_owned();
    let flat: Vec<f32> = values.to_plain_array_view::<f32>()?.iter().copied().collect();
    let all = if flat.len() == 1 { vec![flat[0]; channels] } else { flat };
    ensure!(all.len() == channels, "a bias of {} values for {channels} channels", all.len());
    l.upload(&tensor1(&all), Layout::Plain).map(Some)
}

fn conv(l: &mut Lower) -> TractResult<Lowered> {
    let op = l.op::<Conv>()?;
    let pool = &op.pool_spec;
    let shape = pool.data_format.shape(l.input_shape(0)?.to_vec())?;
    let padding = pool.computed_padding(shape.hw_dims());
    let weight =
        kernel(op.kernel_fmt, l.constant(1)?.as_ref(), op.group, &pool.kernel_shape, false)?;
    let window = Window::for_input(l, pool.data_format, pool.rank())?;
    let mut inputs = vec![l.slot(0)?, l.upload(&weight, Layout::ChannelsLast)?];
    inputs.extend(bias(l, 2, op.output_channels())?);
    let stride = dims(&widened(&pool.strides(), 1));
    let dilation = dims(&widened(&pool.dilations(), 1));
    let before = widened(&padding.iter().map(|p| p.pad_before).collect::<Vec<_>>(), 0);
    let after = widened(&padding.iter().map(|p| p.pad_after).collect::<Vec<_>>(), 0);
    // libtorch pads both sides alike. What is more on one side is padded first.
    let extra: Vec<i64> = before
        .iter()
        .zip(&after)
        .rev()
        .flat_map(|(b, a)| [b - b.min(a), a - b.min(a)])
        .map(|p| p as i64)
        .collect();
    let even: Vec<i64> = before.iter().zip(&after).map(|(b, a)| *b.min(a) as i64).collect();
    let (zeros, groups) = (vec![0i64; even.len()], op.group as i64);
    let kernel = move |t: &[&Tensor]| {
        let mut x = window.planes(t[0])?;
        if extra.iter().any(|p| *p > 0) {
            x = x.f_constant_pad_nd(&extra[..])?;
        }
        let bias = t.get(2).copied();
        let y = x.f_convolution(
            t[1],
            bias,
            &stride[..],
            &even[..],
            &dilation[..],
            false,
            &zeros[..],
            groups,
        )?;
        window.restored(&y)
    };
    Ok(Lowered::new(inputs, kernel))
}

fn deconv(l: &mut Lower) -> TractResult<Lowered> {
    let op = l.op::<Deconv>()?;
    let pool = &op.pool_spec;
    let shape = pool.data_format.shape(l.input_shape(0)?.to_vec())?;
    let (strides, dilations) = (pool.strides().to_vec(), pool.dilations().to_vec());
    let padding = pool.padding.compute_for_deconv(
        shape.hw_dims(),
        &pool.kernel_shape,
        &dilations,
        &strides,
        &op.adjustments,
    )?;
    let weight =
        kernel(op.kernel_format, l.constant(1)?.as_ref(), op.group, &pool.kernel_shape, true)?;
    let window = Window::for_input(l, pool.data_format, pool.rank())?;
    let mut inputs = vec![l.slot(0)?, l.upload(&weight, Layout::ChannelsLast)?];
    inputs.extend(bias(l, 2, pool.output_channels)?);
    let stride = dims(&widened(&strides, 1));
    let dilation = dims(&widened(&dilations, 1));
    let groups = op.group as i64;
    // Computed without padding; then what padding takes away is cut, and what an adjustment adds is
    // zero before the bias.
    let mut ends = vec![];
    for (k, padding) in padding.iter().enumerate() {
        let whole =
            (shape.hw_dims()[k] - 1) * strides[k] + (pool.kernel_shape[k] - 1) * dilations[k] + 1;
        let before = -(padding.pad_before as i64);
        ends.push((before, padding.deconvoluted as i64 - whole as i64 - before));
    }
    if ends.len() == 1 {
        ends.insert(0, (0, 0));
    }
    let ends: Vec<i64> = ends.iter().rev().flat_map(|(before, after)| [*before, *after]).collect();
    let zeros = vec![0i64; stride.len()];
    let kernel = move |t: &[&Tensor]| {
        let x = window.planes(t[0])?;
        let y = x.f_convolution(
            t[1],
            None::<&Tensor>,
            &stride[..],
            &zeros[..],
            &dilation[..],
            true,
            &zeros[..],
            groups,
        )?;
        let y = if ends.iter().any(|e| *e != 0) { y.f_constant_pad_nd(&ends[..])? } else { y };
        let y = match t.get(2) {
            Some(bias) => {
                let shape: Vec<i64> =
                    (0..y.dim()).map(|axis| if axis == 1 { -1 } else { 1 }).collect();
                y.f_add(&bias.f_reshape(&shape[..])?)?
            }
            None => y,
        };
        window.restored(&y)
    };
    Ok(Lowered::new(inputs, kernel))
}
