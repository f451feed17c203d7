//! The form of a gradient rule.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::{BinMiniOp, TypedBinOp};
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;

use super::tape::{Pull, Pulled};

/// How one operator is differentiated.
pub(in crate::backends::tract) struct Rule {
    /// Whether this rule is for `op`.
    pub(super) applies: fn(&dyn TypedOp) -> bool,
    /// Writes the vector-Jacobian product: one wire, or nothing, for each input of the node.
    pub(super) pull: fn(&mut Pull) -> TractResult<Pulled>,
}

impl Rule {
    /// A rule for the operators of type `O`.
    pub(super) const fn operator<O: TypedOp>(pull: fn(&mut Pull) -> TractResult<Pulled>) -> Self {
        Self { applies: |op| op.is::<O>(), pull }
    }

    /// A rule for the binary operator `O`.
    pub(super) const fn binary<O: BinMiniOp>(pull: fn(&mut Pull) -> TractResult<Pulled>) -> Self {
        Self {
            applies: |op| op.downcast_ref::<TypedBinOp>().is_some_and(|op| op.0.is::<O>()),
            pull,
        }
    }

    /// A rule for the function of one variable `O`.
    pub(super) const fn unary<O: ElementWiseMiniOp>(
        pull: fn(&mut Pull) -> TractResult<Pulled>,
    ) -> Self {
        Self {
            applies: |op| op.downcast_ref::<ElementWiseOp>().is_some_and(|op| op.0.is::<O>()),
            pull,
        }
    }
}
