//! Reductions over axes, which stay with extent 1.

use tch::Kind;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

use super::rule::Rule;
use super::site::{Lower, Lowered};

pub(super) const RULES: &[Rule] = &[Rule {
    applies: |op| {
        op.downcast_ref::<Reduce>()
            .is_some_and(|op| !matches!(op.reducer, Reducer::ArgMax(true) | Reducer::ArgMin(true)))
    },
    lower: reduce,
}];

fn reduce(l: &mut Lower) -> TractResult<Lowered> {
    let (op, lead) = (l.op::<Reduce>()?, l.lead(0)?);
    let axes: Vec<i64> = op.axes.iter().map(|axis| (axis + lead) as i64).collect();
    match op.reducer {
        Reducer::Sum => l.map(move |x| x.f_sum_dim_intlist(&axes[..], true, None::<Kind>)),
        // Squares are summed in f32 whatever the precision.
        Reducer::MeanOfSquares => l.map(move |x| {
            let kind = x.f_kind()?;
            x.f_to_kind(Kind::Float)?
                .f_square()?
                .f_mean_dim(&axes[..], true, Kind::Float)?
                .f_to_kind(kind)
        }),
        // Ties share the cotangent evenly.
        Reducer::Max => l.map(move |x| x.f_amax(&axes[..], true)),
        Reducer::Min => l.map(move |x| x.f_amin(&axes[..], true)),
        Reducer::Prod => l.map(move |x| {
            axes.iter()
                .try_fold(x.shallow_clone(), |x, &axis| x.f_prod_dim_int(axis, true, None::<Kind>))
        }),
        Reducer::All => l.map(move |x| x.f_all_dims(&axes[..], true)),
        Reducer::Any => l.map(move |x| x.f_any_dims(&axes[..], true)),
        Reducer::ArgMax(_) | Reducer::ArgMin(_) => {
            let &[axis] = &*axes else { bail!("the index of an extremum over several axes") };
            let least = matches!(op.reducer, Reducer::ArgMin(_));
            l.map(move |x| if least { x.f_argmin(axis, true) } else { x.f_argmax(axis, true) })
        }
    }
}
