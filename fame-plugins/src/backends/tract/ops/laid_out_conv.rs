//! A convolution by a kernel of our own, whose weights are laid out once.

use std::cell::RefCell;

use tract_onnx::tract_core::internal::*;

use crate::backends::onnx::tensors::{floats, floats_mut};
use crate::backends::tract::kernels::{Convolution, Epilogue, Geometry, Scratch};

/// A convolution from `[N, C, H, W]` or `[C, H, W]` to the same order of axes. The kernels work on
/// channels that lie side by side, so it turns its input and its output.
#[derive(Clone, Debug)]
pub(in super::super) struct LaidOutConv {
    /// The convolution with its weights.
    pub(in super::super) kernel: Arc<Convolution>,
    /// What it convolves.
    pub(in super::super) geometry: Geometry,
    /// One value for each output channel.
    pub(in super::super) bias: Option<Arc<[f32]>>,
    /// The shape of the result.
    pub(in super::super) shape: TVec<usize>,
}

/// Two are equal where they share their weights.
impl PartialEq for LaidOutConv {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.kernel, &other.kernel) && self.bias == other.bias
    }
}

impl Eq for LaidOutConv {}

/// Memory of one thread, used again by every convolution.
#[derive(Default)]
struct Memory {
    scratch: Scratch,
    input: Vec<f32>,
    output: Vec<f32>,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

impl LaidOutConv {
    /// Convolves the pictures of `input`.
    fn run(&self, input: &[f32], output: &mut [f32]) {
        let lens = self.kernel.lens();
        let rows = input.len() / lens[0];
        let epilogue = Epilogue { bias: self.bias.as_deref(), ..Epilogue::default() };
        MEMORY.with_borrow_mut(|memory| {
            let turned = at_least(&mut memory.input, input.len());
            for (from, to) in input.chunks_exact(lens[0]).zip(turned.chunks_exact_mut(lens[0])) {
                to_channels_last(from, self.geometry.inputs, to);
            }
            let result = at_least(&mut memory.output, output.len());
            self.kernel.run(turned, rows, None, result, &epilogue, &mut memory.scratch);
            for (from, to) in result.chunks_exact(lens[1]).zip(output.chunks_exact_mut(lens[1])) {
                to_channels_first(from, self.geometry.outputs, to);
            }
        });
    }
}

/// The first `len` values; those of an earlier use may still be in them.
fn at_least(values: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if values.len() < len {
        values.resize(len, 0.0);
    }
    &mut values[..len]
}

/// Turns `[channel][pixel]` into `[pixel][channel]`.
pub(in super::super) fn to_channels_last(from: &[f32], channels: usize, to: &mut [f32]) {
    turn(from, [channels, from.len() / channels], to);
}

/// Turns `[pixel][channel]` into `[channel][pixel]`.
pub(in super::super) fn to_channels_first(from: &[f32], channels: usize, to: &mut [f32]) {
    turn(from, [from.len() / channels, channels], to);
}

/// Transposes a matrix, square by square: the lines of one square stay in the first cache.
fn turn(from: &[f32], [rows, columns]: [usize; 2], to: &mut [f32]) {
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

impl Op for LaidOutConv {
    fn name(&self) -> StaticName {
        "LaidOutConv".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(vec![format!("{:?} of {:?}", self.kernel.algorithm(), self.geometry)])
    }

    op_as_typed_op!();
}

impl EvalOp for LaidOutConv {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let mut output = Tensor::zero::<f32>(&self.shape)?;
        let (from, to) = (floats(&input)?, floats_mut(&mut output)?);
        let [input_len, output_len] = self.kernel.lens();
        ensure!(from.len() / input_len == to.len() / output_len, "rows were added or dropped");
        self.run(from, to);
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for LaidOutConv {
    fn output_facts(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(&self.shape)))
    }

    as_op!();
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
}
