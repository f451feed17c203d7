//! `Lrp`: the value itself, shared out layer by layer down to the pixels.

use fame_core::{
    Result, Tensor,
    contract::{FirstRule, RelevanceRules, RuleNumber, WeightRule},
    data::{InputConvention, facts},
    registry::Assembly,
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Ended, Gradients, Sums, by_gradient};
use crate::{explainers::finish::specs, maps::Reduce};

/// What only keeps divisions from blowing up, in every rule but ε.
const STABILIZER: f32 = 1e-6;

/// What is shared out is rounding below this part of the sizes of all pixels' relevance: a cosine
/// whose length is differentiated too shares out 0.
const NOTHING: f64 = 1e-6;

/// γ where the recipe names none: zennit's.
const GAMMA: f32 = 0.25;

/// Which rule each kind of layer gets, named as in zennit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Composite {
    /// z⁺ for convolutions, ε for dense layers.
    #[default]
    EpsilonPlus,
    /// As `EpsilonPlus`, and the flat rule for the first layer.
    EpsilonPlusFlat,
    /// zᴮ for a first convolution, γ for the other convolutions, ε for dense layers.
    EpsilonGammaBox,
    /// α = 2, β = 1 for convolutions, ε for dense layers.
    EpsilonAlpha2Beta1,
    /// As `EpsilonAlpha2Beta1`, and the flat rule for the first layer.
    EpsilonAlpha2Beta1Flat,
    /// ε everywhere: with a tiny ε, gradient times input.
    Epsilon,
}

/// The rule of the layers that read the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum FirstLayer {
    /// zᴮ, for pixels between black and white. It is a rule for convolutions: where a dense layer
    /// reads the picture, or more than moves and scalings stand in front, it is refused.
    Box,
    /// The same share for every pixel that a value sees. Zeros that a convolution pads its input
    /// with have none; a constant border that stays an operator of its own has, as for `WSquare`,
    /// and what it gets is lost.
    Flat,
    /// w²: shares in proportion to the squared weight.
    WSquare,
    /// The rule of the other layers of its kind.
    Same,
}

by_gradient! {
    /// Layer-wise relevance propagation: y is passed down from layer to layer, each sharing what it
    /// got out among its inputs by a rule that `composite` gives to its kind.
    ///
    /// With x a layer's input, w a weight, z = Σ w x + b and R the relevance of an output: ε,
    /// x w R / (z + ε·sign z); γ, the same with w + γ w⁺ (w + γ w⁻ where that is what agrees with
    /// z's sign); z⁺, only positive contributions w x; α and β, α times the positive ones' shares
    /// less β times the negative ones'; zᴮ, x w − l w⁺ − h w⁻ for pixels between l (black) and h
    /// (white); flat, all alike; w², in proportion to w². Activations pass on what they get; sums,
    /// poolings and constant factors share in proportion; a product of two values gives half to
    /// each. Batch normalisation behind a convolution is folded into it first; elsewhere it is a
    /// factor and a constant.
    ///
    /// What biases and constants add keeps its share, so that pixels need not add up to y: the
    /// record has `shared_out` (the relevance at the top: the target layer's values times their
    /// derivatives, for `Logit()` the logit), `relevance` (its sum over pixels), and `absorbed`
    /// (the share that did not arrive; left out where next to nothing is shared out, as of a cosine
    /// whose norms are `Live`). Softmax, attention, layer normalisation and other divisions
    /// by values have no rule here and are refused: take the layer in front of them. Works with the
    /// backend `Tract`.
    ///
    /// Relevance has a sign: what is above zero speaks for y, what is below against it. A pixel's
    /// channels are added up first, and the default map shows the pixels whose sum is above zero;
    /// `raw` has both signs, and `map: [Channels(reduce: Sum), Abs(), MaxNormalize()]` shows the
    /// size of both.
    Lrp {
        /// Which rule each kind of layer gets: `EpsilonPlus`, `EpsilonPlusFlat`, `EpsilonGammaBox`,
        /// `EpsilonAlpha2Beta1`, `EpsilonAlpha2Beta1Flat` or `Epsilon`.
        composite: Composite = Composite::default(),
        /// Another rule for the layers that read the picture: `Box`, `Flat`, `WSquare`, or `Same`
        /// as the others of their kind. Default: what the composite says.
        first: Option<FirstLayer> = None,
        /// ε of the ε rule, in units of the layer's output; at least 0. A larger one lets small
        /// contributions vanish.
        epsilon: f32 = 1e-6,
        /// γ of the γ rule, which only `EpsilonGammaBox` has; at least 0. 0 is the ε rule, a large
        /// one near z⁺. Default: 0.25. With another composite it is refused.
        gamma: Option<f32> = None,
    }
    /// How the default `map` makes one channel of three: `Sum` (default), `Mean` or `Max`, signs
    /// kept.
    channels,
    /// Steps from the relevance to the map. Default: `[Channels(…), Positive(), MaxNormalize()]`.
    map,
    summary: "The value shared out among what it was made of, layer by layer (LRP)",
    claim: "Shows which pixels the asked value is shared out to, as far as they speak for it, by the rules chosen for each kind of layer; other rules make other maps, what speaks against the value is in the raw field only, and what constants in the network add is nobody's.",
    example: "Lrp(composite: EpsilonGammaBox, epsilon: 1e-6, gamma: 0.25)",
    reference: "Bach et al., On Pixel-Wise Explanations by Layer-Wise Relevance Propagation, PLOS ONE 10(7), 2015",
}

