//! The table of lowering rules.

use tract_onnx::tract_core::internal::*;

use super::rule::Rule;
use super::site::{Lower, Lowered};
use super::slots::Slots;
use super::{
    arithmetic, conv, einsum, elementwise, host, logic, norm, pool, quantize, reduce, resample,
    shape,
};
use crate::backends::onnx::host_op::HostOp;

/// Every family's rules. The first that applies is taken.
const FAMILIES: &[&[Rule]] = &[
    arithmetic::RULES,
    conv::RULES,
    einsum::RULES,
    elementwise::RULES,
    host::RULES,
    logic::RULES,
    norm::RULES,
    pool::RULES,
    quantize::RULES,
    reduce::RULES,
    resample::RULES,
    shape::RULES,
];

/// The rule for `op`, if there is one.
fn rule_for(op: &dyn TypedOp) -> Option<&'static Rule> {
    FAMILIES.iter().flat_map(|rules| rules.iter()).find(|rule| (rule.applies)(op))
}

/// Lowers `node`; `None` if no rule is for its operator.
pub(in crate::backends::tch) fn lower(
    slots: &mut Slots<'_>,
    node: &TypedNode,
) -> TractResult<Option<Lowered>> {
    rule_for(node.op.as_ref()).map(|rule| (rule.lower)(&mut Lower { slots, node })).transpose()
}

/// Whether a gradient goes through `op`: libtorch differentiates all that can be lowered, but for
/// a third party's operator that comes without its pull-back.
pub(in crate::backends::tch) fn has_gradient(op: &dyn TypedOp) -> bool {
    let is_forward_only = op.downcast_ref::<HostOp>().is_some_and(|op| !op.0.is_differentiable());
    rule_for(op).is_some() && !is_forward_only
}
