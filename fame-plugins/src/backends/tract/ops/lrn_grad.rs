//! The gradient of local response normalisation.

use tract_onnx::tract_core::internal::*;

use crate::backends::onnx::tensors::{around, fact_like, floats, floats_mut};

/// Inputs: the cotangent and the normalisation's input, channels on axis 1.
///
/// With `D_c = bias + alpha / size · Σ x²` over the window of channel c and `y = x · D^−beta`, the
/// gradient is `g_c D_c^−beta − 2 alpha beta / size · x_c · Σ g_k x_k D_k^(−beta−1)` over the
/// channels k whose window holds c.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct LrnGrad {
    /// Factor of the mean square.
    pub(in super::super) alpha: f32,
    /// Exponent of the divisor.
    pub(in super::super) beta: f32,
    /// Summand of the divisor.
    pub(in super::super) bias: f32,
    /// Width of the window: `(size − 1) / 2` channels down and `size / 2` up, rounded down.
    pub(in super::super) size: usize,
}

// Parameters come from a file that was checked for NaN.
impl Eq for LrnGrad {}

impl Op for LrnGrad {
    fn name(&self) -> StaticName {
        "LrnGrad".into()
    }

    op_as_typed_op!();
}

impl EvalOp for LrnGrad {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (cotangent, x) = args_2!(inputs);
        let (outer, channels, inner) = around(x.shape(), 1);
        let mut output = Tensor::zero::<f32>(x.shape())?;
        let (g, x, gradient) = (floats(&cotangent)?, floats(&x)?, floats_mut(&mut output)?);
        let (down, up) = ((self.size - 1) / 2, self.size / 2);
        let scale = self.alpha / self.size as f32;
        let mut divisor = vec![0f32; channels];
        for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
            let at = |c: usize| (o * channels + c) * inner + i;
            for (c, d) in divisor.iter_mut().enumerate() {
                let window = c.saturating_sub(down)..(c + up + 1).min(channels);
                *d = self.bias + scale * window.map(|k| x[at(k)] * x[at(k)]).sum::<f32>();
            }
            for c in 0..channels {
                let within = c.saturating_sub(up)..(c + down + 1).min(channels);
                let shared: f32 =
                    within.map(|k| g[at(k)] * x[at(k)] * divisor[k].powf(-self.beta - 1.0)).sum();
                gradient[at(c)] = g[at(c)] * divisor[c].powf(-self.beta)
                    - 2.0 * scale * self.beta * x[at(c)] * shared;
            }
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for LrnGrad {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(fact_like(inputs[1]))
    }

    as_op!();
}
