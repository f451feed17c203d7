//! Reverse-mode differentiation as a graph transform.
//!
//! Given a decluttered forward model, [`differentiate`] writes a second model that takes
//! *residuals* (values of the forward model) and *cotangents* (derivatives with respect to seeded
//! outlets) and gives the gradients at the asked places. Both are ordinary tract models: the
//! backward one is decluttered and optimised like any other. Weights are constants, so only the
//! paths from the asked places to the seeded outlets are walked.
//!
//! **A new operator** is one function `fn(&mut Pull) -> TractResult<Pulled>` in the file of its
//! family, and one line in that file's `RULES`. Nothing else changes.

mod arithmetic;
mod conv;
mod deconv;
mod einsum;
mod elementwise;
mod norm;
mod pool;
mod reduce;
pub(super) mod resample;
mod shape;
mod tape;

use std::collections::{HashMap, HashSet};

use fame_core::contract::ReluRule;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::{BinMiniOp, TypedBinOp};
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;

pub(super) use tape::{Pull, Pulled, Tape};

/// How one operator is differentiated.
pub(super) struct Rule {
    /// Whether this rule is for `op`.
    applies: fn(&dyn TypedOp) -> bool,
    /// Writes the vector-Jacobian product: one wire, or nothing, for each input of the node.
    pull: fn(&mut Pull) -> TractResult<Pulled>,
}

impl Rule {
    /// A rule for the operators of type `O`.
    const fn of<O: TypedOp>(pull: fn(&mut Pull) -> TractResult<Pulled>) -> Self {
        Self { applies: |op| op.is::<O>(), pull }
    }

    /// A rule for the binary operator `O`.
    const fn binary<O: BinMiniOp>(pull: fn(&mut Pull) -> TractResult<Pulled>) -> Self {
        Self {
            applies: |op| op.downcast_ref::<TypedBinOp>().is_some_and(|op| op.0.is::<O>()),
            pull,
        }
    }

    /// A rule for the function of one variable `O`.
    const fn unary<O: ElementWiseMiniOp>(pull: fn(&mut Pull) -> TractResult<Pulled>) -> Self {
        Self {
            applies: |op| op.downcast_ref::<ElementWiseOp>().is_some_and(|op| op.0.is::<O>()),
            pull,
        }
    }
}

/// Every family's rules. The first that applies is taken.
const FAMILIES: &[&[Rule]] = &[
    arithmetic::RULES,
    conv::RULES,
    deconv::RULES,
    einsum::RULES,
    elementwise::RULES,
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

/// The backward model and what it is fed with.
pub(super) struct Backward {
    /// Inputs: one for each of `residuals`, then one for each of `seeds`. Outputs: the gradients,
    /// in the order of the places.
    pub(super) model: TypedModel,
    /// Outlets of the forward model whose values the backward model needs.
    pub(super) residuals: Vec<OutletId>,
}

/// Why a gradient cannot be pulled back.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The node of the forward model, and its operator, that has no rule.
    NoRule {
        /// The node's name.
        node: String,
        /// The operator's name.
        op: String,
    },
    /// No path leads from the place with this index to a seed.
    NoPath(usize),
    /// A rule failed.
    Failed(TractError),
}

impl From<TractError> for Refusal {
    fn from(error: TractError) -> Self {
        Self::Failed(error)
    }
}

/// Writes the backward model that pulls cotangents at `seeds` back to `places`.
pub(super) fn differentiate(
    forward: &TypedModel,
    seeds: &[OutletId],
    places: &[OutletId],
    relu: ReluRule,
) -> Result<Backward, Refusal> {
    let order = forward.eval_order()?;
    let wanted = descendants(forward, &order, places);
    let mut tape = Tape::new(forward, wanted, relu);
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
fn descendants(model: &TypedModel, order: &[usize], places: &[OutletId]) -> HashSet<OutletId> {
    let mut found: HashSet<OutletId> = places.iter().copied().collect();
    for node in order.iter().map(|&id| model.node(id)) {
        if node.inputs.iter().any(|input| found.contains(input)) {
            found.extend((0..node.outputs.len()).map(|slot| OutletId::new(node.id, slot)));
        }
    }
    found
}

/// Adds `more` to the cotangent of `outlet`.
fn accumulate(
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
        rule_for(node.op.as_ref()).filter(|_| node.outputs.len() == 1).ok_or_else(refusal)?;
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
mod tests;
