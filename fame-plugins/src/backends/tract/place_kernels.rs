//! Which convolutions and dense layers of a model, and gradients of them, kernels of our own
//! compute, and which kernels.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError, Weak};

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat};
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::nn::DataFormat;
use twox_hash::XxHash3_128;

use super::arrange::Placed;
use super::chain::Chain;
use super::dense::{Dense, Weights, straighten};
use super::kernel_rates::Rating;
use super::ops::ConvGrad;
use super::order::Order;
use crate::backends::onnx::tensors::floats;
use fame_kernels::{Algorithm, Convolution, Direction, Geometry, Layer, Level, Measured};

/// A convolution, a dense layer, or the gradient of one, that one of our kernels can compute.
struct Site {
    layer: Layer,
    /// Without what the chain multiplies them with: that is done when they are laid out, so that no
    /// more than one layer's are in memory again.
    weights: Weights,
    chain: Chain,
    ways: Arc<[Measured]>,
}

/// Kernels for the convolutions and dense layers of `model`, and their gradients. What is laid out
/// may take up to `budget` bytes more than plain weights. Where that is too little for all, those get
/// it first that save most time for a byte. The model forgets weights that only these kernels need.
pub(super) fn place(
    model: &mut TypedModel,
    mut budget: usize,
    rating: Rating,
) -> TractResult<Vec<Placed>> {
    straighten(model)?;
    let (mut sites, mut taken) = (vec![], HashSet::new());
    for id in model.eval_order()? {
        if let Some(site) = Site::find(model, id, &taken, rating)? {
            taken.extend(site.chain.nodes.iter().copied());
            sites.push(site);
        }
    }
    sites.iter().for_each(|site| forget(model, &site.chain));
    sites.sort_by(|a, b| b.worth().total_cmp(&a.worth()));
    let mut placed = vec![];
    for site in sites {
        let best = *site.best(budget);
        budget = budget.saturating_sub(site.extra(&best));
        placed.push(site.placed(&best)?);
    }
    Ok(placed)
}

impl Site {
    /// The convolution of node `id`, if it is one that our kernels can compute. Nodes of `taken`
    /// are another's.
    fn find(
        model: &TypedModel,
        id: usize,
        taken: &HashSet<usize>,
        rating: Rating,
    ) -> TractResult<Option<Self>> {
        let Some(Found { input, lies, geometry, direction, weights, bias }) =
            Found::at(model, model.node(id))?
        else {
            return Ok(None);
        };
        let layer = Layer { geometry, direction, rows: 1, level: Level::best() };
        let channels = match direction {
            Direction::Forward => [geometry.inputs, geometry.outputs],
            Direction::Backward => [geometry.outputs, geometry.inputs],
        };
        // Only kernels of dense convolutions know of borders.
        let shifts = direction == Direction::Forward && geometry.groups == 1;
        let is_taken = |id: usize| taken.contains(&id);
        let chain = Chain::around(model, (id, input), (channels, lies), bias, shifts, is_taken);
        let ways = rating(&layer, floats(&weights.values)?);
        Ok(Some(Self { layer, weights, chain, ways }))
    }

    /// Bytes that the weights take more than plain ones when they are laid out for `way`.
    fn extra(&self, way: &Measured) -> usize {
        way.bytes.saturating_sub(self.weights.values.volume() * size_of::<f32>())
    }

    /// The smallest of the ways.
    fn smallest(&self) -> &Measured {
        self.ways.iter().min_by_key(|way| way.bytes).expect("a layer has at least one way")
    }

    /// The fastest of the ways whose weights fit into `budget`; the smallest, where none does.
    fn best(&self, budget: usize) -> &Measured {
        let fitting = self.ways.iter().filter(|way| self.extra(way) <= budget);
        let fastest = fitting.min_by(|a, b| a.seconds.total_cmp(&b.seconds));
        fastest.unwrap_or_else(|| self.smallest())
    }

    /// Seconds that the fastest way saves over the smallest, for each byte that it takes more.
    fn worth(&self) -> f64 {
        let best = self.best(usize::MAX);
        (self.smallest().seconds - best.seconds) / self.extra(best).max(1) as f64
    }

    /// The kernel.
    fn placed(self, way: &Measured) -> TractResult<Placed> {
        let Layer { geometry, direction, .. } = self.layer;
        let Folded { weights, bias, border } =
            fold(&geometry, direction, &self.chain, self.weights.in_order()?);
        let kernel = shared(self.layer, way.algorithm, &weights);
        Ok(Placed { kernel, bias, border, chain: self.chain })
    }
}

