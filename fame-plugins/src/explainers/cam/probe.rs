//! What a formula may ask of the network beyond one pass.

use fame_core::{Error, GradientPlace, Result, Tensor, ask::Aim, contract::ExplainContext};

use super::super::{aimed::InputRow, paths::Ways};
use super::planes::{Grid, Planes};

/// The network as a formula sees it: y of changed pictures and of changed layers.
pub(super) trait Probe {
    /// y of the row as it is.
    fn value(&self) -> f32;

    /// For random numbers; depends on run, item, row and layer only.
    fn seed(&self) -> u64;

    /// Rows and columns of the picture.
    fn size(&self) -> (usize, usize);

    /// y of the network's input times `mask(i)` (one value for each pixel), for i in 0..n.
    fn masked(&self, n: usize, mask: &dyn Fn(usize) -> Vec<f32>) -> Result<Vec<f32>>;

    /// y with channel c of the layer set to `value` everywhere, for c in 0..n.
    fn ablated(&self, n: usize, value: f32) -> Result<Vec<f32>>;

    /// dy/da with the layer's whole output, cells without a place too, times each of `scales`.
    /// `frozen`: only the loss is differentiated there, and its derivative is pulled back through
    /// the network as it is at the layer's own output, whose kinks then stay where they are.
    fn gradients(&self, scales: &[f32], frozen: bool) -> Result<Vec<Planes>>;

    /// Whether the network from the layer to what the loss reads is linear but for kinks.
    fn is_piecewise_linear(&self) -> bool;
}

/// The real network at one layer of one row.
pub(super) struct Live<'a> {
    pub(super) with: &'a ExplainContext<'a>,
    pub(super) aim: &'a Aim<'a>,
    pub(super) row: &'a InputRow,
    pub(super) layer: &'a str,
    pub(super) grid: Grid,
    /// The layer's clean output as the network stores it.
    pub(super) output: Tensor,
    pub(super) value: f32,
    pub(super) seed: u64,
}

impl Live<'_> {
    /// Runs `n` variants of the row, as many at once as keep the backend busy and no more: memory
    /// does not grow with `n`.
    fn scores(
        &self,
        n: usize,
        variant: impl Fn(usize) -> Result<Tensor>,
        of_layer: bool,
    ) -> Result<Vec<f32>> {
        let network = self.with.model.network.as_ref();
        let width = network.preferred_rows().max(1);
        let mut values = Vec::with_capacity(n);
        while values.len() < n {
            let some = values.len()..n.min(values.len() + width);
            let targets = vec![&self.row.aimed.target; some.len()];
            let variants = Tensor::stack(&some.map(&variant).collect::<Result<Vec<_>>>()?)?;
            let pass = if of_layer {
                let batch = Tensor::stack(vec![&self.row.input; targets.len()])?;
                network.forward_from(self.layer, &variants, &batch, &self.aim.taps())?
            } else {
                network.forward(&variants, &self.aim.taps())?
            };
            values.extend(self.aim.evaluate(pass.as_ref(), &targets)?.values);
            self.with.progress.advance(values.len(), n);
        }
        Ok(values)
    }
}

impl Live<'_> {
    /// The layer's clean output times `scale`.
    fn scaled(&self, scale: f32) -> Tensor {
        let mut output = self.output.clone();
        output.data_mut().iter_mut().for_each(|v| *v *= scale);
        output
    }
}

impl Probe for Live<'_> {
    fn value(&self) -> f32 {
        self.value
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn size(&self) -> (usize, usize) {
        let input = &self.with.model.manifest.input;
        (input.height, input.width)
    }

    fn masked(&self, n: usize, mask: &dyn Fn(usize) -> Vec<f32>) -> Result<Vec<f32>> {
        let masked = |i| {
            let (mask, mut input) = (mask(i), self.row.input.clone());
            for channel in input.data_mut().chunks_exact_mut(mask.len()) {
                channel.iter_mut().zip(&mask).for_each(|(v, m)| *v *= m);
            }
            Ok(input)
        };
        self.scores(n, masked, false)
    }

    fn ablated(&self, n: usize, value: f32) -> Result<Vec<f32>> {
        let ablated = |c| {
            let mut output = self.output.clone();
            self.grid.overwrite(output.data_mut(), c, value);
            Ok(output)
        };
        self.scores(n, ablated, true)
    }

    fn gradients(&self, scales: &[f32], frozen: bool) -> Result<Vec<Planes>> {
        let network = self.with.model.network.as_ref();
        let readings = self.aim.taps();
        let taps = self.aim.taps().with_gradient(GradientPlace::Layer(self.layer.to_owned()));
        let mut made = Vec::with_capacity(scales.len());
        for some in scales.chunks(network.preferred_rows().max(1)) {
            let targets = vec![&self.row.aimed.target; some.len()];
            let batch = Tensor::stack(vec![&self.row.input; some.len()])?;
            let scaled: Vec<Tensor> = some.iter().map(|scale| self.scaled(*scale)).collect();
            let there = if frozen { &readings } else { &taps };
            let there =
                network.forward_from(self.layer, &Tensor::stack(&scaled)?, &batch, there)?;
            let evaluation = self.aim.evaluate(there.as_ref(), &targets)?;
            let cotangents = self.aim.layer_cotangents(evaluation.cotangents);
            let gradients = if frozen {
                let clean = Tensor::stack(vec![&self.output; some.len()])?;
                network.forward_from(self.layer, &clean, &batch, &taps)?.gradient(&cotangents)?
            } else {
                there.gradient(&cotangents)?
            };
            let gradient =
                gradients.first().ok_or_else(|| Error::bug("the backend returned no gradient."))?;
            made.extend((0..some.len()).map(|n| self.grid.read(gradient.row(n))));
        }
        Ok(made)
    }

    fn is_piecewise_linear(&self) -> bool {
        let layers = self.with.model.network.layers();
        Ways::between(layers, self.layer, &self.aim.layers)
            .is_some_and(|ways| ways.are_piecewise_linear())
    }
}
