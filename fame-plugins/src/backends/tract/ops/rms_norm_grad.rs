//! The gradient of root-mean-square normalisation.

use tract_onnx::tract_core::internal::*;

use super::{around, fact_like, floats, floats_mut};

/// Inputs: the cotangent and `x`. With `r = 1 / sqrt(mean(x²) + eps)` the gradient is `r · (g − x · r² · mean(g · x))`. In place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct RmsNormGrad {
    /// The axis normalised over.
    pub(in super::super) axis: usize,
    /// What keeps the root from zero, a scalar.
    pub(in super::super) eps: Arc<Tensor>,
}

impl Op for RmsNormGrad {
    fn name(&self) -> StaticName {
        "RmsNormGrad".into()
    }

    op_as_typed_op!();
}

impl EvalOp for RmsNormGrad {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (cotangent, x) = args_2!(inputs);
        let eps = self.eps.cast_to_scalar::<f32>()?;
        let mut gradient = cotangent.into_tensor();
        let (outer, extent, inner) = around(x.shape(), self.axis);
        let (g, x) = (floats_mut(&mut gradient)?, floats(&x)?);
        for start in (0..outer).flat_map(|o| (0..inner).map(move |i| o * extent * inner + i)) {
            let along = || (0..extent).map(|k| start + k * inner);
            let squares: f32 = along().map(|at| x[at] * x[at]).sum();
            let products: f32 = along().map(|at| x[at] * g[at]).sum();
            let root = (squares / extent as f32 + eps).sqrt().recip();
            let pull = products / extent as f32 * root * root;
            for at in along() {
                g[at] = root * (g[at] - x[at] * pull);
            }
        }
        Ok(tvec!(gradient.into_tvalue()))
    }
}

impl TypedOp for RmsNormGrad {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(fact_like(inputs[0]))
    }

    as_op!();
}
