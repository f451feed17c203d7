//! The graph for one set of taps as a list of kernels.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use fame_core::contract::ReluRule;
use fame_core::{Error, Place, Result, Taps};
use tch::{TchError, Tensor};
use tract_onnx::tract_core::internal::*;

use super::failed;
use super::lower::{Kernel, Lowered, lower};
use super::values::Weights;
use crate::backends::tract::shared::{
    OnnxFile, Skeleton, Wanted, guarded, no_rule, reason, typed_model,
};

/// One node.
pub(super) struct Step {
    /// Its name and operator, for messages.
    node: String,
    inputs: Vec<usize>,
    output: usize,
    kernel: Kernel,
    /// A ReLU that guided backpropagation treats in its own way.
    guided: bool,
    /// Slots whose value nobody needs any more.
    drops: Vec<usize>,
}

/// A compiled set of taps.
pub(super) struct Program {
    steps: Vec<Step>,
    /// How many values there are.
    slots: usize,
    /// Where the inputs of the graph go.
    sources: Vec<usize>,
    /// Constants by slot. The lock is there because tensors may be sent to another thread, but not
    /// shared with it.
    constants: Mutex<Vec<(usize, Tensor)>>,
    /// The tapped layers: name, full shape, slot.
    pub(super) layers: Vec<(String, Vec<usize>, usize)>,
    /// The places: full shape, slot.
    pub(super) places: Vec<(Vec<usize>, usize)>,
}

/// What a run leaves.
pub(super) struct Values {
    /// Values of the tapped layers, in the order of [`Program::layers`].
    pub(super) layers: Vec<Tensor>,
    /// What gradients are asked for, in the order of [`Program::places`].
    pub(super) places: Vec<Tensor>,
    /// The graph's cuts at guided ReLUs, in the order they were computed.
    pub(super) cuts: Vec<Cut>,
}

/// A ReLU that the gradient does not pass by itself.
pub(super) struct Cut {
    /// What went in: the end of a differentiable piece.
    pub(super) input: Tensor,
    /// What came out: the start of another.
    pub(super) output: Tensor,
}

impl Program {
    /// Imports the graph for `taps` and lowers it.
    pub(super) fn compile(
        file: &OnnxFile,
        skeleton: &Skeleton,
        weights: &Weights,
        taps: &Taps,
        replaced: Option<&str>,
    ) -> Result<Self> {
        let input_name = &skeleton.layers[0].name;
        let mut layers: Vec<(String, Vec<usize>)> = vec![];
        for name in &taps.layers {
            if !layers.iter().any(|(known, _)| known == name) {
                layers.push((name.clone(), skeleton.shape(name)?.to_vec()));
            }
        }
        let place_name = |place: &Place| match place {
            Place::Input => input_name.clone(),
            Place::Layer(name) => name.clone(),
        };
        let places: Vec<String> = taps.gradients.iter().map(place_name).collect();
        let shapes = places
            .iter()
            .map(|name| skeleton.shape(name).map(<[usize]>::to_vec))
            .collect::<Result<Vec<_>>>()?;
        for (ix, place) in taps.gradients.iter().enumerate() {
            // A place behind a tapped layer is fine as long as another tap lies behind the place.
            let told: Vec<Error> = layers
                .iter()
                .filter_map(|(name, _)| skeleton.check_gradient(name, place).err())
                .collect();
            let reached = told.len() < layers.len() || replaced.is_some();
            if let Some(error) = told.into_iter().next().filter(|_| !reached || layers.is_empty()) {
                return Err(error);
            }
            if layers.is_empty() {
                return Err(Error::bug(format!(
                    "gradient {ix} is asked for, but no layer is tapped to be seeded."
                )));
            }
        }
        let mut outputs: Vec<String> = layers.iter().map(|(name, _)| name.clone()).collect();
        for name in &places {
            if !outputs.contains(name) {
                outputs.push(name.clone());
            }
        }
        let replaced =
            replaced.map(|name| skeleton.shape(name).map(|shape| (name, shape))).transpose()?;
        let wanted =
            Wanted { outputs: &outputs, replaced, input: skeleton.shape(input_name)?, fold: true };
        let compiled = guarded("compiling", || {
            let model = typed_model(file, &wanted)?.into_decluttered()?;
            let named: Vec<(String, OutletId)> =
                outputs.iter().cloned().zip(model.outputs.iter().copied()).collect();
            Ok(Builder::new(&model, weights, taps.relu, !places.is_empty()).build(&named))
        });
        let cannot = |error: TractError| {
            Error::new(
                "fame::backend::planning",
                format!(
                    "`{}` cannot be compiled for layers {:?}: {}.",
                    file.path,
                    taps.layers,
                    reason(&error)
                ),
            )
        };
        let (mut program, known) = compiled.map_err(cannot)?.map_err(|refusal| match refusal {
            Refusal::NoRule { node, op } => no_rule(&node, &op, Skeleton::TCH),
            Refusal::Failed(error) => cannot(error),
        })?;
        program.layers =
            layers.into_iter().map(|(name, shape)| (name.clone(), shape, known[&name])).collect();
        program.places =
            shapes.into_iter().zip(&places).map(|(shape, name)| (shape, known[name])).collect();
        program.plan_drops();
        Ok(program)
    }

