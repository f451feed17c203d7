//! Products of a value with a constant matrix, as models have them: dense layers, convolutions with
//! one tap, and the gradients of both.
//!
//! ```text
//! rows … × summed                      rows … × new
//!   [1, 197, 192]  ──  [192, 576]  ─▶  [1, 197, 576]     channels last, as a dense layer has them
//!   [1, 64, 56, 56] ─  [256, 64]  ─▶  [1, 256, 56, 56]   channels first, as a convolution has them
//! ```
//!
//! What is summed over may lie in either of these ways, and what is new too, each for itself:
//! simplified models have products that move axes along. Axes of extent 1 count for nothing. Of a
//! value whose channels lie last, several axes together may be the channels, as the heads of an
//! attention and the channels of each are. Where these lie apart, as tract's simplification leaves
//! them, `straighten` brings them together first.

use std::borrow::Cow;

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::einsum::EinSum;

use super::ops::Permute;
use super::order::Order;
use crate::backends::onnx::tensors::floats;

/// A product with a constant matrix that one of our kernels can compute.
pub(super) struct Dense {
    /// The value that is multiplied.
    pub(super) input: OutletId,
    /// Where the model has the channels of the argument and of the result.
    pub(super) lies: [Order; 2],
    /// How many channels argument and result have.
    pub(super) channels: [usize; 2],
    /// How many rows of channels are multiplied.
    pub(super) rows: usize,
    /// The constant.
    pub(super) weights: Weights,
}

/// A layer's weights as the model has them.
pub(super) struct Weights {
    /// The constant.
    pub(super) values: Arc<Tensor>,
    /// Where in it the weights of each output, and in these of each input, begin. Without, they are
    /// `[outputs, inputs / groups, height, width]`.
    places: Option<[Vec<usize>; 2]>,
}

impl Weights {
    /// Weights that are in order.
    pub(super) fn plain(values: Arc<Tensor>) -> Self {
        Self { values, places: None }
    }

    /// The values, outputs first.
    pub(super) fn in_order(&self) -> TractResult<Cow<'_, [f32]>> {
        let values = floats(&self.values)?;
        let Some([outputs, inputs]) = &self.places else { return Ok(Cow::Borrowed(values)) };
        let depth = inputs.len();
        let mut ordered = vec![0.0; outputs.len() * depth];
        for (outputs, ordered) in outputs.chunks(TOGETHER).zip(ordered.chunks_mut(TOGETHER * depth))
        {
            for (step, input) in inputs.iter().enumerate() {
                // By index: a zip of chunks is a call for each number.
                for (n, output) in outputs.iter().enumerate() {
                    ordered[n * depth + step] = values[output + input];
                }
            }
        }
        Ok(ordered.into())
    }
}

impl Dense {
    /// What `node` computes, if it is a product of one value with a constant matrix, in `f32`, whose
    /// axes lie as a kernel can have them.
    pub(super) fn of(model: &TypedModel, node: &TypedNode) -> TractResult<Option<Self>> {
        let Some(Product { slot, matrix, axes, .. }) = Product::of(model, node)? else {
            return Ok(None);
        };
        let input = node.inputs[slot];
        let ranks = [model.outlet_fact(input)?, &node.outputs[0].fact].map(TypedFact::rank);
        let Some(lies) = axes.lie(ranks) else { return Ok(None) };
        let (channels, rows) = (axes.channels(), count(&axes.rows));
        let steps: Vec<usize> = (0..matrix.rank()).map(|axis| step(matrix.shape(), axis)).collect();
        let places = [places(&axes.new, &steps), places(&axes.summed, &steps)];
        // Large matrices, as behind VGG's last map, are not copied where they are in order already.
        let is_in_order = places[1].iter().copied().eq(0..channels[0])
            && places[0].iter().copied().eq((0..channels[1]).map(|output| output * channels[0]));
        let weights = Weights { values: matrix, places: (!is_in_order).then_some(places) };
        Ok(Some(Self { input, lies, channels, rows, weights }))
    }
}

/// Outputs that are put in order at once: where the outputs are the columns of a matrix, their weights
/// lie side by side, and a cache line is read for eight of them. For more, the lines that are written
/// would push one another out of the cache.
const TOGETHER: usize = 8;

/// Of at least so many products each copied number must be a part, for the copy to cost less than
/// what a kernel saves: as many as one instruction computes.
const WORTH: usize = 8;

