//! A small network without a file, with exact gradients.

use crate::{
    Bias, Error, GradientPlace, Layer, LayerCotangent, LoadRequest, Random, Result, Taps, Tensor,
    contract::{Backend, DeviceRows, Network, Pass, PlainStep, ReluRule},
    registry::{Assembly, BuildContext, Plugin},
    text::suggestion,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Channels of the convolution.
const CHANNELS: usize = 4;

/// The layers in order; each reads the one before it.
const NAMES: [&str; 5] = ["input", "features", "activation", "pooled", "logits"];

/// A chain of five layers with random weights: `input` `[3, S, S]` → `features` (3×3 convolution
/// with bias, `[4, S, S]`) → `activation` (ReLU) → `pooled` (2×2 averages, `[4, S/2, S/2]`) →
/// `logits` (dense with bias, `[classes]`).
///
/// It computes in f64 and rounds what is read to f32, so it answers as exactly as an f32 network
/// can, and its gradients are exact. It obeys every sentence of [`Network`], which
/// [`super::check_network`] confirms.
pub struct FakeNetwork {
    input: [usize; 3],
    layers: Vec<Layer>,
    kernel: Vec<f64>,
    kernel_bias: Vec<f64>,
    dense: Vec<f64>,
    dense_bias: Vec<f64>,
}

impl FakeNetwork {
    /// A network for `size` × `size` pictures, with `classes` outputs and the weights of `seed`.
    ///
    /// # Errors
    /// When `size` is odd or below 4, or there are no classes.
    pub fn new(size: usize, classes: usize, seed: u64) -> Result<Self> {
        if size < 4 || size % 2 == 1 || classes == 0 {
            let message = format!(
                "a fake network takes even sizes of at least 4 and at least one class, not size {size} and {classes} classes."
            );
            return Err(Error::new("fame::testkit::network", message));
        }
        let half = size / 2;
        let shapes = [
            vec![3, size, size],
            vec![CHANNELS, size, size],
            vec![CHANNELS, size, size],
            vec![CHANNELS, half, half],
            vec![classes],
        ];
        let ops = ["Input", "Conv", "Relu", "AveragePool", "Gemm"];
        let layer = |((name, op), shape): ((&str, &str), &Vec<usize>)| Layer {
            name: name.to_owned(),
            op: op.to_owned(),
            shape: shape.clone(),
            is_output: name == "logits",
            depends_on_input: true,
            reads: Vec::new(),
        };
        let layers: Vec<Layer> = NAMES.into_iter().zip(ops).zip(&shapes).map(layer).collect();
        let pooled = CHANNELS * half * half;
        Ok(Self {
            input: [3, size, size],
            layers,
            // Scaled by the number of summands, so that every layer's values are about 1.
            kernel: normal(seed, 1, CHANNELS * 27, 27),
            kernel_bias: normal(seed, 2, CHANNELS, 4),
            dense: normal(seed, 3, classes * pooled, pooled),
            dense_bias: normal(seed, 4, classes, 4),
        })
    }

    fn index(&self, name: &str) -> Result<usize> {
        self.layers.iter().position(|l| l.name == name).ok_or_else(|| {
            let mut e = Error::new(
                "fame::layer::unknown",
                format!("the fake network has no layer called `{name}`."),
            );
            e.help = suggestion(name, &NAMES, "layer");
            e
        })
    }

    fn check_shape(&self, what: &str, layer: usize, tensor: &Tensor) -> Result<()> {
        if tensor.shape().len() == self.layers[layer].shape.len() + 1
            && tensor.row_shape() == self.layers[layer].shape
        {
            return Ok(());
        }
        let message = format!(
            "{what} has shape {:?}, but the fake network takes [N, …{:?}].",
            tensor.shape(),
            self.layers[layer].shape
        );
        Err(Error::new("fame::backend::shape", message))
    }

    /// The layer after `layer`, from its value.
    fn next(&self, layer: usize, x: &[f64]) -> Vec<f64> {
        match layer {
            0 => self.convolve(x),
            1 => x.iter().map(|v| v.max(0.0)).collect(),
            2 => self.pool(x),
            _ => self
                .dense_bias
                .iter()
                .enumerate()
                .map(|(k, b)| b + dot(self.dense_row(k), x))
                .collect(),
        }
    }

    /// The cotangent of `layer` from that of the layer after it; `x` is the layer's value.
    fn back(&self, layer: usize, x: &[f64], y: &[f64], relu: ReluRule) -> Vec<f64> {
        match layer {
            0 => self.convolve_back(y),
            1 => {
                x.iter()
                    .zip(y)
                    .map(|(x, y)| {
                        if *x > 0.0 && (relu == ReluRule::Standard || *y > 0.0) { *y } else { 0.0 }
                    })
                    .collect()
            }
            2 => self.pool_back(y),
            _ => {
                let mut g = vec![0.0; x.len()];
                for (k, y) in y.iter().enumerate() {
                    g.iter_mut().zip(self.dense_row(k)).for_each(|(g, w)| *g += w * y);
                }
                g
            }
        }
    }

    fn dense_row(&self, k: usize) -> &[f64] {
        let n = self.dense.len() / self.dense_bias.len();
        &self.dense[k * n..(k + 1) * n]
    }

    /// Every (input index, output index, weight index) of the convolution, zero padding left out.
    fn each_product(&self, mut f: impl FnMut(usize, usize, usize)) {
        let [_, side, _] = self.input;
        for out in 0..CHANNELS * side * side {
            let (k, row, column) = (out / (side * side), out / side % side, out % side);
            for w in 0..27 {
                let (c, dy, dx) = (w / 9, w / 3 % 3, w % 3);
                let (y, x) = (row + dy, column + dx);
                if (1..=side).contains(&y) && (1..=side).contains(&x) {
                    f((c * side + y - 1) * side + x - 1, out, k * 27 + w);
                }
            }
        }
    }

    fn convolve(&self, x: &[f64]) -> Vec<f64> {
        let area = self.input[1] * self.input[2];
        let mut out: Vec<f64> = (0..CHANNELS * area).map(|i| self.kernel_bias[i / area]).collect();
        self.each_product(|i, o, w| out[o] += x[i] * self.kernel[w]);
        out
    }

    fn convolve_back(&self, y: &[f64]) -> Vec<f64> {
        let mut g = vec![0.0; self.input.iter().product()];
        self.each_product(|i, o, w| g[i] += y[o] * self.kernel[w]);
        g
    }

    /// The 2×2 window that a value falls into.
    fn window(&self, i: usize) -> usize {
        let side = self.input[1];
        let (c, row, column) = (i / (side * side), i / side % side, i % side);
        (c * (side / 2) + row / 2) * (side / 2) + column / 2
    }

    fn pool(&self, x: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; x.len() / 4];
        x.iter().enumerate().for_each(|(i, x)| out[self.window(i)] += x / 4.0);
        out
    }

    fn pool_back(&self, y: &[f64]) -> Vec<f64> {
        (0..4 * y.len()).map(|i| y[self.window(i)] / 4.0).collect()
    }

    /// A pass over `batch`, in which layer `replaced.0` has the value `replaced.1`.
    fn pass(
        &self,
        batch: &Tensor,
        taps: &Taps,
        replaced: Option<(usize, &Tensor)>,
    ) -> Result<FakePass<'_>> {
        if taps.relevance.is_some() {
            self.check_relevance(taps)?;
        }
        if taps.multipliers {
            self.check_multipliers(taps)?;
        }
        self.check_shape("a batch", 0, batch)?;
        if let Some((layer, value)) = replaced {
            self.check_shape("a layer's value", layer, value)?;
            if value.rows() != batch.rows() {
                let message = format!(
                    "a layer's value has {} rows for a batch of {}.",
                    value.rows(),
                    batch.rows()
                );
                return Err(Error::new("fame::backend::shape", message));
            }
        }
        for layer in &taps.layers {
            self.index(layer)?;
        }
        let places = taps.gradients.iter().map(|p| self.place(p)).collect::<Result<_>>()?;
        let rows = (0..batch.rows())
            .map(|n| self.trace(batch.row(n), replaced.map(|(layer, value)| (layer, value.row(n)))))
            .collect();
        Ok(FakePass {
            network: self,
            rows,
            taps: taps.clone(),
            places,
            first: replaced.map_or(0, |(layer, _)| layer),
        })
    }

    fn place(&self, place: &GradientPlace) -> Result<usize> {
        match place {
            GradientPlace::Input => Ok(0),
            GradientPlace::Layer(name) => self.index(name),
        }
    }

    /// The values of all layers for one row.
    fn trace(&self, input: &[f32], replaced: Option<(usize, &[f32])>) -> Vec<Vec<f64>> {
        let exact = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let mut values = vec![exact(input)];
        for layer in 0..self.layers.len() {
            match replaced {
                Some((at, value)) if at == layer => values[layer] = exact(value),
                _ => {}
            }
            if layer + 1 < self.layers.len() {
                let next = self.next(layer, &values[layer]);
                values.push(next);
            }
        }
        values
    }
}

