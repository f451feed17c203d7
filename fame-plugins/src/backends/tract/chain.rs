//! What follows a convolution and is computed while its result is still in registers.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::math::{Add, Max, Min, Mul};

use super::ops::{After, PReluGrad, Pointwise};
use super::order::Order;
use crate::backends::onnx::prelu::PRelu;
use crate::backends::onnx::tensors::floats;

/// A convolution, or a dense layer, and the nodes around it that become one operator.
///
/// In front of it: a factor and a summand for each channel, which go into its weights. Behind it: a
/// factor for each channel, a bias, a sum, and an activation or the derivative of one, in this
/// order, each where there is one. Moves of the channels' axis between channels first and last may
/// stand among them: nothing is moved for these, for a kernel's channels lie last either way.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    /// The nodes: those in front, the convolution, those behind.
    pub(super) nodes: Vec<usize>,
    /// The argument.
    pub(super) input: OutletId,
    /// What the argument's channels are multiplied with and then moved by.
    pub(super) before: Option<[Vec<f32>; 2]>,
    /// What the result's channels are multiplied with.
    pub(super) scale: Option<Vec<f32>>,
    /// One value for each output channel.
    pub(super) bias: Option<Vec<f32>>,
    /// The value that is added.
    pub(super) add: Option<OutletId>,
    /// What comes last.
    pub(super) after: After,
    /// The value that tells where a derivative is 0 or the slope.
    pub(super) of: Option<OutletId>,
    /// How many channels argument and result have.
    channels: [usize; 2],
    /// Where the model has the channels of argument and result.
    pub(super) lies: [Order; 2],
}

impl Chain {
    /// The longest chain around `node`, a convolution of `input` between so many channels, which
    /// lie so, with a bias. With `shifts`, what is in front of it may move zero. Nodes for which
    /// `is_taken` belong to another chain.
    pub(super) fn around(
        model: &TypedModel,
        (node, input): (usize, OutletId),
        (channels, lies): ([usize; 2], [Order; 2]),
        bias: Option<Vec<f32>>,
        shifts: bool,
        is_taken: impl Fn(usize) -> bool,
    ) -> Self {
        let mut chain = Self {
            nodes: vec![node],
            input,
            before: None,
            scale: None,
            bias,
            add: None,
            after: After::Keep,
            of: None,
            channels,
            lies,
        };
        while let Some(next) = chain.next(model).filter(|&next| !is_taken(next)) {
            if !chain.takes(model, next) {
                break;
            }
            chain.nodes.push(next);
        }
        while let Some(previous) = chain.previous(model).filter(|&previous| !is_taken(previous)) {
            if !chain.begins_with(model, previous, shifts) {
                break;
            }
            chain.nodes.insert(0, previous);
        }
        chain
    }

    /// The node whose result is the chain's.
    pub(super) fn last(&self) -> usize {
        self.nodes[self.nodes.len() - 1]
    }

    /// The only node that reads the result.
    fn next(&self, model: &TypedModel) -> Option<usize> {
        let here = OutletId::from(self.last());
        match &*model.node(here.node).outputs[0].successors {
            [next] if !model.outputs.contains(&here) => Some(next.node),
            _ => None,
        }
    }

    /// The node that gives the argument, if nothing else reads it.
    fn previous(&self, model: &TypedModel) -> Option<usize> {
        let node = model.node(self.input.node);
        let is_read_once = node.outputs.len() == 1 && node.outputs[0].successors.len() == 1;
        (is_read_once && !model.outputs.contains(&self.input)).then_some(node.id)
    }

