//! Operators that only move values: their gradient moves them back.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::{
    Gather, MultiBroadcastTo, Pad, PadMode, Slice, TypedConcat,
};

use super::rule::Rule;
use super::tape::{Pull, Pulled};
use crate::backends::onnx::slice::Pick;
use crate::backends::tract::ops::{GatherGrad, Interleave, PickGrad};

pub(super) const RULES: &[Rule] = &[
    Rule::operator::<AxisOp>(axis_op),
    Rule::operator::<MultiBroadcastTo>(broadcast),
    Rule::operator::<Slice>(slice),
    Rule {
        applies: |op| {
            op.downcast_ref::<Pad>().is_some_and(|op| matches!(op.mode, PadMode::Constant(_)))
        },
        pull: pad,
    },
    Rule::operator::<TypedConcat>(concat),
    Rule::operator::<Downsample>(downsample),
    Rule::operator::<Gather>(gather),
    Rule::operator::<Pick>(pick),
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

fn pick(pull: &mut Pull) -> TractResult<Pulled> {
    let pick = pull.op::<Pick>()?.clone();
    let (g, extent) = (pull.cotangent, pull.input_shape(0)?[pick.axis]);
    Ok(tvec!(Some(pull.wire(PickGrad { pick, extent }, &[g])?)))
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

#[cfg(test)]
mod tests {
    use tract_onnx::tract_core::ops::math;

    use super::*;
    use crate::backends::rule_check::{LINEAR, check, tensor};

    #[test]
    fn movements() {
        let shape = &[2, 3, 4];
        let reshape =
            AxisOp::Reshape(1, tvec!(3.to_dim(), 4.to_dim()), tvec!(2.to_dim(), 6.to_dim()));
        for op in [AxisOp::Add(1), AxisOp::Move(0, 2), AxisOp::Move(2, 1), reshape] {
            check(shape, &LINEAR, |m, x| Ok(m.wire_node("a", op.clone(), &[x])?[0]));
        }
        check(&[2, 1, 4], &LINEAR, |m, x| Ok(m.wire_node("a", AxisOp::Rm(1), &[x])?[0]));
        check(&[2, 1, 4], &LINEAR, |m, x| {
            Ok(m.wire_node("b", MultiBroadcastTo::new(dims!(2, 3, 4)), &[x])?[0])
        });
        check(shape, &LINEAR, |m, x| Ok(m.wire_node("s", Slice::new(2, 1, 3), &[x])?[0]));
        let pad = Pad::new(vec![(0, 0), (1, 2), (0, 1)], PadMode::default());
        check(shape, &LINEAR, |m, x| Ok(m.wire_node("p", pad.clone(), &[x])?[0]));
        for (stride, modulo) in [(2, 0), (2, 1), (3, 2)] {
            check(shape, &LINEAR, |m, x| {
                Ok(m.wire_node("d", Downsample::new(2, stride, modulo), &[x])?[0])
            });
        }
        for stride in [-1, -2, -3] {
            check(shape, &LINEAR, |m, x| {
                Ok(m.wire_node("d", Downsample::new(2, stride, 0), &[x])?[0])
            });
        }
        for (start, step, count) in [(1, 2, 2), (0, 3, 2), (3, -1, 4), (2, -2, 2), (1, 5, 1)] {
            let pick = Pick { axis: 2, start, step, count };
            check(shape, &LINEAR, |m, x| Ok(m.wire_node("p", pick.clone(), &[x])?[0]));
        }
        check(shape, &LINEAR, |m, x| {
            let k = m.add_const("k", tensor(&[2, 2, 4], 3))?;
            let twice = m.wire_node("twice", math::add(), &[x, x])?[0];
            Ok(m.wire_node("c", TypedConcat::new(1), &[x, k, twice])?[0])
        });
        for indices in [tensor0(1i64), tensor1(&[2i64, 0, 2]), tensor2(&[[1i64, 2], [0, 1]])] {
            check(shape, &LINEAR, |m, x| {
                let indices = m.add_const("indices", indices.clone())?;
                Ok(m.wire_node("g", Gather::new(1), &[x, indices])?[0])
            });
        }
    }
}
