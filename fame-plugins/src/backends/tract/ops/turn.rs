//! Turns values whose channels come first into values whose channels come last, and back.

use tract_onnx::tract_core::internal::*;

use super::unwritten;
use crate::backends::onnx::tensors::{floats, floats_mut};
use crate::backends::tract::order::Order;

/// Moves the axis of the channels: `[N, C, H, W]` and `[N, H, W, C]`, without `N` where the values
/// have three axes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Turn {
    /// Where the channels are to lie.
    pub(in super::super) to: Order,
}

impl Op for Turn {
    fn name(&self) -> StaticName {
        "Turn".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Turn {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let shape: TVec<usize> = self.to.turned(input.shape());
        let [from_channels, to_channels] = [input.shape(), &shape].map(|shape| shape.len() - 3);
        // A transposition writes every value.
        let mut output = unwritten(&shape)?;
        let (from, to) = (floats(&input)?, floats_mut(&mut output)?);
        let row: usize = shape[shape.len() - 3..].iter().product();
        for (from, to) in from.chunks_exact(row.max(1)).zip(to.chunks_exact_mut(row.max(1))) {
            match self.to {
                Order::Last => to_channels_last(from, input.shape()[from_channels], to),
                Order::First => to_channels_first(from, shape[to_channels], to),
            }
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Turn {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape = inputs[0].shape.as_concrete().context("shapes are concrete")?;
        ensure!(matches!(shape.len(), 3 | 4), "{self:?} of {shape:?}");
        Ok(tvec!(f32::fact(self.to.turned(shape))))
    }

    as_op!();
}

/// Turns `[channel][pixel]` into `[pixel][channel]`.
fn to_channels_last(from: &[f32], channels: usize, to: &mut [f32]) {
    transpose(from, [channels, from.len() / channels], to);
}

/// Turns `[pixel][channel]` into `[channel][pixel]`.
fn to_channels_first(from: &[f32], channels: usize, to: &mut [f32]) {
    transpose(from, [from.len() / channels, channels], to);
}

/// Transposes a matrix, square by square: the lines of one square stay in the first cache.
fn transpose(from: &[f32], [rows, columns]: [usize; 2], to: &mut [f32]) {
    /// One cache line.
    const SIDE: usize = 16;
    for top in (0..rows).step_by(SIDE) {
        let height = (rows - top).min(SIDE);
        for left in (0..columns).step_by(SIDE) {
            let width = (columns - left).min(SIDE);
            for column in left..left + width {
                let line = &mut to[column * rows + top..][..height];
                let values = from[top * columns + column..].iter().step_by(columns);
                line.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turning_and_turning_back_gives_the_same_values() {
        // Neither side is a multiple of a square's.
        let (channels, pixels) = (19, 35);
        let values: Vec<f32> = (0..channels * pixels).map(|i| i as f32).collect();
        let (mut last, mut first) = (vec![0.0; values.len()], vec![0.0; values.len()]);
        to_channels_last(&values, channels, &mut last);
        assert_eq!(last[3 * channels + 18].to_bits(), values[18 * pixels + 3].to_bits());
        to_channels_first(&last, channels, &mut first);
        assert_eq!(first, values);
    }

    #[test]
    fn the_rows_of_a_batch_are_turned_one_by_one() {
        let mut model = TypedModel::default();
        let x = model.add_source("x", f32::fact([2usize, 3, 1, 2])).unwrap();
        let y = model.wire_node("y", Turn { to: Order::Last }, &[x]).unwrap()[0];
        model.select_output_outlets(&[y]).unwrap();
        let values: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let x = Tensor::from_shape(&[2, 3, 1, 2], &values).unwrap().into_tvalue();
        let y = SimplePlan::new(model).unwrap().spawn().unwrap().run(tvec!(x)).unwrap().remove(0);
        assert_eq!(y.shape(), [2, 1, 2, 3]);
        assert_eq!(floats(&y).unwrap(), [0., 2., 4., 1., 3., 5., 6., 8., 10., 7., 9., 11.]);
    }
}
