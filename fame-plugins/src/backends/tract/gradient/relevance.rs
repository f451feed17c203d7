//! Layer-wise relevance propagation, as a backward model.
//!
//! It is the transform of gradients with other gradients: at every value y the cotangent is the
//! **ratio** `g_y = R_y / y` of its relevance to its value, so that `R_x = x ⊙ g_x`. A gradient
//! then already is the rule of all that is linear (sums, poolings, moved values share in proportion
//! to what each adds), and of a ReLU. Other rules stand here, and in `weighted` those of layers
//! with weights, of the form `g_x = ρ(W)ᵀ [g_y ⊙ y / (ρ(W) x + ρ(b))]`. Sums and poolings divide by
//! nothing, so that no value near zero blows up there. (Montavon et al., Layer-Wise Relevance
//! Propagation: An Overview, 2019.)
//!
//! A rule of the first layer gives relevance where x is zero, which no ratio can say. From there on
//! the **relevance** itself is carried, through what only moves or scales values.

mod weighted;

use std::collections::{HashMap, HashSet};

use fame_core::contract::{FirstRule, RelevanceRules, ReluRule};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::{BinMiniOp, TypedBinOp};
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::math::{
    self, Add, Ceil, Div, Floor, Max, Min, Mul, Neg, Pow, Recip, Round, RoundHalfToEven, Rsqrt,
    Sign, Sqrt, Sub, SubF,
};
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, RmsNorm, Softmax};
use tract_onnx_opl::lrn::Lrn;

use super::rule::Rule;
use super::shape;
use super::table::rule_for;
use super::tape::{Backward, Pull, Pulled, Tape};
use super::transform::{accumulate, descendants};
use crate::backends::onnx::flat::has_one_real_output;
use crate::backends::onnx::host_op::HostOp;
use crate::backends::onnx::refusal::Refusal;
use crate::backends::tract::ops::Pointwise;
use weighted::Weighted;

/// What relevance is shared out by.
#[derive(Clone, Copy)]
pub(in crate::backends::tract) struct Asked<'a> {
    /// The rules.
    pub(in crate::backends::tract) rules: &'a RelevanceRules,
    /// What the layers with weights are in the file.
    pub(in crate::backends::tract) kinds: &'a LayerKinds,
}

/// Names of the nodes that are convolutions and of those that are not, in a model that is not
/// decluttered yet: of a convolution with a single tap tract then makes a product of matrices.
#[derive(Default)]
pub(in crate::backends::tract) struct LayerKinds {
    convolutions: HashSet<String>,
    others: HashSet<String>,
}

impl LayerKinds {
    /// The kinds in `model`, which is not decluttered yet.
    pub(in crate::backends::tract) fn of(model: &TypedModel) -> Self {
        let is_convolution = |node: &&TypedNode| node.op_is::<Conv>() || node.op_is::<Deconv>();
        let (convolutions, others): (Vec<_>, Vec<_>) =
            model.nodes().iter().partition(is_convolution);
        let names = |nodes: Vec<&TypedNode>| nodes.iter().map(|node| node.name.clone()).collect();
        Self { convolutions: names(convolutions), others: names(others) }
    }

    /// Whether the node called `name` is a convolution in the file.
    fn is_convolution(&self, name: &str) -> bool {
        // A bias takes the convolution's name, and the product or a part of it a longer one.
        let name = weighted::whole(name);
        let short = name.strip_suffix(".einsum").unwrap_or(name);
        self.convolutions.contains(name) || self.convolutions.contains(short)
    }

    /// A product with weights in the decluttered `model` that may be a convolution of the file
    /// under another name: nothing of the file is called so, and a convolution is missing.
    fn unclear<'m>(
        &self,
        model: &'m TypedModel,
        live: &HashSet<OutletId>,
    ) -> TractResult<Option<&'m TypedNode>> {
        let found = |name: &String| {
            let product = format!("{name}.einsum");
            model.nodes().iter().any(|node| {
                let whole = weighted::whole(&node.name);
                whole == *name || whole == product
            })
        };
        if self.convolutions.iter().all(found) {
            return Ok(None);
        }
        for node in model.nodes().iter().filter(|node| node.op_is::<EinSum>()) {
            let whole = weighted::whole(&node.name);
            let is_known = self.is_convolution(&node.name) || self.others.contains(whole);
            if !is_known && Weighted::of(model, node, live)?.is_some() {
                return Ok(Some(node));
            }
        }
        Ok(None)
    }
}