/// `n` normal numbers of variance 1 / `summands`.
fn normal(seed: u64, stream: usize, n: usize, summands: usize) -> Vec<f64> {
    let mut values = vec![0f32; n];
    Random::stream(seed, stream).fill_normal(&mut values);
    values.into_iter().map(|v| f64::from(v) / (summands as f64).sqrt()).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Network for FakeNetwork {
    fn input_shape(&self) -> &[usize] {
        &self.input
    }

    fn layers(&self) -> &[Layer] {
        &self.layers
    }

    fn check_gradient(&self, layer: &str, to: &GradientPlace) -> Result<()> {
        let (from, to) = (self.index(layer)?, self.place(to)?);
        if to <= from {
            return Ok(());
        }
        Err(Error::new(
            "fame::backend::no_path",
            format!(
                "no gradient flows from layer `{layer}` to `{}`, which comes after it.",
                NAMES[to]
            ),
        ))
    }

    fn preferred_rows(&self) -> usize {
        2
    }

    fn notes(&self) -> &[String] {
        &[]
    }

    fn forward<'n>(&'n self, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>> {
        Ok(Box::new(self.pass(batch, taps, None)?))
    }

    fn forward_from<'n>(
        &'n self,
        layer: &str,
        value: &Tensor,
        batch: &Tensor,
        taps: &Taps,
    ) -> Result<Box<dyn Pass + 'n>> {
        Ok(Box::new(self.pass(batch, taps, Some((self.index(layer)?, value)))?))
    }

    fn device_rows<'n>(
        &'n self,
        step: &PlainStep,
        layers: &[String],
    ) -> Result<Option<Box<dyn DeviceRows + 'n>>> {
        layers.iter().try_for_each(|layer| self.index(layer).map(|_| ()))?;
        Ok(Some(Box::new(super::HostRows::new(self, step, layers))))
    }

    fn biases(&self) -> Result<Vec<Bias>> {
        let single = |values: &[f64]| values.iter().map(|v| *v as f32).collect::<Vec<_>>();
        Ok(vec![
            Bias {
                layer: "features".into(),
                value: Tensor::new([CHANNELS, 1, 1], single(&self.kernel_bias))?,
            },
            Bias { layer: "logits".into(), value: Tensor::vector(single(&self.dense_bias)) },
        ])
    }
}

