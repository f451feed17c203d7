//! The data gradient of a convolution.
//!
//! Four ways, chosen by what was measured to be fastest (TRACT.md):
//!
//! * stride 1: a convolution with the flipped, transposed kernel;
//! * stride > 1: *phase decomposition*. Output elements whose padded coordinates are equal modulo
//!   the stride only meet every stride-th kernel tap, so each phase is a small convolution with
//!   stride 1, and the phases are interleaved;
//! * few input channels (the first layer): a matrix product into columns, which are then added up;
//!   flipping would leave a convolution with three output channels, which fills a fraction of a
//!   matrix kernel;
//! * stride and dilation together, and stride in three dimensions (both rare): zeros between the
//!   cotangent's elements, then as for stride 1.

use tract_onnx::tract_core::internal::tract_ndarray::{
    ArrayD, Axis as NdAxis, IxDyn, Slice as NdSlice,
};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::Slice;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::rule::Rule;
use super::tape::{Pull, Pulled};
use crate::backends::onnx::slice::Pick;
use crate::backends::tract::ops::{Col2Im, ConvGrad, Interleave, PickGrad};
use crate::backends::tract::place_kernels::geometry as kernel_geometry;

pub(super) const RULES: &[Rule] =
    &[Rule { applies: |op| op.downcast_ref::<Conv>().is_some_and(is_covered), pull: conv }];

/// Up to this many input channels the column way is taken: below it a flipped convolution wastes
/// most of a matrix kernel's rows.
const FEW_CHANNELS: usize = 4;

fn is_covered(conv: &Conv) -> bool {
    conv.q_params.is_none()
        && conv.pool_spec.rank() <= 3
        && (conv.group == 1 || conv.kernel_fmt == KernelFormat::OIHW)
}

fn conv(pull: &mut Pull) -> TractResult<Pulled> {
    ensure!(!pull.needs(1) && !pull.needs(2), "the kernel depends on the input");
    if let Some(op) = for_kernels(pull)? {
        let g = pull.cotangent;
        return Ok(tvec!(Some(pull.wire(op, &[g])?), None, None));
    }
    let geometry = Geometry::read(pull)?;
    let gradient = if geometry.takes_columns() {
        by_columns(pull, &geometry)?
    } else if geometry.stride.iter().all(|&s| s == 1) {
        let g = pull.cotangent;
        flipped(pull, &geometry, g, &geometry.columns.clone())?
    } else if geometry.rank() > 2
        || geometry.dilation.iter().zip(&geometry.stride).any(|(d, s)| *d > 1 && *s > 1)
    {
        by_zero_insertion(pull, &geometry)?
    } else {
        by_phases(pull, &geometry)?
    };
    Ok(tvec!(Some(gradient), None, None))
}

/// The gradient in one piece, where a kernel of our own can and is to compute it.
fn for_kernels(pull: &Pull) -> TractResult<Option<ConvGrad>> {
    let geometry = kernel_geometry(pull.input_fact(0)?, pull.op::<Conv>()?)?;
    let Some(geometry) = geometry.filter(|_| pull.has_kernels()) else { return Ok(None) };
    let (weights, shape) = (pull.constant(1)?, pull.input_shape(0)?.into());
    Ok(Some(ConvGrad { geometry, weights, shape }))
}

/// Everything about the convolution, one entry for each spatial axis.
struct Geometry {
    format: DataFormat,
    /// The first spatial axis of the data.
    h_axis: usize,
    group: usize,
    /// Kernel as `[O, I / group, …]`.
    kernel: ArrayD<f32>,
    channels: usize,
    taps: Vec<usize>,
    stride: Vec<usize>,
    dilation: Vec<usize>,
    before: Vec<usize>,
    /// Spatial extent of the input.
    extent: Vec<usize>,
    /// Spatial extent of the output.
    columns: Vec<usize>,
}

impl Geometry {
    fn read(pull: &Pull) -> TractResult<Self> {
        let op = pull.op::<Conv>()?;
        let pool = &op.pool_spec;
        let shape = pool.data_format.shape(pull.input_shape(0)?.to_vec())?;
        let padding = pool.computed_padding(shape.hw_dims());
        Ok(Self {
            format: pool.data_format,
            h_axis: shape.h_axis(),
            group: op.group,
            kernel: oihw(pull.constant(1)?.as_ref(), op.kernel_fmt)?,
            channels: op.input_channels(),
            taps: pool.kernel_shape.to_vec(),
            stride: pool.strides().to_vec(),
            dilation: pool.dilations().to_vec(),
            before: padding.iter().map(|p| p.pad_before).collect(),
            extent: shape.hw_dims().to_vec(),
            columns: padding.iter().map(|p| p.convoluted).collect(),
        })
    }

