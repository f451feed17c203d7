//! Many pull-backs from one forward pass, never more than a batch of gradients at a time.

use fame_core::{
    Error, GradientPlace, LayerCotangent, Model, Result, Taps, Tensor, contract::Pass,
};

/// One picture passed forward once, ready to be asked for d(anything of its embedding) / d(pixels).
///
/// The batch holds the picture as often as the backend has workers, so that as many cotangents are
/// pulled back at once; memory is that of one batch of activations and one batch of gradients,
/// whatever the number of cotangents.
pub(super) struct Pull<'n> {
    pass: Box<dyn Pass + 'n>,
    layer: String,
    copies: usize,
    embedding: Vec<f32>,
    std: Vec<f32>,
}

impl<'n> Pull<'n> {
    /// Passes `input` `[C, H, W]` forward; at most `count` cotangents will be pulled back.
    pub(super) fn new(model: &'n Model, layer: &str, input: &Tensor, count: usize) -> Result<Self> {
        let copies = model.network.preferred_rows().clamp(1, count.max(1));
        let batch = Tensor::stack(std::iter::repeat_n(input, copies))?;
        let pass = model
            .network
            .forward(&batch, &Taps::of([layer]).with_gradient(GradientPlace::Input))?;
        let embedding = pass.output(layer)?.row(0).to_vec();
        Ok(Self {
            pass,
            layer: layer.to_owned(),
            copies,
            embedding,
            std: model.manifest.input.std.clone(),
        })
    }

    /// The picture's embedding.
    pub(super) fn embedding(&self) -> &[f32] {
        &self.embedding
    }

    /// Pulls cotangent number 0, 1, … `count` back and hands over each gradient with respect to
    /// pixels in 0..=1, row-major `[C, H, W]`, in order.
    pub(super) fn each(
        &self,
        count: usize,
        mut cotangent: impl FnMut(usize) -> Vec<f64>,
        mut take: impl FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        for first in (0..count).step_by(self.copies) {
            let these = first..(first + self.copies).min(count);
            // A row without a cotangent of its own keeps zero and is not read.
            let mut seeds = Tensor::zeros([self.copies, self.embedding.len()]);
            for (row, k) in these.clone().enumerate() {
                for (to, from) in seeds.row_mut(row).iter_mut().zip(cotangent(k)) {
                    *to = from as f32;
                }
            }
            let mut gradient = self
                .pass
                .gradient(&[LayerCotangent { layer: self.layer.clone(), cotangent: seeds }])?;
            let mut gradient =
                gradient.pop().ok_or_else(|| Error::bug("the backend returned no gradient."))?;
            for (row, k) in these.enumerate() {
                let of_pixels = gradient.row_mut(row);
                // d/d(pixel) = d/d(input) / std, channel by channel.
                let area = of_pixels.len() / self.std.len().max(1);
                for (plane, std) in of_pixels.chunks_exact_mut(area.max(1)).zip(&self.std) {
                    for g in plane {
                        *g /= std;
                    }
                }
                take(k, of_pixels)?;
            }
        }
        Ok(())
    }
}

/// The mean over channels of |gradient|, into `mean` (length H·W).
pub(super) fn channel_mean(gradient: &[f32], mean: &mut [f64]) {
    let channels = (gradient.len() / mean.len().max(1)).max(1) as f64;
    mean.fill(0.0);
    for plane in gradient.chunks_exact(mean.len().max(1)) {
        mean.iter_mut().zip(plane).for_each(|(m, g)| *m += f64::from(g.abs()) / channels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_averaged_without_cancelling() {
        let mut mean = [9.0; 2];
        channel_mean(&[1.0, -2.0, -1.0, 0.0], &mut mean);
        assert_eq!(mean, [1.0, 1.0]);
    }
}