struct FakePass<'n> {
    network: &'n FakeNetwork,
    /// The values of all layers, row by row.
    rows: Vec<Vec<Vec<f64>>>,
    taps: Taps,
    places: Vec<usize>,
    /// Start of the pass: gradients go back no further.
    first: usize,
}

impl FakePass<'_> {
    fn tapped(&self, layer: &str) -> Result<usize> {
        if self.taps.layers.iter().any(|l| l == layer) {
            return self.network.index(layer);
        }
        Err(Error::new(
            "fame::backend::not_tapped",
            format!("layer `{layer}` was not tapped in this pass."),
        )
        .with_help("Name every layer that is read or seeded in the Taps of the forward pass."))
    }

    /// `[N, …]` of `layer`, one slice of values per row.
    fn batch<'v>(&self, layer: usize, rows: impl Iterator<Item = &'v [f64]>) -> Result<Tensor> {
        let mut shape = vec![self.rows.len()];
        shape.extend(&self.network.layers[layer].shape);
        Tensor::new(shape, rows.flatten().map(|v| *v as f32).collect())
    }

    /// The cotangents of all layers for row `n`.
    fn pull(&self, n: usize, seeds: &[(usize, &Tensor)]) -> Vec<Vec<f64>> {
        let mut g: Vec<Vec<f64>> = self.rows[n].iter().map(|v| vec![0.0; v.len()]).collect();
        for (layer, cotangent) in seeds {
            g[*layer].iter_mut().zip(cotangent.row(n)).for_each(|(g, c)| *g += f64::from(*c));
        }
        for layer in (self.first..g.len() - 1).rev() {
            let back =
                self.network.back(layer, &self.rows[n][layer], &g[layer + 1], self.taps.relu);
            g[layer].iter_mut().zip(back).for_each(|(g, b)| *g += b);
        }
        g
    }
}

