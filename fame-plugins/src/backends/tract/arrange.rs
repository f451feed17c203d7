//! A model written anew around kernels whose values have their channels last.
//!
//! ```text
//!            convolution ─ sum ─ ReLU ─ pooling            as the model says: channels first
//!                 ▼          ▼
//!  turn ─▶ [ convolution with sum and ReLU ] ─ turn ─ pooling
//! ```
//!
//! A kernel takes what follows it along (`chain`). Operators that work element by element take
//! whatever order their arguments have; only in front of others, and of what is read outside, a
//! value is turned back, once for all of its readers.

use std::collections::{HashMap, HashSet};

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::{MultiBroadcastTo, Slice};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::{MaxPool, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::logic::Iff;
use tract_onnx::tract_core::ops::nn::{DataFormat, Reduce, RmsNorm, Softmax};
use tract_onnx::tract_core::ops::source::TypedSource;

use super::chain::Chain;
use super::ops::{
    Interleave, LaidOutConv, Norm, NormGrad, PReluGrad, Pointwise, PoolGrad, Rescale, SoftmaxGrad,
    Turn,
};
use super::order::Order;
use crate::backends::onnx::prelu::PRelu;
use fame_kernels::Convolution;

/// A kernel for a node of a model.
pub(super) struct Placed {
    /// The convolution with its weights.
    pub(super) kernel: Arc<Convolution>,
    /// One value for each output channel.
    pub(super) bias: Option<Arc<[f32]>>,
    /// What pixels outside of a picture are, one value for each input channel, where not 0.
    pub(super) border: Option<Arc<[f32]>>,
    /// The nodes that it takes the place of.
    pub(super) chain: Chain,
}

/// A model written anew.
pub(super) struct Arranged {
    /// The model, with inputs and outputs as before.
    pub(super) model: TypedModel,
    /// The order of each output's axes.
    pub(super) outputs: Vec<Order>,
}

/// Writes `model` anew with kernels in the place of nodes. Inputs have the
/// orders `inputs`; outputs from the index `free` on may have either, those before keep theirs.
pub(super) fn arrange(
    model: &TypedModel,
    placed: Vec<Placed>,
    inputs: &[Order],
    free: usize,
) -> TractResult<Arranged> {
    let order = model.eval_order()?;
    let mut arranging = Arranging::new(model, placed);
    let mut sources = vec![];
    for (outlet, order) in model.input_outlets()?.iter().zip(inputs) {
        sources.push(arranging.source(*outlet, *order)?);
    }
    for id in order {
        arranging.node(id)?;
    }
    let (mut wires, mut outputs) = (vec![], vec![]);
    for (ix, outlet) in model.output_outlets()?.iter().enumerate() {
        let is_last = ix >= free && arranging.wires.contains_key(&(*outlet, Order::Last));
        let order = if is_last { Order::Last } else { Order::First };
        wires.push(arranging.wire(*outlet, order)?);
        outputs.push(order);
    }
    let mut model = arranging.new;
    model.set_input_outlets(&sources)?;
    model.select_output_outlets(&wires)?;
    Ok(Arranged { model, outputs })
}

struct Arranging<'m> {
    old: &'m TypedModel,
    new: TypedModel,
    /// Wires of the new model that have the value of one of the old, in an order.
    wires: HashMap<(OutletId, Order), OutletId>,
    /// By the last of their nodes.
    placed: HashMap<usize, Placed>,
    /// Nodes of chains, but for each one's last.
    inside: HashSet<usize>,
    constants: usize,
}

impl<'m> Arranging<'m> {
    fn new(old: &'m TypedModel, placed: Vec<Placed>) -> Self {
        let nodes = placed.iter().flat_map(|placed| placed.chain.nodes.iter().copied());
        let mut inside: HashSet<usize> = nodes.collect();
        placed.iter().for_each(|placed| {
            inside.remove(&placed.chain.last());
        });
        Self {
            old,
            new: TypedModel { symbols: old.symbols.clone(), ..TypedModel::default() },
            wires: HashMap::new(),
            placed: placed.into_iter().map(|placed| (placed.chain.last(), placed)).collect(),
            inside,
            constants: 0,
        }
    }

