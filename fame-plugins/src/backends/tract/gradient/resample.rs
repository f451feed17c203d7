//! Operators that are, along every axis by itself, a sparse matrix: enlarging and shrinking, mirrored and repeated borders, tiling.
//!
//! The matrix is *measured*: the operator is applied to the unit matrix along the axis in question. Whatever frame, interpolation or
//! rounding tract implements, its gradient is the transpose of exactly that.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::{Pad, PadMode, Tile};
use tract_onnx::tract_core::ops::nn::resize::{NearestUpsample, Resize};
use tract_onnx_opl::resize::{AspectRatio, Resize as OnnxResize};

use super::super::ops::{AxisGrad, Tap};
use super::{Pull, Pulled, Rule};

pub(super) const RULES: &[Rule] = &[
    Rule::of::<Resize>(resize),
    Rule {
        applies: |op| op.downcast_ref::<OnnxResize>().is_some_and(|op| op.keep_aspect_ratio_policy == AspectRatio::Stretch),
        pull: onnx_resize,
    },
    Rule::of::<NearestUpsample>(nearest_upsample),
    Rule { applies: |op| op.downcast_ref::<Pad>().is_some_and(|op| !matches!(op.mode, PadMode::Constant(_))), pull: pad },
    Rule::of::<Tile>(tile),
];

/// The matrix of `op`, which works on the second axis of `[extent, extent]` data, less what it adds to zeros.
fn measure(op: &dyn TypedOp, extent: usize, parameters: &[Tensor]) -> TractResult<(usize, Vec<Tap>)> {
    let apply = |x: Tensor| -> TractResult<Tensor> {
        let inputs = std::iter::once(x).chain(parameters.iter().cloned()).map(IntoTValue::into_tvalue).collect();
        Ok(op.eval(&EvalContext::out_of_plan(), inputs)?.remove(0).into_tensor())
    };
    let unit: Vec<f32> = (0..extent * extent).map(|k| if k % (extent + 1) == 0 { 1.0 } else { 0.0 }).collect();
    let (of_unit, of_zero) = (apply(Tensor::from_shape(&[extent, extent], &unit)?)?, apply(Tensor::zero::<f32>(&[extent, extent])?)?);
    let (of_unit, of_zero) = (of_unit.to_plain_array_view::<f32>()?, of_zero.to_plain_array_view::<f32>()?);
    ensure!(of_unit.ndim() == 2 && of_unit.shape()[0] == extent, "the operator works on more than its axis");
    let taps = of_unit.indexed_iter().zip(&of_zero).map(|((at, u), z)| Tap { from: at[0], to: at[1], weight: u - z });
    Ok((of_unit.shape()[1], taps.filter(|tap| tap.weight != 0.0).collect()))
}

/// Pulls the cotangent back along every axis for which `matrix` gives one.
fn by_axes(pull: &mut Pull, matrix: impl Fn(&Pull, usize, usize) -> TractResult<Option<(usize, Vec<Tap>)>>) -> TractResult<Pulled> {
    let (from, to) = (pull.input_shape(0)?.to_vec(), pull.output_shape()?.to_vec());
    let mut wire = pull.cotangent;
    for axis in 0..from.len() {
        if let Some((extent, taps)) = matrix(pull, axis, from[axis])? {
            ensure!(extent == to[axis], "axis {axis} has {} elements in the output, and measured {extent}", to[axis]);
            wire = pull.wire(AxisGrad { axis, from: from[axis], to: extent, taps }, &[wire])?;
        }
    }
    let mut pulled: Pulled = tvec!(None; pull.arity());
    pulled[0] = Some(wire);
    Ok(pulled)
}

/// The constant on input `ix` if it says something for each of `count` axes.
fn per_axis(pull: &Pull, ix: Option<usize>, count: usize) -> TractResult<Option<Arc<Tensor>>> {
    let Some(ix) = ix.filter(|ix| *ix < pull.arity()) else { return Ok(None) };
    Ok(Some(pull.constant(ix)?).filter(|konst| konst.len() == count))
}