    /// Whether the chain could begin with `previous`; then it does.
    fn begins_with(&mut self, model: &TypedModel, previous: usize, shifts: bool) -> bool {
        let node = model.node(previous);
        if let Some(lies) = turned_by(model, node).filter(|&[_, to]| to == self.lies[0]) {
            (self.lies[0], self.input) = (lies[0], node.inputs[0]);
            return true;
        }
        let Some(op) = node.op_as::<TypedBinOp>() else { return false };
        let here = OutletId::from(previous);
        let vectors = [0, 1].map(|ix| self.vector(model, node.inputs[ix], 0));
        let (ix, more) = match vectors {
            [Some(more), None] => (1, more),
            [None, Some(more)] => (0, more),
            _ => return false,
        };
        if !alike(model, node.inputs[ix], here) {
            return false;
        }
        let len = self.channels[0];
        let known = || [vec![1.0; len], vec![0.0; len]];
        let [mut scale, mut shift] = self.before.clone().unwrap_or_else(known);
        // What is known already is applied to the result of this.
        if op.0.is::<Mul>() {
            scale.iter_mut().zip(more).for_each(|(s, m)| *s *= m);
        } else if op.0.is::<Add>() && shifts {
            shift.iter_mut().zip(&scale).zip(more).for_each(|((t, s), m)| *t += s * m);
        } else {
            return false;
        }
        // Padding is 0 behind the summand; what it is in front of it must be a number.
        if shift.iter().zip(&scale).any(|(t, s)| *t != 0.0 && !(t / s).is_finite()) {
            return false;
        }
        self.before = Some([scale, shift]);
        self.input = node.inputs[ix];
        true
    }

    /// Whether `next` could be joined; then it is.
    fn takes(&mut self, model: &TypedModel, next: usize) -> bool {
        let (here, node) = (OutletId::from(self.last()), model.node(next));
        if let Some(lies) = turned_by(model, node) {
            // What is added, and what tells a slope, is read in the order of the result.
            let is_free = self.add.is_none() && self.of.is_none();
            if is_free && lies[0] == self.lies[1] {
                self.lies[1] = lies[1];
                return true;
            }
            return false;
        }
        // A constant with more axes than one would repeat the result.
        let [Some(before), Some(behind)] =
            [here, OutletId::from(next)].map(|outlet| model.outlet_fact(outlet).ok())
        else {
            return false;
        };
        if before.shape != behind.shape {
            return false;
        }
        if let Some(op) = node.op_as::<TypedBinOp>() {
            let other = node.inputs[usize::from(node.inputs[0] == here)];
            if op.0.is::<Add>() {
                return self.takes_sum(model, here, other);
            }
            if op.0.is::<Mul>() {
                return self.takes_product(model, other);
            }
            let bound = uniform(model, other);
            return match bound.filter(|bound| !bound.is_nan()) {
                Some(bound) if op.0.is::<Max>() => self.takes_bound(Some(bound), None),
                Some(bound) if op.0.is::<Min>() => self.takes_bound(None, Some(bound)),
                _ => false,
            };
        }
        if self.after != After::Keep || node.inputs[0] != here {
            return false;
        }
        if node.op_is::<PRelu>() {
            let Some(slopes) = self.vector(model, node.inputs[1], 1) else {
                return false;
            };
            self.after = After::PRelu(slopes.into());
        } else if node.op_is::<PReluGrad>() {
            let Some(slopes) = self.vector(model, node.inputs[2], 1) else {
                return false;
            };
            self.after = After::PReluGrad(slopes.into());
            self.of = Some(node.inputs[1]);
        } else if let Some(op) = node.op_as::<Pointwise>().filter(|op| op.is_clamp()) {
            self.after = After::ClampGrad(op.parameters);
            self.of = Some(node.inputs[1]);
        } else {
            return false;
        }
        // The kernels read this value as they do the result: it is shaped like it, and no constant.
        self.of.is_none_or(|of| alike(model, of, here)) || {
            (self.after, self.of) = (After::Keep, None);
            false
        }
    }

    fn takes_sum(&mut self, model: &TypedModel, here: OutletId, other: OutletId) -> bool {
        if self.after != After::Keep || self.add.is_some() {
            return false;
        }
        if let Some(more) = self.vector(model, other, 1) {
            let bias = self.bias.get_or_insert_with(|| vec![0.0; more.len()]);
            bias.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
            return true;
        }
        self.add = Some(other).filter(|&other| alike(model, other, here));
        self.add.is_some()
    }

