//! The gradient of PReLU with respect to its input.

use tract_onnx::tract_core::internal::*;

use crate::backends::onnx::prelu::{along_last, each_run, natural_typed_op};
use crate::backends::onnx::tensors::{fact_like, floats, floats_mut};

/// Inputs: the cotangent, a value with the sign of `x` (`x` itself, or the output where no slope is
/// negative), the slope. In place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct PReluGrad;

impl Op for PReluGrad {
    fn name(&self) -> StaticName {
        "PReluGrad".into()
    }

    op_as_typed_op!();
}

impl EvalOp for PReluGrad {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (cotangent, sign, slope) = args_3!(inputs);
        let mut gradient = cotangent.into_tensor();
        let shape: TVec<usize> = gradient.shape().into();
        let (values, signs) = (floats_mut(&mut gradient)?, floats(&sign)?);
        if let Some(slopes) = along_last(&shape, &slope).filter(|slopes| slopes.len() > 1) {
            let pixels = values.chunks_exact_mut(slopes.len());
            for (pixel, signs) in pixels.zip(signs.chunks_exact(slopes.len())) {
                let each = pixel.iter_mut().zip(signs).zip(slopes);
                each.for_each(|((g, s), slope)| *g = if *s > 0.0 { *g } else { slope * *g });
            }
            return Ok(tvec!(gradient.into_tvalue()));
        }
        each_run(&shape, &slope, |run, slope| {
            let signs = &signs[run.clone()];
            values[run]
                .iter_mut()
                .zip(signs)
                .for_each(|(g, s)| *g = if *s > 0.0 { *g } else { slope * *g });
        })?;
        Ok(tvec!(gradient.into_tvalue()))
    }
}

natural_typed_op!(PReluGrad);
