//! The tape: the backward model while it is written, and the view of a node that rules write with.

use std::collections::{HashMap, HashSet};

use fame_core::contract::ReluRule;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::MultiBroadcastTo;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

use super::rule::Rule;
use crate::backends::tract::ops::{Pointwise, Slope};

/// The backward model and what it is fed with.
pub(in crate::backends) struct Backward {
    /// Inputs: one for each of `reads`, then one for each of the seeds. Outputs: the gradients, in
    /// the order of the places.
    pub(in crate::backends) model: TypedModel,
    /// Outlets of the forward model whose values the backward model needs, each once.
    pub(in crate::backends) residuals: Vec<OutletId>,
    /// Whose value of which residual each input is. A model that knows no reference reads its own
    /// row's, one after the other.
    pub(in crate::backends) reads: Vec<(Row, usize)>,
}

/// A row of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::backends) enum Row {
    /// The row that is asked about.
    Own,
    /// The one that it is compared with.
    Reference,
}

/// At which values rules see the forward model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Those of one row.
    At(Row),
    /// The means of both rows'.
    Mean,
}

/// The result of a rule: for each input of the node its gradient, or `None` where it has none or
/// none is needed.
pub(super) type Pulled = TVec<Option<OutletId>>;

/// The backward model while it is written.
pub(super) struct Tape<'m> {
    forward: &'m TypedModel,
    model: TypedModel,
    wanted: HashSet<OutletId>,
    residuals: Vec<(Row, OutletId, OutletId)>,
    known: HashMap<(Row, OutletId), OutletId>,
    means: HashMap<OutletId, OutletId>,
    /// What [`Tape::value`] gives.
    view: View,
    count: usize,
    relu: ReluRule,
    kernels: bool,
}

impl<'m> Tape<'m> {
    pub(super) fn new(
        forward: &'m TypedModel,
        wanted: HashSet<OutletId>,
        relu: ReluRule,
        kernels: bool,
    ) -> Self {
        let model = TypedModel { symbols: forward.symbols.clone(), ..TypedModel::default() };
        let (residuals, known, means) = (vec![], HashMap::new(), HashMap::new());
        let view = View::At(Row::Own);
        Self { forward, model, wanted, residuals, known, means, view, count: 0, relu, kernels }
    }

    /// Whether a gradient at `outlet` is of use.
    pub(super) fn is_wanted(&self, outlet: OutletId) -> bool {
        self.wanted.contains(&outlet)
    }

    fn name(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{what}.{}", self.count)
    }

    /// An input of the backward model shaped like `outlet` of the forward model.
    pub(super) fn source(&mut self, what: &str, outlet: OutletId) -> TractResult<OutletId> {
        let fact = self.forward.outlet_fact(outlet)?.without_value();
        let name = self.name(what);
        self.model.add_source(name, fact)
    }

    /// The value of `outlet` of the forward model: a constant, a residual, or the mean of two.
    pub(super) fn value(&mut self, outlet: OutletId) -> TractResult<OutletId> {
        match self.view {
            View::At(row) => self.value_in(row, outlet),
            View::Mean => self.mean(outlet),
        }
    }

    /// The mean of both rows' values of `outlet`.
    fn mean(&mut self, outlet: OutletId) -> TractResult<OutletId> {
        if self.forward.outlet_fact(outlet)?.konst.is_some() {
            return self.value_in(Row::Own, outlet);
        }
        if let Some(&wire) = self.means.get(&outlet) {
            return Ok(wire);
        }
        let own = self.value_in(Row::Own, outlet)?;
        let reference = self.value_in(Row::Reference, outlet)?;
        let sum = self.wire(math::add(), &[own, reference])?;
        let rank = self.fact(sum)?.rank();
        let half = self.konst(tensor0(0.5f32).broadcast_into_rank(rank)?.into_arc_tensor())?;
        let wire = self.wire(math::mul(), &[sum, half])?;
        self.means.insert(outlet, wire);
        Ok(wire)
    }

    /// The value of `outlet` in `row`: a constant, or a residual.
    fn value_in(&mut self, row: Row, outlet: OutletId) -> TractResult<OutletId> {
        let is_constant = self.forward.outlet_fact(outlet)?.konst.is_some();
        let row = if is_constant { Row::Own } else { row };
        if let Some(&wire) = self.known.get(&(row, outlet)) {
            return Ok(wire);
        }
        let wire = if let Some(konst) = self.forward.outlet_fact(outlet)?.konst.clone() {
            self.konst(konst)?
        } else {
            let wire = self.source("residual", outlet)?;
            self.residuals.push((row, outlet, wire));
            wire
        };
        self.known.insert((row, outlet), wire);
        Ok(wire)
    }

