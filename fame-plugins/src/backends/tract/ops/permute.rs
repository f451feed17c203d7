//! Axes in another order, in one pass.

use tract_onnx::tract_core::internal::*;

use super::unwritten;
use crate::backends::onnx::tensors::{floats, floats_mut};

/// Puts the axes of a value into another order: what lies side by side before and behind is copied
/// together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Permute {
    /// The argument's axis for each axis of the result.
    pub(in super::super) axes: TVec<usize>,
}

impl Op for Permute {
    fn name(&self) -> StaticName {
        "Permute".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(vec![format!("{:?}", self.axes)])
    }

    op_as_typed_op!();
}

impl EvalOp for Permute {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let from = input.shape();
        let step = |axis: &usize| from[axis + 1..].iter().product::<usize>();
        let (mut shape, mut run) = (vec![], 1);
        // From the last axis on: what follows in both is one run.
        let mut is_run = true;
        for axis in self.axes.iter().rev().filter(|axis| from[**axis] != 1) {
            is_run &= step(axis) == run;
            if is_run {
                run *= from[*axis];
            } else {
                shape.insert(0, [from[*axis], step(axis)]);
            }
        }
        let permuted: TVec<usize> = self.axes.iter().map(|axis| from[*axis]).collect();
        // A permutation writes every value.
        let mut output = unwritten(&permuted)?;
        copy(floats(&input)?, floats_mut(&mut output)?, &shape, run);
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Permute {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape = inputs[0].shape.as_concrete().context("shapes are concrete")?;
        let mut axes = self.axes.clone();
        axes.sort_unstable();
        ensure!(axes.iter().copied().eq(0..shape.len()), "{self:?} of {shape:?}");
        let shape: TVec<usize> = self.axes.iter().map(|axis| shape[*axis]).collect();
        Ok(tvec!(f32::fact(shape)))
    }

    as_op!();
}

/// Writes runs of consecutive values of `from`, whose axes `shape` are extents and steps.
fn copy(from: &[f32], to: &mut [f32], shape: &[[usize; 2]], run: usize) {
    match shape {
        _ if to.is_empty() => {}
        [] => to.copy_from_slice(&from[..run]),
        [[_, step]] if run == 1 => {
            to.iter_mut().zip(from.iter().step_by(*step)).for_each(|(to, from)| *to = *from);
        }
        [[extent, step], inner @ ..] => {
            let part = to.len() / extent;
            for (index, to) in to.chunks_exact_mut(part).enumerate() {
                copy(&from[index * step..], to, inner, run);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_where_tracts_moves_put_them() {
        let shape = [2usize, 3, 1, 4, 5];
        let values: Vec<f32> = (0..120).map(|i| i as f32).collect();
        let x = Tensor::from_shape(&shape, &values).unwrap();
        // All in order, a run of one axis, of two, of none, and an axis of one that moves.
        for axes in
            [[0, 1, 2, 3, 4], [3, 1, 2, 0, 4], [1, 0, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 1, 4, 3]]
        {
            let mut model = TypedModel::default();
            let source = model.add_source("x", f32::fact(shape)).unwrap();
            let op = Permute { axes: axes[..].into() };
            let y = model.wire_node("y", op, &[source]).unwrap();
            model.select_output_outlets(&y).unwrap();
            let plan = SimplePlan::new(model).unwrap();
            let y = plan.run(tvec!(x.clone().into_tvalue())).unwrap().remove(0);
            let want = x.clone().permute_axes(&axes).unwrap();
            assert_eq!(y.shape(), want.shape(), "{axes:?}");
            assert_eq!(floats(&y).unwrap(), floats(&want).unwrap(), "{axes:?}");
        }
    }

    #[test]
    fn an_axis_that_is_named_twice_is_refused() {
        let mut model = TypedModel::default();
        let source = model.add_source("x", f32::fact([2usize, 3])).unwrap();
        assert!(model.wire_node("y", Permute { axes: tvec!(0, 0) }, &[source]).is_err());
    }
}
