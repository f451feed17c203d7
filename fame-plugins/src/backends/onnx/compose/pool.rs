//! Pools of p-th powers: `LpPool`, and `GlobalLpPool`, of which tract takes the mean instead of the
//! sum. And averages and maxima over more than two axes, which engines cannot differentiate in one
//! piece.
//!
//! Source: ONNX's LpPool, `y = (Σ |x|^p)^(1/p)` over each window.

use tract_onnx::model::OnnxOpRegister;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{PaddingSpec, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::op::{Outputs, composed, tracts};
use super::writer::Writer;
use tract_onnx::pb::NodeProto;

/// What a maximum is padded with: below every value of a network, and finite in bfloat16 too,
/// where the least f32 is not.
const BELOW_ALL: f32 = -3e38;

pub(super) fn register(known: &mut OnnxOpRegister) {
    known.insert("GlobalLpPool", |ctx, node| composed(ctx, node, &[], global_lp_pool));
    known.insert("LpPool", |ctx, node| composed(ctx, node, &[], lp_pool));
    known.insert("AveragePool", |ctx, node| {
        if is_deep(node) {
            return composed(ctx, node, &[], average_pool);
        }
        tracts("AveragePool", ctx, node)
    });
    known.insert("MaxPool", |ctx, node| {
        if is_deep(node) {
            return composed(ctx, node, &[], max_pool);
        }
        tracts("MaxPool", ctx, node)
    });
}

fn is_deep(node: &NodeProto) -> bool {
    let kernel = node.attribute.iter().find(|a| a.name == "kernel_shape");
    kernel.is_some_and(|kernel| kernel.ints.len() > PLANAR)
}

/// The most axes over which engines pool with a gradient.
const PLANAR: usize = 2;

fn power(w: &Writer) -> f32 {
    // A whole number since opset 2.
    w.int("p").filter(|p| *p > 0).map_or(2.0, |p| p as f32)
}

fn global_lp_pool(w: &mut Writer) -> TractResult<Outputs> {
    let (x, p) = (w.needed(0)?, power(w));
    let axes: Vec<usize> = (2..w.rank(x)?).collect();
    let powers = w.abs_pow(x, p)?;
    let sum = w.sum(powers, &axes)?;
    Ok(tvec!(Some(w.root(sum, p)?)))
}

fn lp_pool(w: &mut Writer) -> TractResult<Outputs> {
    let (x, p) = (w.needed(0)?, power(w));
    let spec = pool_spec(w, x)?;
    let powers = w.abs_pow(x, p)?;
    let sum = if spec.kernel_shape.len() > PLANAR {
        let windows = windows(w, x, &spec)?;
        sum_pool(w, powers, &windows)?
    } else {
        let pool = SumPool { pool_spec: spec, count_include_pad: true, normalize: false };
        w.wire(pool, &[powers])?
    };
    Ok(tvec!(Some(w.root(sum, p)?)))
}

fn average_pool(w: &mut Writer) -> TractResult<Outputs> {
    let x = w.needed(0)?;
    let spec = pool_spec(w, x)?;
    let windows = windows(w, x, &spec)?;
    let mut y = sum_pool(w, x, &windows)?;
    let rank = w.rank(x)?;
    let counts_pads = w.int("count_include_pad").unwrap_or(0) != 0;
    for (axis, window) in windows.iter().enumerate() {
        let shares: Vec<f32> = (0..window.to).map(|at| window.share(at, counts_pads)).collect();
        let mut shape = vec![1; rank];
        shape[axis + 2] = window.to;
        let shares = w.floats(&shape, &shares)?;
        y = w.mul(y, shares)?;
    }
    Ok(tvec!(Some(y)))
}

/// Maxima of maxima: one axis after the other. The indices are not made.
fn max_pool(w: &mut Writer) -> TractResult<Outputs> {
    let mut x = w.needed(0)?;
    let spec = pool_spec(w, x)?;
    for (axis, window) in windows(w, x, &spec)?.iter().enumerate() {
        let mut shape = w.shape(x)?;
        // Taps in the padding pick an element that is never the largest.
        let mut pads = vec![(0, 0); shape.len()];
        pads[axis + 2].1 = 1;
        x = w.pad(x, &pads, BELOW_ALL)?;
        let place = |tap: usize| window.inside(tap).unwrap_or(window.from) as i64;
        let places: Vec<i64> = (0..window.to).flat_map(|at| window.taps(at).map(place)).collect();
        x = w.pick(x, axis + 2, &places)?;
        shape[axis + 2] = window.to;
        let mut split = shape.clone();
        split.insert(axis + 3, window.kernel);
        x = w.reshape(x, &split)?;
        x = w.max(x, &[axis + 3])?;
        x = w.reshape(x, &shape)?;
    }
    Ok(tvec!(Some(x)))
}

/// The windows along one axis.
struct Window {
    from: usize,
    to: usize,
    before: usize,
    after: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
}

impl Window {
    /// The elements of window `at`, counted from the first padding.
    fn taps(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.kernel).map(move |tap| at * self.stride + tap * self.dilation)
    }

    /// The position in the input of a tap, if it is none of the padding.
    fn inside(&self, tap: usize) -> Option<usize> {
        tap.checked_sub(self.before).filter(|at| *at < self.from)
    }

    /// One over the number of elements that window `at` is the mean of.
    fn share(&self, at: usize, counts_pads: bool) -> f32 {
        let end = self.before + self.from + self.after;
        let counts =
            |tap: &usize| if counts_pads { *tap < end } else { self.inside(*tap).is_some() };
        (self.taps(at).filter(counts).count().max(1) as f32).recip()
    }
}

