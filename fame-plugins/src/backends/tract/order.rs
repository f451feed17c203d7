//! Where the channels of a value lie.

use tract_onnx::tract_core::internal::*;

/// The order of a picture's axes. A value of three axes is a picture without `N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Order {
    /// `[N, C, H, W]`, as in an ONNX file.
    First,
    /// `[N, H, W, C]`, as the kernels want it.
    Last,
}

impl Order {
    /// The other one. A value whose channels the model has in this order has them last in the
    /// order that this gives: as it is, or turned.
    pub(super) fn other(self) -> Self {
        match self {
            Self::First => Self::Last,
            Self::Last => Self::First,
        }
    }

    /// The axis of the channels of a value of `rank` axes that the model has in this order.
    pub(super) fn axis(self, rank: usize) -> Option<usize> {
        match self {
            Self::First => matches!(rank, 3 | 4).then(|| rank - 3),
            Self::Last => rank.checked_sub(1),
        }
    }

    /// The move of axes that makes this order of the other, for values of `rank` axes.
    pub(super) fn made_by(self, rank: usize) -> AxisOp {
        match self {
            Self::First => AxisOp::Move(rank - 1, rank - 3),
            Self::Last => AxisOp::Move(rank - 3, rank - 1),
        }
    }

    /// The shape in this order of values whose shape in the other is `shape`.
    pub(super) fn turned(self, shape: &[usize]) -> TVec<usize> {
        let mut shape: TVec<usize> = shape.into();
        let at = shape.len() - 3;
        match self {
            Self::First => shape[at..].rotate_right(1),
            Self::Last => shape[at..].rotate_left(1),
        }
        shape
    }
}