/// Brings the axes of what is multiplied with constant matrices together, and those of the results
/// back to where they were, where kernels would else have to leave a product to tract.
///
/// In front of an attention's last layer its heads' channels lie apart, `[1, heads, tokens,
/// channels]`: tract's simplification splits the matrix instead of moving the value. Its own product
/// moves the value then, on every run, and so does this.
pub(super) fn straighten(model: &mut TypedModel) -> TractResult<()> {
    let mut is_changed = false;
    for id in model.eval_order()? {
        if let Some(patch) = straightened(model, model.node(id))? {
            patch.apply(model)?;
            is_changed = true;
        }
    }
    // What was replaced would still count as a reader.
    if is_changed { model.compact() } else { Ok(()) }
}

/// A product in the place of `node`'s, and permutations in front of it and behind it.
fn straightened(model: &TypedModel, node: &TypedNode) -> TractResult<Option<TypedModelPatch>> {
    let Some(Product { op, slot, axes, .. }) = Product::of(model, node)? else { return Ok(None) };
    let ranks = [model.outlet_fact(node.inputs[slot])?, &node.outputs[0].fact].map(TypedFact::rank);
    if axes.lie(ranks).is_some() {
        return Ok(None);
    }
    let is_kept = lies(&axes.summed, ranks[0]) == Some(Order::Last);
    // Rows come in the order that the result has them in, or the value, where it stays as it is.
    let [from, to] = [0, 1].map(|side| {
        let channels: Vec<usize> =
            [&axes.summed, &axes.new][side].iter().map(|axis| axis.at[0]).collect();
        let place = |at: &usize| {
            let row = axes.rows.iter().find(|row| row.at[side] == *at);
            row.map(|row| row.at[usize::from(!is_kept)])
        };
        let mut order: Vec<usize> = (0..ranks[side]).filter(|at| !channels.contains(at)).collect();
        order.sort_by_key(place);
        order.extend(channels);
        order
    });
    let is_as_before = to.iter().copied().eq(0..ranks[1]);
    let [summed, new] = axes.channels();
    // One of the two is copied, in runs of channels: tract's products read and write others as they
    // lie.
    let (order, parts) = if is_kept { (&to, summed) } else { (&from, new) };
    let in_runs = order.last() == order.iter().max();
    if !(is_kept || is_as_before) || !in_runs || parts < WORTH {
        return Ok(None);
    }
    let (mut inputs, mut outputs) = op.axes.to_strs();
    let permuted = |axes: &str, order: &[usize]| -> String {
        let axes: Vec<char> = axes.chars().collect();
        order.iter().map(|at| axes[*at]).collect()
    };
    let mut patch = TypedModelPatch::default();
    let mut wires = patch.taps(model, &node.inputs)?;
    if !is_kept {
        inputs[slot] = permuted(&inputs[slot], &from);
        let together = Permute { axes: from.into() };
        let name = format!("{}.together", node.name);
        wires[slot] = patch.wire_node(name, together, &[wires[slot]])?[0];
    }
    outputs[0] = permuted(&outputs[0], &to);
    let product = EinSum { axes: AxesMapping::from_strs(&inputs, &outputs)?, ..op.clone() };
    let mut wire = patch.wire_node(format!("{}.product", node.name), product, &wires)?[0];
    if !is_as_before {
        let mut back: TVec<usize> = (0..ranks[1]).collect();
        back.sort_by_key(|at| to[*at]);
        let name = format!("{}.back", node.name);
        wire = patch.wire_node(name, Permute { axes: back }, &[wire])?[0];
    }
    patch.shunt_outside(model, node.id.into(), wire)?;
    Ok(Some(patch))
}

/// A product of one value with a constant matrix, in `f32`.
struct Product<'m> {
    op: &'m EinSum,
    /// Which input the value is.
    slot: usize,
    matrix: Arc<Tensor>,
    axes: Axes,
}

impl<'m> Product<'m> {
    fn of(model: &'m TypedModel, node: &'m TypedNode) -> TractResult<Option<Self>> {
        let Some(op) = node.op_as::<EinSum>().filter(|op| op.q_params.is_none()) else {
            return Ok(None);
        };
        let [a, b] = *node.inputs else { return Ok(None) };
        let konst = |outlet| model.outlet_fact(outlet).map(|fact| fact.konst.clone());
        let (slot, matrix) = match (konst(a)?, konst(b)?) {
            (None, Some(matrix)) => (0, matrix),
            (Some(matrix), None) => (1, matrix),
            _ => return Ok(None),
        };
        let facts = [model.outlet_fact(node.inputs[slot])?, &node.outputs[0].fact];
        let types = [facts[0].datum_type, facts[1].datum_type, matrix.datum_type()];
        if types != [f32::datum_type(); 3] || !matrix.is_plain() {
            return Ok(None);
        }
        let [Some(from), Some(to)] = facts.map(|fact| fact.shape.as_concrete()) else {
            return Ok(None);
        };
        let axes = Axes::of(op, slot, [from, matrix.shape(), to]);
        Ok(axes.map(|axes| Self { op, slot, matrix, axes }))
    }
}

