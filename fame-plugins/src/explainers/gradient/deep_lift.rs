//! `DeepLift`: the difference from a reference picture, layer by layer.

use fame_core::{Result, Tensor};

use super::{At, Baseline, Ended, Gradients, Sums, by_gradient};
use crate::maps::Reduce;

by_gradient! {
    /// DeepLIFT with the Rescale rule: (x − x′) ⊙ m, where the multiplier m carries the difference
    /// of y between the picture x and the reference x′ down layer by layer, as the chain rule does
    /// a derivative.
    ///
    /// Linear layers pass multipliers as they do gradients. A function of one value passes Δy / Δx
    /// between the two pictures, the slope where nothing changes, so that a saturated unit still
    /// counts; a max pooling gives what y rises by to the picture's largest value and what it falls
    /// by to the reference's; a product of two values (a gate, attention) splits Δ(a b) as
    /// Δa·mean(b) + mean(a)·Δb; a softmax splits its change as q (Δx − Σ q Δx / Σ q), q its
    /// Δy / Δ ln y. Where the loss is no sum of outputs, as a cosine is, it counts with its
    /// derivative's mean on the straight way between both outputs. Operators that a file writes an
    /// activation with are taken one by one.
    ///
    /// Attributions add up to y(x) − y(x′), through attention too; how far they miss is recorded as
    /// `completeness_delta` and `completeness`, and told above five percent. For faces take
    /// `loss: Similarity(norms: Live)`: a frozen norm is left out of the derivative. One
    /// pass over two pictures, where integrated gradients take dozens. Local response
    /// normalisation, and branches that depend on values, have no rule and are refused. Works with
    /// the backend `Tract`. Above zero, what the channel differs by from the reference raises y.
    DeepLift {
        /// The reference: `Zero` (the model's mean colour), `Black`, or each channel's `Mean` over
        /// the picture itself.
        baseline: Baseline = Baseline::default(),
    }
    summary: "The difference from a reference picture, carried down layer by layer (DeepLIFT)",
    claim: "Shows how the difference to the reference picture comes about over the pixels, unit by unit; what it shows depends on that reference, pixels that equal it get nothing, and other rules for what is no straight line would make other maps.",
    example: "DeepLift(baseline: Black)",
    reference: "Shrikumar, Greenside & Kundaje, Learning Important Features Through Propagating Activation Differences, ICML 2017, arXiv 1704.02685",
}

impl Gradients for DeepLift {
    /// The reference.
    type Plan = Tensor;
    const CHANNELS: Reduce = Reduce::Sum;

    /// The picture and the reference.
    fn points(&self) -> usize {
        2
    }

    fn compares(&self) -> bool {
        true
    }

    fn mend(&self) -> &'static str {
        "take a loss with live norms, Similarity(norms: Live); or, where y hardly differs from the \
         reference's (value and value_at_baseline in the record), another baseline"
    }

    fn plan(&self, at: &At<'_>) -> Result<Tensor> {
        self.baseline.picture(at)
    }

    fn point(&self, reference: &Tensor, k: usize, at: &At<'_>) -> Tensor {
        if k == 0 { at.input.clone() } else { reference.clone() }
    }

    /// Both rows of a pair have the same multipliers.
    fn add(&self, _: &Tensor, k: usize, multipliers: &[f32], sums: &mut Sums) {
        if k == 0 {
            sums.first.iter_mut().zip(multipliers).for_each(|(s, m)| *s += f64::from(*m));
        }
    }

    fn end(&self, reference: &Tensor, sums: &Sums, at: &At<'_>) -> Ended {
        Ended::from_baseline(reference.data(), sums, at)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Completeness, testing::*},
        *,
    };

    /// 2 max(x, 0) − y between (3, 1) and the reference: the multipliers by hand.
    #[test]
    fn differences_are_weighted_and_their_shortfall_is_told() {
        let f = |multipliers: [f32; 2]| {
            move |x: &[f32]| (2.0 * x[0].max(0.0) - x[1], multipliers.to_vec())
        };
        let black = DeepLift { baseline: Baseline::Black, ..usual() };
        // Black is −2 in this model's input: from −2 to 3 the ReLU rises by 3 in 5.
        let ended = run(&black, &[3.0, 1.0], f([1.2, -1.0]));
        assert_eq!(ended.attribution, [6.0, -3.0]);
        assert_eq!(ended.facts["value_at_baseline"], 2.0.into());
        let Completeness { delta, share } = ended.completeness.unwrap();
        // 1.2 is no f32.
        assert!(delta.abs() < 1e-6 && share < 1e-6, "{delta} {share}");
        // The slope at the picture would be 2, and add up to 10 − 3 where the difference is 3.
        let ended = run(&black, &[3.0, 1.0], f([2.0, -1.0]));
        let Completeness { delta, share } = ended.completeness.unwrap();
        assert!((delta - 4.0).abs() < 1e-6 && (share - 4.0 / 3.0).abs() < 1e-6, "{delta} {share}");
    }

    #[test]
    fn the_reference_is_the_second_point() {
        let convention = fame_core::data::InputConvention {
            channels: 1,
            height: 1,
            width: 2,
            order: fame_core::data::ChannelOrder::Gray,
            mean: vec![0.5],
            std: vec![0.25],
        };
        let input = Tensor::new([1, 1, 2], vec![1.0, 2.0]).unwrap();
        let at = At { input: &input, convention: &convention, seed: 0 };
        for (baseline, reference) in [
            (Baseline::Zero, [0.0, 0.0]),
            (Baseline::Black, [-2.0, -2.0]),
            (Baseline::Mean, [1.5, 1.5]),
        ] {
            let method = DeepLift { baseline, ..usual() };
            let plan = method.plan(&at).unwrap();
            assert_eq!(method.point(&plan, 0, &at), input);
            assert_eq!(method.point(&plan, 1, &at).data(), reference, "{baseline:?}");
        }
    }
}
