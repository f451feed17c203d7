//! The gradient of root-mean-square normalisation.

use tract_onnx::tract_core::internal::*;

use crate::backends::onnx::tensors::{around, fact_like, floats, floats_mut};

/// Inputs: the cotangent and `x`. With `r = 1 / sqrt(mean(x²) + eps)` the gradient is
/// `r · (g − x · r² · mean(g · x))`. In place.
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
        let (mut root, mut pull) = (vec![0f32; inner], vec![0f32; inner]);
        let count = extent as f32;
        // Whole rows of `inner` at a time: the axis may be an outer one, and walking along it would
        // miss the cache at every step.
        for (g, x) in
            g.chunks_exact_mut(extent * inner).zip(x.chunks_exact(extent * inner)).take(outer)
        {
            root.fill(0.0);
            pull.fill(0.0);
            for (g, x) in g.chunks_exact(inner).zip(x.chunks_exact(inner)) {
                for ((root, pull), (g, x)) in root.iter_mut().zip(&mut pull).zip(g.iter().zip(x)) {
                    *root += x * x;
                    *pull += x * g;
                }
            }
            for (root, pull) in root.iter_mut().zip(&mut pull) {
                *root = (*root / count + eps).sqrt().recip();
                *pull *= *root * *root / count;
            }
            for (g, x) in g.chunks_exact_mut(inner).zip(x.chunks_exact(inner)) {
                for ((root, pull), (g, x)) in root.iter().zip(&pull).zip(g.iter_mut().zip(x)) {
                    *g = root * (*g - x * pull);
                }
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
