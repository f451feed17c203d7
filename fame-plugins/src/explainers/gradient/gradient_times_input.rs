//! `GradientTimesInput`: the gradient, weighted by how far each input value is from zero.

use fame_core::{Result, Tensor};

use super::{At, Ended, Gradients, Sums, by_gradient};
use crate::maps::Reduce;

by_gradient! {
    /// Gradient × input: x ⊙ dy/dx with x the network's input. The comparison it makes is with 0 in
    /// that space, the model's mean colour: pixels of that colour count for nothing. Above zero,
    /// what the channel differs by from it raises y, as far as a straight line tells.
    GradientTimesInput {}
    summary: "The gradient times the input",
    claim: "Shows a first-order share of each pixel in the asked value; not the share of dark pixels, which is zero however much they matter.",
    example: "GradientTimesInput()",
    reference: "Shrikumar et al., Not Just a Black Box, 2016, arXiv 1605.01713",
}

impl Gradients for GradientTimesInput {
    type Plan = ();
    const CHANNELS: Reduce = Reduce::Sum;

    fn plan(&self, _: &At<'_>) -> Result<()> {
        Ok(())
    }

    fn point(&self, (): &(), _: usize, at: &At<'_>) -> Tensor {
        at.input.clone()
    }

    fn add(&self, (): &(), _: usize, gradient: &[f32], sums: &mut Sums) {
        sums.first.iter_mut().zip(gradient).for_each(|(s, g)| *s += f64::from(*g));
    }

    fn end(&self, (): &(), sums: &Sums, at: &At<'_>) -> Ended {
        let products = sums.first.iter().zip(at.input.data()).map(|(s, x)| *s as f32 * x);
        products.collect::<Vec<_>>().into()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Saliency, super::testing::*, *};

    #[test]
    fn a_linear_function_is_divided_among_its_inputs() {
        let f = |x: &[f32]| (2.0 * x[0] - x[1], vec![2.0, -1.0]);
        assert_eq!(run(&usual::<GradientTimesInput>(), &[3.0, 4.0], f).attribution, [6.0, -4.0]);
        assert_eq!(run(&usual::<Saliency>(), &[3.0, 4.0], f).attribution, [2.0, -1.0]);
    }
}
