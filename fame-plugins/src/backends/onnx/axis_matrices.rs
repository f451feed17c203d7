//! Operators that are, along every axis by itself, a sparse matrix: enlarging and shrinking,
//! mirrored and repeated borders, tiling.
//!
//! The matrix is *measured*: the operator is applied to the unit matrix along the axis in question.
//! Whatever frame, interpolation or rounding tract implements, engines compute and differentiate
//! exactly that.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::{Pad, PadMode, Tile};
use tract_onnx::tract_core::ops::nn::resize::{NearestUpsample, Resize};
use tract_onnx_opl::resize::{AspectRatio, Resize as OnnxResize};

/// Whether `op` is, along every axis by itself, a matrix.
pub(in crate::backends) fn is_by_axes(op: &dyn TypedOp) -> bool {
    op.is::<Resize>()
        || op.is::<NearestUpsample>()
        || op.is::<Tile>()
        || op
            .downcast_ref::<OnnxResize>()
            .is_some_and(|op| op.keep_aspect_ratio_policy == AspectRatio::Stretch)
        || op.downcast_ref::<Pad>().is_some_and(|op| !matches!(op.mode, PadMode::Constant(_)))
}

/// One entry of a matrix: the input position `from` counts `weight` in the output position `to`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::backends) struct Entry {
    /// Position along the axis of the operator's input.
    pub(in crate::backends) from: usize,
    /// Position along the axis of its output.
    pub(in crate::backends) to: usize,
    /// The entry.
    pub(in crate::backends) weight: f32,
}

/// The matrix of an operator along one axis.
pub(in crate::backends) struct AxisMatrix {
    /// The axis.
    pub(in crate::backends) axis: usize,
    /// Extent of the input along it.
    pub(in crate::backends) from: usize,
    /// Extent of the output along it.
    pub(in crate::backends) to: usize,
    /// The entries that are not zero.
    pub(in crate::backends) entries: Vec<Entry>,
}

/// The matrices of a node for which [`is_by_axes`] holds, along every axis where it does anything.
pub(in crate::backends) fn matrices(
    model: &TypedModel,
    node: &TypedNode,
) -> TractResult<Vec<AxisMatrix>> {
    let site = Site { model, node };
    if let Some(op) = node.op_as::<Resize>() {
        resize(&site, op)
    } else if let Some(op) = node.op_as::<OnnxResize>() {
        onnx_resize(&site, op)
    } else if let Some(op) = node.op_as::<NearestUpsample>() {
        nearest_upsample(&site, op)
    } else if let Some(op) = node.op_as::<Pad>() {
        pad(&site, op)
    } else {
        tile(
            &site,
            node.op_as::<Tile>().context("an operator that is not a matrix along its axes")?,
        )
    }
}

/// A node in its model.
struct Site<'m> {
    model: &'m TypedModel,
    node: &'m TypedNode,
}

impl Site<'_> {
    fn shape(&self, outlet: OutletId) -> TractResult<&[usize]> {
        self.model.outlet_fact(outlet)?.shape.as_concrete().context("shapes are concrete")
    }

    fn input_shape(&self) -> TractResult<&[usize]> {
        self.shape(self.node.inputs[0])
    }

    fn output_shape(&self) -> TractResult<&[usize]> {
        self.shape(self.node.id.into())
    }

    /// The constant on input `ix` if it says something for each of `count` axes.
    fn per_axis(&self, ix: Option<usize>, count: usize) -> TractResult<Option<Arc<Tensor>>> {
        let Some(outlet) = ix.and_then(|ix| self.node.inputs.get(ix)) else { return Ok(None) };
        let konst = self
            .model
            .outlet_fact(*outlet)?
            .konst
            .clone()
            .with_context(|| format!("{outlet:?} is not constant"))?;
        Ok(Some(konst).filter(|konst| konst.len() == count))
    }

    /// Every axis for which `matrix` gives one.
    fn each(
        &self,
        matrix: impl Fn(usize, usize) -> TractResult<Option<(usize, Vec<Entry>)>>,
    ) -> TractResult<Vec<AxisMatrix>> {
        let (from, to) = (self.input_shape()?, self.output_shape()?);
        let mut found = vec![];
        for axis in 0..from.len() {
            if let Some((extent, entries)) = matrix(axis, from[axis])? {
                ensure!(
                    extent == to[axis],
                    "axis {axis} has {} elements in the output, and measured {extent}",
                    to[axis]
                );
                found.push(AxisMatrix { axis, from: from[axis], to: extent, entries });
            }
        }
        Ok(found)
    }
}

