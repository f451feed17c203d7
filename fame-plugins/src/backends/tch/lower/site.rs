//! A node while it is lowered, and what comes of it.

use tch::{TchError, Tensor};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;

use super::slots::Slots;
use crate::backends::tch::program::Computation;
use crate::backends::tch::values::Layout;

/// A node's work and what it is fed.
pub(in crate::backends::tch) struct Lowered {
    /// Slots of the inputs.
    pub(in crate::backends::tch) inputs: Vec<usize>,
    /// What to do with them.
    pub(in crate::backends::tch) work: Computation,
}

impl Lowered {
    /// A function of libtorch's on the values in `inputs`.
    pub(super) fn new(
        inputs: Vec<usize>,
        kernel: impl Fn(&[&Tensor]) -> Result<Tensor, TchError> + Send + Sync + 'static,
    ) -> Self {
        Self { inputs, work: Computation::Kernel(Box::new(kernel)) }
    }
}

/// One node to be lowered, as its rule sees it.
pub(super) struct Lower<'b, 'm, 'n> {
    pub(super) slots: &'b mut Slots<'m>,
    pub(super) node: &'n TypedNode,
}

impl<'m, 'n> Lower<'_, 'm, 'n> {
    /// The operator. The rule was chosen by its type, so a mismatch is a bug in the table.
    pub(super) fn op<O: TypedOp>(&self) -> TractResult<&'n O> {
        self.node.op_as::<O>().context("a rule was called for another operator")
    }

    /// The function of one variable.
    pub(super) fn mini<O: ElementWiseMiniOp>(&self) -> TractResult<&'n O> {
        self.op::<ElementWiseOp>()?
            .0
            .downcast_ref::<O>()
            .context("a rule was called for another function")
    }

    pub(super) fn arity(&self) -> usize {
        self.node.inputs.len()
    }

    pub(super) fn input_fact(&self, ix: usize) -> TractResult<&'m TypedFact> {
        self.slots.model.outlet_fact(self.node.inputs[ix])
    }

    pub(super) fn output_fact(&self) -> TractResult<&'m TypedFact> {
        self.slots.model.outlet_fact(self.node.id.into())
    }

    /// The graph's shape of input `ix`, without the batch axis in front.
    pub(super) fn input_shape(&self, ix: usize) -> TractResult<&'m [usize]> {
        self.input_fact(ix)?.shape.as_concrete().context("shapes are concrete")
    }

    /// The graph's shape of the output.
    pub(super) fn output_shape(&self) -> TractResult<&'m [usize]> {
        self.output_fact()?.shape.as_concrete().context("shapes are concrete")
    }

    /// The constant on input `ix`.
    pub(super) fn constant(&self, ix: usize) -> TractResult<Arc<tract_onnx::prelude::Tensor>> {
        self.input_fact(ix)?.konst.clone().with_context(|| format!("input {ix} is not constant"))
    }

    /// The one value of input `ix` if it is a constant of one value.
    pub(super) fn uniform(&self, ix: usize) -> TractResult<Option<f64>> {
        let Some(konst) = &self.input_fact(ix)?.konst else { return Ok(None) };
        if konst.datum_type() == TDim::datum_type() {
            return Ok(None);
        }
        konst.as_uniform().map(|value| value.cast_to_scalar::<f64>()).transpose()
    }

    /// The slot of input `ix`.
    pub(super) fn slot(&mut self, ix: usize) -> TractResult<usize> {
        self.slots.slot_of(self.node.inputs[ix])
    }

    /// 1 if input `ix` has the batch axis in front, else 0: what is added to an axis of the graph.
    pub(super) fn lead(&mut self, ix: usize) -> TractResult<usize> {
        let slot = self.slot(ix)?;
        Ok(usize::from(self.slots.is_batched(slot)))
    }

    /// A constant made while lowering, on the device.
    pub(super) fn upload(
        &mut self,
        constant: &tract_onnx::prelude::Tensor,
        layout: Layout,
    ) -> TractResult<usize> {
        let tensor = self.slots.weights.upload(constant, layout)?;
        Ok(self.slots.constant(tensor))
    }

    /// A kernel on the inputs of these indices.
    pub(super) fn on(
        &mut self,
        inputs: &[usize],
        kernel: impl Fn(&[&Tensor]) -> Result<Tensor, TchError> + Send + Sync + 'static,
    ) -> TractResult<Lowered> {
        let inputs = inputs.iter().map(|&ix| self.slot(ix)).collect::<TractResult<_>>()?;
        Ok(Lowered::new(inputs, kernel))
    }

    /// A kernel on the one input.
    pub(super) fn map(
        &mut self,
        kernel: impl Fn(&Tensor) -> Result<Tensor, TchError> + Send + Sync + 'static,
    ) -> TractResult<Lowered> {
        self.on(&[0], move |t| kernel(t[0]))
    }

    /// A kernel on two inputs.
    pub(super) fn zip(
        &mut self,
        kernel: impl Fn(&Tensor, &Tensor) -> Result<Tensor, TchError> + Send + Sync + 'static,
    ) -> TractResult<Lowered> {
        self.on(&[0, 1], move |t| kernel(t[0], t[1]))
    }
}
