//! Slices with steps, in an operator of our own.
//!
//! tract writes such a slice as a plain one and a `Downsample`, pulls that up through whatever is
//! in front, and merges it into the stride of a convolution there: where the slice begins at an
//! element that is no multiple of the step, the beginning is lost (and a reshape on the way is an
//! error). A [`Pick`] is pulled nowhere.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::tract_ndarray::{Axis as NdAxis, Slice as NdSlice};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::{Slice, StridedSlice};
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_hir::internal::{
    Expansion, InferenceOp, InferenceResult, InferenceRulesOp, Solver, TensorProxy, expand,
};

/// The elements `start`, `start + step`, … along one axis, `count` of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::backends) struct Pick {
    /// The axis.
    pub(in crate::backends) axis: usize,
    /// The first element.
    pub(in crate::backends) start: usize,
    /// From one element to the next; negative for backwards, never 0.
    pub(in crate::backends) step: isize,
    /// How many elements, at least 1.
    pub(in crate::backends) count: usize,
}

impl Pick {
    /// The slice of `ndarray` that these elements are.
    pub(in crate::backends) fn as_slice(&self) -> NdSlice {
        let reach = (self.count - 1) * self.step.unsigned_abs();
        // Backwards, ndarray begins at the end of the range.
        let first = if self.step > 0 { self.start } else { self.start - reach };
        NdSlice::new(first as isize, Some((first + reach + 1) as isize), self.step)
    }
}

fn picked<T: Datum>(input: &Tensor, pick: &Pick) -> TractResult<Tensor> {
    let view = input.to_plain_array_view::<T>()?;
    Ok(view.slice_axis(NdAxis(pick.axis), pick.as_slice()).to_owned().into_tensor())
}

