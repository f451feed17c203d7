//! Reductions.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

use super::arithmetic::equality;
use super::rule::Rule;
use super::tape::{Pull, Pulled};
use crate::backends::tract::ops::Spread;

pub(super) const RULES: &[Rule] = &[Rule {
    applies: |op| {
        op.downcast_ref::<Reduce>().is_some_and(|op| {
            matches!(
                op.reducer,
                Reducer::Sum | Reducer::MeanOfSquares | Reducer::Max | Reducer::Min
            )
        })
    },
    pull: reduce,
}];

fn reduce(pull: &mut Pull) -> TractResult<Pulled> {
    let op = pull.op::<Reduce>()?;
    let shape = pull.input_shape(0)?.to_vec();
    let g = pull.cotangent;
    let gradient = match op.reducer {
        Reducer::Sum => pull.wire(Spread { shape: shape.into() }, &[g])?,
        Reducer::MeanOfSquares => {
            let count: usize = op.axes.iter().map(|&axis| shape[axis]).product();
            let (x, factor) = (pull.input(0)?, pull.scalar(2.0 / count as f32, shape.len())?);
            let scaled = pull.wire(math::mul(), &[g, factor])?;
            pull.wire(math::mul(), &[x, scaled])?
        }
        // Ties share the cotangent evenly, as in PyTorch's `amax`.
        _ => {
            let (x, y) = (pull.input(0)?, pull.output()?);
            let mask = equality(pull, x, y)?;
            let count = pull.wire(Reduce::new(op.axes.clone(), Reducer::Sum), &[mask])?;
            let share = pull.wire(math::div(), &[g, count])?;
            pull.wire(math::mul(), &[mask, share])?
        }
    };
    Ok(tvec!(Some(gradient)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::rule_check::{CURVED, KINKED, LINEAR, check};

    #[test]
    fn reductions() {
        for axes in [tvec!(1), tvec!(0, 2)] {
            check(&[2, 3, 4], &LINEAR, |m, x| {
                Ok(m.wire_node("r", Reduce::new(axes.clone(), Reducer::Sum), &[x])?[0])
            });
            check(&[2, 3, 4], &CURVED, |m, x| {
                Ok(m.wire_node("r", Reduce::new(axes.clone(), Reducer::MeanOfSquares), &[x])?[0])
            });
            for reducer in [Reducer::Max, Reducer::Min] {
                check(&[2, 3, 4], &KINKED, |m, x| {
                    Ok(m.wire_node("r", Reduce::new(axes.clone(), reducer), &[x])?[0])
                });
            }
        }
    }
}
