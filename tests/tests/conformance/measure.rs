//! Inputs, cotangents and distances.

use std::path::Path;

use fame_core::contract::Network;
use fame_core::{GradientPlace, LayerCotangent, Result, Taps, Tensor};
use fame_tests::{COTANGENT, INPUT, noise};

/// A distance between vectors shorter than this is measured against this: what should be zero has
/// no relative error.
const NEARLY_ZERO: f64 = 1e-3;

/// Relative L2 distance; infinite where anything is not a number.
pub(crate) fn relative(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let apart = length(&mut got.iter().zip(want).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    let scale = length(&mut want.iter().map(|v| f64::from(*v)));
    let distance = apart / scale.max(NEARLY_ZERO);
    if distance.is_finite() { distance } else { f64::INFINITY }
}

/// Values of the goldens' formula, from number `start` on.
pub(crate) fn input(shape: &[usize], start: u32, scale: f32, shift: f32) -> Tensor {
    let volume: usize = shape.iter().product();
    Tensor::new(
        shape,
        (0..volume as u32).map(|k| noise(start + k, INPUT) * scale + shift).collect(),
    )
    .unwrap()
}

/// The goldens' cotangent for an output of this shape.
pub(crate) fn cotangent(shape: &[usize]) -> Tensor {
    let volume: usize = shape.iter().product();
    Tensor::new(shape, (0..volume as u32).map(|k| noise(k, COTANGENT)).collect()).unwrap()
}

/// Output `layer` and the gradient of `Σ cotangent · output` at the input.
pub(crate) fn run(network: &dyn Network, layer: &str, batch: &Tensor) -> Result<(Tensor, Tensor)> {
    let pass = network.forward(batch, &Taps::of([layer]).with_gradient(GradientPlace::Input))?;
    let output = pass.output(layer)?;
    let seed = LayerCotangent { layer: layer.to_owned(), cotangent: cotangent(output.shape()) };
    let gradient = pass.gradient(&[seed])?.remove(0);
    Ok((output, gradient))
}

/// `count` rows stacked: row i is `of(i)`.
pub(crate) fn stacked(count: usize, of: impl Fn(usize) -> Tensor) -> Tensor {
    let rows: Vec<Tensor> = (0..count).map(of).collect();
    let mut shape = rows[0].shape().to_vec();
    shape[0] *= count;
    Tensor::new(shape, rows.iter().flat_map(|row| row.data().iter().copied()).collect()).unwrap()
}

/// The values of a `.npy` file.
pub(crate) fn read(path: &Path) -> Vec<f32> {
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    npyz::NpyFile::new(std::io::BufReader::new(file)).unwrap().into_vec().unwrap()
}

/// The file of facts at `path`.
pub(crate) fn facts(path: &Path) -> serde_json::Value {
    serde_json::from_slice(
        &std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
    )
    .unwrap()
}

/// A list of extents in a file of facts.
pub(crate) fn shape(value: &serde_json::Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect()
}
