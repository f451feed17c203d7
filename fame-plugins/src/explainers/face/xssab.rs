//! `Xssab`: the dimensions that speak for a match pull one map, those that speak against it
//! another.

use fame_core::{
    Claim, Explanation, LayerChoice, Model, Result, Sample, Tensor,
    contract::{ExplainContext, Explainer},
    data::facts,
    max_abs,
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

/// Similarity score argument backpropagation. A dimension speaks for the match when its share of
/// the similarity v_k = φ̂_k·φ̂_other,k is at least θ/D, else against it. y+ and y− are the sums of
/// the shares of either kind with the kept dimensions frozen; map± = mean over colours of |dy±/dx|.
///
/// `similar` is map+, `dissimilar` map−, `combined` their difference, moved so that 0.5 is neutral,
/// 1 speaks for the match and 0 against it. Two pull-backs per picture. The FAME paper speaks of an
/// average over dimensions: the same map up to its scale.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Xssab {
    /// The embedding: a tensor's name or an alias in quotes, or `Output`.
    pub layer: LayerChoice,
    /// Decision threshold θ on the cosine similarity, −1..=1. The authors use the equal error
    /// rate's on LFW.
    pub threshold: f32,
    /// Differentiate the `Unit` embedding (the authors) or the `Raw` one.
    pub through: Through,
    /// Also make the combined map.
    pub combined: bool,
    /// Steps from map+ and map− to the finished maps; `combined` is only scaled. Default: the
    /// maximum becomes 1, no blur.
    pub map: Vec<Spec>,
    /// Which pictures to explain, by role. Default: both, each against the other.
    pub roles: Option<Vec<String>>,
}

impl Default for Xssab {
    fn default() -> Self {
        Self {
            layer: embedding_layer(),
            threshold: 0.0,
            through: Through::default(),
            combined: true,
            map: specs(&["MaxNormalize()"]),
            roles: None,
        }
    }
}

impl Plugin<dyn Explainer> for Xssab {
    const NAME: &'static str = "Xssab";
    const SUMMARY: &'static str =
        "Gradient of the similarity's shares that speak for a match, and of those against it";
    const CLAIM: &'static str = "Shows gradients of the similarity's shares for a match (e+) and against it (e−); local slopes, and not what would happen if these pixels were taken away.";
    const EXAMPLE: &'static str = r#"Xssab(layer: "embedding", threshold: 0.3)"#;
    const REFERENCE: &'static str = "Huber, Luu, Terhörst & Damer, WACV 2024, arXiv 2304.13409";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        check_threshold(self.threshold, assembly);
        check_roles(self.roles.as_deref(), assembly);
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let finish = Finish::build(assembly, &self.map, with);
        Some(Box::new(XssabExplainer { parameters: self, finish }))
    }
}

fame_core::register!(Explainer: Xssab);

struct XssabExplainer {
    parameters: Xssab,
    finish: Finish,
}

impl Explainer for XssabExplainer {
    fn check(&self, model: &Model) -> Result<()> {
        embedding::check(model, &self.parameters.layer)
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        per_sample(with, samples, |sample, meter| self.sample(with.model, sample, meter))
    }
}

impl XssabExplainer {
    fn sample(&self, model: &Model, sample: &Sample, meter: &mut Meter<'_>) -> Result<Explanation> {
        let Chosen { layer, layer_facts, sides } =
            sides(model, &self.parameters.layer, sample, self.parameters.roles.as_deref())?;
        meter.begin(2 * sides.len());
        let mut explanation =
            Explanation { facts: facts([("layers", layer_facts)]), ..Explanation::default() };
        for side in &sides {
            self.side(model, &layer, sample, side, &mut explanation)?;
            meter.tick(2);
        }
        Ok(explanation)
    }

