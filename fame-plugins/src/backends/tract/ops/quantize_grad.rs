//! The straight-through gradient of a quantisation with respect to what is quantised.

use tract_onnx::tract_core::internal::tract_ndarray::Zip;
use tract_onnx::tract_core::internal::*;

use crate::backends::onnx::quantize::Quantize;
use crate::backends::onnx::tensors::fact_like;

/// The cotangent over the scale where a value is inside of the range, else zero. Inputs: the
/// cotangent, the value, the scale and the zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct QuantizeGrad(pub(in super::super) Quantize);

impl Op for QuantizeGrad {
    fn name(&self) -> StaticName {
        "QuantizeGrad".into()
    }

    op_as_typed_op!();
}

impl EvalOp for QuantizeGrad {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (g, x, scale, zero) = args_4!(inputs);
        let mut gradient = g.into_tensor();
        let view =
            |t: &TValue| -> TractResult<_> { Ok(t.to_plain_array_view::<f32>()?.to_owned()) };
        let (x, scale, zero) = (view(&x)?, view(&scale)?, view(&zero)?);
        let mut values = gradient.to_plain_array_view_mut::<f32>()?;
        let shape = values.raw_dim();
        let (Some(scale), Some(zero)) = (scale.broadcast(shape.clone()), zero.broadcast(shape))
        else {
            bail!("a scale of another shape than {:?}", values.shape());
        };
        Zip::from(&mut values).and(&x).and(&scale).and(&zero).for_each(|g, x, scale, zero| {
            *g = if self.0.is_inside(*x, *scale, *zero) { *g / *scale } else { 0.0 };
        });
        Ok(tvec!(gradient.into_tvalue()))
    }
}

impl TypedOp for QuantizeGrad {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(fact_like(inputs[0]))
    }

    as_op!();
}