    /// A constant that is not shared with any other, so that tract packs it once while optimising.
    /// `add_const` would merge equal constants, and one with several consumers is packed again on
    /// every run.
    pub(super) fn konst(&mut self, value: Arc<Tensor>) -> TractResult<OutletId> {
        let fact = TypedFact::try_from(value.clone())?;
        let name = self.name("constant");
        Ok(self.model.add_node(name, Const::new(value)?, tvec!(fact))?.into())
    }

    /// Adds an operator with one output.
    pub(super) fn wire(
        &mut self,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        Ok(self.wire_all(op, inputs)?[0])
    }

    /// Adds an operator with any number of outputs.
    pub(super) fn wire_all(
        &mut self,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let op = op.into();
        let name = self.name(&op.name());
        self.model.wire_node(name, op, inputs)
    }

    pub(super) fn fact(&self, wire: OutletId) -> TractResult<&TypedFact> {
        self.model.outlet_fact(wire)
    }

    /// Every gradient has the shape of what it is a gradient of: a rule that breaks this is wrong.
    pub(super) fn check(&self, gradient: OutletId, of: OutletId) -> TractResult<()> {
        let (got, want) = (self.fact(gradient)?, self.forward.outlet_fact(of)?);
        ensure!(
            got.shape == want.shape,
            "a gradient of shape {:?} for a value of shape {:?}",
            got.shape,
            want.shape
        );
        Ok(())
    }

    /// Closes the model.
    pub(super) fn finish(
        mut self,
        seeds: &[OutletId],
        gradients: &[OutletId],
    ) -> TractResult<Backward> {
        let inputs: Vec<OutletId> =
            self.residuals.iter().map(|(_, _, wire)| *wire).chain(seeds.iter().copied()).collect();
        self.model.set_input_outlets(&inputs)?;
        self.model.select_output_outlets(gradients)?;
        let (mut residuals, mut reads, mut places) = (vec![], vec![], HashMap::new());
        for (row, outlet, _) in self.residuals {
            let at = *places.entry(outlet).or_insert_with(|| {
                residuals.push(outlet);
                residuals.len() - 1
            });
            reads.push((row, at));
        }
        Ok(Backward { model: self.model, residuals, reads })
    }
}

/// One node to be differentiated, as its rule sees it.
pub(super) struct Pull<'t, 'm, 'n> {
    tape: &'t mut Tape<'m>,
    node: &'n TypedNode,
    /// The derivative with respect to the node's output.
    pub(super) cotangent: OutletId,
    /// A constant that the rule is to see on an input in place of the node's own.
    replaced: Option<(usize, Arc<Tensor>)>,
}

impl<'t, 'm, 'n> Pull<'t, 'm, 'n> {
    pub(super) fn new(tape: &'t mut Tape<'m>, node: &'n TypedNode, cotangent: OutletId) -> Self {
        Self { tape, node, cotangent, replaced: None }
    }