/// Takes from the nodes of `chain`, for which a kernel stands in, the constants that nothing else
/// reads. Until a plan is whole, all layers' weights would else be there twice.
fn forget(model: &mut TypedModel, chain: &Chain) {
    let nothing = || Arc::new(Tensor::default());
    for &id in &chain.nodes {
        if let Some(op) = model.node_mut(id).op_as_mut::<ConvGrad>() {
            op.weights = nothing();
        }
        for input in model.node(id).inputs.clone() {
            let is_read_here_only = matches!(
                &*model.node(input.node).outputs[input.slot].successors,
                [only] if only.node == id
            );
            // The kernel itself reads its argument.
            if input == chain.input || model.outputs.contains(&input) || !is_read_here_only {
                continue;
            }
            let node = model.node_mut(input.node);
            if let (true, Ok(empty)) = (node.op_is::<Const>(), Const::new(nothing())) {
                node.op = Box::new(empty);
                let fact = &mut node.outputs[input.slot].fact;
                *fact = fact.without_value();
            }
        }
    }
}

/// What tells two kernels apart: the layer, the algorithm, and a hash of the weights.
type Known = (Layer, Algorithm, u128);

/// Kernels that some plan has: plans for other taps of the same network share them.
static KERNELS: Mutex<BTreeMap<Known, Weak<Convolution>>> = Mutex::new(BTreeMap::new());

/// The kernel with these weights, made only if no plan has it yet.
fn shared(layer: Layer, algorithm: Algorithm, weights: &[f32]) -> Arc<Convolution> {
    let key = (layer, algorithm, hash(weights));
    let known = || KERNELS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(kernel) = known().get(&key).and_then(Weak::upgrade) {
        return kernel;
    }
    // Not under the lock: to lay weights out takes longest of all.
    let kernel = Arc::new(layer.with(algorithm, weights));
    let mut known = known();
    known.retain(|_, kernel| kernel.strong_count() > 0);
    known.insert(key, Arc::downgrade(&kernel));
    kernel
}

/// XXH3 of 128 bits: all of a network's weights in less time than it takes to copy them.
fn hash(weights: &[f32]) -> u128 {
    const EACH: usize = size_of::<f32>();
    let mut hasher = XxHash3_128::new();
    let mut bytes = [0; 1024 * EACH];
    for weights in weights.chunks(bytes.len() / EACH) {
        for (bytes, weight) in bytes.chunks_exact_mut(EACH).zip(weights) {
            bytes.copy_from_slice(&weight.to_ne_bytes());
        }
        hasher.write(&bytes[..weights.len() * EACH]);
    }
    hasher.finish_128()
}

/// A node that is a convolution, a dense layer, or the gradient of one.
struct Found {
    input: OutletId,
    /// Where the model has the channels of argument and result.
    lies: [Order; 2],
    geometry: Geometry,
    direction: Direction,
    weights: Weights,
    bias: Option<Vec<f32>>,
}

impl Found {
    fn at(model: &TypedModel, node: &TypedNode) -> TractResult<Option<Self>> {
        if let Some(op) = node.op_as::<ConvGrad>() {
            return Ok(Some(Self {
                input: node.inputs[0],
                lies: [Order::First; 2],
                geometry: op.geometry,
                direction: Direction::Backward,
                weights: Weights::plain(op.weights.clone()),
                bias: None,
            }));
        }
        if let Some(dense) = Dense::of(model, node)? {
            return Ok(Some(Self::dense(dense)));
        }
        let Some(conv) = node.op_as::<Conv>() else { return Ok(None) };
        let [input, weights, bias] = *node.inputs else { return Ok(None) };
        let konst = |outlet| model.outlet_fact(outlet).map(|fact| fact.konst.clone());
        let (Some(weights), Some(bias)) = (konst(weights)?, konst(bias)?) else { return Ok(None) };
        let Some(geometry) = geometry(model.outlet_fact(input)?, conv)? else { return Ok(None) };
        let bias = spread(floats(&bias)?, geometry.outputs);
        let weights = Weights::plain(weights);
        let (lies, direction) = ([Order::First; 2], Direction::Forward);
        Ok(Some(Self { input, lies, geometry, direction, weights, bias }))
    }

    /// A product with a matrix: a convolution with one tap, whose pixels are the rows.
    fn dense(dense: Dense) -> Self {
        let Dense { input, lies, channels: [inputs, outputs], rows, weights } = dense;
        let geometry = Geometry {
            inputs,
            outputs,
            groups: 1,
            extent: [1, rows],
            kernel: [1; 2],
            stride: [1; 2],
            dilation: [1; 2],
            before: [0; 2],
            after: [0; 2],
        };
        Self { input, lies, geometry, direction: Direction::Forward, weights, bias: None }
    }
}

/// A convolution with what stands around it.
struct Folded<'w> {
    weights: Cow<'w, [f32]>,
    bias: Option<Arc<[f32]>>,
    border: Option<Arc<[f32]>>,
}