    fn takes_product(&mut self, model: &TypedModel, other: OutletId) -> bool {
        if self.after != After::Keep || self.add.is_some() {
            return false;
        }
        let Some(more) = self.vector(model, other, 1) else { return false };
        if let Some(sum) = &mut self.bias {
            sum.iter_mut().zip(&more).for_each(|(sum, more)| *sum *= more);
        }
        let scale = self.scale.get_or_insert_with(|| vec![1.0; more.len()]);
        scale.iter_mut().zip(more).for_each(|(scale, more)| *scale *= more);
        true
    }

    /// One value for each channel of the argument, side 0, or of the result, side 1, if `outlet` is a
    /// constant that has no more.
    fn vector(&self, model: &TypedModel, outlet: OutletId, side: usize) -> Option<Vec<f32>> {
        let konst = model.outlet_fact(outlet).ok()?.konst.clone()?;
        let (values, channels) = (floats(&konst).ok()?, self.channels[side]);
        if let Some(&value) = values.first().filter(|_| values.len() == 1) {
            return Some(vec![value; channels]);
        }
        let axis = self.lies[side].axis(konst.rank())?;
        let across = konst.shape()[axis] == values.len();
        (across && values.len() == channels).then(|| values.to_vec())
    }

    /// `max` with `low` or `min` with `high`.
    fn takes_bound(&mut self, low: Option<f32>, high: Option<f32>) -> bool {
        let bounds = match (&self.after, low, high) {
            (After::Keep, ..) => [low.unwrap_or(f32::NEG_INFINITY), high.unwrap_or(f32::INFINITY)],
            (After::Clamp([known, f32::INFINITY]), None, Some(high)) if high >= *known => {
                [*known, high]
            }
            (After::Clamp([f32::NEG_INFINITY, known]), Some(low), None) if low <= *known => {
                [low, *known]
            }
            _ => return false,
        };
        self.after = After::Clamp(bounds);
        true
    }
}

/// Where the model has the channels before and behind `node`, if all it does is to move them from
/// one to the other.
fn turned_by(model: &TypedModel, node: &TypedNode) -> Option<[Order; 2]> {
    let op = node.op_as::<AxisOp>()?;
    let rank = model.outlet_fact(*node.inputs.first()?).ok()?.rank();
    let mut orders = [Order::First, Order::Last].into_iter().filter(|_| matches!(rank, 3 | 4));
    orders.find(|order| *op == order.made_by(rank)).map(|to| [to.other(), to])
}

/// Whether `outlet` is no constant and shaped like `other`.
fn alike(model: &TypedModel, outlet: OutletId, other: OutletId) -> bool {
    let facts = [outlet, other].map(|outlet| model.outlet_fact(outlet).ok());
    let [Some(fact), Some(other)] = facts else { return false };
    fact.konst.is_none() && fact.shape == other.shape && fact.datum_type == other.datum_type
}

/// The one value of a constant.
fn uniform(model: &TypedModel, outlet: OutletId) -> Option<f32> {
    let konst = model.outlet_fact(outlet).ok()?.konst.clone()?;
    konst.as_uniform()?.cast_to_scalar::<f32>().ok()
}

#[cfg(test)]
mod tests {
    use tract_onnx::tract_core::ops::math::{add, max, mul, neg};

    use super::*;

    const SHAPE: [usize; 4] = [1, 2, 3, 3];

    /// A model whose node `c` stands for a convolution; what is behind and in front is the test's.
    struct Drawn(TypedModel);

    impl Drawn {
        fn new() -> (Self, OutletId) {
            let mut model = TypedModel::default();
            let x = model.add_source("x", f32::fact(SHAPE)).unwrap();
            (Self(model), x)
        }

        fn source(&mut self, name: &str) -> OutletId {
            self.0.add_source(name, f32::fact(SHAPE)).unwrap()
        }

        fn vector(&mut self, name: &str, values: [f32; 2]) -> OutletId {
            self.0.add_const(name, Tensor::from_shape(&[1, 2, 1, 1], &values).unwrap()).unwrap()
        }

        fn node(
            &mut self,
            name: &str,
            op: impl Into<Box<dyn TypedOp>>,
            of: &[OutletId],
        ) -> OutletId {
            self.0.wire_node(name, op, of).unwrap()[0]
        }

