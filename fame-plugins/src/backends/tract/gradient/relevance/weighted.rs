//! Relevance through layers with constant weights, `y = W x + b`.
//!
//! W and b are changed (ρ) and x is parted by its sign, once for each term of a rule; the products
//! and their transposes are the layer's own operator and its gradient, with other weights.

use std::cell::RefCell;
use std::collections::HashSet;

use fame_core::contract::{FirstRule, RelevanceRules, RuleNumber, WeightRule};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::Pad;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, MaxPool, SumPool};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::math::{self, Add, Max};
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, Sigmoid};

use super::super::rule::Rule;
use super::super::tape::{Pull, Pulled};
use super::{added, divided, only_moves, scaled};
use crate::backends::onnx::tensors::floats_mut;
use crate::backends::tract::ops::Pointwise;

/// How far back it is looked for what keeps a value from being negative.
const FAR: usize = 8;

/// A layer with constant weights.
pub(super) struct Weighted {
    /// The node's input x.
    data: usize,
    /// The node's input W.
    weights: usize,
    /// The other parts of a layer that tract has parted: what they multiply is added to the node's.
    others: Vec<usize>,
    /// A bias that a node of its own adds.
    bias: Option<Arc<Tensor>>,
    /// Where y is: behind that node.
    output: OutletId,
    /// Changed constants of the node by input, so that a product and its transpose share theirs.
    changed: RefCell<Vec<(usize, Change, Arc<Tensor>)>>,
}

/// A part of values, by their sign.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    All,
    Above,
    Below,
}

/// A change ρ of weights w.
#[derive(Clone, Copy, PartialEq)]
enum Change {
    /// w.
    Same,
    /// w⁺.
    Above,
    /// w⁻.
    Below,
    /// w + γ w⁺.
    MoreAbove(f32),
    /// w + γ w⁻.
    MoreBelow(f32),
    /// w².
    Squared,
    /// 1.
    Ones,
    /// 0.
    Zeros,
}

impl Change {
    fn of(self, weights: &Arc<Tensor>) -> TractResult<Arc<Tensor>> {
        // The forward model's own, not a copy of them.
        if matches!(self, Self::Same) {
            return Ok(Arc::clone(weights));
        }
        let mut changed = Tensor::clone(weights);
        for w in floats_mut(&mut changed)? {
            *w = match self {
                Self::Same => *w,
                Self::Above => w.max(0.0),
                Self::Below => w.min(0.0),
                Self::MoreAbove(gamma) => *w + gamma * w.max(0.0),
                Self::MoreBelow(gamma) => *w + gamma * w.min(0.0),
                Self::Squared => *w * *w,
                Self::Ones => 1.0,
                Self::Zeros => 0.0,
            };
        }
        Ok(changed.into_arc_tensor())
    }
}

/// A part of x times changed weights; `bias` if the bias, changed likewise, belongs to it.
#[derive(Clone, Copy)]
struct Term {
    part: Part,
    weights: Change,
    bias: bool,
}

/// Terms that share relevance among themselves: `factor` times that of `only` the outputs of a
/// sign.
struct Group {
    factor: f32,
    only: Part,
    terms: [Term; 2],
}

impl Group {
    /// The contributions of the sign that `above` has for positive inputs, and `below` for negative
    /// ones. The bias, of which an input of 1 would be the data, belongs to the former.
    fn new(factor: f32, only: Part, above: Change, below: Change) -> Self {
        let term = |part, weights, bias| Term { part, weights, bias };
        let terms = [term(Part::Above, above, true), term(Part::Below, below, false)];
        Self { factor, only, terms }
    }

    /// The groups of a rule. The ε rule has none: its one product is y.
    fn of(rule: WeightRule) -> Vec<Self> {
        match rule {
            WeightRule::Epsilon => vec![],
            WeightRule::Gamma(gamma) => {
                let (more, less) = (Change::MoreAbove(gamma.get()), Change::MoreBelow(gamma.get()));
                vec![
                    Self::new(1.0, Part::Above, more, less),
                    Self::new(1.0, Part::Below, less, more),
                ]
            }
            WeightRule::AlphaBeta(alpha, beta) => {
                let positive = Self::new(alpha.get(), Part::All, Change::Above, Change::Below);
                let negative = Self::new(-beta.get(), Part::All, Change::Below, Change::Above);
                [positive, negative].into_iter().filter(|group| group.factor != 0.0).collect()
            }
        }
    }
}

