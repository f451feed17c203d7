//! PReLU in one piece. tract would lower it to a comparison, a product and a selection: three
//! passes instead of one in place.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_hir::internal::{
    Expansion, InferenceOp, InferenceResult, Solver, TensorProxy, expand,
};

use super::tensors::{fact_like, floats, floats_mut};

/// `x` where `x > 0`, else `slope · x`. Inputs: `x`, and a slope of the same rank that broadcasts
/// to it. Works in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::backends) struct PRelu;

/// Calls `f(range, slope)` for every run of consecutive elements of `shape` that share one slope.
pub(in crate::backends) fn each_run(
    shape: &[usize],
    slope: &Tensor,
    mut f: impl FnMut(std::ops::Range<usize>, f32),
) -> TractResult<()> {
    let slopes = floats(slope)?;
    ensure!(
        slope.rank() == shape.len(),
        "a slope of shape {:?} for values of shape {shape:?}",
        slope.shape()
    );
    let varying = slope.shape().iter().rposition(|&d| d != 1).map_or(0, |axis| axis + 1);
    let run: usize = shape[varying..].iter().product();
    let outer = &shape[..varying];
    for i in 0..outer.iter().product() {
        // Row-major coordinates of `i` in `outer`, folded into an index of the slope tensor.
        let (mut rest, mut index, mut stride) = (i, 0, 1);
        for axis in (0..varying).rev() {
            let coordinate = rest % outer[axis];
            rest /= outer[axis];
            if slope.shape()[axis] != 1 {
                index += coordinate * stride;
                stride *= slope.shape()[axis];
            }
        }
        f(i * run..(i + 1) * run, slopes[index]);
    }
    Ok(())
}

/// The slopes, where they vary along the last axis only and there is one for each of its elements.
pub(in crate::backends) fn along_last<'s>(shape: &[usize], slope: &'s Tensor) -> Option<&'s [f32]> {
    let slopes = floats(slope).ok()?;
    (slope.shape().last() == shape.last() && slopes.len() == *shape.last()?).then_some(slopes)
}

impl Op for PRelu {
    fn name(&self) -> StaticName {
        "PRelu".into()
    }

    op_as_typed_op!();
}

impl EvalOp for PRelu {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (x, slope) = args_2!(inputs);
        let mut y = x.into_tensor();
        let shape: TVec<usize> = y.shape().into();
        let values = floats_mut(&mut y)?;
        if let Some(slopes) = along_last(&shape, &slope).filter(|slopes| slopes.len() > 1) {
            for pixel in values.chunks_exact_mut(slopes.len()) {
                let each = pixel.iter_mut().zip(slopes);
                each.for_each(|(v, slope)| *v = if *v > 0.0 { *v } else { slope * *v });
            }
            return Ok(tvec!(y.into_tvalue()));
        }
        each_run(&shape, &slope, |run, slope| {
            values[run].iter_mut().for_each(|v| *v = if *v > 0.0 { *v } else { slope * *v });
        })?;
        Ok(tvec!(y.into_tvalue()))
    }
}

/// Implements `TypedOp` for an operator that works element by element on inputs of one rank.
macro_rules! natural_typed_op {
    ($op:ty) => {
        impl TypedOp for $op {
            fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
                ensure!(inputs.iter().all(|fact| fact.rank() == inputs[0].rank()), "ranks differ");
                Ok(fact_like(inputs[0]))
            }

            fn axes_mapping(
                &self,
                inputs: &[&TypedFact],
                outputs: &[&TypedFact],
            ) -> TractResult<AxesMapping> {
                AxesMapping::natural(inputs, outputs)
            }

            fn change_axes(
                &self,
                model: &TypedModel,
                node: &TypedNode,
                _io: InOut,
                change: &AxisOp,
            ) -> TractResult<Option<AxisChangeConsequence>> {
                // A reshape would tear the broadcast slope apart; moving, adding and removing axes
                // does not.
                if matches!(change, AxisOp::Reshape(..)) {
                    return Ok(None);
                }
                Ok(Some(AxisChangeConsequence::new(model, node, None, change)))
            }

            as_op!();
        }
    };
}

pub(in crate::backends) use natural_typed_op;

natural_typed_op!(PRelu);

/// The importer of an ONNX `PRelu` node.
#[expect(clippy::unnecessary_wraps, reason = "the table of importers asks for results")]
pub(super) fn import(
    _ctx: &ParsingContext,
    _node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    Ok((expand(PReluImport), vec![]))
}

/// PReLU on its way from ONNX: its slope gets the rank of `x`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PReluImport;

impl Expansion for PReluImport {
    fn name(&self) -> StaticName {
        "PRelu".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        s.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        s.equals(&inputs[0].shape, &outputs[0].shape)?;
        Ok(())
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let mut slope = inputs[1];
        let rank = model.outlet_fact(inputs[0])?.rank();
        let channels = model.outlet_fact(inputs[0])?.shape.get(1).cloned();
        let last = model.outlet_fact(inputs[0])?.shape.last().cloned();
        // Old exporters write one slope for each channel without trailing axes.
        let fact = model.outlet_fact(slope)?.clone();
        if fact.rank() == 1
            && rank > 2
            && Some(&fact.shape[0]) == channels.as_ref()
            && channels != last
        {
            for axis in 1..rank - 1 {
                slope = model.wire_node(
                    format!("{prefix}.slope.{axis}"),
                    AxisOp::Add(axis),
                    &[slope],
                )?[0];
            }
        }
        while model.outlet_fact(slope)?.rank() < rank {
            let at = model.outlet_fact(slope)?.rank();
            slope =
                model.wire_node(format!("{prefix}.slope.front.{at}"), AxisOp::Add(0), &[slope])?[0];
        }
        model.wire_node(prefix, PRelu, &[inputs[0], slope])
    }
}
