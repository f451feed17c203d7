//! Quantisation whose scale and zero are those of the values themselves.

use tract_onnx::model::OnnxOpRegister;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

use super::op::{Outputs, composed};
use super::writer::Writer;
use crate::backends::onnx::quantize::{Quantize, Range};

pub(super) fn register(known: &mut OnnxOpRegister) {
    known.insert("DynamicQuantizeLinear", |ctx, node| composed(ctx, node, &[], quantize));
}

/// Source: ONNX's DynamicQuantizeLinear. The range always holds zero.
fn quantize(w: &mut Writer) -> TractResult<Outputs> {
    let x = w.needed(0)?;
    let axes: TVec<usize> = (0..w.rank(x)?).collect();
    let most = Range::U8.high;
    let max = w.max(x, &axes)?;
    let max = w.at_least(max, 0.0)?;
    let min = w.wire(Reduce::new(axes, Reducer::Min), &[x])?;
    let min = w.at_most(min, 0.0)?;
    let (width, most_number) = (w.sub(max, min)?, w.number(most)?);
    let share = w.div(width, most_number)?;
    // Where all values are zero, any scale does.
    let (none, one) = (w.number(0.0)?, w.number(1.0)?);
    let is_some = w.less(none, share)?;
    let scale = w.select(is_some, share, one)?;
    let below = w.wire(math::neg(), &[min])?;
    let steps = w.div(below, scale)?;
    let whole = w.wire(math::round_half_to_even(), &[steps])?;
    let whole = w.at_least(whole, 0.0)?;
    let zero = w.at_most(whole, most)?;
    let y = w.wire(Quantize(Range::U8), &[x, scale, zero])?;
    Ok(tvec!(Some(y), Some(w.reshape(scale, &[])?), Some(w.reshape(zero, &[])?)))
}