/// Writes the backward model that shares relevance out, from `seeds`, whose cotangents it takes, to
/// `places`, whose relevance it gives. `kernels` as for gradients.
pub(in crate::backends::tract) fn share_out(
    forward: &TypedModel,
    seeds: &[OutletId],
    places: &[OutletId],
    asked: Asked,
    kernels: bool,
) -> Result<Backward, Refusal> {
    let order = forward.eval_order()?;
    let live = descendants(forward, &order, &forward.inputs);
    let first = first_layers(forward, &order, &live)?;
    let RelevanceRules { first: by_first, convolution, dense, .. } = asked.rules;
    let differ = convolution != dense || matches!(by_first, Some(FirstRule::Box { .. }));
    if let Some(node) = asked.kinds.unclear(forward, &live)?.filter(|_| differ) {
        return Err(Refusal::UnclearKind { node: node.name.clone() });
    }
    let wanted = descendants(forward, &order, places);
    let mut tape = Tape::new(forward, wanted, ReluRule::Standard, kernels);
    let sources = seeds
        .iter()
        .map(|&seed| tape.source("cotangent", seed))
        .collect::<TractResult<Vec<_>>>()?;
    let mut found = Found::default();
    for (&seed, &source) in seeds.iter().zip(&sources) {
        accumulate(&mut tape, &mut found.ratios, seed, source)?;
    }
    let sharing = Sharing { asked, live, first };
    for id in order.into_iter().rev() {
        sharing.pull_through(&mut tape, &mut found, forward.node(id))?;
    }
    let mut answers = vec![];
    for (ix, &place) in places.iter().enumerate() {
        answers.push(found.relevance(&mut tape, place)?.ok_or(Refusal::NoPath(ix))?);
    }
    Ok(tape.finish(&sources, &answers)?)
}

/// The layers with weights that no other one stands in front of.
fn first_layers(
    model: &TypedModel,
    order: &[usize],
    live: &HashSet<OutletId>,
) -> TractResult<HashSet<usize>> {
    let (mut behind, mut first) = (HashSet::new(), HashSet::new());
    for node in order.iter().map(|&id| model.node(id)) {
        let follows = node.inputs.iter().any(|input| behind.contains(&input.node));
        let has_weights = Weighted::of(model, node, live)?.is_some();
        if has_weights && !follows {
            first.insert(node.id);
        }
        if has_weights || follows {
            behind.insert(node.id);
        }
    }
    Ok(first)
}

/// What has come to every outlet so far.
#[derive(Default)]
struct Found {
    /// Relevance over value.
    ratios: HashMap<OutletId, OutletId>,
    /// Relevance itself, beside what the ratios make.
    shares: HashMap<OutletId, OutletId>,
}

impl Found {
    /// All relevance of `outlet`, if it has any.
    fn relevance(&self, tape: &mut Tape, outlet: OutletId) -> TractResult<Option<OutletId>> {
        let Some(&ratio) = self.ratios.get(&outlet) else {
            return Ok(self.shares.get(&outlet).copied());
        };
        let value = tape.value(outlet)?;
        let made = tape.wire(math::mul(), &[ratio, value])?;
        match self.shares.get(&outlet) {
            Some(&share) => Ok(Some(tape.wire(math::add(), &[made, share])?)),
            None => Ok(Some(made)),
        }
    }
}

/// What becomes of the relevance of a node's output.
enum Step {
    /// Ratios at the inputs.
    Ratios(Pulled),
    /// Relevance at the inputs.
    Shares(Pulled),
    /// It stops here, and should not.
    Refused,
    /// The box rule is asked for and cannot be used: why.
    NoBox(String),
}

/// How an operator without weights passes a ratio.
enum Kind {
    /// As it does a gradient.
    Gradient,
    /// A function of the value on one input: all relevance goes to it.
    Function(usize),
    /// A product of two values: half the gradient to each.
    Product,
    /// Not at all.
    Refused,
}

/// The transform's settings.
struct Sharing<'a> {
    asked: Asked<'a>,
    /// Every outlet that depends on what the network is fed with.
    live: HashSet<OutletId>,
    /// The nodes that are first layers.
    first: HashSet<usize>,
}

