//! `Saliency`: the gradient itself.

use fame_core::{Result, Tensor};

use super::{At, Ended, Gradients, Sums, by_gradient};
use crate::maps::Reduce;

by_gradient! {
    /// Saliency: |dy/dx|, the largest of the channels. How much y would move if a pixel did, by a
    /// little. Before the map steps, a channel above zero is one of which more would raise y.
    Saliency {}
    summary: "The gradient of the score with respect to the picture",
    claim: "Shows where the asked value changes fastest for tiny changes of a pixel; not what the answer rests on, since a saturated score changes nowhere.",
    example: "Saliency(channels: Mean)",
    reference: "Simonyan, Vedaldi & Zisserman, Deep Inside Convolutional Networks, 2013, arXiv 1312.6034",
}

impl Gradients for Saliency {
    type Plan = ();
    const CHANNELS: Reduce = Reduce::Max;

    fn plan(&self, _: &At<'_>) -> Result<()> {
        Ok(())
    }

    fn point(&self, (): &(), _: usize, at: &At<'_>) -> Tensor {
        at.input.clone()
    }

    fn add(&self, (): &(), _: usize, gradient: &[f32], sums: &mut Sums) {
        sums.first.iter_mut().zip(gradient).for_each(|(s, g)| *s += f64::from(*g));
    }

    fn end(&self, (): &(), sums: &Sums, _: &At<'_>) -> Ended {
        sums.first.iter().map(|s| *s as f32).collect::<Vec<_>>().into()
    }
}
