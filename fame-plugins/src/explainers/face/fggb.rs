//! `Fggb`: every dimension of the embedding pulls its own gradient map, weighted by what it adds to
//! the decision.

use fame_core::{
    Explanation, LayerChoice, Model, Result, Sample,
    contract::{ExplainContext, Explainer},
    data::{Facts, facts},
    registry::{Assembly, BuildContext, Plugin},
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    super::{
        aimed::check_roles,
        finish::{Draft, Finish, plane, specs},
        meter::{Meter, per_sample},
    },
    embedding::{
        self, Chosen, Side, Through, check_threshold, contributions, embedding_layer,
        picture_input, sides, through, unit,
    },
    pull::{Pull, channel_mean},
};

/// How the decision threshold θ enters the D weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ThresholdForm {
    /// w_k = v_k − θ/D: the weights sum to s − θ, so they say which dimensions accept and which
    /// reject.
    #[default]
    Shared,
    /// w_k = v_k − θ, the FAME paper's text taken literally. Since the v_k sum to s, each is about
    /// s/D and nearly all weights are negative: `similar` is usually empty for a θ of any size.
    PerDimension,
}

/// Feature-guided gradient backpropagation for face verification. For each of the D dimensions of
/// the embedding the gradient G_k with respect to the pixels becomes a map |G_k| (mean over
/// colours, divided by its Euclidean length); S = Σ_k w_k·|G_k| with w_k = φ̂_k·φ̂_other,k − θ/D.
/// `similar` shows S above zero, `dissimilar` what is below.
///
/// One forward pass and D pull-backs per picture; the sum runs along, so memory does not grow with
/// D.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fggb {
    /// The embedding: a tensor's name or an alias in quotes, or `Output`.
    pub layer: LayerChoice,
    /// Decision threshold θ on the cosine similarity, −1..=1. 0 explains the similarity itself; a
    /// verifier's own threshold explains its decision.
    pub threshold: f32,
    /// `Shared` (θ/D for each dimension) or `PerDimension` (θ for each).
    pub threshold_form: ThresholdForm,
    /// Differentiate the `Unit` embedding (the authors) or the `Raw` one.
    pub through: Through,
    /// Steps from S to the map. Default: a blur of 25 taps and σ = 5, then min-max.
    pub map: Vec<Spec>,
    /// Which pictures to explain, by role. Default: both, each against the other.
    pub roles: Option<Vec<String>>,
}

impl Default for Fggb {
    fn default() -> Self {
        Self {
            layer: embedding_layer(),
            threshold: 0.0,
            threshold_form: ThresholdForm::default(),
            through: Through::default(),
            map: specs(&["GaussianBlur(kernel: 25, sigma: 5.0)", "MinMaxNormalize()"]),
            roles: None,
        }
    }
}

impl Plugin<dyn Explainer> for Fggb {
    const NAME: &'static str = "Fggb";
    const SUMMARY: &'static str =
        "One gradient map for each embedding dimension, weighted by what it adds to the match";
    const CLAIM: &'static str = "Shows gradients of each embedding dimension, weighted by what it adds to the match; not what would happen if these pixels were taken away.";
    const EXAMPLE: &'static str = r#"Fggb(layer: "embedding", threshold: 0.3)"#;
    const REFERENCE: &'static str = "Lu, Xu & Ebrahimi, FGGB, FG 2024, arXiv 2403.04549; normalisation and blur: the FAME authors' code";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        check_threshold(self.threshold, assembly);
        check_roles(self.roles.as_deref(), assembly);
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let finish = Finish::build(assembly, &self.map, with);
        Some(Box::new(FggbExplainer { parameters: self, finish }))
    }
}

fame_core::register!(Explainer: Fggb);

struct FggbExplainer {
    parameters: Fggb,
    finish: Finish,
}

impl Explainer for FggbExplainer {
    fn check(&self, model: &Model) -> Result<()> {
        embedding::check(model, &self.parameters.layer)
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        per_sample(with, samples, |sample, meter| self.sample(with.model, sample, meter))
    }
}

