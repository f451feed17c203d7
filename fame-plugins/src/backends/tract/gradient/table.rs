//! The table of gradient rules.

use tract_onnx::tract_core::internal::TypedOp;

use super::rule::Rule;
use super::{
    arithmetic, conv, deconv, einsum, elementwise, host, norm, pool, quantize, reduce, resample,
    shape,
};

/// Every family's rules. The first that applies is taken.
const FAMILIES: &[&[Rule]] = &[
    arithmetic::RULES,
    conv::RULES,
    deconv::RULES,
    einsum::RULES,
    elementwise::RULES,
    host::RULES,
    norm::RULES,
    pool::RULES,
    quantize::RULES,
    reduce::RULES,
    resample::RULES,
    shape::RULES,
];

/// The rule for `op`, if there is one.
pub(in crate::backends::tract) fn rule_for(op: &dyn TypedOp) -> Option<&'static Rule> {
    FAMILIES.iter().flat_map(|rules| rules.iter()).find(|rule| (rule.applies)(op))
}
