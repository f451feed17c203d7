//! The graph for one set of taps as a list of steps, and running it.

use std::sync::{Mutex, PoisonError};

use fame_core::{Error, Result};
use tch::{TchError, Tensor};

use super::failure::failed;

/// A function of libtorch's, which its autograd differentiates.
pub(super) type Kernel = Box<dyn Fn(&[&Tensor]) -> Result<Tensor, TchError> + Send + Sync>;

/// A function that autograd does not see, with a pull-back of its own.
pub(super) trait CustomFunction: Send + Sync {
    /// The value.
    fn forward(&self, inputs: &[&Tensor]) -> Result<Tensor>;

    /// For each input the cotangent that goes on in front of it; `None` where none does.
    fn pull_back(
        &self,
        inputs: &[&Tensor],
        output: &Tensor,
        cotangent: &Tensor,
    ) -> Result<Vec<Option<Tensor>>>;
}

/// How a step's value is computed.
pub(super) enum Computation {
    /// By libtorch, which differentiates it too.
    Kernel(Kernel),
    /// By a function that cuts autograd's graph.
    Custom(Box<dyn CustomFunction>),
}

/// One node of the graph.
pub(super) struct Step {
    /// Its name and operator, for messages.
    pub(super) node: String,
    /// Slots of its inputs.
    pub(super) inputs: Vec<usize>,
    /// Slot of its value.
    pub(super) output: usize,
    /// How the value is computed.
    pub(super) work: Computation,
    /// Slots whose value nobody needs any more.
    drops: Vec<usize>,
}

impl Step {
    /// A step of the node that messages call `node`.
    pub(super) fn new(node: String, inputs: Vec<usize>, output: usize, work: Computation) -> Self {
        Self { node, inputs, output, work, drops: vec![] }
    }
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

/// The values that a run leaves.
pub(super) struct Values {
    /// Values of the tapped layers, in the order of [`Program::layers`].
    pub(super) layers: Vec<Tensor>,
    /// What gradients are asked for, in the order of [`Program::places`].
    pub(super) places: Vec<Tensor>,
    /// The cuts of autograd's graph, in the order they were made.
    pub(super) cuts: Vec<Cut>,
}

/// A step that the gradient does not pass by itself.
pub(super) struct Cut {
    /// The step's index.
    step: usize,
    /// What went in: the ends of differentiable pieces.
    pub(super) inputs: Vec<Tensor>,
    /// What came out: the start of another.
    pub(super) output: Tensor,
}

impl Program {
    /// A program of `steps` over `slots` values, without the steps that lead nowhere.
    pub(super) fn new(
        steps: Vec<Step>,
        slots: usize,
        sources: Vec<usize>,
        constants: Vec<(usize, Tensor)>,
        layers: Vec<(String, Vec<usize>, usize)>,
        places: Vec<(Vec<usize>, usize)>,
    ) -> Self {
        let constants = Mutex::new(constants);
        let mut program = Self { steps, slots, sources, constants, layers, places };
        program.plan_drops();
        program
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
        for (ix, step) in self.steps.iter().enumerate() {
            let value = self.step(ix, &values, &mut cuts)?;
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

    /// The value of step `ix`.
    fn step(&self, ix: usize, values: &[Option<Tensor>], cuts: &mut Vec<Cut>) -> Result<Tensor> {
        let step = &self.steps[ix];
        let told = |e: TchError| failed(&step.node, &e);
        let missing = || Error::bug("a value was dropped before its last use.");
        let inputs = step
            .inputs
            .iter()
            .map(|&slot| values[slot].as_ref().ok_or_else(missing))
            .collect::<Result<Vec<_>>>()?;
        let value = match &step.work {
            Computation::Kernel(kernel) => kernel(&inputs).map_err(told)?,
            Computation::Custom(function) => {
                let value = tch::no_grad(|| function.forward(&inputs))?;
                if inputs.iter().any(|input| input.requires_grad()) {
                    let start = |value: Tensor| value.f_detach()?.f_set_requires_grad(true);
                    let output = start(value).map_err(told)?;
                    let inputs = inputs.iter().map(|input| input.shallow_clone()).collect();
                    cuts.push(Cut { step: ix, inputs, output: output.shallow_clone() });
                    output
                } else {
                    value
                }
            }
        };
        self.prepared(step.output, value).map_err(told)
    }

    /// For each input of `cut` the cotangent that goes on in front of it, of the one that `arrived`
    /// behind it.
    pub(super) fn pull_through(&self, cut: &Cut, arrived: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let Computation::Custom(function) = &self.steps[cut.step].work else {
            return Err(Error::bug("a cut at a step that autograd sees."));
        };
        let inputs: Vec<&Tensor> = cut.inputs.iter().collect();
        tch::no_grad(|| function.pull_back(&inputs, &cut.output, arrived))
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
