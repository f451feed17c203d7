//! Operators that are a matrix along every axis by itself: enlarging and shrinking, mirrored and
//! repeated borders, tiling.
//!
//! The matrices are those that the tract backend measures for its gradient, so frames and roundings
//! are the same; libtorch's own resizing knows other ones.

use tch::Tensor;
use tract_onnx::tract_core::internal::*;

use super::{Lower, Lowered, Rule};
use crate::backends::tch::values::Layout;
use crate::backends::tract::shared::{is_by_axes, matrices};

pub(super) const RULES: &[Rule] = &[Rule { applies: is_by_axes, lower: resample }];

fn resample(l: &mut Lower) -> TractResult<Lowered> {
    let lead = l.lead(0)?;
    let (mut inputs, mut axes) = (vec![l.slot(0)?], vec![]);
    for matrix in matrices(l.builder.model, l.node)? {
        let mut dense = vec![0f32; matrix.from * matrix.to];
        for tap in &matrix.taps {
            dense[tap.from * matrix.to + tap.to] += tap.weight;
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
    Ok(Lowered { inputs, kernel: Box::new(kernel), guided: false })
}