impl Weighted {
    /// The layer of `node`, if it is one that depends on the network's input by its data alone.
    pub(super) fn of(
        model: &TypedModel,
        node: &TypedNode,
        live: &HashSet<OutletId>,
    ) -> TractResult<Option<Self>> {
        let Some(data) = data_of(model, node, live)? else { return Ok(None) };
        let (others, sum) = parts(model, node);
        let sum = model.node(sum);
        let (output, bias) = match bias_behind(model, sum)? {
            Some((output, bias)) => (output, Some(bias)),
            None => (sum.id.into(), None),
        };
        let (weights, changed) = (usize::from(data == 0), RefCell::default());
        Ok(Some(Self { data, weights, others, bias, output, changed }))
    }

    /// Whether tract has parted the layer.
    pub(super) fn is_parted(&self) -> bool {
        !self.others.is_empty()
    }

    /// The constant on input `ix` of the node, changed: made once for each change.
    fn constant(&self, pull: &Pull, ix: usize, change: Change) -> TractResult<Arc<Tensor>> {
        let known = |(at, by, _): &&(usize, Change, Arc<Tensor>)| (*at, *by) == (ix, change);
        if let Some((.., constant)) = self.changed.borrow().iter().find(known) {
            return Ok(constant.clone());
        }
        let constant = change.of(&pull.constant(ix)?)?;
        self.changed.borrow_mut().push((ix, change, constant.clone()));
        Ok(constant)
    }

    /// `wire` as what came to the data, and nothing to the other inputs.
    pub(super) fn pulled(&self, pull: &Pull, wire: OutletId) -> Pulled {
        let mut pulled: Pulled = tvec!(None; pull.arity());
        pulled[self.data] = Some(wire);
        pulled
    }

    /// The ratio at x by `by`, from the one at y.
    pub(super) fn ratio(
        &self,
        pull: &mut Pull,
        rule: &Rule,
        by: WeightRule,
        rules: &RelevanceRules,
        live: &HashSet<OutletId>,
    ) -> TractResult<OutletId> {
        let (relevance, y) = self.relevance(pull)?;
        if by == WeightRule::Epsilon {
            let share = divided(pull, relevance, y, rules.epsilon.get())?;
            return self.back(pull, rule, share, Change::Same);
        }
        let (model, node) = pull.surroundings();
        let x = pull.input(self.data)?;
        let mut is_signed = !is_never_below_zero(model, node.inputs[self.data], FAR)?;
        let mut others = vec![];
        for &other in &self.others {
            let other = model.node(other);
            let data = data_of(model, other, live)?.context("a part reads what is live")?;
            is_signed |= !is_never_below_zero(model, other.inputs[data], FAR)?;
            others.push((other, data));
        }
        let is_rectified = is_rectified(model, self.output)?;
        let mut sum = None;
        for group in Group::of(by) {
            // A ReLU behind the layer lets no relevance through to outputs below zero.
            if is_rectified && group.only == Part::Below {
                continue;
            }
            let terms = &group.terms[..if is_signed { 2 } else { 1 }];
            let mut total = None;
            for term in terms {
                let x = if is_signed { clamped(pull, x, term.part)? } else { x };
                let product = self.product(pull, x, term.weights, term.bias)?;
                total = added(pull, total, product)?;
                for &(other, data) in &others {
                    let x = pull.value(other.inputs[data])?;
                    let x = if is_signed { clamped(pull, x, term.part)? } else { x };
                    let product = product_of(pull, other, data, x, term.weights)?;
                    total = added(pull, total, product)?;
                }
            }
            let total = total.context("a rule has terms")?;
            let upper = kept(pull, relevance, y, group.only)?;
            let mut share = divided(pull, upper, total, rules.stabilizer.get())?;
            if group.factor != 1.0 {
                share = scaled(pull, share, group.factor)?;
            }
            for term in terms {
                let mut more = self.back(pull, rule, share, term.weights)?;
                if is_signed {
                    more = kept(pull, more, x, term.part)?;
                }
                sum = added(pull, sum, more)?;
            }
        }
        sum.context("a rule has groups")
    }

