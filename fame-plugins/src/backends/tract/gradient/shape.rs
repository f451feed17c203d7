//! Operators that only move values: their gradient moves them back.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::{
    Gather, MultiBroadcastTo, Pad, PadMode, Slice, TypedConcat,
};

use super::super::ops::{GatherGrad, Interleave};
use super::{Pull, Pulled, Rule};

pub(super) const RULES: &[Rule] = &[
    Rule::of::<AxisOp>(axis_op),
    Rule::of::<MultiBroadcastTo>(broadcast),
    Rule::of::<Slice>(slice),
    Rule {
        applies: |op| {
            op.downcast_ref::<Pad>().is_some_and(|op| matches!(op.mode, PadMode::Constant(_)))
        },
        pull: pad,
    },
    Rule::of::<TypedConcat>(concat),
    Rule::of::<Downsample>(downsample),
    Rule::of::<Gather>(gather),
];

fn axis_op(pull: &mut Pull) -> TractResult<Pulled> {
    let (g, back) = (pull.cotangent, pull.op::<AxisOp>()?.recip());
    Ok(tvec!(Some(pull.wire(back, &[g])?)))
}

fn broadcast(pull: &mut Pull) -> TractResult<Pulled> {
    let g = pull.cotangent;
    Ok(tvec!(Some(pull.unbroadcast(g, 0)?)))
}

fn slice(pull: &mut Pull) -> TractResult<Pulled> {
    let op = pull.op::<Slice>()?;
    let (start, end) = (op.start.to_usize()?, op.end.to_usize()?);
    let shape = pull.input_shape(0)?;
    let mut pads = vec![(0, 0); shape.len()];
    pads[op.axis] = (start, shape[op.axis] - end);
    let g = pull.cotangent;
    Ok(tvec!(Some(pull.wire(Pad::new(pads, PadMode::default()), &[g])?)))
}

fn pad(pull: &mut Pull) -> TractResult<Pulled> {
    let op = pull.op::<Pad>()?;
    let shape = pull.input_shape(0)?;
    let mut wire = pull.cotangent;
    for (axis, &(before, after)) in op.pads.iter().enumerate() {
        if before + after > 0 {
            wire = pull.wire(Slice::new(axis, before, before + shape[axis]), &[wire])?;
        }
    }
    Ok(tvec!(Some(wire)))
}

fn concat(pull: &mut Pull) -> TractResult<Pulled> {
    let axis = pull.op::<TypedConcat>()?.axis;
    let mut pulled = tvec!();
    let mut start = 0;
    for ix in 0..pull.arity() {
        let end = start + pull.input_shape(ix)?[axis];
        let g = pull.cotangent;
        pulled.push(if pull.needs(ix) {
            Some(pull.wire(Slice::new(axis, start, end), &[g])?)
        } else {
            None
        });
        start = end;
    }
    Ok(pulled)
}

fn downsample(pull: &mut Pull) -> TractResult<Pulled> {
    let op = pull.op::<Downsample>()?;
    let stride = op.stride.unsigned_abs();
    let (extent, picked) = (pull.input_shape(0)?[op.axis], pull.output_shape()?[op.axis]);
    let mut g = pull.cotangent;
    let phase = if op.stride > 0 {
        op.modulo
    } else {
        // Backwards from the last element: turned round, it is a forward one that ends there.
        g = pull.wire(Downsample::new(op.axis, -1, 0), &[g])?;
        extent - 1 - (picked - 1) * stride
    };
    ensure!(phase < stride, "a downsampling that skips whole strides has no gradient");
    let mut phases = vec![None; stride];
    phases[phase] = Some(0);
    let op = Interleave {
        axis: op.axis,
        axes: 1,
        stride: [stride, 1],
        before: [0, 0],
        extent: [extent, 1],
        phases,
    };
    Ok(tvec!(Some(pull.wire(op, &[g])?)))
}

fn gather(pull: &mut Pull) -> TractResult<Pulled> {
    let axis = pull.op::<Gather>()?.axis;
    let extent = pull.input_shape(0)?[axis];
    let indices = pull.constant(1)?;
    let picked: Vec<usize> = indices
        .cast_to::<i64>()?
        .to_plain_array_view::<i64>()?
        .iter()
        .map(|&ix| if ix < 0 { (ix + extent as i64) as usize } else { ix as usize })
        .collect();
    // Indices of any rank become one axis, a scalar index an axis of extent 1.
    let mut g = pull.cotangent;
    let from: TVec<TDim> = indices.shape().iter().map(ToDim::to_dim).collect();
    if indices.rank() == 0 {
        g = pull.wire(AxisOp::Add(axis), &[g])?;
    } else if indices.rank() > 1 {
        g = pull.wire(AxisOp::Reshape(axis, from, tvec!(picked.len().to_dim())), &[g])?;
    }
    Ok(tvec!(Some(pull.wire(GatherGrad { axis, indices: picked, extent }, &[g])?), None))
}
