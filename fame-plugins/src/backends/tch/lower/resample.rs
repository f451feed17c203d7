//! Operators that are a matrix along every axis by itself: enlarging and shrinking, mirrored and
//! repeated borders, tiling.
//!
//! The matrices are measured on tract's operators, so frames and roundings are the same; libtorch's
//! own resizing knows other ones.

use tch::Tensor;
use tract_onnx::tract_core::internal::*;

use super::rule::Rule;
use super::site::{Lower, Lowered};
use crate::backends::onnx::axis_matrices::{is_by_axes, matrices};
use crate::backends::tch::values::Layout;

pub(super) const RULES: &[Rule] = &[Rule { applies: is_by_axes, lower: resample }];

fn resample(l: &mut Lower) -> TractResult<Lowered> {
    let lead = l.lead(0)?;
    let (mut inputs, mut axes) = (vec![l.slot(0)?], vec![]);
    for matrix in matrices(l.slots.model, l.node)? {
        let mut dense = vec![0f32; matrix.from * matrix.to];
        for entry in &matrix.entries {
            dense[entry.from * matrix.to + entry.to] += entry.weight;
        }
        let dense = tract_onnx::prelude::Tensor::from_shape(&[matrix.from, matrix.to], &dense)?;
        inputs.push(l.upload(&dense, Layout::Plain)?);
        axes.push((matrix.axis + lead) as i64);
    }
    let kernel = move |t: &[&Tensor]| {
        let along = |x: Tensor, (axis, matrix): (&i64, &&Tensor)| {
            x.f_movedim_int(*axis, -1)?.f_matmul(matrix)?.f_movedim_int(-1, *axis)
        };
        axes.iter().zip(&t[1..]).try_fold(t[0].shallow_clone(), along)
    };
    Ok(Lowered::new(inputs, kernel))
}