impl Sharing<'_> {
    /// Passes what came to `node`'s output on to those inputs that depend on a place.
    fn pull_through(
        &self,
        tape: &mut Tape,
        found: &mut Found,
        node: &TypedNode,
    ) -> Result<(), Refusal> {
        let outlet = OutletId::from(node.id);
        let ratio = found.ratios.get(&outlet).copied();
        let share = found.shares.get(&outlet).copied();
        let Some(cotangent) = ratio.or(share) else { return Ok(()) };
        if !node.inputs.iter().any(|input| tape.is_wanted(*input)) {
            return Ok(());
        }
        let refusal =
            || Refusal::NoRelevance { node: node.name.clone(), op: node.op.name().into_owned() };
        let rule =
            rule_for(node.op.as_ref()).filter(|_| has_one_real_output(node)).ok_or_else(refusal)?;
        let step = if share.is_some() {
            let whole = found.relevance(tape, outlet)?.unwrap_or(cotangent);
            self.moved(&mut Pull::new(tape, node, whole), rule)
        } else {
            self.shared(&mut Pull::new(tape, node, cotangent), rule)
        };
        let (pulled, into) = match step.with_context(|| format!("Sharing out {node}"))? {
            Step::Ratios(pulled) => (pulled, &mut found.ratios),
            Step::Shares(pulled) => (pulled, &mut found.shares),
            Step::Refused => return Err(refusal()),
            Step::NoBox(why) => return Err(Refusal::NoBox { node: node.name.clone(), why }),
        };
        for (&input, wire) in node.inputs.iter().zip(pulled) {
            if let Some(wire) = wire.filter(|_| tape.is_wanted(input)) {
                tape.check(wire, input)?;
                accumulate(tape, into, input, wire)?;
            }
        }
        Ok(())
    }

    /// What becomes of a ratio.
    fn shared(&self, pull: &mut Pull, rule: &Rule) -> TractResult<Step> {
        let (model, node) = pull.surroundings();
        let Asked { rules, kinds } = self.asked;
        if let Some(layer) = Weighted::of(model, node, &self.live)? {
            let is_convolution = kinds.is_convolution(&node.name);
            // What reads several joined pieces, each of another origin, is taken for no first
            // layer.
            let may_be_first = self.first.contains(&node.id) && !layer.is_parted();
            if let Some(first) = rules.first.as_ref().filter(|_| may_be_first) {
                if let FirstRule::Box { low, .. } = first {
                    let obstacle = if is_convolution {
                        layer.box_obstacle(model, node, low.len(), &self.live)?
                    } else {
                        Some("it is no convolution".to_owned())
                    };
                    if let Some(why) = obstacle {
                        return Ok(Step::NoBox(why));
                    }
                }
                let relevance = layer.first(pull, rule, first, rules, &self.live)?;
                return Ok(Step::Shares(layer.pulled(pull, relevance)));
            }
            let by = if is_convolution { rules.convolution } else { rules.dense };
            let ratio = layer.ratio(pull, rule, by, rules, &self.live)?;
            return Ok(Step::Ratios(layer.pulled(pull, ratio)));
        }
        Ok(match self.kind(pull)? {
            Kind::Gradient => Step::Ratios((rule.pull)(pull)?),
            Kind::Function(ix) => Step::Ratios(passed(pull, ix)?),
            Kind::Product => {
                let whole = pull.cotangent;
                let half = scaled(pull, whole, 0.5)?;
                pull.cotangent = half;
                Step::Ratios((rule.pull)(pull)?)
            }
            Kind::Refused => Step::Refused,
        })
    }

    /// What becomes of relevance: it is moved with the values it belongs to.
    fn moved(&self, pull: &mut Pull, rule: &Rule) -> TractResult<Step> {
        let (_, node) = pull.surroundings();
        if only_moves(node.op.as_ref()) {
            return Ok(Step::Shares((rule.pull)(pull)?));
        }
        let Some(ix) = self.scales_one(pull)? else { return Ok(Step::Refused) };
        let mut pulled: Pulled = tvec!(None; pull.arity());
        pulled[ix] = Some(pull.cotangent);
        Ok(Step::Shares(pulled))
    }

    /// The inputs of a node that depend on what the network is fed with.
    fn live_inputs(&self, node: &TypedNode) -> Vec<usize> {
        (0..node.inputs.len()).filter(|&ix| self.live.contains(&node.inputs[ix])).collect()
    }

    /// The one input of a node whose output is as many values, each made of one.
    fn scales_one(&self, pull: &Pull) -> TractResult<Option<usize>> {
        let (_, node) = pull.surroundings();
        let is_one = node.op_is::<ElementWiseOp>()
            || node.op_as::<TypedBinOp>().is_some_and(|TypedBinOp(op, _)| {
                op.is::<Add>()
                    || op.is::<Sub>()
                    || op.is::<SubF>()
                    || op.is::<Mul>()
                    || op.is::<Div>()
            });
        let [ix] = *self.live_inputs(node) else { return Ok(None) };
        Ok((is_one && pull.input_shape(ix)? == pull.output_shape()?).then_some(ix))
    }

    /// How the operator of a node without weights passes a ratio.
    fn kind(&self, pull: &Pull) -> TractResult<Kind> {
        let (_, node) = pull.surroundings();
        let live = self.live_inputs(node);
        if let Some(ElementWiseOp(op, _)) = node.op_as::<ElementWiseOp>() {
            let steps = op.is::<Ceil>()
                || op.is::<Floor>()
                || op.is::<Round>()
                || op.is::<RoundHalfToEven>()
                || op.is::<Sign>();
            // Roots and reciprocals of values are parts of normalisations by them.
            let statistics = op.is::<Sqrt>() || op.is::<Rsqrt>() || op.is::<Recip>();
            return Ok(match (steps || op.is::<Neg>(), statistics) {
                (true, _) => Kind::Gradient,
                (_, true) => Kind::Refused,
                _ => Kind::Function(0),
            });
        }
        if let Some(TypedBinOp(op, _)) = node.op_as::<TypedBinOp>() {
            return binary(pull, op.as_ref(), &live);
        }
        let refused = node.op_is::<Softmax>()
            || node.op_is::<RmsNorm>()
            || node.op_is::<Lrn>()
            || node.op_is::<HostOp>()
            || (node.op_is::<EinSum>() && live.len() > 1)
            || node
                .op_as::<Reduce>()
                .is_some_and(|op| matches!(op.reducer, Reducer::MeanOfSquares));
        Ok(if refused { Kind::Refused } else { Kind::Gradient })
    }
}