    fn rank(&self) -> usize {
        self.taps.len()
    }

    fn takes_columns(&self) -> bool {
        let planar = matches!(self.format, DataFormat::NCHW | DataFormat::CHW) && self.rank() == 2;
        planar
            && self.group == 1
            && self.channels <= FEW_CHANNELS
            && self.taps.iter().any(|&k| k > 1)
    }

    /// The interleaving of this convolution's phases, without saying yet which input holds which.
    fn interleave(&self, before: &[usize], extent: &[usize]) -> Interleave {
        let pair = |v: &[usize], alone: usize| [v[0], v.get(1).copied().unwrap_or(alone)];
        let stride = pair(&self.stride, 1);
        Interleave {
            axis: self.h_axis,
            axes: self.rank(),
            stride,
            before: pair(before, 0),
            extent: pair(extent, 1),
            phases: vec![None; stride[0] * stride[1]],
        }
    }
}

/// The kernel as `[O, I / group, …]`.
fn oihw(kernel: &Tensor, format: KernelFormat) -> TractResult<ArrayD<f32>> {
    let view = kernel.to_plain_array_view::<f32>()?;
    let rank = view.ndim();
    let order: Vec<usize> = match format {
        KernelFormat::OIHW => (0..rank).collect(),
        KernelFormat::HWIO => [rank - 1, rank - 2].into_iter().chain(0..rank - 2).collect(),
        KernelFormat::OHWI => [0, rank - 1].into_iter().chain(1..rank - 1).collect(),
    };
    Ok(view.permuted_axes(order).as_standard_layout().into_owned())
}

/// Swaps input and output channels within each group and reverses every spatial axis:
/// `[I, O / group, …]`.
fn transposed(kernel: &ArrayD<f32>, group: usize) -> TractResult<Tensor> {
    let mut shape = kernel.shape().to_vec();
    let (outputs, inputs) = (shape[0] / group, shape[1]);
    let grouped: Vec<usize> =
        [group, outputs, inputs].into_iter().chain(shape[2..].iter().copied()).collect();
    let mut view = kernel.view().into_shape_with_order(IxDyn(&grouped))?;
    view.swap_axes(1, 2);
    for axis in 3..view.ndim() {
        view.invert_axis(NdAxis(axis));
    }
    (shape[0], shape[1]) = (group * inputs, outputs);
    let flat: Vec<f32> = view.iter().copied().collect();
    Tensor::from_shape(&shape, &flat)
}

/// Cuts `g` along spatial axis `k` to `length` elements from `start`, if that cuts anything.
fn cut(
    pull: &mut Pull,
    geometry: &Geometry,
    g: OutletId,
    k: usize,
    start: usize,
    length: usize,
) -> TractResult<OutletId> {
    let axis = geometry.h_axis + k;
    if start == 0 && pull.shape_of(g)?[axis] == length {
        Ok(g)
    } else {
        pull.wire(Slice::new(axis, start, start + length), &[g])
    }
}

/// Convolves `g` with stride 1, padded or, where the padding is negative, cut.
fn convolve(
    pull: &mut Pull,
    geometry: &Geometry,
    g: OutletId,
    kernel: Tensor,
    dilation: &[usize],
    padding: &[(isize, isize)],
) -> TractResult<OutletId> {
    let (mut before, mut after, mut g) = (tvec!(), tvec!(), g);
    for (k, &(b, a)) in padding.iter().enumerate() {
        let extent = pull.shape_of(g)?[geometry.h_axis + k] as isize;
        g = cut(
            pull,
            geometry,
            g,
            k,
            (-b).max(0) as usize,
            (extent + b.min(0) + a.min(0)) as usize,
        )?;
        before.push(b.max(0) as usize);
        after.push(a.max(0) as usize);
    }
    let pool_spec = PoolSpec {
        data_format: geometry.format,
        kernel_shape: kernel.shape()[2..].into(),
        padding: PaddingSpec::Explicit(before, after),
        dilations: Some(dilation.into()),
        strides: None,
        input_channels: geometry.kernel.shape()[0],
        output_channels: geometry.channels,
    };
    let (kernel, bias) = (pull.konst(kernel)?, pull.konst(tensor0(0f32))?);
    pull.wire(
        Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group: geometry.group, q_params: None },
        &[g, kernel, bias],
    )
}

