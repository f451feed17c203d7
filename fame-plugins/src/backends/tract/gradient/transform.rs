//! The transform: from a forward model to the backward model that pulls cotangents through it.

use std::collections::{HashMap, HashSet};

use fame_core::contract::ReluRule;
use tract_onnx::tract_core::internal::*;

use super::table::rule_for;
use super::tape::{Backward, Pull, Tape};
use crate::backends::onnx::flat::has_one_real_output;
use crate::backends::onnx::refusal::Refusal;

/// Writes the backward model that pulls cotangents at `seeds` back to `places`. With `kernels`, the
/// gradients of convolutions that kernels of our own can compute are left to these.
pub(in crate::backends) fn differentiate(
    forward: &TypedModel,
    seeds: &[OutletId],
    places: &[OutletId],
    relu: ReluRule,
    kernels: bool,
) -> Result<Backward, Refusal> {
    let order = forward.eval_order()?;
    let wanted = descendants(forward, &order, places);
    let mut tape = Tape::new(forward, wanted, relu, kernels);
    let mut cotangents: HashMap<OutletId, OutletId> = HashMap::new();
    let sources = seeds
        .iter()
        .map(|&seed| tape.source("cotangent", seed))
        .collect::<TractResult<Vec<_>>>()?;
    for (&seed, &source) in seeds.iter().zip(&sources) {
        accumulate(&mut tape, &mut cotangents, seed, source)?;
    }
    for id in order.into_iter().rev() {
        pull_through(&mut tape, &mut cotangents, forward.node(id))?;
    }
    let mut gradients = vec![];
    for (ix, place) in places.iter().enumerate() {
        gradients.push(*cotangents.get(place).ok_or(Refusal::NoPath(ix))?);
    }
    Ok(tape.finish(&sources, &gradients)?)
}

/// Every outlet that depends on one of `places`, these included.
pub(super) fn descendants(
    model: &TypedModel,
    order: &[usize],
    places: &[OutletId],
) -> HashSet<OutletId> {
    let mut found: HashSet<OutletId> = places.iter().copied().collect();
    for node in order.iter().map(|&id| model.node(id)) {
        if node.inputs.iter().any(|input| found.contains(input)) {
            found.extend((0..node.outputs.len()).map(|slot| OutletId::new(node.id, slot)));
        }
    }
    found
}

/// Adds `more` to the cotangent of `outlet`.
pub(super) fn accumulate(
    tape: &mut Tape,
    cotangents: &mut HashMap<OutletId, OutletId>,
    outlet: OutletId,
    more: OutletId,
) -> TractResult<()> {
    let sum = match cotangents.get(&outlet) {
        Some(&already) => tape.wire(tract_onnx::tract_core::ops::math::add(), &[already, more])?,
        None => more,
    };
    cotangents.insert(outlet, sum);
    Ok(())
}

/// Pulls the cotangent of `node`'s output, if it has one, back to those inputs that depend on a
/// place.
fn pull_through(
    tape: &mut Tape,
    cotangents: &mut HashMap<OutletId, OutletId>,
    node: &TypedNode,
) -> Result<(), Refusal> {
    let Some(&cotangent) = cotangents.get(&node.id.into()) else { return Ok(()) };
    if !node.inputs.iter().any(|input| tape.is_wanted(*input)) {
        return Ok(());
    }
    let refusal = || Refusal::NoRule { node: node.name.clone(), op: node.op.name().into_owned() };
    let rule =
        rule_for(node.op.as_ref()).filter(|_| has_one_real_output(node)).ok_or_else(refusal)?;
    let pulled = (rule.pull)(&mut Pull::new(tape, node, cotangent))
        .with_context(|| format!("Differentiating {node}"))?;
    for (&input, gradient) in node.inputs.iter().zip(pulled) {
        if let Some(gradient) = gradient.filter(|_| tape.is_wanted(input)) {
            tape.check(gradient, input)?;
            accumulate(tape, cotangents, input, gradient)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An operator that no rule is for.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Unknown;

    impl Op for Unknown {
        fn name(&self) -> StaticName {
            "Unknown".into()
        }

        op_as_typed_op!();
    }

    impl EvalOp for Unknown {
        op_out_of_plan!();

        fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
            Ok(inputs)
        }
    }

    impl TypedOp for Unknown {
        fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
            Ok(tvec!(inputs[0].clone()))
        }

        as_op!();
    }

    #[test]
    fn an_operator_without_a_rule_is_named() {
        let mut model = TypedModel::default();
        let x = model.add_source("x", f32::fact([4usize])).unwrap();
        let y = model.wire_node("drawn", Unknown, &[x]).unwrap()[0];
        model.select_output_outlets(&[y]).unwrap();
        let refusal = differentiate(&model, &[y], &[x], ReluRule::Standard, false).err();
        assert!(
            matches!(refusal, Some(Refusal::NoRule { node, op }) if node == "drawn" && op == "Unknown")
        );
    }
}