impl Lrp {
    /// The rule for the first layers, if it is one of its own.
    fn first_layer(&self) -> FirstLayer {
        self.first.unwrap_or(match self.composite {
            Composite::EpsilonPlusFlat | Composite::EpsilonAlpha2Beta1Flat => FirstLayer::Flat,
            Composite::EpsilonGammaBox => FirstLayer::Box,
            _ => FirstLayer::Same,
        })
    }
}

impl Gradients for Lrp {
    type Plan = ();
    const CHANNELS: Reduce = Reduce::Sum;

    /// What speaks for y: channels cancel before the sign is read.
    fn map_steps(reduce: Reduce) -> Vec<Spec> {
        specs(&[&format!("Channels(reduce: {reduce:?})"), "Positive()", "MaxNormalize()"])
    }

    fn check(&self, assembly: &mut Assembly) {
        let is_share = |value: f32| value.is_finite() && value >= 0.0;
        let must = "must be a finite number of at least 0";
        assembly.check("epsilon", is_share(self.epsilon), must);
        assembly.check("gamma", self.gamma.is_none_or(is_share), must);
        let has_gamma = self.composite == Composite::EpsilonGammaBox;
        let no_say = format!(
            "has no say with {:?}: leave it out, or take `composite: EpsilonGammaBox`",
            self.composite
        );
        assembly.check("gamma", has_gamma || self.gamma.is_none(), &no_say);
    }

    fn relevance(&self, convention: &InputConvention) -> Option<RelevanceRules> {
        // The model's input where a pixel is `at`, 0 for black and 1 for white.
        let bounds = |at: f32| -> Vec<RuleNumber> {
            let channels = convention.mean.iter().zip(&convention.std);
            channels.map(|(mean, std)| RuleNumber::new((at - mean) / std)).collect()
        };
        let first = match self.first_layer() {
            FirstLayer::Box => Some(FirstRule::Box { low: bounds(0.0), high: bounds(1.0) }),
            FirstLayer::Flat => Some(FirstRule::Flat),
            FirstLayer::WSquare => Some(FirstRule::WSquare),
            FirstLayer::Same => None,
        };
        let alpha_beta = |alpha: f32, beta: f32| WeightRule::AlphaBeta(alpha.into(), beta.into());
        let convolution = match self.composite {
            Composite::EpsilonPlus | Composite::EpsilonPlusFlat => alpha_beta(1.0, 0.0),
            Composite::EpsilonGammaBox => WeightRule::Gamma(self.gamma.unwrap_or(GAMMA).into()),
            Composite::EpsilonAlpha2Beta1 | Composite::EpsilonAlpha2Beta1Flat => {
                alpha_beta(2.0, 1.0)
            }
            Composite::Epsilon => WeightRule::Epsilon,
        };
        Some(RelevanceRules {
            first,
            convolution,
            dense: WeightRule::Epsilon,
            epsilon: self.epsilon.into(),
            stabilizer: STABILIZER.into(),
        })
    }

    fn plan(&self, _: &At<'_>) -> Result<()> {
        Ok(())
    }

    fn point(&self, (): &(), _: usize, at: &At<'_>) -> Tensor {
        at.input.clone()
    }

    fn add(&self, (): &(), _: usize, relevance: &[f32], sums: &mut Sums) {
        sums.first.iter_mut().zip(relevance).for_each(|(s, r)| *s += f64::from(*r));
    }

    fn end(&self, (): &(), sums: &Sums, _: &At<'_>) -> Ended {
        let attribution: Vec<f32> = sums.first.iter().map(|s| *s as f32).collect();
        let arrived: f64 = sums.first.iter().sum();
        let mut about = facts([
            ("composite", format!("{:?}", self.composite).into()),
            ("first_layer", format!("{:?}", self.first_layer()).into()),
            ("shared_out", sums.shared_out.into()),
            ("relevance", arrived.into()),
        ]);
        let sizes: f64 = sums.first.iter().map(|r| r.abs()).sum();
        if sums.shared_out.abs() > NOTHING * sizes {
            about.insert("absorbed".into(), (1.0 - arrived / sums.shared_out).into());
        }
        Ended { facts: about, ..attribution.into() }
    }
}