fn resize(pull: &mut Pull) -> TractResult<Pulled> {
    let op = pull.op::<Resize>()?;
    by_axes(pull, |pull, axis, extent| {
        let rank = pull.input_shape(0)?.len();
        let target = pull.output_shape()?[axis];
        let mut alone = Resize { optional_scales_input: None, optional_sizes_input: Some(1), ..op.clone() };
        let parameter = if let Some(scales) = per_axis(pull, op.optional_scales_input, rank)? {
            let scale = scales.cast_to::<f32>()?.to_plain_array_view::<f32>()?.as_slice().context("contiguous")?[axis];
            (alone.optional_scales_input, alone.optional_sizes_input) = (Some(1), None);
            tensor1(&[1.0, scale])
        } else {
            tensor1(&[extent as i64, target as i64])
        };
        let same = target == extent;
        let (to, taps) = measure(&alone, extent, &[parameter])?;
        Ok(Some((to, taps)).filter(|(_, taps)| !(same && is_unit(taps, extent))))
    })
}

fn onnx_resize(pull: &mut Pull) -> TractResult<Pulled> {
    let op = pull.op::<OnnxResize>()?;
    let axes = op.resized_axes(pull.input_shape(0)?.len())?;
    by_axes(pull, |pull, axis, extent| {
        let Some(place) = axes.iter().position(|a| *a == axis) else { return Ok(None) };
        let target = pull.output_shape()?[axis];
        let pick = |values: &Tensor, at: &[usize]| -> TractResult<Tensor> {
            let values = values.cast_to::<f32>()?;
            let view = values.to_plain_array_view::<f32>()?;
            Ok(tensor1(&at.iter().map(|&at| view[[at]]).collect::<Vec<_>>()))
        };
        let mut alone = OnnxResize { axes: Some(vec![1]), optional_roi_input: None, ..op.clone() };
        let mut parameters = vec![];
        if let Some(scales) = per_axis(pull, op.optional_scales_input, axes.len())? {
            parameters.push(pick(&scales, &[place])?);
            (alone.optional_scales_input, alone.optional_sizes_input) = (Some(1), None);
        } else {
            parameters.push(tensor1(&[target as i64]));
            (alone.optional_scales_input, alone.optional_sizes_input) = (None, Some(1));
        }
        if let Some(roi) = per_axis(pull, op.optional_roi_input, 2 * axes.len())? {
            parameters.push(pick(&roi, &[place, place + axes.len()])?);
            alone.optional_roi_input = Some(2);
        }
        let (to, taps) = measure(&alone, extent, &parameters)?;
        Ok(Some((to, taps)).filter(|(_, taps)| !(target == extent && is_unit(taps, extent))))
    })
}

fn is_unit(taps: &[Tap], extent: usize) -> bool {
    taps.len() == extent && taps.iter().all(|tap| tap.from == tap.to && tap.weight == 1.0)
}

fn nearest_upsample(pull: &mut Pull) -> TractResult<Pulled> {
    let op = pull.op::<NearestUpsample>()?;
    by_axes(pull, |_, axis, extent| {
        let scale = op.scales[axis];
        let taps = (0..extent * scale).map(|to| Tap { from: to / scale, to, weight: 1.0 }).collect();
        Ok((scale > 1).then_some((extent * scale, taps)))
    })
}

fn pad(pull: &mut Pull) -> TractResult<Pulled> {
    let op = pull.op::<Pad>()?;
    by_axes(pull, |_, axis, extent| {
        let alone = Pad::new(vec![(0, 0), op.pads[axis]], op.mode.clone());
        if op.pads[axis] == (0, 0) { Ok(None) } else { measure(&alone, extent, &[]).map(Some) }
    })
}

fn tile(pull: &mut Pull) -> TractResult<Pulled> {
    let op = pull.op::<Tile>()?;
    by_axes(pull, |_, axis, extent| {
        let times = op.multipliers[axis].to_usize()?;
        let taps = (0..extent * times).map(|to| Tap { from: to % extent, to, weight: 1.0 }).collect();
        Ok((times != 1).then_some((extent * times, taps)))
    })
}