    fn source(&mut self, outlet: OutletId, order: Order) -> TractResult<OutletId> {
        let mut fact = self.old.outlet_fact(outlet)?.without_value();
        if order == Order::Last {
            let shape = fact.shape.as_concrete().context("shapes are concrete")?;
            fact = f32::fact(order.turned(shape));
        }
        let wire = self.new.add_source(&self.old.node(outlet.node).name, fact)?;
        self.wires.insert((outlet, order), wire);
        Ok(wire)
    }

    /// The value of `outlet` in an order. A constant is one of its own for each reader: shared, it
    /// would be packed again on every run.
    fn wire(&mut self, outlet: OutletId, order: Order) -> TractResult<OutletId> {
        if let Some(&wire) = self.wires.get(&(outlet, order)) {
            return Ok(wire);
        }
        let node = self.old.node(outlet.node);
        if let Some(konst) = node.op_as::<Const>() {
            let mut value = konst.val().clone();
            if order == Order::Last && value.rank() >= 3 {
                let mut turned = value.into_tensor();
                order.made_by(turned.rank()).change_tensor(&mut turned, false)?;
                value = turned.into_arc_tensor();
            }
            let fact = TypedFact::try_from(value.clone())?;
            self.constants += 1;
            let name = format!("{}.{}", node.name, self.constants);
            return Ok(self.new.add_node(name, Const::new(value)?, tvec!(fact))?.into());
        }
        let there = self.wires.get(&(outlet, order.other()));
        let &there = there.with_context(|| format!("{node} comes after its reader"))?;
        let name = format!("{}.{}.{order:?}", node.name, outlet.slot);
        let wire = self.new.wire_node(name, Turn { to: order }, &[there])?[0];
        self.wires.insert((outlet, order), wire);
        Ok(wire)
    }

    /// Writes one node.
    fn node(&mut self, id: usize) -> TractResult<()> {
        let node = self.old.node(id);
        if self.inside.contains(&id) || node.op_is::<Const>() || node.op_is::<TypedSource>() {
            return Ok(());
        }
        if let Some(placed) = self.placed.remove(&id) {
            return self.convolution(placed);
        }
        if self.is_only_a_turn(node)? {
            return Ok(());
        }
        let (op, order) = match self.with_channels_last(node)? {
            Some(op) => (op, Order::Last),
            None => (node.op.clone(), Order::First),
        };
        let inputs = node.inputs.iter().map(|&input| self.wire(input, order));
        let inputs = inputs.collect::<TractResult<TVec<_>>>()?;
        let wires = self.new.wire_node(&node.name, op, &inputs)?;
        for (slot, wire) in wires.into_iter().enumerate() {
            self.wires.insert((OutletId::new(id, slot), order), wire);
        }
        Ok(())
    }

    fn convolution(&mut self, placed: Placed) -> TractResult<()> {
        let chain = placed.chain;
        // Dense layers have their channels last as the model says: nothing is turned for them.
        let [from, to] = chain.lies.map(Order::other);
        let last = self.old.node(chain.last());
        let shape = last.outputs[0].fact.shape.as_concrete().context("shapes are concrete")?;
        let op = LaidOutConv {
            kernel: placed.kernel,
            border: placed.border,
            bias: placed.bias,
            adds: chain.add.is_some(),
            after: chain.after,
            shape: if to == Order::Last { to.turned(shape) } else { shape.into() },
        };
        let mut inputs = tvec!(self.wire(chain.input, from)?);
        for input in [chain.add, chain.of].into_iter().flatten() {
            inputs.push(self.wire(input, to)?);
        }
        let wire = self.new.wire_node(&last.name, op, &inputs)?[0];
        self.wires.insert((last.id.into(), to), wire);
        Ok(())
    }

    /// Whether there is a wire of `outlet` with channels last and none with channels first.
    fn is_last_only(&self, outlet: OutletId) -> bool {
        let has = |order| self.wires.contains_key(&(outlet, order));
        has(Order::Last) && !has(Order::First)
    }

