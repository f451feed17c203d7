//! Recurrences written out: tract's `Scan`, into which it imports LSTM, GRU, RNN and ONNX's own
//! Scan, becomes one copy of its body for each round.

use std::collections::HashMap;

use tract_onnx::tract_core::internal::translator::Translate;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::{Slice, TypedConcat};
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_core::ops::scan::{InputMapping, Scan, ScanInfo, iteration_count};

use super::MOST_ROUNDS;

/// `model` with every scan of a known, small number of rounds written out.
pub(in crate::backends::onnx) fn unroll_scans(model: TypedModel) -> TractResult<TypedModel> {
    if !model.nodes.iter().any(TypedNode::op_is::<Scan>) {
        return Ok(model);
    }
    Unroller.translate_model(&model)
}

#[derive(Debug)]
struct Unroller;

impl Translate<TypedFact, Box<dyn TypedOp>, TypedFact, Box<dyn TypedOp>> for Unroller {
    fn translate_node(
        &self,
        source: &TypedModel,
        node: &TypedNode,
        target: &mut TypedModel,
        mapping: &HashMap<OutletId, OutletId>,
    ) -> TractResult<TVec<OutletId>> {
        if source.inputs.contains(&node.id.into()) {
            return Ok(tvec!(target.add_source(&node.name, node.outputs[0].fact.clone())?));
        }
        let inputs: Vec<OutletId> = node.inputs.iter().map(|outlet| mapping[outlet]).collect();
        if let Some(scan) = node.op_as::<Scan>()
            && let Some(count) = rounds(source, node, scan)?
        {
            return Rounds { scan, name: &node.name, target, inputs, count }.write(node);
        }
        target.wire_node(&node.name, node.op.clone(), &inputs)
    }
}

/// How often the body runs, where that is known and each round takes a whole chunk.
fn rounds(source: &TypedModel, node: &TypedNode, scan: &Scan) -> TractResult<Option<usize>> {
    let facts = source.node_input_facts(node.id)?;
    let count = iteration_count(&scan.input_mapping, &facts).and_then(|n| n.to_usize().ok());
    let whole = scan.input_mapping.iter().zip(&facts).all(|(mapping, fact)| {
        let InputMapping::Scan(info) = mapping else { return true };
        let extent = fact.shape[info.axis].to_usize().ok();
        extent.is_some_and(|extent| extent % info.chunk.unsigned_abs() == 0)
            && (info.chunk > 0 || info.chunk == -1)
    });
    Ok(count.filter(|count| whole && scan.skip == 0 && (1..=MOST_ROUNDS).contains(count)))
}

struct Rounds<'a> {
    scan: &'a Scan,
    name: &'a str,
    target: &'a mut TypedModel,
    inputs: Vec<OutletId>,
    count: usize,
}

impl Rounds<'_> {
    fn write(mut self, node: &TypedNode) -> TractResult<TVec<OutletId>> {
        let is_state = |mapping: &InputMapping| mapping.is_state();
        let states = self.scan.input_mapping.iter().zip(&self.inputs);
        let mut states: Vec<OutletId> =
            states.filter(|(mapping, _)| is_state(mapping)).map(|(_, outlet)| *outlet).collect();
        let mut collected: Vec<Vec<OutletId>> = vec![vec![]; self.scan.output_mapping.len()];
        for round in 0..self.count {
            let given = self.given(round, &states)?;
            let outputs = self.body(round, &given)?;
            states.clear();
            for (output, (mapping, chunks)) in
                outputs.into_iter().zip(self.scan.output_mapping.iter().zip(&mut collected))
            {
                chunks.push(output);
                if mapping.state {
                    states.push(output);
                }
            }
        }
        let mut outputs: TVec<Option<OutletId>> = tvec![None; node.outputs.len()];
        for (mapping, mut chunks) in self.scan.output_mapping.iter().zip(collected) {
            if let Some(slot) = mapping.last_value_slot {
                outputs[slot] = Some(self.named(slot, Identity, &chunks[self.count - 1..])?);
            }
            if let Some((slot, info)) = mapping.scan {
                if info.chunk < 0 {
                    chunks.reverse();
                }
                outputs[slot] = Some(self.named(slot, TypedConcat::new(info.axis), &chunks)?);
            }
        }
        let all: Option<TVec<OutletId>> = outputs.into_iter().collect();
        all.with_context(|| format!("an output of `{}` that nothing gives", self.name))
    }

    fn named(
        &mut self,
        slot: usize,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let name = format!("{}.output.{slot}", self.name);
        Ok(self.target.wire_node(name, op, inputs)?[0])
    }

    /// What the body is given in one round.
    fn given(&mut self, round: usize, states: &[OutletId]) -> TractResult<Vec<OutletId>> {
        let mut states = states.iter().copied();
        let mut given = vec![];
        for (slot, mapping) in self.scan.input_mapping.iter().enumerate() {
            let outlet = self.inputs[slot];
            given.push(match mapping {
                InputMapping::Full => outlet,
                InputMapping::State => states.next().context("a state that nothing gives")?,
                InputMapping::Scan(info) => self.chunk(outlet, *info, slot, round)?,
            });
        }
        Ok(given)
    }

    fn chunk(
        &mut self,
        outlet: OutletId,
        info: ScanInfo,
        slot: usize,
        round: usize,
    ) -> TractResult<OutletId> {
        let extent = info.chunk.unsigned_abs();
        let at = if info.chunk < 0 { self.count - 1 - round } else { round };
        let name = format!("{}/{round}/input.{slot}", self.name);
        let slice = Slice::new(info.axis, at * extent, (at + 1) * extent);
        Ok(self.target.wire_node(name, slice, &[outlet])?[0])
    }

    /// One copy of the body.
    fn body(&mut self, round: usize, given: &[OutletId]) -> TractResult<Vec<OutletId>> {
        let body = &self.scan.body;
        let inlets = body.input_outlets()?.iter().copied();
        let mut mapping: HashMap<OutletId, OutletId> = inlets.zip(given.iter().copied()).collect();
        for id in body.eval_order()? {
            if mapping.contains_key(&id.into()) {
                continue;
            }
            let node = body.node(id);
            let inputs: Vec<OutletId> = node.inputs.iter().map(|outlet| mapping[outlet]).collect();
            let name = format!("{}/{round}/{}", self.name, node.name);
            let outlets = self.target.wire_node(name, node.op.clone(), &inputs)?;
            mapping.extend(
                outlets.into_iter().enumerate().map(|(ix, outlet)| (OutletId::new(id, ix), outlet)),
            );
        }
        Ok(body.output_outlets()?.iter().map(|outlet| mapping[outlet]).collect())
    }
}