#[cfg(test)]
mod tests {
    use fame_core::testkit;

    use super::{super::testing::*, *};

    fn rules(text: &str) -> RelevanceRules {
        let lrp: Lrp = testkit::parameters(text).unwrap();
        let convention = InputConvention {
            channels: 2,
            height: 1,
            width: 1,
            order: fame_core::data::ChannelOrder::Rgb,
            mean: vec![0.5, 0.25],
            std: vec![0.25, 0.5],
        };
        lrp.relevance(&convention).unwrap()
    }

    #[test]
    fn composites_are_rules_by_kind_of_layer() {
        let plus = WeightRule::AlphaBeta(1.0.into(), 0.0.into());
        let two_and_one = WeightRule::AlphaBeta(2.0.into(), 1.0.into());
        let gamma = WeightRule::Gamma(0.5.into());
        let is_box = |rules: &RelevanceRules| matches!(rules.first, Some(FirstRule::Box { .. }));
        let boxed = rules("(composite: EpsilonGammaBox, gamma: 0.5)");
        assert!(is_box(&boxed) && boxed.convolution == gamma);
        let quarter = WeightRule::Gamma(0.25.into());
        assert_eq!(rules("(composite: EpsilonGammaBox)").convolution, quarter);
        for (text, first, convolution) in [
            ("()", None, plus),
            ("(composite: EpsilonPlusFlat)", Some(FirstRule::Flat), plus),
            ("(composite: EpsilonPlusFlat, first: Same)", None, plus),
            ("(composite: EpsilonAlpha2Beta1)", None, two_and_one),
            ("(composite: EpsilonAlpha2Beta1Flat)", Some(FirstRule::Flat), two_and_one),
            ("(composite: Epsilon, first: WSquare)", Some(FirstRule::WSquare), WeightRule::Epsilon),
        ] {
            let rules = rules(text);
            assert_eq!((&rules.first, rules.convolution), (&first, convolution), "{text}");
            assert_eq!(rules.dense, WeightRule::Epsilon, "{text}");
        }
        assert!(is_box(&rules("(first: Box)")));
        assert_eq!(rules("(epsilon: 0.25)").epsilon.get(), 0.25);
    }

    #[test]
    fn numbers_that_are_none_or_have_no_say_are_told() {
        for (text, why) in [
            ("(gamma: 0.5)", "`gamma` has no say with EpsilonPlus"),
            ("(composite: Epsilon, gamma: 0.25)", "`gamma` has no say with Epsilon:"),
            (
                "(composite: EpsilonGammaBox, gamma: 1e300)",
                "`gamma` must be a finite number of at least 0.",
            ),
            ("(epsilon: inf)", "`epsilon` must be a finite number of at least 0."),
            ("(epsilon: -1)", "`epsilon` must be a finite number of at least 0."),
        ] {
            let error = testkit::build::<dyn fame_core::contract::Explainer>(&format!("Lrp{text}"))
                .err()
                .unwrap();
            assert!(format!("{error:?}").contains(why), "{text}: {error:?}");
        }
    }

    #[test]
    fn the_box_reaches_from_black_to_white_in_the_models_input() {
        let Some(FirstRule::Box { low, high }) = rules("(first: Box)").first else {
            panic!("no box");
        };
        let numbers = |values: Vec<RuleNumber>| -> Vec<f32> {
            values.into_iter().map(RuleNumber::get).collect()
        };
        assert_eq!((numbers(low), numbers(high)), (vec![-2.0, -0.5], vec![2.0, 1.5]));
    }

    #[test]
    fn what_did_not_arrive_is_recorded() {
        // The relevance as a network would give it: 3 and −1 of 4.
        let method = usual::<Lrp>();
        let sums =
            Sums { values: vec![4.0], shared_out: 4.0, first: vec![3.0, -1.0], second: vec![] };
        let convention = InputConvention {
            channels: 1,
            height: 1,
            width: 2,
            order: fame_core::data::ChannelOrder::Gray,
            mean: vec![0.5],
            std: vec![0.25],
        };
        let input = Tensor::new([1, 1, 2], vec![1.0, 2.0]).unwrap();
        let ended = method.end(&(), &sums, &At { input: &input, convention: &convention, seed: 0 });
        assert_eq!(ended.attribution, [3.0, -1.0]);
        assert_eq!(ended.facts["shared_out"], 4.0.into());
        assert_eq!(ended.facts["relevance"], 2.0.into());
        assert_eq!(ended.facts["absorbed"], 0.5.into());
        // Of nothing but rounding there is no share.
        let sums =
            Sums { values: vec![0.5], shared_out: 1e-9, first: vec![3.0, -3.0], second: vec![] };
        let ended = method.end(&(), &sums, &At { input: &input, convention: &convention, seed: 0 });
        assert!(!ended.facts.contains_key("absorbed"));
    }
}
