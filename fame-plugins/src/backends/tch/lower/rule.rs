//! The form of a lowering rule.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::{BinMiniOp, TypedBinOp};
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;

use super::site::{Lower, Lowered};

/// How one operator is lowered.
pub(in crate::backends::tch) struct Rule {
    /// Whether this rule is for `op`.
    pub(super) applies: fn(&dyn TypedOp) -> bool,
    /// Writes the node's work.
    pub(super) lower: fn(&mut Lower) -> TractResult<Lowered>,
}

impl Rule {
    /// A rule for the operators of type `O`.
    pub(super) const fn operator<O: TypedOp>(
        lower: fn(&mut Lower) -> TractResult<Lowered>,
    ) -> Self {
        Self { applies: |op| op.is::<O>(), lower }
    }

    /// A rule for the binary operator `O`.
    pub(super) const fn binary<O: BinMiniOp>(
        lower: fn(&mut Lower) -> TractResult<Lowered>,
    ) -> Self {
        Self {
            applies: |op| op.downcast_ref::<TypedBinOp>().is_some_and(|op| op.0.is::<O>()),
            lower,
        }
    }

    /// A rule for the function of one variable `O`.
    pub(super) const fn unary<O: ElementWiseMiniOp>(
        lower: fn(&mut Lower) -> TractResult<Lowered>,
    ) -> Self {
        Self {
            applies: |op| op.downcast_ref::<ElementWiseOp>().is_some_and(|op| op.0.is::<O>()),
            lower,
        }
    }
}
