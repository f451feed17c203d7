//! `Scaffold`: any backend behind a noisy camera.

use fame_core::{
    Bias, Layer, LoadRequest, GradientPlace, Random, Result, Taps, Tensor,
    contract::{Backend, Network, Pass},
    text::Spec,
    registry::{BuildContext, Built, Assembly, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

// Makes the shared library loadable; in a program that links this crate it does nothing.
fame_core::export_plugin!();

/// Adds a fixed pattern of noise to the network's input and lets another backend do the rest:
/// does an explanation survive a worse camera? y = f(x + n) with n ~ N(0, σ²) for each input
/// value, the same for every picture and row, so gradients are exact and a batch is a loop.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scaffold {
    /// What runs the network. Default: `Tract()`.
    pub inner: Spec,
    /// Standard deviation σ in units of the normalised input; at least 0.
    pub noise: f32,
    /// Which pattern.
    pub seed: u64,
}

impl Default for Scaffold {
    fn default() -> Self {
        Self { inner: Spec::named("Tract"), noise: 0.05, seed: 0 }
    }
}

impl Plugin<dyn Backend> for Scaffold {
    const NAME: &'static str = "Scaffold";
    const SUMMARY: &'static str = "Any backend behind a noisy camera";
    const EXAMPLE: &'static str = "Scaffold(inner: Tract(), noise: 0.05)";

    // What the record shows, and what `build` is given.
    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check(
            "noise",
            self.noise.is_finite() && self.noise >= 0.0,
            "must be a number of at least 0",
        );
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Backend>> {
        let inner = assembly.build::<dyn Backend>("inner", &self.inner, with)?;
        Some(Box::new(Noisy { inner, noise: self.noise, seed: self.seed }))
    }
}

fame_core::register!(Backend: Scaffold);

/// The backend with its inner one built.
struct Noisy {
    inner: Built<dyn Backend>,
    noise: f32,
    seed: u64,
}

impl Backend for Noisy {
    fn check(&self) -> Result<()> {
        self.inner.plugin.check()
    }

    fn load(&self, request: &LoadRequest) -> Result<Box<dyn Network>> {
        let inner = self.inner.plugin.load(request)?;
        let mut pattern = Tensor::zeros(inner.input_shape());
        Random::stream(self.seed, 0).fill_normal(pattern.data_mut());
        pattern.data_mut().iter_mut().for_each(|n| *n *= self.noise);
        let mut notes = inner.notes().to_vec();
        notes.push(format!("Noise of standard deviation {} is added to the input.", self.noise));
        Ok(Box::new(NoisyNetwork { inner, pattern, notes }))
    }
}

struct NoisyNetwork {
    inner: Box<dyn Network>,
    /// What is added to every row of a batch.
    pattern: Tensor,
    notes: Vec<String>,
}

impl NoisyNetwork {
    fn add(&self, batch: &Tensor) -> Tensor {
        let mut noisy = batch.clone();
        // A batch of another shape is the inner network's to refuse.
        if batch.row_shape() == self.pattern.shape() {
            for n in 0..batch.rows() {
                noisy.row_mut(n).iter_mut().zip(self.pattern.data()).for_each(|(x, n)| *x += n);
            }
        }
        noisy
    }
}

// d f(x + n) / dx is f's own gradient at x + n: everything else is passed on.
impl Network for NoisyNetwork {
    fn input_shape(&self) -> &[usize] {
        self.inner.input_shape()
    }

    fn layers(&self) -> &[Layer] {
        self.inner.layers()
    }

    fn check_gradient(&self, layer: &str, to: &GradientPlace) -> Result<()> {
        self.inner.check_gradient(layer, to)
    }

    fn preferred_rows(&self) -> usize {
        self.inner.preferred_rows()
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn forward<'n>(&'n self, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>> {
        self.inner.forward(&self.add(batch), taps)
    }

    fn forward_from<'n>(
        &'n self,
        layer: &str,
        value: &Tensor,
        batch: &Tensor,
        taps: &Taps,
    ) -> Result<Box<dyn Pass + 'n>> {
        self.inner.forward_from(layer, value, &self.add(batch), taps)
    }

    fn biases(&self) -> Result<Vec<Bias>> {
        self.inner.biases()
    }
}
