//! From one node of the graph to one kernel of libtorch.
//!
//! A value that depends on the input has the batch axis in front of the graph's own axes; constants
//! have not. So axis `k` of the graph is axis `k + 1` of a batched tensor, and broadcasting, which
//! libtorch aligns at the last axis, needs no care.
//!
//! **A new operator** is one function `fn(&mut Lower) -> TractResult<Lowered>` in the file of its
//! family, and one line in that file's `RULES`.

mod arithmetic;
mod conv;
mod einsum;
mod elementwise;
mod logic;
mod norm;
mod pool;
mod reduce;
mod resample;
mod shape;

use tch::{TchError, Tensor};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::{BinMiniOp, TypedBinOp};
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;

use super::program::Builder;
use super::values::Layout;

/// What a node does to tensors.
pub(super) type Kernel = Box<dyn Fn(&[&Tensor]) -> Result<Tensor, TchError> + Send + Sync>;

/// A node's kernel and what it is fed.
pub(super) struct Lowered {
    /// Slots of the inputs.
    pub(super) inputs: Vec<usize>,
    /// What to do with them.
    pub(super) kernel: Kernel,
    /// A ReLU to be treated by the guided rule.
    pub(super) guided: bool,
}

/// How one operator is lowered.
pub(super) struct Rule {
    applies: fn(&dyn TypedOp) -> bool,
    lower: fn(&mut Lower) -> TractResult<Lowered>,
}

impl Rule {
    /// A rule for the operators of type `O`.
    const fn of<O: TypedOp>(lower: fn(&mut Lower) -> TractResult<Lowered>) -> Self {
        Self { applies: |op| op.is::<O>(), lower }
    }

    /// A rule for the binary operator `O`.
    const fn binary<O: BinMiniOp>(lower: fn(&mut Lower) -> TractResult<Lowered>) -> Self {
        Self {
            applies: |op| op.downcast_ref::<TypedBinOp>().is_some_and(|op| op.0.is::<O>()),
            lower,
        }
    }

    /// A rule for the function of one variable `O`.
    const fn unary<O: ElementWiseMiniOp>(lower: fn(&mut Lower) -> TractResult<Lowered>) -> Self {
        Self {
            applies: |op| op.downcast_ref::<ElementWiseOp>().is_some_and(|op| op.0.is::<O>()),
            lower,
        }
    }
}

/// Every family's rules. The first that applies is taken.
const FAMILIES: &[&[Rule]] = &[
    arithmetic::RULES,
    conv::RULES,
    einsum::RULES,
    elementwise::RULES,
    logic::RULES,
    norm::RULES,
    pool::RULES,
    reduce::RULES,
    resample::RULES,
    shape::RULES,
];

/// The rule for `op`, if there is one.
pub(super) fn rule_for(op: &dyn TypedOp) -> Option<&'static Rule> {
    FAMILIES.iter().flat_map(|rules| rules.iter()).find(|rule| (rule.applies)(op))
}

/// Lowers `node`; `None` if no rule is for its operator.
pub(super) fn lower(builder: &mut Builder<'_>, node: &TypedNode) -> TractResult<Option<Lowered>> {
    rule_for(node.op.as_ref()).map(|rule| (rule.lower)(&mut Lower { builder, node })).transpose()
}

/// One node to be lowered, as its rule sees it.
pub(super) struct Lower<'b, 'm, 'n> {
    builder: &'b mut Builder<'m>,
    node: &'n TypedNode,
}

impl<'m, 'n> Lower<'_, 'm, 'n> {
    /// The operator. The rule was chosen by its type, so a mismatch is a bug in the table.
    fn op<O: TypedOp>(&self) -> TractResult<&'n O> {
        self.node.op_as::<O>().context("a rule was called for another operator")
    }

    /// The function of one variable.
    fn mini<O: ElementWiseMiniOp>(&self) -> TractResult<&'n O> {
        self.op::<ElementWiseOp>()?
            .0
            .downcast_ref::<O>()
            .context("a rule was called for another function")
    }

    fn arity(&self) -> usize {
        self.node.inputs.len()
    }

    fn input_fact(&self, ix: usize) -> TractResult<&'m TypedFact> {
        self.builder.model.outlet_fact(self.node.inputs[ix])
    }

    fn output_fact(&self) -> TractResult<&'m TypedFact> {
        self.builder.model.outlet_fact(self.node.id.into())
    }

    /// The graph's shape of input `ix`, without the batch axis in front.
    fn input_shape(&self, ix: usize) -> TractResult<&'m [usize]> {
        self.input_fact(ix)?.shape.as_concrete().context("shapes are concrete")
    }

    /// The graph's shape of the output.
    fn output_shape(&self) -> TractResult<&'m [usize]> {
        self.output_fact()?.shape.as_concrete().context("shapes are concrete")
    }

    /// The constant on input `ix`.
    fn constant(&self, ix: usize) -> TractResult<Arc<tract_onnx::prelude::Tensor>> {
        self.input_fact(ix)?.konst.clone().with_context(|| format!("input {ix} is not constant"))
    }

    /// The one value of input `ix` if it is a constant of one value.
    fn uniform(&self, ix: usize) -> TractResult<Option<f64>> {
        let Some(konst) = &self.input_fact(ix)?.konst else { return Ok(None) };
        if konst.datum_type() == TDim::datum_type() {
            return Ok(None);
        }
        konst.as_uniform().map(|value| value.cast_to_scalar::<f64>()).transpose()
    }

    /// The slot of input `ix`.
    fn slot(&mut self, ix: usize) -> TractResult<usize> {
        self.builder.slot_of(self.node.inputs[ix])
    }

    /// 1 if input `ix` has the batch axis in front, else 0: what is added to an axis of the graph.
    fn lead(&mut self, ix: usize) -> TractResult<usize> {
        let slot = self.slot(ix)?;
        Ok(usize::from(self.builder.is_batched(slot)))
    }

    /// A constant made while lowering, on the device.
    fn upload(
        &mut self,
        constant: &tract_onnx::prelude::Tensor,
        layout: Layout,
    ) -> TractResult<usize> {
        let tensor = self.builder.weights.upload(constant, layout)?;
        Ok(self.builder.constant(tensor))
    }

    /// A kernel on the inputs of these indices.
    fn on(
        &mut self,
        inputs: &[usize],
        kernel: impl Fn(&[&Tensor]) -> Result<Tensor, TchError> + Send + Sync + 'static,
    ) -> TractResult<Lowered> {
        let inputs = inputs.iter().map(|&ix| self.slot(ix)).collect::<TractResult<_>>()?;
        Ok(Lowered { inputs, kernel: Box::new(kernel), guided: false })
    }

    /// A kernel on the one input.
    fn map(
        &mut self,
        kernel: impl Fn(&Tensor) -> Result<Tensor, TchError> + Send + Sync + 'static,
    ) -> TractResult<Lowered> {
        self.on(&[0], move |t| kernel(t[0]))
    }

    /// A kernel on two inputs.
    fn zip(
        &mut self,
        kernel: impl Fn(&Tensor, &Tensor) -> Result<Tensor, TchError> + Send + Sync + 'static,
    ) -> TractResult<Lowered> {
        self.on(&[0, 1], move |t| kernel(t[0], t[1]))
    }
}