/// The windows along every spatial axis.
fn windows(w: &Writer, x: OutletId, spec: &PoolSpec) -> TractResult<Vec<Window>> {
    let shape = w.shape(x)?;
    let (strides, dilations) = (spec.strides(), spec.dilations());
    let padded = spec.computed_padding(&shape[2..]);
    let found = padded.iter().enumerate().map(|(axis, pad)| Window {
        from: shape[axis + 2],
        to: pad.convoluted,
        before: pad.pad_before,
        after: pad.pad_after,
        kernel: spec.kernel_shape[axis],
        stride: strides[axis],
        dilation: dilations[axis],
    });
    Ok(found.collect())
}

/// The sum over each window, one axis after the other: along each it is a product with a matrix.
fn sum_pool(w: &mut Writer, x: OutletId, windows: &[Window]) -> TractResult<OutletId> {
    let mut x = x;
    for (axis, window) in windows.iter().enumerate() {
        let mut matrix = vec![0f32; window.to * window.from];
        for (at, row) in matrix.chunks_mut(window.from).enumerate() {
            window.taps(at).filter_map(|tap| window.inside(tap)).for_each(|from| row[from] += 1.0);
        }
        let shape = w.shape(x)?;
        let (before, after) =
            (shape[..axis + 2].iter().product(), shape[axis + 3..].iter().product());
        let matrix = w.floats(&[window.to, window.from], &matrix)?;
        let lines = w.reshape(x, &[before, window.from, after])?;
        let sums = w.einsum("bia,oi->boa", &[lines, matrix])?;
        let mut pooled = shape;
        pooled[axis + 2] = window.to;
        x = w.reshape(sums, &pooled)?;
    }
    Ok(x)
}

/// The windows that the attributes of a pool say.
fn pool_spec(w: &Writer, x: OutletId) -> TractResult<PoolSpec> {
    let shape = w.shape(x)?;
    let extents = |name: &str| -> TractResult<Option<TVec<usize>>> {
        let Some(values) = w.ints(name).filter(|values| !values.is_empty()) else {
            return Ok(None);
        };
        ensure!(values.len() % (shape.len() - 2) == 0, "`{name}` has {} numbers", values.len());
        Ok(Some(values.iter().map(|v| usize::try_from(*v)).collect::<Result<_, _>>()?))
    };
    let kernel = extents("kernel_shape")?.context("a pool without `kernel_shape`")?;
    let pads = extents("pads")?.unwrap_or_else(|| tvec!(0; 2 * kernel.len()));
    let (before, after) = pads.split_at(kernel.len());
    let ceil = w.int("ceil_mode").unwrap_or(0) != 0;
    let padding = match w.text("auto_pad").as_deref() {
        Some("SAME_UPPER") => PaddingSpec::SameUpper,
        Some("SAME_LOWER") => PaddingSpec::SameLower,
        Some("VALID") => PaddingSpec::Valid,
        _ => PaddingSpec::ExplicitOnnxPool(before.into(), after.into(), ceil),
    };
    let (strides, dilations) = (extents("strides")?, extents("dilations")?);
    Ok(PoolSpec::new(DataFormat::NCHW, kernel, padding, dilations, strides, shape[1], shape[1]))
}