/// Multiplies the weights with the factors of `chain`, and gives the bias and the border that the
/// summands in front of the convolution make: `W(s·x + t) = (W·s)x + W·t`, and a pixel outside of
/// the picture, which is 0 behind them, is `−t/s` in front of them.
fn fold<'w>(
    geometry: &Geometry,
    direction: Direction,
    chain: &Chain,
    mut weights: Cow<'w, [f32]>,
) -> Folded<'w> {
    let (mut bias, mut border) = (chain.bias.clone(), None);
    let side = |is_argument: bool| usize::from(is_argument == (direction == Direction::Forward));
    let multiply = |weights: &mut [f32], scale: &[f32], side: usize| {
        each_kernel(geometry, weights, |kernel, channels| {
            let factor = scale[channels[side]];
            kernel.iter_mut().for_each(|weight| *weight *= factor);
        });
    };
    if let Some(scale) = &chain.scale {
        multiply(weights.to_mut(), scale, side(false));
    }
    if let Some([scale, shift]) = &chain.before {
        if shift.iter().any(|&t| t != 0.0) {
            let bias = bias.get_or_insert_with(|| vec![0.0; geometry.outputs]);
            let mut sums = vec![0f64; geometry.outputs];
            each_kernel(geometry, weights.to_mut(), |kernel, [output, input]| {
                let shift = f64::from(shift[input]);
                kernel.iter().for_each(|weight| sums[output] += f64::from(*weight) * shift);
            });
            bias.iter_mut().zip(sums).for_each(|(b, sum)| *b = (f64::from(*b) + sum) as f32);
            let outside = |(t, s): (&f32, &f32)| if *t == 0.0 { 0.0 } else { -t / s };
            border = Some(shift.iter().zip(scale).map(outside).collect());
        }
        multiply(weights.to_mut(), scale, side(true));
    }
    Folded { weights, bias: bias.map(Into::into), border }
}

/// Calls `f` for the weights of each kernel, with the channels of the convolution's output and input
/// that it is between.
fn each_kernel(
    geometry: &Geometry,
    weights: &mut [f32],
    mut f: impl FnMut(&mut [f32], [usize; 2]),
) {
    let taps = geometry.kernel[0] * geometry.kernel[1];
    let inside = geometry.inputs / geometry.groups;
    let group = geometry.outputs / geometry.groups;
    for (output, kernels) in weights.chunks_exact_mut(inside * taps).enumerate() {
        for (input, kernel) in kernels.chunks_exact_mut(taps).enumerate() {
            f(kernel, [output, output / group * inside + input]);
        }
    }
}

/// One value for each channel, `None` where all are 0.
fn spread(bias: &[f32], channels: usize) -> Option<Vec<f32>> {
    if bias.iter().all(|&b| b == 0.0) {
        return None;
    }
    Some(if bias.len() == 1 { vec![bias[0]; channels] } else { bias.to_vec() })
}

/// The shape of a convolution of `input`, if our kernels can compute it.
pub(super) fn geometry(input: &TypedFact, conv: &Conv) -> TractResult<Option<Geometry>> {
    let pool = &conv.pool_spec;
    let Some(shape) = input.shape.as_concrete() else { return Ok(None) };
    let planar = matches!(pool.data_format, DataFormat::NCHW | DataFormat::CHW)
        && pool.rank() == 2
        && conv.kernel_fmt == KernelFormat::OIHW
        && conv.q_params.is_none()
        && input.datum_type == f32::datum_type();
    let (inputs, outputs) = (conv.input_channels(), conv.output_channels());
    let depthwise = conv.group == inputs && inputs == outputs;
    if !planar || !(conv.group == 1 || depthwise) {
        return Ok(None);
    }
    let shape = pool.data_format.shape(shape.to_vec())?;
    let extent = [shape.hw_dims()[0], shape.hw_dims()[1]];
    let padding = pool.computed_padding(shape.hw_dims());
    let geometry = Geometry {
        inputs,
        outputs,
        groups: conv.group,
        extent,
        kernel: [pool.kernel_shape[0], pool.kernel_shape[1]],
        stride: [pool.stride(0), pool.stride(1)],
        dilation: [pool.dilation(0), pool.dilation(1)],
        before: [padding[0].pad_before, padding[1].pad_before],
        after: [padding[0].pad_after, padding[1].pad_after],
    };
    // Pools that count half-covered windows have more outputs than ours.
    let fits = (0..2).all(|axis| {
        let padded = geometry.before[axis] + extent[axis] + geometry.after[axis];
        padded > (geometry.kernel[axis] - 1) * geometry.dilation[axis]
    });
    let same = fits && geometry.output() == [padding[0].convoluted, padding[1].convoluted];
    Ok((same && shape.n().is_none_or(|&n| n == 1)).then_some(geometry))
}

#[cfg(test)]
#[path = "place_kernels_tests.rs"]
mod tests;