impl FggbExplainer {
    fn sample(&self, model: &Model, sample: &Sample, meter: &mut Meter<'_>) -> Result<Explanation> {
        let Chosen { layer, layer_facts, sides } =
            sides(model, &self.parameters.layer, sample, self.parameters.roles.as_deref())?;
        meter.begin(sides.iter().map(|side| side.other.len()).sum());
        let mut explanation =
            Explanation { facts: facts([("layers", layer_facts)]), ..Explanation::default() };
        for side in &sides {
            let (sum, facts) = self.sum(model, &layer, sample, side, meter)?;
            let input = &model.manifest.input;
            let raw = plane(&sum, input.height, input.width)?;
            let draft = Draft::new(side.id.clone(), raw).with_facts(facts);
            self.finish.finish_both(&draft, &mut explanation)?;
        }
        Ok(explanation)
    }

    /// S of one side, row-major, and what it was made of.
    fn sum(
        &self,
        model: &Model,
        layer: &str,
        sample: &Sample,
        side: &Side,
        meter: &mut Meter<'_>,
    ) -> Result<(Vec<f64>, Facts)> {
        let parameters = &self.parameters;
        let input = picture_input(model, sample, &side.id.role)?;
        let dimensions = side.other.len();
        let pull = Pull::new(model, layer, &input, dimensions)?;
        let (unit_phi, length) = unit(pull.embedding())?;
        let shares = contributions(&unit_phi, &unit(&side.other)?.0)?;
        let weights = weights(&shares, f64::from(parameters.threshold), parameters.threshold_form);
        let area = model.manifest.input.height * model.manifest.input.width;
        let (mut sum, mut mean, mut silent) = (vec![0.0; area], vec![0.0; area], 0usize);
        let cotangent = |k: usize| {
            let mut c = vec![0.0; dimensions];
            c[k] = 1.0;
            through(parameters.through, &mut c, &unit_phi, length);
            c
        };
        pull.each(dimensions, cotangent, |k, gradient| {
            channel_mean(gradient, &mut mean);
            let size = mean.iter().map(|m| m * m).sum::<f64>().sqrt();
            if size == 0.0 {
                silent += 1;
            } else {
                // The authors add 1e-8 to the length; no gradient of a working network is that
                // small, and a NaN must stay visible.
                sum.iter_mut().zip(&mean).for_each(|(s, m)| *s += weights[k] * m / size);
            }
            meter.tick(1);
            Ok(())
        })?;
        let positive = weights.iter().filter(|w| **w > 0.0).count();
        let facts = facts([
            ("similarity", shares.iter().sum::<f64>().into()),
            ("threshold", parameters.threshold.into()),
            ("weight_sum", weights.iter().sum::<f64>().into()),
            ("dimensions", dimensions.into()),
            ("dimensions_for", positive.into()),
            ("dimensions_without_gradient", silent.into()),
        ]);
        Ok((sum, facts))
    }
}

/// w_k, one for each dimension.
fn weights(shares: &[f64], threshold: f64, form: ThresholdForm) -> Vec<f64> {
    let taken = match form {
        ThresholdForm::Shared => threshold / shares.len() as f64,
        ThresholdForm::PerDimension => threshold,
    };
    shares.iter().map(|v| v - taken).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Σ w = s − θ when θ is shared, so Σ w = s at θ = 0; up to rounding of sums in double
        /// precision.
        #[test]
        fn weights_sum_to_the_similarity_above_the_threshold(
            a in proptest::collection::vec(-1f32..1.0, 48), b in proptest::collection::vec(-1f32..1.0, 48), threshold in -1f64..1.0,
        ) {
            const ROUNDING: f64 = 1e-12;
            let (Ok((a, _)), Ok((b, _))) = (unit(&a), unit(&b)) else { return Ok(()) };
            let s: f64 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
            let shares = contributions(&a, &b).unwrap();
            let sum = |threshold, form| weights(&shares, threshold, form).iter().sum::<f64>();
            assert!((sum(0.0, ThresholdForm::Shared) - s).abs() < ROUNDING);
            assert!((sum(threshold, ThresholdForm::Shared) - (s - threshold)).abs() < ROUNDING);
            assert!((sum(threshold, ThresholdForm::PerDimension) - (s - 48.0 * threshold)).abs() < 48.0 * ROUNDING);
        }
    }
}