        fn chain(&mut self, (c, outputs): (OutletId, &[OutletId]), shifts: bool) -> Chain {
            self.0.select_output_outlets(outputs).unwrap();
            let (input, lies) = (self.0.node(c.node).inputs[0], [Order::First; 2]);
            Chain::around(&self.0, (c.node, input), ([2, 2], lies), None, shifts, |_| false)
        }
    }

    #[test]
    fn a_factor_a_bias_a_sum_and_a_relu_are_taken_along() {
        let (mut drawn, x) = Drawn::new();
        let c = drawn.node("c", neg(), &[x]);
        let (bias, factor) = (drawn.vector("b", [1.0, 2.0]), drawn.vector("f", [10.0, 100.0]));
        let zero = drawn.vector("zero", [0.0; 2]);
        let other = drawn.source("other");
        let biased = drawn.node("biased", add(), &[c, bias]);
        let scaled = drawn.node("scaled", mul(), &[factor, biased]);
        let sum = drawn.node("sum", add(), &[other, scaled]);
        let relu = drawn.node("relu", max(), &[sum, zero]);
        let chain = drawn.chain((c, &[relu]), true);
        assert_eq!(chain.nodes, [c, biased, scaled, sum, relu].map(|outlet| outlet.node));
        assert_eq!(chain.bias, Some(vec![10.0, 200.0]));
        assert_eq!(chain.scale, Some(vec![10.0, 100.0]));
        assert_eq!(chain.add, Some(other));
        assert_eq!(chain.after, After::Clamp([0.0, f32::INFINITY]));
    }

    #[test]
    fn what_another_reads_as_well_is_computed_apart() {
        let (mut drawn, x) = Drawn::new();
        let c = drawn.node("c", neg(), &[x]);
        let bias = drawn.vector("b", [1.0, 2.0]);
        let biased = drawn.node("biased", add(), &[c, bias]);
        assert_eq!(drawn.chain((c, &[biased]), true).nodes.len(), 2);
        assert_eq!(drawn.chain((c, &[biased, c]), true).nodes, [c.node]);
    }

    #[test]
    fn what_stands_in_front_is_taken_in_its_order_where_padding_can_follow() {
        let (mut drawn, x) = Drawn::new();
        let (factor, shift) = (drawn.vector("f", [2.0, 4.0]), drawn.vector("t", [1.0, -1.0]));
        // 3·(2x + 1) and 3·(4x − 1).
        let scaled = drawn.node("scaled", mul(), &[x, factor]);
        let moved = drawn.node("moved", add(), &[scaled, shift]);
        let three = drawn.vector("three", [3.0; 2]);
        let again = drawn.node("again", mul(), &[moved, three]);
        let c = drawn.node("c", neg(), &[again]);
        let chain = drawn.chain((c, &[c]), true);
        assert_eq!(chain.nodes, [scaled, moved, again, c].map(|outlet| outlet.node));
        assert_eq!((chain.input, chain.before), (x, Some([vec![6.0, 12.0], vec![3.0, -3.0]])));
        let chain = drawn.chain((c, &[c]), false);
        assert_eq!(chain.nodes, [again, c].map(|outlet| outlet.node));
    }

    #[test]
    fn a_channel_whose_zero_cannot_be_told_in_front_leaves_the_summand_apart() {
        let (mut drawn, x) = Drawn::new();
        let (factor, shift) = (drawn.vector("f", [0.0, 4.0]), drawn.vector("t", [1.0, -1.0]));
        let moved = drawn.node("moved", add(), &[x, shift]);
        let scaled = drawn.node("scaled", mul(), &[moved, factor]);
        let c = drawn.node("c", neg(), &[scaled]);
        let chain = drawn.chain((c, &[c]), true);
        // 0 · (x + 1) is 0 wherever x lies: a border of 0 will do.
        assert_eq!(chain.nodes.len(), 3);
        let scaled = drawn.node("scaled first", mul(), &[x, factor]);
        let moved = drawn.node("moved then", add(), &[scaled, shift]);
        let c = drawn.node("c2", neg(), &[moved]);
        // 0 · x + 1 is never 0: no border would do.
        let chain = drawn.chain((c, &[c]), true);
        assert!(!chain.nodes.contains(&scaled.node), "{:?}", chain.nodes);
    }
}