    /// The program of a model of one input and one output, differentiated at its input.
    #[cfg(test)]
    pub(super) fn of_model(
        model: &TypedModel,
        weights: &Weights,
        relu: ReluRule,
    ) -> TractResult<Self> {
        let names = [("x".to_owned(), model.inputs[0]), ("y".to_owned(), model.outputs[0])];
        let (mut program, known) = Builder::new(model, weights, relu, true).build(&names).map_err(
            |refusal| match refusal {
                Refusal::NoRule { node, op } => format_err!("no rule for {op} ({node})"),
                Refusal::Failed(error) => error,
            },
        )?;
        let shape = |outlet: OutletId| -> TractResult<Vec<usize>> {
            Ok(model.outlet_fact(outlet)?.shape.as_concrete().context("concrete")?.to_vec())
        };
        program.layers = vec![("y".to_owned(), shape(model.outputs[0])?, known["y"])];
        program.places = vec![(shape(model.inputs[0])?, known["x"])];
        program.plan_drops();
        Ok(program)
    }

    /// Removes steps that lead nowhere, and finds after which step each value is needed no more.
    fn plan_drops(&mut self) {
        let mut needed = vec![false; self.slots];
        self.layers.iter().for_each(|(.., slot)| needed[*slot] = true);
        self.places.iter().for_each(|(_, slot)| needed[*slot] = true);
        let mut steps: Vec<Step> = std::mem::take(&mut self.steps);
        for step in steps.iter_mut().rev() {
            if !needed[step.output] {
                step.inputs.clear();
                step.node.clear();
                continue;
            }
            for &input in &step.inputs {
                if !std::mem::replace(&mut needed[input], true) {
                    step.drops.push(input);
                }
            }
        }
        self.steps = steps.into_iter().filter(|step| !step.node.is_empty()).collect();
        let used: Vec<usize> = self
            .steps
            .iter()
            .flat_map(|s| s.inputs.iter().copied())
            .chain(self.layers.iter().map(|l| l.2))
            .collect();
        self.constants
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(slot, _)| used.contains(slot));
    }

    /// Computes everything for a batch; `inputs` are those of the graph, each `[B, …]` in the
    /// graph's number kind.
    pub(super) fn run(&self, inputs: Vec<Tensor>) -> Result<Values> {
        let mut values: Vec<Option<Tensor>> = (0..self.slots).map(|_| None).collect();
        for (slot, constant) in self.constants.lock().unwrap_or_else(PoisonError::into_inner).iter()
        {
            values[*slot] = Some(constant.shallow_clone());
        }
        let mut cuts = vec![];
        for (slot, input) in self.sources.iter().zip(inputs) {
            values[*slot] =
                Some(self.prepared(*slot, input).map_err(|e| failed("reading the input", &e))?);
        }
        for step in &self.steps {
            let value = self.step(step, &values, &mut cuts).map_err(|e| failed(&step.node, &e))?;
            values[step.output] = Some(value);
            step.drops.iter().for_each(|&slot| values[slot] = None);
        }
        let take = |slot: usize| {
            values[slot]
                .as_ref()
                .map(Tensor::shallow_clone)
                .ok_or_else(|| Error::bug("a tapped layer was not computed."))
        };
        Ok(Values {
            layers: self.layers.iter().map(|(.., slot)| take(*slot)).collect::<Result<_>>()?,
            places: self.places.iter().map(|(_, slot)| take(*slot)).collect::<Result<_>>()?,
            cuts,
        })
    }

    fn step(
        &self,
        step: &Step,
        values: &[Option<Tensor>],
        cuts: &mut Vec<Cut>,
    ) -> Result<Tensor, TchError> {
        let missing = || TchError::Torch("a value was dropped before its last use".to_owned());
        let inputs = step
            .inputs
            .iter()
            .map(|&slot| values[slot].as_ref().ok_or_else(missing))
            .collect::<Result<Vec<_>, _>>()?;
        let mut value = (step.kernel)(&inputs)?;
        if step.guided && value.requires_grad() {
            let input = inputs.first().ok_or_else(missing)?.shallow_clone();
            value = value.f_detach()?.f_set_requires_grad(true)?;
            cuts.push(Cut { input, output: value.shallow_clone() });
        }
        self.prepared(step.output, value)
    }

    /// A value where a gradient may be asked for must be a node of its own in autograd's graph.
    fn prepared(&self, slot: usize, value: Tensor) -> Result<Tensor, TchError> {
        if !self.places.iter().any(|(_, place)| *place == slot) {
            return Ok(value);
        }
        if value.requires_grad() {
            value.f_alias()
        } else {
            value.f_detach()?.f_set_requires_grad(true)
        }
    }
}

