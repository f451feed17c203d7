//! `ConvTranspose` with `output_shape`, which tract gives another shape than the one asked for.
//!
//! Source: ONNX's ConvTranspose. Without padding, axis `i` of the output has `stride · (in − 1) +
//! dilation · (kernel − 1) + 1 + output_padding` elements; what is more than the extent asked for
//! is cut off on both sides, and what is less becomes zeros at the end.

use tract_onnx::model::OnnxOpRegister;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{Deconv, KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::op::{Outputs, composed, tracts};
use super::writer::Writer;

pub(super) fn register(known: &mut OnnxOpRegister) {
    known.insert("ConvTranspose", |ctx, node| {
        if node.attribute.iter().any(|a| a.name == "output_shape" && !a.ints.is_empty()) {
            return composed(ctx, node, &[1, 2], conv_transpose);
        }
        tracts("ConvTranspose", ctx, node)
    });
}

/// One attribute with a number for each spatial axis.
fn per_axis(w: &Writer, name: &str, count: usize, default: usize) -> TractResult<TVec<usize>> {
    let Some(values) = w.ints(name).filter(|values| !values.is_empty()) else {
        return Ok(tvec!(default; count));
    };
    ensure!(values.len() == count, "`{name}` has {} numbers for {count} axes", values.len());
    values.iter().map(|v| Ok(usize::try_from(*v)?)).collect()
}

fn conv_transpose(w: &mut Writer) -> TractResult<Outputs> {
    let (x, kernel) = (w.needed(0)?, w.needed(1)?);
    let (shape, kernel_shape) = (w.shape(x)?, w.shape(kernel)?);
    let axes = shape.len().checked_sub(2).context("ConvTranspose of less than two axes")?;
    let group = w.int("group").map_or(Ok(1), usize::try_from)?.max(1);
    let (strides, dilations) =
        (per_axis(w, "strides", axes, 1)?, per_axis(w, "dilations", axes, 1)?);
    let (extra, wanted) =
        (per_axis(w, "output_padding", axes, 0)?, w.ints("output_shape").unwrap_or_default());
    // The extents of all axes, in older files.
    let wanted = wanted.get(wanted.len().saturating_sub(axes)..).unwrap_or_default().to_vec();
    ensure!(wanted.len() == axes, "`output_shape` has {} numbers for {axes} axes", wanted.len());
    let channels = kernel_shape[1] * group;

    // ONNX's kernels are `[in, out / group, …]`, tract's `[out, in / group, …]`.
    let mut split = vec![group, kernel_shape[0] / group];
    split.extend(&kernel_shape[1..]);
    let kernel = w.reshape(kernel, &split)?;
    let mut order = vec![0, 2, 1];
    order.extend(3..split.len());
    let kernel = w.transpose(kernel, &order)?;
    let mut merged = vec![channels, kernel_shape[0] / group];
    merged.extend(&kernel_shape[2..]);
    let kernel = w.reshape(kernel, &merged)?;
    let zero = w.number(0.0)?;
    let pool_spec = PoolSpec::new(
        DataFormat::NCHW,
        kernel_shape[2..].into(),
        PaddingSpec::Explicit(tvec!(0; axes), tvec!(0; axes)),
        Some(dilations),
        Some(strides),
        kernel_shape[0],
        channels,
    );
    let whole = Deconv::new(pool_spec, KernelFormat::OIHW, tvec!(0; axes), group);
    let mut y = w.wire(whole, &[x, kernel, zero])?;

    let same_upper = w.text("auto_pad").as_deref() == Some("SAME_UPPER");
    let full = w.shape(y)?;
    let mut pads = vec![(0, 0); shape.len()];
    for (i, wanted) in wanted.iter().enumerate() {
        let (wanted, full) = (usize::try_from(*wanted)?, full[i + 2]);
        let surplus = (full + extra[i]).saturating_sub(wanted);
        let begin = if same_upper { surplus / 2 } else { surplus - surplus / 2 };
        let end = (begin + wanted).min(full);
        ensure!(begin <= end, "`output_shape` {wanted} lies outside of the output");
        y = w.slice(y, i + 2, begin, end)?;
        pads[i + 2].1 = wanted - (end - begin);
    }
    y = w.pad(y, &pads, 0.0)?;
    if let Some(bias) = w.input(2) {
        let mut column = vec![1; shape.len()];
        column[1] = channels;
        let bias = w.reshape(bias, &column)?;
        y = w.add(y, bias)?;
    }
    Ok(tvec!(Some(y)))
}