impl Op for Pick {
    fn name(&self) -> StaticName {
        "Pick".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Pick {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let output = dispatch_datum!(picked(input.datum_type())(&input, self))?;
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Pick {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let extent = inputs[0].shape[self.axis].to_usize()?;
        let reach = (self.count - 1) * self.step.unsigned_abs();
        let fits = if self.step > 0 { self.start + reach < extent } else { reach <= self.start };
        ensure!(fits && self.start < extent, "{self:?} of an axis of {extent}");
        let mut fact = inputs[0].without_value();
        fact.shape.set(self.axis, self.count.to_dim());
        Ok(tvec!(fact))
    }

    as_op!();
}

/// The importer of an ONNX `Slice` from opset 10 on; before, there were no steps.
pub(super) fn import(
    ctx: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    if ctx.onnx_operator_set_version < 10 {
        let known = tract_onnx::onnx().op_register;
        return known.0.get("Slice").context("tract knows no Slice")?(ctx, node);
    }
    let has = |ix: usize| node.input.get(ix).is_some_and(|name| !name.is_empty());
    let slice = StridedSlice {
        begin_mask: 0,
        end_mask: 0,
        shrink_axis_mask: 0,
        optional_axes_input: has(3).then_some(3),
        optional_steps_input: has(4).then_some(if has(3) { 4 } else { 3 }),
    };
    Ok((expand(SliceImport(slice)), vec![]))
}

/// A slice on its way from ONNX.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SliceImport(StridedSlice);

impl SliceImport {
    /// The integers of input `ix`, if they are constant.
    fn integers(model: &TypedModel, input: OutletId) -> TractResult<Option<Vec<i64>>> {
        let Some(konst) = &model.outlet_fact(input)?.konst else { return Ok(None) };
        let values = konst.cast_to::<i64>()?;
        Ok(Some(values.to_plain_array_view::<i64>()?.iter().copied().collect()))
    }

    /// The axes and steps, one of each for every bound.
    fn axes_and_steps(
        &self,
        model: &TypedModel,
        inputs: &[OutletId],
        bounds: usize,
    ) -> TractResult<Option<(Vec<usize>, Vec<i32>)>> {
        let rank = model.outlet_fact(inputs[0])?.rank();
        let given = |ix: Option<usize>| ix.map(|ix| Self::integers(model, inputs[ix])).transpose();
        let (Some(axes), Some(steps)) = (
            given(self.0.optional_axes_input)?
                .unwrap_or_else(|| Some((0..bounds as i64).collect())),
            given(self.0.optional_steps_input)?.unwrap_or_else(|| Some(vec![1; bounds])),
        ) else {
            return Ok(None);
        };
        ensure!(axes.len() == bounds && steps.len() == bounds, "{bounds} bounds of other axes");
        let axis = |axis: i64| -> TractResult<usize> {
            let axis = usize::try_from(if axis < 0 { axis + rank as i64 } else { axis })?;
            ensure!(axis < rank, "axis {axis} of {rank}");
            Ok(axis)
        };
        let step = |step: i64| -> TractResult<i32> {
            ensure!(step != 0, "a step of 0");
            // No axis is longer: farther away there is nothing.
            Ok(step.clamp(-i64::from(i32::MAX), i64::from(i32::MAX)) as i32)
        };
        let axes = axes.into_iter().map(axis).collect::<TractResult<_>>()?;
        Ok(Some((axes, steps.into_iter().map(step).collect::<TractResult<_>>()?)))
    }
}

impl Expansion for SliceImport {
    fn name(&self) -> StaticName {
        "Slice".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        InferenceRulesOp::rules(&self.0, s, inputs, outputs)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let (begin, end) = (
            model.outlet_fact(inputs[1])?.konst.clone(),
            model.outlet_fact(inputs[2])?.konst.clone(),
        );
        let bounds = begin.as_ref().zip(end.as_ref());
        let settings = match &bounds {
            Some((begin, _)) => self.axes_and_steps(model, inputs, begin.len())?,
            None => None,
        };
        let (Some((begin, end)), Some((axes, steps))) = (bounds, settings) else {
            // Bounds that are computed: tract knows them later, and may then do as it likes.
            let steps = match self.0.optional_steps_input {
                Some(ix) => Self::integers(model, inputs[ix])?,
                None => Some(vec![]),
            };
            let is_plain = steps.is_some_and(|steps| steps.iter().all(|step| *step == 1));
            ensure!(is_plain, "a slice with steps needs constant bounds");
            return model.wire_node(prefix, self.0.clone(), inputs);
        };
        let mut wire = inputs[0];
        for (ix, &axis) in axes.iter().enumerate() {
            let extent = model.outlet_fact(wire)?.shape[axis].clone();
            let dim = self.0.prepare_one_dim(ix, &extent, begin, end, &steps)?;
            let (begin, end) = (dim.begin.to_i64()?, dim.end.to_i64()?);
            let count = if dim.stride > 0 { end - begin } else { begin - end }.max(0) as usize;
            let count = count.div_ceil(dim.stride.unsigned_abs() as usize);
            let (start, step) = (usize::try_from(begin)?, dim.stride as isize);
            let name = format!("{prefix}.axis-{axis}");
            if step == 1 || count == 0 {
                if extent != count.to_dim() {
                    let slice = Slice::new(axis, start, start + count);
                    wire = model.wire_node(name, slice, &[wire])?[0];
                }
            } else {
                wire = model.wire_node(name, Pick { axis, start, step, count }, &[wire])?[0];
            }
        }
        if wire == inputs[0] {
            return model.wire_node(
                prefix,
                tract_onnx::tract_core::ops::identity::Identity,
                &[wire],
            );
        }
        model.rename_node(wire.node, prefix)?;
        Ok(tvec!(wire))
    }
}

/// Writes the strides of 1×1 convolutions as [`Pick`]s wherever tract would pull its `Downsample`
/// over a slice or a reshape: see the head of this file.
pub(super) fn hold_strides(model: &mut TypedModel) -> TractResult<()> {
    let mut patches = vec![];
    for node in &model.nodes {
        let Some(conv) = node.op_as::<Conv>() else { continue };
        let shape = model.outlet_fact(node.inputs[0])?.shape.to_tvec();
        let h_axis = conv.pool_spec.data_format.shape(&shape)?.h_axis();
        let is_pulled = (0..conv.pool_spec.rank()).any(|k| {
            let stride = conv.pool_spec.stride(k);
            stride > 1
                && conv.pool_spec.kernel_shape[k] == 1
                && meets_movement(model, node.inputs[0], h_axis + k, stride)
        });
        if is_pulled {
            patches.push(held(model, node, conv, h_axis)?);
        }
    }
    patches.into_iter().try_for_each(|patch| patch.apply(model))
}

/// Whether something that a `Downsample` must not be pulled over lies on its way up from `outlet`.
fn meets_movement(model: &TypedModel, outlet: OutletId, axis: usize, stride: usize) -> bool {
    let node = model.node(outlet.node);
    let users: usize = node.outputs.iter().map(|output| output.successors.len()).sum();
    if users != 1 || node.op_is::<Conv>() {
        return false;
    }
    if node.op_is::<AxisOp>() {
        return true;
    }
    let begins_between = node.op_as::<Slice>().is_some_and(|slice| {
        slice.axis == axis && slice.start.to_usize().is_ok_and(|start| start % stride != 0)
    });
    begins_between || node.inputs.iter().any(|input| meets_movement(model, *input, axis, stride))
}

/// The convolution `node` with its 1-wide axes picked in front of it.
fn held(
    model: &TypedModel,
    node: &TypedNode,
    conv: &Conv,
    h_axis: usize,
) -> TractResult<TypedModelPatch> {
    let mut patch = TypedModelPatch::default();
    let mut taps = patch.taps(model, &node.inputs)?;
    let mut conv = conv.clone();
    for k in 0..conv.pool_spec.rank() {
        let (stride, axis) = (conv.pool_spec.stride(k), h_axis + k);
        let extent = patch.outlet_fact(taps[0])?.shape[axis].to_usize()?;
        if stride == 1
            || conv.pool_spec.kernel_shape[k] != 1
            || !conv.pool_spec.padding.valid_dim(k, false)
        {
            continue;
        }
        let pick = Pick { axis, start: 0, step: stride as isize, count: extent.div_ceil(stride) };
        taps[0] = patch.wire_node(format!("{}.pick.{k}", node.name), pick, &[taps[0]])?[0];
        if let Some(strides) = &mut conv.pool_spec.strides {
            strides[k] = 1;
        }
    }
    let output = patch.wire_node(&*node.name, conv, &taps)?[0];
    patch.shunt_outside(model, node.id.into(), output)?;
    Ok(patch)
}
