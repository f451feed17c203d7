//! The gradient of layer normalisation, and of normalisation by the root mean square.

use fame_kernels::Level;
use tract_onnx::tract_core::internal::*;

use super::NormAxis;
use crate::backends::onnx::tensors::{fact_like, floats, floats_mut};

/// Inputs: the cotangent and `x`. With `x̂` the normalised values and `h` the cotangent times the
/// factors, the gradient is `(h − mean(h) − x̂ · mean(h · x̂)) / √(variance + eps)`. In place.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct NormGrad {
    /// What is normalised.
    pub(in super::super) over: NormAxis,
    /// What the normalised values were multiplied with, one for each along the axis.
    pub(in super::super) scale: Option<Arc<[f32]>>,
}

impl Eq for NormGrad {}

impl Op for NormGrad {
    fn name(&self) -> StaticName {
        "NormGrad".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(vec![format!("{:?}, scaled: {}", self.over, self.scale.is_some())])
    }

    op_as_typed_op!();
}

impl EvalOp for NormGrad {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (cotangent, x) = args_2!(inputs);
        let mut gradient = cotangent.into_tensor();
        if let Some(kernel) = self.over.kernel(x.shape())? {
            let scale = self.scale.as_deref();
            kernel.pull(Level::best(), floats_mut(&mut gradient)?, floats(&x)?, scale);
        }
        Ok(tvec!(gradient.into_tvalue()))
    }
}

impl TypedOp for NormGrad {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [g, x] = inputs else { bail!("{} inputs of {self:?}", inputs.len()) };
        ensure!(g.shape == x.shape && self.over.axis < x.rank(), "{self:?}: {g:?} against {x:?}");
        let extent = x.shape[self.over.axis].to_usize()?;
        let fits = self.scale.as_ref().is_none_or(|scale| scale.len() == extent);
        ensure!(fits, "{self:?} of {x:?}");
        Ok(fact_like(g))
    }

    fn change_axes(
        &self,
        model: &TypedModel,
        node: &TypedNode,
        _io: InOut,
        change: &AxisOp,
    ) -> TractResult<Option<AxisChangeConsequence>> {
        let Some(over) = self.over.changed(change) else { return Ok(None) };
        let op = Box::new(Self { over, ..self.clone() });
        Ok(Some(AxisChangeConsequence::new(model, node, Some(op), change)))
    }

    as_op!();
}