/// An axis that two of the three values have: its place in the one and in the other.
struct Joint {
    at: [usize; 2],
    extent: usize,
}

/// The axes of a product, each list in the order that the value or the result has them in.
struct Axes {
    /// Of the value and the result.
    rows: Vec<Joint>,
    /// Of the value and the matrix.
    summed: Vec<Joint>,
    /// Of the result and the matrix.
    new: Vec<Joint>,
}

impl Axes {
    /// The axes of `op`, whose value is its input `slot`; `shapes` are the value's, the matrix's and
    /// the result's. `None` where it is more than a product with a matrix.
    fn of(op: &EinSum, slot: usize, [from, matrix, to]: [&[usize]; 3]) -> Option<Self> {
        let mut axes = Self { rows: vec![], summed: vec![], new: vec![] };
        for axis in op.axes.iter_all_axes() {
            let [data, weights] = [&axis.inputs[slot], &axis.inputs[1 - slot]].map(|at| &**at);
            let (list, at, extents) = match (data, weights, &*axis.outputs[0]) {
                ([from_at], [], [to_at]) => {
                    (&mut axes.rows, [*from_at, *to_at], [from[*from_at], to[*to_at]])
                }
                // The matrix does not vary along it.
                ([from_at], [at], [to_at]) if matrix[*at] == 1 => {
                    (&mut axes.rows, [*from_at, *to_at], [from[*from_at], to[*to_at]])
                }
                ([from_at], [at], []) => {
                    (&mut axes.summed, [*from_at, *at], [from[*from_at], matrix[*at]])
                }
                ([], [at], [to_at]) => (&mut axes.new, [*to_at, *at], [to[*to_at], matrix[*at]]),
                ([at], [], []) if from[*at] == 1 => continue,
                ([], [at], []) if matrix[*at] == 1 => continue,
                ([], [], [at]) if to[*at] == 1 => continue,
                _ => return None,
            };
            // Else one of them is broadcast along it.
            if extents[0] != extents[1] {
                return None;
            }
            list.push(Joint { at, extent: extents[0] });
        }
        for list in [&mut axes.rows, &mut axes.summed, &mut axes.new] {
            list.sort_by_key(|axis| axis.at[0]);
        }
        for list in [&mut axes.summed, &mut axes.new] {
            // A single channel has an axis too.
            let last = list.len().checked_sub(1)?;
            if list.iter().all(|axis| axis.extent == 1) {
                list.drain(..last);
            } else {
                list.retain(|axis| axis.extent != 1);
            }
        }
        axes.rows.retain(|axis| axis.extent != 1);
        let is_empty = [&axes.rows, &axes.summed, &axes.new].iter().any(|list| count(list) == 0);
        (!is_empty).then_some(axes)
    }

    /// How many channels value and result have.
    fn channels(&self) -> [usize; 2] {
        [count(&self.summed), count(&self.new)]
    }

    /// Where the channels of a value and of a result of so many axes lie, if a kernel can have both
    /// as they are, rows in one order.
    fn lie(&self, ranks: [usize; 2]) -> Option<[Order; 2]> {
        let is_in_order = self.rows.is_sorted_by_key(|axis| axis.at[1]);
        let orders = [lies(&self.summed, ranks[0])?, lies(&self.new, ranks[1])?];
        is_in_order.then_some(orders)
    }
}

/// Where channels lie in a value of `rank` axes, if they lie together at one of the two places.
fn lies(channels: &[Joint], rank: usize) -> Option<Order> {
    if (rank - channels.len()..rank).eq(channels.iter().map(|axis| axis.at[0])) {
        return Some(Order::Last);
    }
    let [channel] = channels else { return None };
    (Order::First.axis(rank) == Some(channel.at[0])).then_some(Order::First)
}

/// How many values lie along some axes.
fn count(axes: &[Joint]) -> usize {
    axes.iter().map(|axis| axis.extent).product()
}

/// The distance from one value to the next along an axis of a tensor.
fn step(shape: &[usize], axis: usize) -> usize {
    shape[axis + 1..].iter().product()
}

/// Where in the matrix each channel begins, of which `axes` are the axes.
fn places(axes: &[Joint], steps: &[usize]) -> Vec<usize> {
    axes.iter().fold(vec![0], |places, axis| {
        let step = steps[axis.at[1]];
        let along = |place: usize| (0..axis.extent).map(move |index| place + index * step);
        places.into_iter().flat_map(along).collect()
    })
}

#[cfg(test)]
#[path = "dense_tests.rs"]
mod tests;
