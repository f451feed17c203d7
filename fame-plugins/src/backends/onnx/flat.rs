//! Operators whose value is constant almost everywhere: their derivative is zero wherever they have
//! one, so that a gradient ends there.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::math::{Ceil, Floor, Round, RoundHalfToEven, Sign};

/// Whether `op` is such an operator of real numbers. Whatever gives other numbers (comparisons,
/// indices, casts to whole numbers) is one by its type.
pub(super) fn is_flat(op: &dyn TypedOp) -> bool {
    op.downcast_ref::<ElementWiseOp>().is_some_and(|op| {
        op.0.is::<Ceil>()
            || op.0.is::<Floor>()
            || op.0.is::<Round>()
            || op.0.is::<RoundHalfToEven>()
            || op.0.is::<Sign>()
    })
}

/// Whether the first output of `node` is all that a gradient can come from: it is the only one, or
/// the others, such as indices, are no real numbers.
pub(in crate::backends) fn has_one_real_output(node: &TypedNode) -> bool {
    node.outputs.iter().skip(1).all(|output| !output.fact.datum_type.is_float())
}