    /// The relevance at x by a rule for first layers, from the ratio at y.
    pub(super) fn first(
        &self,
        pull: &mut Pull,
        rule: &Rule,
        first: &FirstRule,
        rules: &RelevanceRules,
        live: &HashSet<OutletId>,
    ) -> TractResult<OutletId> {
        let (relevance, _) = self.relevance(pull)?;
        let epsilon = rules.stabilizer.get();
        let (change, bias) = match first {
            FirstRule::Flat => (Change::Ones, false),
            FirstRule::WSquare => (Change::Squared, true),
            FirstRule::Box { low, high } => {
                let (x, [low, high]) =
                    (pull.input(self.data)?, self.bounds(pull, low, high, live)?);
                let parts = [
                    (x, Change::Same, 1.0),
                    (low, Change::Above, -1.0),
                    (high, Change::Below, -1.0),
                ];
                let mut total = None;
                for (at, change, sign) in parts {
                    let product = self.product(pull, at, change, false)?;
                    let product = scaled(pull, product, sign)?;
                    total = added(pull, total, product)?;
                }
                let total = total.context("a box has parts")?;
                let share = divided(pull, relevance, total, epsilon)?;
                let mut sum = None;
                for (at, change, sign) in parts {
                    let back = self.back(pull, rule, share, change)?;
                    let product = pull.wire(math::mul(), &[back, at])?;
                    let product = scaled(pull, product, sign)?;
                    sum = added(pull, sum, product)?;
                }
                return sum.context("a box has parts");
            }
        };
        let shape = pull.input_shape(self.data)?.to_vec();
        let ones = pull.konst(ones(&shape)?)?;
        let total = self.product(pull, ones, change, bias)?;
        let share = divided(pull, relevance, total, epsilon)?;
        self.back(pull, rule, share, change)
    }

    /// Why the box of a network's input of so many `channels` is not known at x, as the end of a
    /// sentence; `None` where it is.
    pub(super) fn box_obstacle(
        &self,
        model: &TypedModel,
        node: &TypedNode,
        channels: usize,
        live: &HashSet<OutletId>,
    ) -> TractResult<Option<String>> {
        let mut waiting = vec![node.inputs[self.data]];
        while let Some(outlet) = waiting.pop() {
            if !live.contains(&outlet) {
                continue;
            }
            if model.inputs.first() == Some(&outlet) {
                let shape = &model.outlet_fact(outlet)?.shape;
                let shape = shape.as_concrete().context("shapes are concrete")?;
                if shape.get(1) != Some(&channels) {
                    return Ok(Some(format!(
                        "the model has {channels} channels, but the network's input has the shape \
                         {shape:?}"
                    )));
                }
                continue;
            }
            let node = model.node(outlet.node);
            let scales = node.op_is::<TypedBinOp>()
                && node.inputs.iter().filter(|input| live.contains(input)).count() == 1;
            if model.inputs.contains(&outlet) || !(scales || only_moves(node.op.as_ref())) {
                let (name, op) = (&node.name, node.op.name());
                return Ok(Some(format!("`{name}` ({op}) stands between it and the picture")));
            }
            waiting.extend(&node.inputs);
        }
        Ok(None)
    }

    /// The relevance of y, and y.
    fn relevance(&self, pull: &mut Pull) -> TractResult<(OutletId, OutletId)> {
        let (g, y) = (pull.cotangent, pull.value(self.output)?);
        Ok((pull.wire(math::mul(), &[g, y])?, y))
    }

    /// `ρ(W) x`, with `bias` plus `ρ(b)`.
    fn product(
        &self,
        pull: &mut Pull,
        x: OutletId,
        change: Change,
        bias: bool,
    ) -> TractResult<OutletId> {
        let (_, node) = pull.surroundings();
        let mut inputs = vec![];
        for ix in 0..pull.arity() {
            inputs.push(if ix == self.data {
                x
            } else {
                let change = if ix == self.weights || bias { change } else { Change::Zeros };
                let constant = self.constant(pull, ix, change)?;
                pull.konst(constant)?
            });
        }
        let wire = pull.wire(node.op.clone(), &inputs)?;
        match self.bias.as_ref().filter(|_| bias) {
            None => Ok(wire),
            Some(bias) => {
                let bias = pull.konst(change.of(bias)?)?;
                pull.wire(math::add(), &[wire, bias])
            }
        }
    }

    /// `ρ(W)ᵀ share`.
    fn back(
        &self,
        pull: &mut Pull,
        rule: &Rule,
        share: OutletId,
        change: Change,
    ) -> TractResult<OutletId> {
        let weights = self.constant(pull, self.weights, change)?;
        let pulled = pull.with_constant(rule, share, self.weights, weights)?;
        pulled[self.data].context("the data of a layer with weights has a gradient")
    }

    /// The lowest and highest values of x, for a network's input between `low` and `high`.
    fn bounds(
        &self,
        pull: &mut Pull,
        low: &[RuleNumber],
        high: &[RuleNumber],
        live: &HashSet<OutletId>,
    ) -> TractResult<[OutletId; 2]> {
        let (_, node) = pull.surroundings();
        let at = node.inputs[self.data];
        let ends = [carried(pull, at, low, live)?, carried(pull, at, high, live)?];
        // A negative factor on the way turns the two round.
        Ok([pull.wire(math::min(), &ends)?, pull.wire(math::max(), &ends)?])
    }
}

