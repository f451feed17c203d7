//! Compilation: from taps to a program.

use std::collections::HashMap;

use fame_core::{Result, Taps};
use tract_onnx::tract_core::internal::*;

use super::lower::{Lowered, Slots, lower};
use super::program::{Program, Step};
use super::values::Weights;
use crate::backends::onnx::declutter::declutter;
use crate::backends::onnx::file::guarded;
use crate::backends::onnx::import::typed_model;
use crate::backends::onnx::loaded_model::LoadedModel;
use crate::backends::onnx::refusal::{Engine, Refusal};
use crate::backends::onnx::taps::ResolvedTaps;

/// This engine in messages.
pub(super) const ENGINE: Engine =
    Engine { name: "tch", advice: "Choose a target layer in front of it." };

/// A tapped layer or a place: its name, its full shape, and its outlet in the model.
type Tapped = (String, Vec<usize>, OutletId);

/// Imports the graph for `taps`, with the value of `replaced` given from outside, and lowers it.
pub(super) fn compile(
    model: &LoadedModel,
    weights: &Weights,
    taps: &Taps,
    replaced: Option<&str>,
) -> Result<Program> {
    let resolved = ResolvedTaps::new(&model.skeleton, taps, replaced)?;
    let compiled = guarded("compiling", || {
        let mut graph = typed_model(&model.file, &model.operators, &resolved.wanted())?;
        declutter(&mut graph)?;
        let tapped = |(name, shape): &(String, Vec<usize>)| -> Tapped {
            (name.clone(), shape.clone(), graph.outputs[resolved.output(name)])
        };
        let layers: Vec<Tapped> = resolved.layers.iter().map(tapped).collect();
        let places: Vec<Tapped> = resolved.places.iter().map(tapped).collect();
        let slots = Slots::new(&graph, weights, taps.relu, !places.is_empty());
        Ok(build(&graph, slots, layers, places))
    });
    compiled
        .map_err(Refusal::Failed)
        .flatten()
        .map_err(|refusal| resolved.error(&model.file, ENGINE, refusal))
}

/// Lowers every node of `graph` that has to be computed.
pub(super) fn build(
    graph: &TypedModel,
    mut slots: Slots,
    layers: Vec<Tapped>,
    places: Vec<Tapped>,
) -> Result<Program, Refusal> {
    let sources = graph.inputs.iter().map(|&input| slots.add_for(input, true)).collect();
    let mut steps = vec![];
    for id in graph.eval_order()? {
        let node = graph.node(id);
        let is_constant = node.outputs.iter().all(|o| o.fact.konst.is_some());
        if slots.has(id.into()) || is_constant {
            continue;
        }
        let refusal =
            || Refusal::NoRule { node: node.name.clone(), op: node.op.name().into_owned() };
        if node.outputs.len() != 1 {
            return Err(refusal());
        }
        let lowered = lower(&mut slots, node).with_context(|| format!("Lowering {node}"))?;
        let Lowered { inputs, work } = lowered.ok_or_else(refusal)?;
        let batched = inputs.iter().any(|&slot| slots.is_batched(slot));
        let output = slots.add_for(id.into(), batched);
        let name = format!("node `{}` ({})", node.name, node.op.name());
        steps.push(Step::new(name, inputs, output, work));
    }
    let mut known = HashMap::new();
    for (_, _, outlet) in layers.iter().chain(&places) {
        known.insert(*outlet, slots.slot_of(*outlet)?);
    }
    let layers =
        layers.into_iter().map(|(name, shape, outlet)| (name, shape, known[&outlet])).collect();
    let places = places.into_iter().map(|(_, shape, outlet)| (shape, known[&outlet])).collect();
    let (count, constants) = slots.into_parts();
    Ok(Program::new(steps, count, sources, constants, layers, places))
}