    /// The operator. The rule was chosen by its type, so a mismatch is a bug in the table.
    pub(super) fn op<O: TypedOp>(&self) -> TractResult<&'n O> {
        self.node.op_as::<O>().context("a rule was called for another operator")
    }

    /// How many inputs the node has.
    pub(super) fn arity(&self) -> usize {
        self.node.inputs.len()
    }

    /// Whether input `ix` needs a gradient.
    pub(super) fn needs(&self, ix: usize) -> bool {
        self.tape.is_wanted(self.node.inputs[ix])
    }

    /// What is known of input `ix`.
    pub(super) fn input_fact(&self, ix: usize) -> TractResult<&'m TypedFact> {
        self.tape.forward.outlet_fact(self.node.inputs[ix])
    }

    /// What is known of the output.
    pub(super) fn output_fact(&self) -> TractResult<&'m TypedFact> {
        self.tape.forward.outlet_fact(self.node.id.into())
    }

    /// How gradients are to pass a ReLU.
    pub(super) fn relu(&self) -> ReluRule {
        self.tape.relu
    }

    /// Whether kernels of our own compute what they can.
    pub(super) fn has_kernels(&self) -> bool {
        self.tape.kernels
    }

    /// The concrete shape of input `ix`.
    pub(super) fn input_shape(&self, ix: usize) -> TractResult<&'m [usize]> {
        self.input_fact(ix)?.shape.as_concrete().context("shapes are concrete")
    }

    /// The concrete shape of the output.
    pub(super) fn output_shape(&self) -> TractResult<&'m [usize]> {
        self.output_fact()?.shape.as_concrete().context("shapes are concrete")
    }

    /// The constant on input `ix`.
    pub(super) fn constant(&self, ix: usize) -> TractResult<Arc<Tensor>> {
        if let Some((_, constant)) = self.replaced.as_ref().filter(|(at, _)| *at == ix) {
            return Ok(constant.clone());
        }
        self.input_fact(ix)?.konst.clone().with_context(|| format!("input {ix} is not constant"))
    }

    /// The value of input `ix`.
    pub(super) fn input(&mut self, ix: usize) -> TractResult<OutletId> {
        if let Some((_, constant)) = self.replaced.as_ref().filter(|(at, _)| *at == ix) {
            let constant = constant.clone();
            return self.tape.konst(constant);
        }
        self.tape.value(self.node.inputs[ix])
    }

    /// The value of the output.
    pub(super) fn output(&mut self) -> TractResult<OutletId> {
        self.tape.value(self.node.id.into())
    }

    /// The value of input `ix` in `row`.
    pub(super) fn input_in(&mut self, row: Row, ix: usize) -> TractResult<OutletId> {
        self.tape.value_in(row, self.node.inputs[ix])
    }

    /// The value of the output in `row`.
    pub(super) fn output_in(&mut self, row: Row) -> TractResult<OutletId> {
        self.tape.value_in(row, self.node.id.into())
    }

    /// What `rule` makes of `cotangent` where it sees the forward model at `view`.
    pub(super) fn seen_at(
        &mut self,
        view: View,
        rule: &Rule,
        cotangent: OutletId,
    ) -> TractResult<Pulled> {
        let before = std::mem::replace(&mut self.tape.view, view);
        let tape = &mut *self.tape;
        let pulled = (rule.pull)(&mut Pull { tape, node: self.node, cotangent, replaced: None });
        self.tape.view = before;
        pulled
    }

    /// What `rule` makes of `cotangent`, were the constant on input `ix` another one of its shape.
    pub(super) fn with_constant(
        &mut self,
        rule: &Rule,
        cotangent: OutletId,
        ix: usize,
        constant: Arc<Tensor>,
    ) -> TractResult<Pulled> {
        let replaced = Some((ix, constant));
        (rule.pull)(&mut Pull { tape: &mut *self.tape, node: self.node, cotangent, replaced })
    }

    /// The forward model and node, for rules that look around.
    pub(super) fn surroundings(&self) -> (&'m TypedModel, &'n TypedNode) {
        (self.tape.forward, self.node)
    }

    /// The value of any outlet of the forward model.
    pub(super) fn value(&mut self, outlet: OutletId) -> TractResult<OutletId> {
        self.tape.value(outlet)
    }

    /// Adds an operator with one output.
    pub(super) fn wire(
        &mut self,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        self.tape.wire(op, inputs)
    }

    /// Adds an operator with any number of outputs.
    pub(super) fn wire_all(
        &mut self,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        self.tape.wire_all(op, inputs)
    }

    /// Adds an unshared constant.
    pub(super) fn konst(&mut self, value: impl IntoArcTensor) -> TractResult<OutletId> {
        self.tape.konst(value.into_arc_tensor())
    }

    /// A number as a constant that broadcasts to `rank` axes.
    pub(super) fn scalar(&mut self, value: f32, rank: usize) -> TractResult<OutletId> {
        let value = tensor0(value).broadcast_into_rank(rank)?;
        self.konst(value)
    }

    /// Cotangent times the derivative `slope`, written in `at`.
    pub(super) fn pointwise(
        &mut self,
        name: &'static str,
        slope: Slope,
        parameters: [f32; 2],
        at: OutletId,
    ) -> TractResult<OutletId> {
        let cotangent = self.cotangent;
        self.wire(Pointwise { name, slope, parameters }, &[cotangent, at])
    }

    /// The shape of a wire of the backward model.
    pub(super) fn shape_of(&self, wire: OutletId) -> TractResult<TVec<usize>> {
        Ok(self.tape.fact(wire)?.shape.as_concrete().context("shapes are concrete")?.into())
    }

    /// Broadcasts `wire` to `shape`.
    pub(super) fn broadcast(&mut self, wire: OutletId, shape: &[usize]) -> TractResult<OutletId> {
        if &*self.shape_of(wire)? == shape {
            return Ok(wire);
        }
        let shape: TVec<TDim> = shape.iter().map(ToDim::to_dim).collect();
        self.wire(MultiBroadcastTo::new(shape.into()), &[wire])
    }

    /// Sums `wire` over the axes along which input `ix` was broadcast.
    pub(super) fn unbroadcast(&mut self, wire: OutletId, ix: usize) -> TractResult<OutletId> {
        let target: TVec<usize> = self.input_shape(ix)?.into();
        let mut wire = wire;
        while self.shape_of(wire)?.len() > target.len() {
            wire = self.wire(Reduce::new(tvec!(0), Reducer::Sum), &[wire])?;
            wire = self.wire(AxisOp::Rm(0), &[wire])?;
        }
        let shape = self.shape_of(wire)?;
        let axes: TVec<usize> =
            (0..target.len()).filter(|&axis| target[axis] == 1 && shape[axis] != 1).collect();
        if axes.is_empty() { Ok(wire) } else { self.wire(Reduce::new(axes, Reducer::Sum), &[wire]) }
    }
}