    /// A move of axes in the model that says what another order means here: nothing is computed.
    fn is_only_a_turn(&mut self, node: &TypedNode) -> TractResult<bool> {
        let Some(op @ AxisOp::Move(..)) = node.op_as::<AxisOp>() else { return Ok(false) };
        let (input, output) = (node.inputs[0], OutletId::from(node.id));
        let rank = self.old.outlet_fact(input)?.rank();
        if !matches!(rank, 3 | 4) {
            return Ok(false);
        }
        let [from, to] = if *op == Order::Last.made_by(rank) && self.is_last_only(input) {
            [Order::Last, Order::First]
        } else if *op == Order::First.made_by(rank) {
            [Order::First, Order::Last]
        } else {
            return Ok(false);
        };
        let wire = self.wire(input, from)?;
        self.wires.insert((output, to), wire);
        Ok(true)
    }

    /// The operator of `node` for values with channels last, if it works on these as well and one
    /// of its arguments is there in this order only.
    fn with_channels_last(&self, node: &TypedNode) -> TractResult<Option<Box<dyn TypedOp>>> {
        let rank = node.outputs[0].fact.rank();
        let is_indifferent = node.op_is::<ElementWiseOp>()
            || node.op_is::<TypedBinOp>()
            || node.op_is::<Pointwise>()
            || node.op_is::<Norm>()
            || node.op_is::<NormGrad>()
            || node.op_is::<RmsNorm>()
            || node.op_is::<Softmax>()
            || node.op_is::<SoftmaxGrad>()
            || node.op_is::<PRelu>()
            || node.op_is::<PReluGrad>()
            || node.op_is::<Rescale>()
            || node.op_is::<Iff>()
            || node.op_is::<Reduce>()
            || node.op_is::<Slice>()
            || node.op_is::<MultiBroadcastTo>();
        let spatial = spatial_with_channels_last(node);
        let inputs = node.inputs.iter().map(|&input| self.old.outlet_fact(input));
        let inputs = inputs.collect::<TractResult<TVec<_>>>()?;
        if !(is_indifferent || spatial.is_some())
            || node.outputs.len() != 1
            || !matches!(rank, 3 | 4)
            || node.outputs[0].fact.datum_type != f32::datum_type()
            || inputs.iter().any(|f| f.rank() != rank || f.datum_type != f32::datum_type())
            || !node.inputs.iter().any(|&input| self.is_last_only(input))
        {
            return Ok(None);
        }
        if spatial.is_some() {
            return Ok(spatial);
        }
        let change = Order::Last.made_by(rank);
        let Some(consequence) = node.op.change_axes(self.old, node, InOut::Out(0), &change)? else {
            return Ok(None);
        };
        let is_everywhere = consequence.wire_changes.len() == inputs.len() + 1
            && consequence.wire_changes.iter().all(|(_, other)| *other == change);
        Ok(is_everywhere.then(|| consequence.substitute_op.unwrap_or_else(|| node.op.clone())))
    }
}

/// The operator of `node` for values with channels last, if it works along height and width only: it
/// pools or pulls back through a pooling, skips pixels, or puts skipped ones back.
fn spatial_with_channels_last(node: &TypedNode) -> Option<Box<dyn TypedOp>> {
    // Axes behind the channels move up by one where these go behind them.
    let channels = node.outputs[0].fact.rank().checked_sub(3)?;
    if let Some(op) = node.op_as::<Downsample>().filter(|op| op.axis > channels) {
        return Some(Box::new(Downsample { axis: op.axis - 1, ..op.clone() }));
    }
    if let Some(op) = node.op_as::<Interleave>().filter(|op| op.axis > channels) {
        return Some(Box::new(Interleave { axis: op.axis - 1, ..op.clone() }));
    }
    let turned = |pool: &PoolSpec| {
        let data_format = match pool.data_format {
            DataFormat::NCHW => DataFormat::NHWC,
            DataFormat::CHW => DataFormat::HWC,
            DataFormat::NHWC | DataFormat::HWC => return None,
        };
        (pool.rank() == 2).then(|| PoolSpec { data_format, ..pool.clone() })
    };
    if let Some(op) = node.op_as::<MaxPool>() {
        let pool_spec = turned(&op.pool_spec)?;
        return Some(Box::new(MaxPool { pool_spec, ..op.clone() }));
    }
    if let Some(op) = node.op_as::<SumPool>() {
        let pool_spec = turned(&op.pool_spec)?;
        return Some(Box::new(SumPool { pool_spec, ..op.clone() }));
    }
    let op = node.op_as::<PoolGrad>()?;
    Some(Box::new(PoolGrad { pool: turned(&op.pool)?, kind: op.kind.clone() }))
}
