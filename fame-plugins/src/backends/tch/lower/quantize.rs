//! Quantisation, straight-through: the gradient passes rounding and stops where the range ends.

use tract_onnx::tract_core::internal::*;

use super::rule::Rule;
use super::site::{Lower, Lowered};
use crate::backends::onnx::quantize::Quantize;

pub(super) const RULES: &[Rule] = &[Rule::operator::<Quantize>(quantize)];

fn quantize(l: &mut Lower) -> TractResult<Lowered> {
    let range = l.op::<Quantize>()?.0;
    let (low, high) = (f64::from(range.low), f64::from(range.high));
    l.on(&[0, 1, 2], move |t| {
        let steps = t[0].f_div(t[1])?;
        let whole = steps.f_round()?.f_add(t[2])?.f_clamp(low, high)?;
        // What rounds into the range is inside of it.
        let real = steps.f_add(t[2])?.f_clamp(low - 0.5, high + 0.5)?;
        // Its value is zero, exactly; its gradient is that of `real`.
        let through = real.f_sub(&real.f_detach()?)?;
        whole.f_detach()?.f_add(&through)
    })
}
