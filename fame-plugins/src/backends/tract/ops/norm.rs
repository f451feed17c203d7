//! Layer normalisation, and normalisation by the root mean square, in one pass.

use fame_kernels::{Level, Normalisation};
use tract_onnx::tract_core::internal::*;

use super::unwritten;
use crate::backends::onnx::tensors::{around, fact_like, floats, floats_mut};

/// What is normalised over which axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct NormAxis {
    /// The axis.
    pub(in super::super) axis: usize,
    /// What keeps the root from zero, a scalar.
    pub(in super::super) eps: Arc<Tensor>,
    /// Whether the mean is taken off.
    pub(in super::super) centred: bool,
}

impl NormAxis {
    /// The kernel for values of `shape`; nothing where there are none.
    pub(super) fn kernel(&self, shape: &[usize]) -> TractResult<Option<Normalisation>> {
        let (_, extent, inner) = around(shape, self.axis);
        let (eps, centred) = (self.eps.cast_to_scalar::<f32>()?, self.centred);
        let has_values = shape.iter().all(|&extent| extent > 0);
        Ok(has_values.then_some(Normalisation { extent, inner, eps, centred }))
    }

    /// The same after a move of axes that the normalised one survives.
    pub(super) fn changed(&self, change: &AxisOp) -> Option<Self> {
        Some(Self { axis: change.transform_axis(self.axis)?, ..self.clone() })
    }
}

/// Normalises; then, where there are some, multiplies with a factor and adds a summand for each
/// value along the axis.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Norm {
    /// What is normalised.
    pub(in super::super) over: NormAxis,
    /// Factors and summands.
    pub(in super::super) affine: Option<[Arc<[f32]>; 2]>,
}

impl Eq for Norm {}

impl Op for Norm {
    fn name(&self) -> StaticName {
        "Norm".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(vec![format!("{:?}, affine: {}", self.over, self.affine.is_some())])
    }

    op_as_typed_op!();
}

impl EvalOp for Norm {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let x = args_1!(inputs);
        // The kernel writes every value.
        let mut y = unwritten(x.shape())?;
        if let Some(kernel) = self.over.kernel(x.shape())? {
            let affine = self.affine.as_ref().map(|of| of.each_ref().map(|values| &**values));
            kernel.run(Level::best(), floats(&x)?, affine, floats_mut(&mut y)?);
        }
        Ok(tvec!(y.into_tvalue()))
    }
}

impl TypedOp for Norm {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(self.over.axis < inputs[0].rank(), "{self:?} of {:?}", inputs[0]);
        let extent = inputs[0].shape[self.over.axis].to_usize()?;
        let mut vectors = self.affine.iter().flatten();
        ensure!(vectors.all(|values| values.len() == extent), "{self:?} of {:?}", inputs[0]);
        Ok(fact_like(inputs[0]))
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