/// The input of `node` that is the data of a layer with constant weights.
fn data_of(
    model: &TypedModel,
    node: &TypedNode,
    live: &HashSet<OutletId>,
) -> TractResult<Option<usize>> {
    let data = node.inputs.iter().position(|input| live.contains(input));
    let is_one = (node.op_is::<Conv>() || node.op_is::<Deconv>()) && data == Some(0)
        || node.op_is::<EinSum>() && node.inputs.len() == 2;
    let Some(data) = data.filter(|_| is_one) else { return Ok(None) };
    for (ix, input) in node.inputs.iter().enumerate() {
        if ix != data && model.outlet_fact(*input)?.konst.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(data))
}

/// Behind a concatenation tract makes of one product a sum of products, one for each joined piece,
/// and of one whose outputs are parted later one for each part. It calls them by the product's
/// name, one of these, and which piece.
const PARTED: [&str; 2] = [".concat-einsum-", ".split-over-"];

/// The name of the product that tract has parted into the node called `name` and others, or else
/// `name`.
pub(super) fn whole(name: &str) -> &str {
    PARTED.iter().fold(name, |name, mark| name.split_once(mark).map_or(name, |(whole, _)| whole))
}

/// The other parts of the sum that `node` is a part of, and the node that is that sum; itself where
/// it is a whole product.
fn parts(model: &TypedModel, node: &TypedNode) -> (Vec<usize>, usize) {
    let name = whole(&node.name);
    let (mut parts, mut sum) = (vec![node.id], node.id);
    if name == node.name {
        return (vec![], sum);
    }
    while let [next] = &*model.node(sum).outputs[0].successors {
        let Some(found) = summed(model, next.node, name) else { break };
        (parts, sum) = (found, next.node);
    }
    parts.retain(|part| *part != node.id);
    (parts, sum)
}

/// The parts of the product called `name` that node `id` is a sum of; `None` if it is a sum of
/// anything else too.
fn summed(model: &TypedModel, id: usize, name: &str) -> Option<Vec<usize>> {
    let node = model.node(id);
    if node.op_is::<EinSum>() {
        return (whole(&node.name) == name).then(|| vec![id]);
    }
    node.op_as::<TypedBinOp>().filter(|op| op.0.is::<Add>())?;
    let each = node.inputs.iter().map(|input| summed(model, input.node, name));
    each.collect::<Option<Vec<_>>>().map(|found| found.concat())
}

/// The product of `x`, in place of input `data` of `node`, with its other input, changed.
fn product_of(
    pull: &mut Pull,
    node: &TypedNode,
    data: usize,
    x: OutletId,
    change: Change,
) -> TractResult<OutletId> {
    let (model, _) = pull.surroundings();
    let weights = model.outlet_fact(node.inputs[1 - data])?.konst.clone();
    let weights = pull.konst(change.of(&weights.context("weights are constant")?)?)?;
    let inputs = if data == 0 { [x, weights] } else { [weights, x] };
    pull.wire(node.op.clone(), &inputs)
}

/// The constant that the only reader of `node` adds to its output, and where the sum is.
fn bias_behind(
    model: &TypedModel,
    node: &TypedNode,
) -> TractResult<Option<(OutletId, Arc<Tensor>)>> {
    let [next] = &*node.outputs[0].successors else { return Ok(None) };
    if model.outputs.contains(&node.id.into()) {
        return Ok(None);
    }
    let (slot, next) = (next.slot, model.node(next.node));
    let is_sum = next.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Add>());
    if !is_sum || next.outputs[0].fact.shape != node.outputs[0].fact.shape {
        return Ok(None);
    }
    let bias = model.outlet_fact(next.inputs[1 - slot])?.konst.clone();
    Ok(bias.map(|bias| (next.id.into(), bias)))
}

/// Whether `outlet` is read by a ReLU and by nothing else.
fn is_rectified(model: &TypedModel, outlet: OutletId) -> TractResult<bool> {
    let [next] = &*model.node(outlet.node).outputs[outlet.slot].successors else {
        return Ok(false);
    };
    let (slot, next) = (next.slot, model.node(next.node));
    let is_max = next.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Max>());
    if !is_max || model.outputs.contains(&outlet) {
        return Ok(false);
    }
    let bound = model.outlet_fact(next.inputs[1 - slot])?.konst.clone();
    bound.map_or(Ok(false), |bound| bound.is_zero())
}