/// Stride 1. `columns` is the extent of `g`, which zero insertion may have stretched.
fn flipped(
    pull: &mut Pull,
    geometry: &Geometry,
    g: OutletId,
    columns: &[usize],
) -> TractResult<OutletId> {
    let padding: Vec<(isize, isize)> = (0..geometry.rank())
        .map(|k| {
            let reach = ((geometry.taps[k] - 1) * geometry.dilation[k]) as isize;
            let (before, extent) = (geometry.before[k] as isize, geometry.extent[k] as isize);
            (reach - before, before + extent - columns[k] as isize)
        })
        .collect();
    let kernel = transposed(&geometry.kernel, geometry.group)?;
    convolve(pull, geometry, g, kernel, &geometry.dilation, &padding)
}

fn by_zero_insertion(pull: &mut Pull, geometry: &Geometry) -> TractResult<OutletId> {
    let stretched: Vec<usize> =
        geometry.columns.iter().zip(&geometry.stride).map(|(c, s)| (c - 1) * s + 1).collect();
    let mut g = pull.cotangent;
    for (k, extent) in stretched.iter().enumerate() {
        let (axis, step) = (geometry.h_axis + k, geometry.stride[k] as isize);
        let pick = Pick { axis, start: 0, step, count: geometry.columns[k] };
        g = pull.wire(PickGrad { pick, extent: *extent }, &[g])?;
    }
    flipped(pull, geometry, g, &stretched)
}

fn by_phases(pull: &mut Pull, geometry: &Geometry) -> TractResult<OutletId> {
    let mut interleave = geometry.interleave(&geometry.before, &geometry.extent);
    let mut wires = vec![];
    for index in 0..interleave.phases.len() {
        let phase = [index / interleave.stride[1], index % interleave.stride[1]];
        let covered = (0..geometry.rank())
            .all(|k| phase[k] < geometry.taps[k] && interleave.phase_extent(k, phase[k]) > 0);
        if covered {
            interleave.phases[index] = Some(wires.len());
            wires.push(one_phase(pull, geometry, &interleave, phase)?);
        }
    }
    pull.wire(interleave, &wires)
}

/// The gradient of the elements of one phase: every stride-th tap, from the phase on. An axis of
/// stride 1 has one phase with all taps, and keeps its dilation.
fn one_phase(
    pull: &mut Pull,
    geometry: &Geometry,
    interleave: &Interleave,
    phase: [usize; 2],
) -> TractResult<OutletId> {
    let mut kernel = geometry.kernel.view();
    let mut padding = vec![];
    #[allow(clippy::needless_range_loop)] // k is an axis of five things, not an index of one
    for k in 0..geometry.rank() {
        let stride = geometry.stride[k];
        kernel.slice_axis_inplace(
            NdAxis(k + 2),
            NdSlice::new(phase[k] as isize, None, stride as isize),
        );
        let reach = (kernel.shape()[k + 2] - 1) * geometry.dilation[k];
        let start = crate::backends::tract::ops::phase_start(phase[k], stride, geometry.before[k]);
        let end = start + interleave.phase_extent(k, phase[k]);
        padding
            .push((reach as isize - start as isize, end as isize - geometry.columns[k] as isize));
    }
    let kernel = transposed(&kernel.as_standard_layout().into_owned(), geometry.group)?;
    let g = pull.cotangent;
    convolve(pull, geometry, g, kernel, &geometry.dilation, &padding)
}

/// `[…, O, P] × [O, I·kh·kw] → […, I·kh·kw, P]`, then the columns are added up.
fn by_columns(pull: &mut Pull, geometry: &Geometry) -> TractResult<OutletId> {
    let outputs = geometry.kernel.shape()[0];
    let taps: usize = geometry.kernel.shape()[1..].iter().product();
    let dims = |v: &[usize]| -> TVec<TDim> { v.iter().map(ToDim::to_dim).collect() };
    let size: usize = geometry.columns.iter().product();
    let g = pull.cotangent;
    let flat =
        pull.wire(AxisOp::Reshape(geometry.h_axis, dims(&geometry.columns), dims(&[size])), &[g])?;
    let kernel = pull.konst(Tensor::from_shape(
        &[outputs, taps],
        &geometry.kernel.iter().copied().collect::<Vec<_>>(),
    )?)?;
    let expression = if geometry.format.has_n() { "nop,ok->nkp" } else { "op,ok->kp" };
    let columns =
        pull.wire(EinSum::new(expression.parse()?, f32::datum_type()), &[flat, kernel])?;
    let pair = |v: &[usize]| [v[0], v[1]];
    let op = Col2Im {
        channels: geometry.channels,
        kernel: pair(&geometry.taps),
        stride: pair(&geometry.stride),
        dilation: pair(&geometry.dilation),
        before: pair(&geometry.before),
        columns: pair(&geometry.columns),
        extent: pair(&geometry.extent),
    };
    pull.wire(op, &[columns])
}

#[cfg(test)]
mod tests;