/// The matrix of `op`, which works on the second axis of `[extent, extent]` data, less what it adds
/// to zeros.
fn measure(
    op: &dyn TypedOp,
    extent: usize,
    parameters: &[Tensor],
) -> TractResult<(usize, Vec<Entry>)> {
    let apply = |x: Tensor| -> TractResult<Tensor> {
        let inputs = std::iter::once(x)
            .chain(parameters.iter().cloned())
            .map(IntoTValue::into_tvalue)
            .collect();
        Ok(op.eval(&EvalContext::out_of_plan(), inputs)?.remove(0).into_tensor())
    };
    let unit: Vec<f32> =
        (0..extent * extent).map(|k| if k % (extent + 1) == 0 { 1.0 } else { 0.0 }).collect();
    let (of_unit, of_zero) = (
        apply(Tensor::from_shape(&[extent, extent], &unit)?)?,
        apply(Tensor::zero::<f32>(&[extent, extent])?)?,
    );
    let (of_unit, of_zero) =
        (of_unit.to_plain_array_view::<f32>()?, of_zero.to_plain_array_view::<f32>()?);
    ensure!(
        of_unit.ndim() == 2 && of_unit.shape()[0] == extent,
        "the operator works on more than its axis"
    );
    let entries = of_unit.indexed_iter().zip(&of_zero).map(|((at, u), z)| Entry {
        from: at[0],
        to: at[1],
        weight: u - z,
    });
    Ok((of_unit.shape()[1], entries.filter(|entry| entry.weight != 0.0).collect()))
}

fn resize(site: &Site, op: &Resize) -> TractResult<Vec<AxisMatrix>> {
    site.each(|axis, extent| {
        let rank = site.input_shape()?.len();
        let target = site.output_shape()?[axis];
        let mut alone =
            Resize { optional_scales_input: None, optional_sizes_input: Some(1), ..op.clone() };
        let parameter = if let Some(scales) = site.per_axis(op.optional_scales_input, rank)? {
            let scale = scales
                .cast_to::<f32>()?
                .to_plain_array_view::<f32>()?
                .as_slice()
                .context("contiguous")?[axis];
            (alone.optional_scales_input, alone.optional_sizes_input) = (Some(1), None);
            tensor1(&[1.0, scale])
        } else {
            tensor1(&[extent as i64, target as i64])
        };
        let same = target == extent;
        let (to, entries) = measure(&alone, extent, &[parameter])?;
        Ok(Some((to, entries)).filter(|(_, entries)| !(same && is_unit(entries, extent))))
    })
}

fn onnx_resize(site: &Site, op: &OnnxResize) -> TractResult<Vec<AxisMatrix>> {
    let axes = op.resized_axes(site.input_shape()?.len())?;
    site.each(|axis, extent| {
        let Some(place) = axes.iter().position(|a| *a == axis) else { return Ok(None) };
        let target = site.output_shape()?[axis];
        let pick = |values: &Tensor, at: &[usize]| -> TractResult<Tensor> {
            let values = values.cast_to::<f32>()?;
            let view = values.to_plain_array_view::<f32>()?;
            Ok(tensor1(&at.iter().map(|&at| view[[at]]).collect::<Vec<_>>()))
        };
        let mut alone = OnnxResize { axes: Some(vec![1]), optional_roi_input: None, ..op.clone() };
        let mut parameters = vec![];
        if let Some(scales) = site.per_axis(op.optional_scales_input, axes.len())? {
            parameters.push(pick(&scales, &[place])?);
            (alone.optional_scales_input, alone.optional_sizes_input) = (Some(1), None);
        } else {
            parameters.push(tensor1(&[target as i64]));
            (alone.optional_scales_input, alone.optional_sizes_input) = (None, Some(1));
        }
        if let Some(roi) = site.per_axis(op.optional_roi_input, 2 * axes.len())? {
            parameters.push(pick(&roi, &[place, place + axes.len()])?);
            alone.optional_roi_input = Some(2);
        }
        let (to, entries) = measure(&alone, extent, &parameters)?;
        Ok(Some((to, entries))
            .filter(|(_, entries)| !(target == extent && is_unit(entries, extent))))
    })
}

fn is_unit(entries: &[Entry], extent: usize) -> bool {
    entries.len() == extent
        && entries.iter().all(|entry| entry.from == entry.to && entry.weight == 1.0)
}

fn nearest_upsample(site: &Site, op: &NearestUpsample) -> TractResult<Vec<AxisMatrix>> {
    site.each(|axis, extent| {
        let scale = op.scales[axis];
        let entries =
            (0..extent * scale).map(|to| Entry { from: to / scale, to, weight: 1.0 }).collect();
        Ok((scale > 1).then_some((extent * scale, entries)))
    })
}

fn pad(site: &Site, op: &Pad) -> TractResult<Vec<AxisMatrix>> {
    site.each(|axis, extent| {
        let alone = Pad::new(vec![(0, 0), op.pads[axis]], op.mode.clone());
        if op.pads[axis] == (0, 0) { Ok(None) } else { measure(&alone, extent, &[]).map(Some) }
    })
}

fn tile(site: &Site, op: &Tile) -> TractResult<Vec<AxisMatrix>> {
    site.each(|axis, extent| {
        let times = op.multipliers[axis].to_usize()?;
        let entries =
            (0..extent * times).map(|to| Entry { from: to % extent, to, weight: 1.0 }).collect();
        Ok((times != 1).then_some((extent * times, entries)))
    })
}
