//! Operators that are one constant matrix, computed here: grids and columns.

use tract_onnx::model::OnnxOpRegister;
use tract_onnx::tract_core::internal::*;

use super::op::{Outputs, composed};
use super::writer::Writer;

pub(super) fn register(known: &mut OnnxOpRegister) {
    known.insert("AffineGrid", |ctx, node| composed(ctx, node, &[1], affine_grid));
    known.insert("Col2Im", |ctx, node| composed(ctx, node, &[1, 2], col2im));
}

/// The index along each axis of element `at` of a row-major tensor.
fn coordinates(at: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = at;
    let mut found: Vec<usize> = shape
        .iter()
        .rev()
        .map(|extent| {
            let here = rest % extent;
            rest /= extent;
            here
        })
        .collect();
    found.reverse();
    found
}

/// Source: ONNX's AffineGrid: the points of a regular grid in −1 … 1, moved by θ.
fn affine_grid(w: &mut Writer) -> TractResult<Outputs> {
    let theta = w.needed(0)?;
    let size = w.integers_input(1)?.context("AffineGrid without a size")?;
    let size: Vec<usize> = size.iter().map(|n| usize::try_from(*n)).collect::<Result<_, _>>()?;
    ensure!(size.len() == 4 || size.len() == 5, "a grid of size {size:?}");
    let (batch, extents) = (size[0], &size[2..]);
    let (count, axes) = (extents.iter().product::<usize>(), extents.len());
    let corners = w.int("align_corners").unwrap_or(0) != 0;
    let place = |at: usize, extent: usize| {
        let (at, extent) = (at as f64, extent as f64);
        let from_front =
            if corners { 2.0 * at / (extent - 1.0) } else { (2.0 * at + 1.0) / extent };
        (from_front - 1.0) as f32
    };
    let mut points = vec![];
    for at in 0..count {
        let along = coordinates(at, extents);
        // x comes first.
        points.extend(along.iter().zip(extents).rev().map(|(at, extent)| place(*at, *extent)));
        points.push(1.0);
    }
    let points = w.floats(&[count, axes + 1], &points)?;
    let grid = w.einsum("nij,pj->npi", &[theta, points])?;
    let mut shape = vec![batch];
    shape.extend(extents);
    shape.push(axes);
    Ok(tvec!(Some(w.reshape(grid, &shape)?)))
}

/// Source: ONNX's Col2Im: every element of every column is added where a convolution would have
/// read it.
fn col2im(w: &mut Writer) -> TractResult<Outputs> {
    /// Entries of the matrix, 256 MiB of `f32`.
    const MOST: usize = 1 << 26;
    let x = w.needed(0)?;
    let whole = |values: Option<Vec<i64>>| -> TractResult<Vec<usize>> {
        let values = values.context("Col2Im without its shapes")?;
        values.iter().map(|n| Ok(usize::try_from(*n)?)).collect()
    };
    let (image, block) = (whole(w.integers_input(1)?)?, whole(w.integers_input(2)?)?);
    let axes = image.len();
    let each = |name: &str, count: usize, default: usize| -> TractResult<Vec<usize>> {
        let values = w.ints(name).map_or(Ok(vec![default; count]), |values| whole(Some(values)))?;
        ensure!(values.len() == count, "`{name}` has {} numbers", values.len());
        Ok(values)
    };
    let (strides, dilations) = (each("strides", axes, 1)?, each("dilations", axes, 1)?);
    let pads = each("pads", 2 * axes, 0)?;
    let mut columns = vec![];
    for axis in 0..axes {
        let span = dilations[axis] * (block[axis] - 1) + 1;
        let padded = image[axis] + pads[axis] + pads[axis + axes];
        let room = padded.checked_sub(span).context("a block larger than the picture")?;
        columns.push(room / strides[axis] + 1);
    }
    let shape = w.shape(x)?;
    let volume = |extents: &[usize]| extents.iter().product::<usize>();
    let (taps, places, pixels) = (volume(&block), volume(&columns), volume(&image));
    ensure!(
        shape.len() == 3 && shape[2] == places && shape[1] % taps == 0,
        "columns of shape {shape:?} do not fit {places} blocks of {taps} elements"
    );
    ensure!(taps * places * pixels <= MOST, "a picture of shape {image:?} is too large");
    let mut matrix = vec![0f32; taps * places * pixels];
    for tap in 0..taps {
        let offset = coordinates(tap, &block);
        for place in 0..places {
            let at = coordinates(place, &columns);
            let pixel = (0..axes).try_fold(0, |linear, axis| {
                let padded = at[axis] * strides[axis] + offset[axis] * dilations[axis];
                let pixel = padded.checked_sub(pads[axis]).filter(|at| *at < image[axis])?;
                Some(linear * image[axis] + pixel)
            });
            if let Some(pixel) = pixel {
                matrix[(tap * places + place) * pixels + pixel] = 1.0;
            }
        }
    }
    let channels = shape[1] / taps;
    let matrix = w.floats(&[taps * places, pixels], &matrix)?;
    let x = w.reshape(x, &[shape[0], channels, taps * places])?;
    let y = w.einsum("nck,kp->ncp", &[x, matrix])?;
    let mut result = vec![shape[0], channels];
    result.extend(image);
    Ok(tvec!(Some(w.reshape(y, &result)?)))
}
