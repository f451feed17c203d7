//! Operators of third parties, whose vector–Jacobian product is computed on host tensors.

use tract_onnx::tract_core::internal::*;

use super::rule::Rule;
use super::tape::{Pull, Pulled};
use crate::backends::onnx::host_op::{HostOp, HostPullBack};

pub(super) const RULES: &[Rule] = &[Rule {
    applies: |op| op.downcast_ref::<HostOp>().is_some_and(|op| op.0.is_differentiable()),
    pull: host,
}];

fn host(pull: &mut Pull) -> TractResult<Pulled> {
    let operator = pull.op::<HostOp>()?.0.clone();
    let wanted: Vec<usize> = (0..pull.arity()).filter(|&ix| pull.needs(ix)).collect();
    let mut inputs = vec![pull.cotangent, pull.output()?];
    for ix in 0..pull.arity() {
        inputs.push(pull.input(ix)?);
    }
    let gradients = pull.wire_all(HostPullBack { operator, wanted: wanted.clone() }, &inputs)?;
    let mut pulled: Pulled = tvec!(None; pull.arity());
    for (ix, gradient) in wanted.into_iter().zip(gradients) {
        pulled[ix] = Some(gradient);
    }
    Ok(pulled)
}