/// Why a graph cannot be lowered.
pub(super) enum Refusal {
    /// The node and its operator that nothing here computes.
    NoRule {
        /// The node's name.
        node: String,
        /// The operator's name.
        op: String,
    },
    /// A rule failed.
    Failed(TractError),
}

impl From<TractError> for Refusal {
    fn from(error: TractError) -> Self {
        Self::Failed(error)
    }
}

/// A program while it is written.
pub(super) struct Builder<'m> {
    pub(super) model: &'m TypedModel,
    pub(super) weights: &'m Weights,
    pub(super) relu: ReluRule,
    /// Whether anything will be differentiated.
    pub(super) gradients: bool,
    slots: HashMap<OutletId, usize>,
    /// Whether the value in each slot has a batch axis in front: whether it depends on an input.
    batched: Vec<bool>,
    constants: Vec<(usize, Tensor)>,
    steps: Vec<Step>,
}

impl<'m> Builder<'m> {
    fn new(model: &'m TypedModel, weights: &'m Weights, relu: ReluRule, gradients: bool) -> Self {
        Self {
            model,
            weights,
            relu,
            gradients,
            slots: HashMap::new(),
            batched: vec![],
            constants: vec![],
            steps: vec![],
        }
    }

    fn slot(&mut self, batched: bool) -> usize {
        self.batched.push(batched);
        self.batched.len() - 1
    }

    /// The slot of an outlet that was computed, or of a constant.
    pub(super) fn slot_of(&mut self, outlet: OutletId) -> TractResult<usize> {
        if let Some(&slot) = self.slots.get(&outlet) {
            return Ok(slot);
        }
        let konst = self
            .model
            .outlet_fact(outlet)?
            .konst
            .clone()
            .with_context(|| format!("{outlet:?} is not computed yet"))?;
        let tensor = self.weights.upload(&konst, super::values::Layout::Plain)?;
        let slot = self.constant(tensor);
        self.slots.insert(outlet, slot);
        Ok(slot)
    }

    /// A slot for a constant.
    pub(super) fn constant(&mut self, tensor: Tensor) -> usize {
        let slot = self.slot(false);
        self.constants.push((slot, tensor));
        slot
    }

    /// Whether the value in this slot has a batch axis in front.
    pub(super) fn is_batched(&self, slot: usize) -> bool {
        self.batched[slot]
    }

    fn build(
        mut self,
        names: &[(String, OutletId)],
    ) -> Result<(Program, HashMap<String, usize>), Refusal> {
        let mut sources = vec![];
        for &input in &self.model.inputs {
            let slot = self.slot(true);
            self.slots.insert(input, slot);
            sources.push(slot);
        }
        for id in self.model.eval_order()? {
            let node = self.model.node(id);
            let outlet = OutletId::from(id);
            let is_constant = node.outputs.iter().all(|o| o.fact.konst.is_some());
            if self.slots.contains_key(&outlet) || is_constant {
                continue;
            }
            let refusal =
                || Refusal::NoRule { node: node.name.clone(), op: node.op.name().into_owned() };
            if node.outputs.len() != 1 {
                return Err(refusal());
            }
            let lowered = lower(&mut self, node).with_context(|| format!("Lowering {node}"))?;
            let Lowered { inputs, kernel, guided } = lowered.ok_or_else(refusal)?;
            let batched = inputs.iter().any(|&slot| self.batched[slot]);
            let output = self.slot(batched);
            self.slots.insert(outlet, output);
            let name = format!("node `{}` ({})", node.name, node.op.name());
            self.steps.push(Step { node: name, inputs, output, kernel, guided, drops: vec![] });
        }
        let mut known = HashMap::new();
        for (name, outlet) in names {
            known.insert(name.clone(), self.slot_of(*outlet)?);
        }
        let program = Program {
            steps: self.steps,
            slots: self.batched.len(),
            sources,
            constants: Mutex::new(self.constants),
            layers: vec![],
            places: vec![],
        };
        Ok((program, known))
    }
}