impl Pass for FakePass<'_> {
    fn output(&self, layer: &str) -> Result<Tensor> {
        let layer = self.tapped(layer)?;
        self.batch(layer, self.rows.iter().map(|row| row[layer].as_slice()))
    }

    fn gradient(&self, seeds: &[LayerCotangent]) -> Result<Vec<Tensor>> {
        if self.places.is_empty() {
            return Err(Error::new(
                "fame::backend::no_gradient",
                "no gradient was asked for in this pass's Taps.",
            ));
        }
        let mut at = Vec::with_capacity(seeds.len());
        for seed in seeds {
            let layer = self.tapped(&seed.layer)?;
            self.network.check_shape("a cotangent", layer, &seed.cotangent)?;
            if seed.cotangent.rows() != self.rows.len() {
                let message = format!(
                    "a cotangent has {} rows for a pass of {}.",
                    seed.cotangent.rows(),
                    self.rows.len()
                );
                return Err(Error::new("fame::backend::shape", message));
            }
            at.push((layer, &seed.cotangent));
        }
        let rows: Vec<_> = (0..self.rows.len()).map(|n| self.pull(n, &at)).collect();
        self.places
            .iter()
            .map(|place| self.batch(*place, rows.iter().map(|row| row[*place].as_slice())))
            .collect()
    }
}

/// The test kit's backend: whatever the model file holds, the network is a [`FakeNetwork`] for the
/// manifest's input.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fake {
    /// Outputs of the network, at least 1.
    pub classes: usize,
    /// Seed of the weights.
    pub seed: u64,
}

impl Default for Fake {
    fn default() -> Self {
        Self { classes: super::CLASSES, seed: 1 }
    }
}

impl Plugin<dyn Backend> for Fake {
    const NAME: &'static str = "Fake";
    const SUMMARY: &'static str = "A small network of the test kit, whatever the file holds";
    const EXAMPLE: &'static str = "Fake(classes: 5)";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("classes", self.classes > 0, "must be at least 1");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Backend>> {
        Some(Box::new(self))
    }
}

impl Backend for Fake {
    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn load(&self, request: &LoadRequest) -> Result<Box<dyn Network>> {
        match request.input_shape.as_deref() {
            Some(&[3, h, w]) if h == w => {
                Ok(Box::new(FakeNetwork::new(h, self.classes, self.seed)?))
            }
            other => Err(Error::new(
                "fame::testkit::network",
                format!("a fake network takes square RGB pictures, not {other:?}."),
            )),
        }
    }
}