/// Whether `outlet` is never negative, as far as `far` steps back tell.
fn is_never_below_zero(model: &TypedModel, outlet: OutletId, far: usize) -> TractResult<bool> {
    let node = model.node(outlet.node);
    if far == 0 {
        return Ok(false);
    }
    if let Some(TypedBinOp(op, _)) = node.op_as::<TypedBinOp>() {
        if op.is::<Max>() {
            for input in &node.inputs {
                let bound = model.outlet_fact(*input)?.konst.as_ref();
                let bound = bound.and_then(|konst| konst.as_uniform());
                if let Some(bound) = bound
                    && bound.cast_to_scalar::<f32>()? >= 0.0
                {
                    return Ok(true);
                }
            }
        }
        if !op.is::<Add>() {
            return Ok(false);
        }
    }
    if let Some(ElementWiseOp(op, _)) = node.op_as::<ElementWiseOp>() {
        return Ok(op.is::<Sigmoid>());
    }
    let keeps = node.op_is::<TypedBinOp>()
        || node.op_is::<MaxPool>()
        || node.op_is::<SumPool>()
        || (only_moves(node.op.as_ref()) && !node.op_is::<Pad>())
        || node
            .op_as::<Reduce>()
            .is_some_and(|op| matches!(op.reducer, Reducer::Sum | Reducer::Max));
    if !keeps || node.inputs.is_empty() {
        return Ok(false);
    }
    for input in &node.inputs {
        // Indices and the like are read, not given on.
        let fact = model.outlet_fact(*input)?;
        let is_value = fact.datum_type.is_float() && fact.konst.is_none();
        if is_value && !is_never_below_zero(model, *input, far - 1)? {
            return Ok(false);
        }
        if fact.datum_type.is_float() && fact.konst.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The value that `outlet` of the forward model has where each channel of the network's input has
/// its value of `channels` everywhere. [`Weighted::box_obstacle`] has found none on the way.
fn carried(
    pull: &mut Pull,
    outlet: OutletId,
    channels: &[RuleNumber],
    live: &HashSet<OutletId>,
) -> TractResult<OutletId> {
    let (model, _) = pull.surroundings();
    if !live.contains(&outlet) {
        return pull.value(outlet);
    }
    let node = model.node(outlet.node);
    if model.inputs.contains(&outlet) {
        let fact = model.outlet_fact(outlet)?;
        let shape = fact.shape.as_concrete().context("shapes are concrete")?;
        let size: usize = shape[2..].iter().product();
        let values: Vec<f32> = (0..shape[0])
            .flat_map(|_| channels)
            .flat_map(|value| std::iter::repeat_n(value.get(), size))
            .collect();
        return pull.konst(Tensor::from_shape(shape, &values)?);
    }
    let inputs = node
        .inputs
        .iter()
        .map(|input| carried(pull, *input, channels, live))
        .collect::<TractResult<Vec<_>>>()?;
    pull.wire(node.op.clone(), &inputs)
}

fn ones(shape: &[usize]) -> TractResult<Tensor> {
    Tensor::from_shape(shape, &vec![1f32; shape.iter().product()])
}

/// The part of `x`, zero elsewhere.
fn clamped(pull: &mut Pull, x: OutletId, part: Part) -> TractResult<OutletId> {
    let rank = pull.shape_of(x)?.len();
    match part {
        Part::All => Ok(x),
        Part::Above => {
            let zero = pull.scalar(0.0, rank)?;
            pull.wire(math::max(), &[x, zero])
        }
        Part::Below => {
            let zero = pull.scalar(0.0, rank)?;
            pull.wire(math::min(), &[x, zero])
        }
    }
}

/// `wire` where `at` is of the part, zero elsewhere.
fn kept(pull: &mut Pull, wire: OutletId, at: OutletId, part: Part) -> TractResult<OutletId> {
    let op = match part {
        Part::All => return Ok(wire),
        Part::Above => Pointwise {
            name: "Above",
            slope: |g, at, _| {
                g.iter_mut().zip(at).for_each(|(g, at)| *g = if *at > 0.0 { *g } else { 0.0 });
            },
            parameters: [0.0; 2],
        },
        Part::Below => Pointwise {
            name: "Below",
            slope: |g, at, _| {
                g.iter_mut().zip(at).for_each(|(g, at)| *g = if *at < 0.0 { *g } else { 0.0 });
            },
            parameters: [0.0; 2],
        },
    };
    pull.wire(op, &[wire, at])
}
