//! Convolutions of a model by kernels of our own, wherever they were measured to be faster.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat};
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::kernel_rates::{Rates, Rating};
use super::kernels::{Direction, Geometry, Layer, Level, Measured};
use super::ops::LaidOutConv;
use crate::backends::onnx::tensors::floats;

/// Our kernel is taken where its time is at most this part of tract's: tract joins a sum or an
/// activation that follows to its own kernels, which the measurement of a layer alone cannot show.
const CLEARLY_FASTER: f64 = 0.9;

/// A convolution that one of our kernels can compute.
struct Site {
    node: usize,
    layer: Layer,
    weights: Arc<Tensor>,
    bias: Option<Arc<[f32]>>,
    rates: Arc<Rates>,
}

/// Replaces convolutions of `model`, whose laid-out weights may take up to `budget` bytes more than
/// plain ones. Where that is too little for all, those get it first that save most time for a byte.
pub(super) fn place(model: &mut TypedModel, mut budget: usize, rating: Rating) -> TractResult<()> {
    let ids = 0..model.nodes().len();
    let sites = ids.filter_map(|id| Site::find(model, id, rating).transpose());
    let mut sites = sites.collect::<TractResult<Vec<_>>>()?;
    sites.sort_by(|a, b| b.worth().total_cmp(&a.worth()));
    for site in sites {
        if let Some(best) = site.best(budget) {
            budget -= site.extra(best);
            site.replace(model, best)?;
        }
    }
    Ok(())
}

impl Site {
    /// The convolution of node `id`, if it is one that our kernels can compute.
    fn find(model: &TypedModel, id: usize, rating: Rating) -> TractResult<Option<Self>> {
        let node = model.node(id);
        let Some(conv) = node.op_as::<Conv>() else { return Ok(None) };
        let Some(geometry) = geometry(model, node, conv)? else { return Ok(None) };
        let [_, weights, bias] = *node.inputs else { return Ok(None) };
        let konst = |outlet| model.outlet_fact(outlet).map(|fact| fact.konst.clone());
        let (Some(weights), Some(bias)) = (konst(weights)?, konst(bias)?) else { return Ok(None) };
        let layer =
            Layer { geometry, direction: Direction::Forward, rows: 1, level: Level::best() };
        let rates = rating(&layer, conv, &weights)?;
        let bias = spread(floats(&bias)?, geometry.outputs);
        Ok(Some(Self { node: id, layer, weights, bias, rates }))
    }

    /// Bytes that the weights take more than plain ones when they are laid out for `way`.
    fn extra(&self, way: &Measured) -> usize {
        way.bytes.saturating_sub(self.weights.volume() * size_of::<f32>())
    }

    /// The fastest of our ways whose weights fit into `budget`, if it is clearly faster than tract.
    fn best(&self, budget: usize) -> Option<&Measured> {
        let limit = self.rates.tract * CLEARLY_FASTER;
        let ways = self.rates.ours.iter();
        ways.filter(|way| way.seconds <= limit && self.extra(way) <= budget)
            .min_by(|a, b| a.seconds.total_cmp(&b.seconds))
    }

    /// Seconds that the fastest way saves, for each byte that it takes.
    fn worth(&self) -> f64 {
        let worth =
            |way: &Measured| (self.rates.tract - way.seconds) / self.extra(way).max(1) as f64;
        self.best(usize::MAX).map_or(0.0, worth)
    }

    /// Puts our kernel in the place of tract's.
    fn replace(&self, model: &mut TypedModel, way: &Measured) -> TractResult<()> {
        let node = model.node(self.node);
        let shape = node.outputs[0].fact.shape.as_concrete().context("an open shape")?;
        let kernel = self.layer.with(way.algorithm, floats(&self.weights)?);
        let op = LaidOutConv {
            kernel: Arc::new(kernel),
            geometry: self.layer.geometry,
            bias: self.bias.clone(),
            shape: shape.into(),
        };
        let patch = TypedModelPatch::replace_single_op(model, node, &node.inputs[..1], op)?;
        patch.apply(model)
    }
}

/// One value for each channel, `None` where all are 0.
fn spread(bias: &[f32], channels: usize) -> Option<Arc<[f32]>> {
    if bias.iter().all(|&b| b == 0.0) {
        return None;
    }
    Some(if bias.len() == 1 { vec![bias[0]; channels].into() } else { bias.into() })
}

/// The shape of a convolution, if our kernels can compute it.
fn geometry(model: &TypedModel, node: &TypedNode, conv: &Conv) -> TractResult<Option<Geometry>> {
    let pool = &conv.pool_spec;
    let input = model.outlet_fact(node.inputs[0])?;
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