/// How an operator of two inputs passes a ratio, of which `live` depend on the network's input.
fn binary(pull: &Pull, op: &dyn BinMiniOp, live: &[usize]) -> TractResult<Kind> {
    if op.is::<Mul>() {
        return Ok(if live.len() == 2 { Kind::Product } else { Kind::Gradient });
    }
    if op.is::<Div>() {
        return Ok(if live.contains(&1) { Kind::Refused } else { Kind::Gradient });
    }
    let [ix] = *live else {
        return Ok(if op.is::<Pow>() { Kind::Refused } else { Kind::Gradient });
    };
    if op.is::<Pow>() && ix == 1 {
        return Ok(Kind::Refused);
    }
    let bends = op.is::<Pow>() || op.is::<Min>() || (op.is::<Max>() && !is_zero(pull, 1 - ix)?);
    let same = pull.input_shape(ix)? == pull.output_shape()?;
    Ok(if bends && same { Kind::Function(ix) } else { Kind::Gradient })
}

/// Whether input `ix` is a constant of zeros: a maximum with it is a ReLU.
fn is_zero(pull: &Pull, ix: usize) -> TractResult<bool> {
    pull.input_fact(ix)?.konst.as_ref().map_or(Ok(false), |konst| konst.is_zero())
}

/// Whether an operator gives values of its inputs, unchanged. An identity is no operator any more
/// in a decluttered model.
fn only_moves(op: &dyn TypedOp) -> bool {
    op.is::<Cast>() || shape::RULES.iter().any(|rule| (rule.applies)(op))
}

/// A function `y = f(x)` of input `ix`: `g_x = g_y · y / x`.
fn passed(pull: &mut Pull, ix: usize) -> TractResult<Pulled> {
    let (g, x, y) = (pull.cotangent, pull.input(ix)?, pull.output()?);
    let relevance = pull.wire(math::mul(), &[g, y])?;
    let mut pulled: Pulled = tvec!(None; pull.arity());
    pulled[ix] = Some(divided(pull, relevance, x, 0.0)?);
    Ok(pulled)
}

/// `over / (by + ε·sign(by))`, 0 where that divides by zero.
fn divided(pull: &mut Pull, over: OutletId, by: OutletId, epsilon: f32) -> TractResult<OutletId> {
    let share = Pointwise {
        name: "Share",
        slope: |over, by, [epsilon, _]| {
            over.iter_mut().zip(by).for_each(|(over, by)| {
                let by = if *by < 0.0 { by - epsilon } else { by + epsilon };
                *over = if by == 0.0 { 0.0 } else { *over / by };
            });
        },
        parameters: [epsilon, 0.0],
    };
    pull.wire(share, &[over, by])
}

/// `wire · factor`.
fn scaled(pull: &mut Pull, wire: OutletId, factor: f32) -> TractResult<OutletId> {
    let rank = pull.shape_of(wire)?.len();
    let factor = pull.scalar(factor, rank)?;
    pull.wire(math::mul(), &[wire, factor])
}

/// `sum + more`, where there is a sum yet.
fn added(pull: &mut Pull, sum: Option<OutletId>, more: OutletId) -> TractResult<Option<OutletId>> {
    Ok(Some(match sum {
        Some(sum) => pull.wire(math::add(), &[sum, more])?,
        None => more,
    }))
}

#[cfg(test)]
mod tests;
