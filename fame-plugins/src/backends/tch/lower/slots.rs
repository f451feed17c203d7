//! The slots of a program while it is written: which value of the graph lies where.

use std::collections::HashMap;

use fame_core::contract::ReluRule;
use tch::Tensor;
use tract_onnx::tract_core::internal::*;

use crate::backends::tch::values::{Layout, Weights};

/// The slot of every value that was lowered so far, and what rules may ask about the graph.
pub(in crate::backends::tch) struct Slots<'m> {
    /// The graph.
    pub(super) model: &'m TypedModel,
    /// The constants of the network on its device.
    pub(super) weights: &'m Weights,
    /// How gradients are to pass a ReLU.
    pub(super) relu: ReluRule,
    /// Whether anything will be differentiated.
    pub(super) gradients: bool,
    known: HashMap<OutletId, usize>,
    /// Whether the value in each slot has a batch axis in front: whether it depends on an input.
    batched: Vec<bool>,
    constants: Vec<(usize, Tensor)>,
}

impl<'m> Slots<'m> {
    /// No slots yet.
    pub(in crate::backends::tch) fn new(
        model: &'m TypedModel,
        weights: &'m Weights,
        relu: ReluRule,
        gradients: bool,
    ) -> Self {
        let (known, batched, constants) = (HashMap::new(), vec![], vec![]);
        Self { model, weights, relu, gradients, known, batched, constants }
    }

    fn add(&mut self, batched: bool) -> usize {
        self.batched.push(batched);
        self.batched.len() - 1
    }

    /// A slot for `outlet`, which is about to be computed or fed.
    pub(in crate::backends::tch) fn add_for(&mut self, outlet: OutletId, batched: bool) -> usize {
        let slot = self.add(batched);
        self.known.insert(outlet, slot);
        slot
    }

    /// Whether `outlet` has a slot.
    pub(in crate::backends::tch) fn has(&self, outlet: OutletId) -> bool {
        self.known.contains_key(&outlet)
    }

    /// The slot of an outlet that was computed, or of a constant.
    pub(in crate::backends::tch) fn slot_of(&mut self, outlet: OutletId) -> TractResult<usize> {
        if let Some(&slot) = self.known.get(&outlet) {
            return Ok(slot);
        }
        let konst = self
            .model
            .outlet_fact(outlet)?
            .konst
            .clone()
            .with_context(|| format!("{outlet:?} is not computed yet"))?;
        let tensor = self.weights.upload(&konst, Layout::Plain)?;
        let slot = self.constant(tensor);
        self.known.insert(outlet, slot);
        Ok(slot)
    }

    /// A slot for a constant.
    pub(super) fn constant(&mut self, tensor: Tensor) -> usize {
        let slot = self.add(false);
        self.constants.push((slot, tensor));
        slot
    }

    /// Whether the value in this slot has a batch axis in front.
    pub(in crate::backends::tch) fn is_batched(&self, slot: usize) -> bool {
        self.batched[slot]
    }

    /// How many slots there are, and the constants by slot.
    pub(in crate::backends::tch) fn into_parts(self) -> (usize, Vec<(usize, Tensor)>) {
        (self.batched.len(), self.constants)
    }
}