    fn side(
        &self,
        model: &Model,
        layer: &str,
        sample: &Sample,
        side: &Side,
        into: &mut Explanation,
    ) -> Result<()> {
        let input = picture_input(model, sample, &side.id.role)?;
        let pull = Pull::new(model, layer, &input, 2)?;
        let (unit_phi, length) = unit(pull.embedding())?;
        let other = unit(&side.other)?.0;
        let shares = contributions(&unit_phi, &other)?;
        let kept = keep(&shares, f64::from(self.parameters.threshold));
        // y+ and y−: one row of frozen weights each, zero where the dimension speaks for the other
        // side.
        let cotangent = |polarity: usize| {
            let frozen = other
                .iter()
                .zip(&kept)
                .map(|(o, for_match)| if *for_match == (polarity == 0) { *o } else { 0.0 });
            let mut c: Vec<f64> = frozen.collect();
            through(self.parameters.through, &mut c, &unit_phi, length);
            c
        };
        let (height, width) = (model.manifest.input.height, model.manifest.input.width);
        let mut maps = Vec::with_capacity(2);
        let mut mean = vec![0.0; height * width];
        pull.each(2, cotangent, |_, gradient| {
            channel_mean(gradient, &mut mean);
            maps.push(plane(&mean, height, width)?);
            Ok(())
        })?;
        let facts = facts([
            ("similarity", shares.iter().sum::<f64>().into()),
            ("threshold", self.parameters.threshold.into()),
            ("dimensions_for", kept.iter().filter(|k| **k).count().into()),
            (
                "share_for",
                shares.iter().zip(&kept).filter(|(_, k)| **k).map(|(v, _)| v).sum::<f64>().into(),
            ),
            ("dimensions", shares.len().into()),
        ]);
        let draft = |claim, raw: &Tensor| {
            Draft::new(side.id.clone().claiming(claim), raw.clone()).with_facts(facts.clone())
        };
        for (claim, raw) in [Claim::For, Claim::Against].into_iter().zip(&maps) {
            self.finish.finish(draft(claim, raw), into)?;
        }
        if self.parameters.combined
            && let [plus, minus] = &maps[..]
        {
            let (raw, shown) = combined(plus, minus)?;
            let neutral = fame_core::data::facts([("neutral", 0.5f32.into())]);
            let both = draft(Claim::Both, &raw).showing(shown).with_facts(neutral);
            Finish::none().finish(both, into)?;
        }
        Ok(())
    }
}

/// Which dimensions speak for the match: v_k ≥ θ/D.
fn keep(shares: &[f64], threshold: f64) -> Vec<bool> {
    let bound = threshold / shares.len() as f64;
    shares.iter().map(|v| *v >= bound).collect()
}

/// map+ − map−, and the same moved and scaled into 0..=1 around 0.5.
fn combined(plus: &Tensor, minus: &Tensor) -> Result<(Tensor, Tensor)> {
    let difference: Vec<f32> = plus.data().iter().zip(minus.data()).map(|(p, m)| p - m).collect();
    let largest = max_abs(&difference);
    // Without a difference everything is neutral; the finish will say so.
    let scale = if largest == 0.0 { 0.0 } else { 0.5 / largest };
    let shown = difference.iter().map(|d| 0.5 + scale * d).collect();
    Ok((Tensor::new(plus.shape(), difference)?, Tensor::new(plus.shape(), shown)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dimension_speaks_for_one_side() {
        assert_eq!(keep(&[0.3, 0.1, -0.2], 0.3), [true, true, false]);
        assert_eq!(keep(&[0.0, -0.1], 0.0), [true, false]);
    }

    #[test]
    fn the_combined_map_is_neutral_where_both_sides_agree() {
        let t = |v: [f32; 3]| Tensor::new([1, 1, 3], v.to_vec()).unwrap();
        let (raw, shown) = combined(&t([2.0, 1.0, 0.0]), &t([0.0, 1.0, 1.0])).unwrap();
        assert_eq!((raw.data(), shown.data()), (&[2.0, 0.0, -1.0][..], &[1.0, 0.5, 0.25][..]));
        assert!(combined(&t([f32::NAN, 0.0, 0.0]), &t([0.0; 3])).unwrap().1.data()[0].is_nan());
    }
}
