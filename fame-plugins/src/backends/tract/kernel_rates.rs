//! How long the ways of computing a convolution take on this machine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::kernels::{Layer, Measured};
use super::rate_file::RateFile;

/// How long each way of computing a layer is measured: a few runs of all but the largest layers.
const EACH: Duration = Duration::from_millis(3);

/// How long the ways of computing a layer take, whose weights are given; at least one.
pub(super) type Rating = fn(&Layer, &[f32]) -> Arc<[Measured]>;

/// What is known in this process. A layer is measured once, so that two plans with the same layers
/// take the same kernels and give the same bytes.
static KNOWN: Mutex<BTreeMap<Layer, Arc<[Measured]>>> = Mutex::new(BTreeMap::new());

/// What is known of `layer`, from this process or one before; else it is measured now. This is the
/// [`Rating`] of the engine. Only one layer is measured at a time.
pub(super) fn rates(layer: &Layer, weights: &[f32]) -> Arc<[Measured]> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known.get(layer) {
        return known.clone();
    }
    let file = RateFile::of_this_machine();
    let key = layer.key();
    let rates: Arc<[Measured]> = match file.get(&key).filter(|rates| !rates.is_empty()) {
        Some(remembered) => remembered.into(),
        None => file.add(key, layer.measure_all(weights, EACH)).into(),
    };
    known.insert(*layer, rates.clone());
    rates
}
