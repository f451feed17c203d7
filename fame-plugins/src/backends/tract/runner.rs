//! A plan that takes the rows of a batch, one by one or together.
//!
//! ```text
//! stem, wide maps      row 0 ─────▶  row 1 ─────▶  row 2 ─────▶    each row's maps stay in the cache
//! a heavy convolution  [ rows 0, 1, 2 ] ─▶                         its weights are read once
//! what is between      row 0 ─▶ row 1 ─▶ row 2 ─▶
//! ```
//!
//! A row's values are the same bytes whichever rows run with it: they are in tensors of their own,
//! and a kernel sums each of them in the same order.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::model::order::build_flush_list;
use tract_onnx::tract_core::ops::konst::Const;

use super::ops::LaidOutConv;

/// A plan and the idle states to run it with: a state is made once and used again, for one row at a
/// time.
pub(super) struct Runner {
    plan: Arc<TypedSimplePlan>,
    steps: Vec<Step>,
    stretches: Vec<Stretch>,
    idle: Mutex<Vec<TypedSimpleState>>,
}

/// One node, and the nodes whose values nothing needs once it has its inputs.
struct Step {
    node: usize,
    done_with: TVec<usize>,
}

/// Neighbouring steps: all of them for one row after another, or one step for all rows.
struct Stretch {
    steps: Range<usize>,
    together: bool,
}

impl Runner {
    pub(super) fn new(model: TypedModel) -> TractResult<Self> {
        let plan = SimplePlan::new(model)?;
        let (order, model) = (plan.order_without_consts(), plan.model());
        let done = build_flush_list(model, order, &model.outputs, |node| !node.op_is::<Const>());
        let steps: Vec<Step> =
            order.iter().zip(done).map(|(&node, done_with)| Step { node, done_with }).collect();
        let gains = |step: &Step| {
            convolution(model.node(step.node)).is_some_and(LaidOutConv::gains_from_rows)
        };
        let mut stretches: Vec<Stretch> = vec![];
        for (index, step) in steps.iter().enumerate() {
            let together = gains(step);
            match stretches.last_mut().filter(|last| !last.together && !together) {
                Some(last) => last.steps.end = index + 1,
                None => stretches.push(Stretch { steps: index..index + 1, together }),
            }
        }
        Ok(Self { steps, stretches, plan, idle: Mutex::default() })
    }

    /// Whether rows that run together take less time than one by one.
    pub(super) fn gains_from_rows(&self) -> bool {
        self.stretches.iter().any(|stretch| stretch.together)
    }

    /// Runs rows, each with its inputs; gives each row's outputs.
    pub(super) fn run(&self, rows: Vec<TVec<TValue>>) -> TractResult<Vec<TVec<TValue>>> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut states = vec![];
        for _ in &rows {
            let known = idle().pop();
            states.push(known.map_or_else(|| self.plan.spawn(), Ok)?);
        }
        // A state with which a run has failed is not used again.
        let outputs = if let [state] = &mut *states {
            let inputs = rows.into_iter().next().context("a row has inputs")?;
            vec![state.run(inputs)?]
        } else {
            self.run_together(&mut states, rows)?
        };
        idle().append(&mut states);
        Ok(outputs)
    }

    /// Runs one row, and notes the seconds of each of [`Runner::nodes`] in its list of `seconds`.
    pub(super) fn run_timed(
        &self,
        inputs: TVec<TValue>,
        seconds: &mut [Vec<f64>],
    ) -> TractResult<TVec<TValue>> {
        let mut state = self.plan.spawn()?;
        state.set_inputs(inputs)?;
        for (step, seconds) in self.steps.iter().zip(seconds) {
            let inputs = step.inputs(&mut state)?;
            let start = Instant::now();
            state.compute_one_with_inputs(step.node, inputs)?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        state.outputs()
    }

    /// The nodes that are run, in their order.
    pub(super) fn nodes(&self) -> impl ExactSizeIterator<Item = &TypedNode> {
        self.steps.iter().map(|step| self.plan.model().node(step.node))
    }

    fn run_together(
        &self,
        states: &mut [TypedSimpleState],
        rows: Vec<TVec<TValue>>,
    ) -> TractResult<Vec<TVec<TValue>>> {
        for (state, inputs) in states.iter_mut().zip(rows) {
            state.set_inputs(inputs)?;
        }
        for stretch in &self.stretches {
            let steps = &self.steps[stretch.steps.clone()];
            let Some(conv) = self.together(stretch) else {
                for state in &mut *states {
                    for step in steps {
                        let inputs = step.inputs(state)?;
                        state.compute_one_with_inputs(step.node, inputs)?;
                    }
                }
                continue;
            };
            for step in steps {
                let inputs = states.iter_mut().map(|state| step.inputs(state));
                let results = conv.eval_rows(inputs.collect::<TractResult<_>>()?)?;
                for (state, result) in states.iter_mut().zip(results) {
                    state.set_values(step.node, tvec!(result))?;
                }
            }
        }
        let outputs = |state: &mut TypedSimpleState| {
            let outputs = state.outputs()?;
            state.reset_turn()?;
            Ok(outputs)
        };
        states.iter_mut().map(outputs).collect()
    }

    /// The convolution of a stretch that takes all rows.
    fn together(&self, stretch: &Stretch) -> Option<&LaidOutConv> {
        let step = stretch.together.then(|| &self.steps[stretch.steps.start])?;
        convolution(self.plan.model().node(step.node))
    }
}

impl Step {
    /// The node's inputs, of which the state keeps only what later nodes need: what is left to the
    /// node alone can be written over.
    fn inputs(&self, state: &mut TypedSimpleState) -> TractResult<TVec<TValue>> {
        let inputs = state.prepare_inputs(self.node)?;
        for &node in &self.done_with {
            state.turn_state.values[node] = None;
        }
        Ok(inputs)
    }
}

/// The convolution or dense layer that a kernel of ours computes in a node, if one does.
pub(super) fn convolution(node: &TypedNode) -> Option<&LaidOutConv> {
    node.op_as::<LaidOutConv>()
}
