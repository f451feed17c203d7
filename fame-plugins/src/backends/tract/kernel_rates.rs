//! How long convolutions take on this machine, by tract's kernels and by ours.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::Conv;

use serde::{Deserialize, Serialize};

use super::kernels::{Layer, Measured, shortest};
use super::ops::{to_channels_first, to_channels_last};
use super::rate_file::RateFile;

/// How long each way of computing a layer is measured: a few runs of all but the largest layers.
const EACH: Duration = Duration::from_millis(3);

/// What was measured of one layer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Rates {
    /// Seconds of tract's own kernel.
    pub(super) tract: f64,
    /// Ours, the turning of input and output included.
    pub(super) ours: Vec<Measured>,
}

/// How long the ways of computing a layer take, which is the convolution given with its weights.
pub(super) type Rating = fn(&Layer, &Conv, &Tensor) -> TractResult<Arc<Rates>>;

/// What is known in this process. A layer is measured once, so that two plans with the same layers
/// take the same kernels and give the same bytes.
static KNOWN: Mutex<BTreeMap<Layer, Arc<Rates>>> = Mutex::new(BTreeMap::new());

/// What is known of `layer`, from this process or one before; else it is measured now. This is the
/// [`Rating`] of the engine. Only one layer is measured at a time.
pub(super) fn rates(layer: &Layer, conv: &Conv, weights: &Tensor) -> TractResult<Arc<Rates>> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known.get(layer) {
        return Ok(known.clone());
    }
    let file = RateFile::of_this_machine();
    let key = layer.key();
    let rates = Arc::new(match file.get(&key) {
        Some(remembered) => remembered,
        None => file.add(key, measured(layer, conv, weights)?),
    });
    known.insert(*layer, rates.clone());
    Ok(rates)
}

/// Measures every way of computing `layer`.
fn measured(layer: &Layer, conv: &Conv, weights: &Tensor) -> TractResult<Rates> {
    let values = weights.try_as_plain_ram()?.as_slice::<f32>()?;
    let turning = turning(layer);
    let mut ours = layer.measure_all(values, EACH);
    ours.iter_mut().for_each(|m| m.seconds += turning);
    Ok(Rates { tract: by_tract(layer, conv, weights)?, ours })
}

/// Seconds of tract's own kernel.
fn by_tract(layer: &Layer, conv: &Conv, weights: &Tensor) -> TractResult<f64> {
    let [height, width] = layer.geometry.extent;
    let shape =
        conv.pool_spec.data_format.from_n_c_hw(1, layer.geometry.inputs, [height, width])?;
    let mut model = TypedModel::default();
    let source = model.add_source("input", f32::fact(&shape.shape))?;
    let weights = model.add_const("weights", weights.clone())?;
    let bias = model.add_const("bias", tensor0(0f32))?;
    let output = model.wire_node("conv", conv.clone(), &[source, weights, bias])?;
    model.select_output_outlets(&output)?;
    let mut state = SimplePlan::new(model.into_optimized()?)?.spawn()?;
    let mut input = Tensor::zero::<f32>(&shape.shape)?;
    // Ones, as in the measurement of our kernels.
    input.to_plain_array_view_mut::<f32>()?.fill(1.0);
    let input = input.into_tvalue();
    let mut run = || state.run(tvec!(input.clone())).map(|_| ());
    run()?;
    Ok(shortest(EACH, || drop(run())))
}

/// Seconds of turning input and output.
fn turning(layer: &Layer) -> f64 {
    let geometry = &layer.geometry;
    let [height, width] = geometry.output();
    let input = vec![1.0; geometry.inputs * geometry.extent.iter().product::<usize>()];
    let output = vec![1.0; geometry.outputs * height * width];
    let (mut last, mut first) = (input.clone(), output.clone());
    shortest(EACH, || {
        to_channels_last(&input, geometry.inputs, &mut last);
        to_channels_first(&output, geometry.outputs, &mut first);
    })
}
