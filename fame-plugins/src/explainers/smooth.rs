//! `Smooth`: any explainer, averaged over noisy copies of the picture.

use std::path::PathBuf;

use fame_core::{
    Error, Explanation, Model, NamedMap, Random, Result, Sample, Tensor,
    contract::{ExplainContext, Explainer, ItemRef},
    data::{Value, facts},
    registry::{Assembly, BuildContext, Built, Plugin},
    seed_of,
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    finish::{Draft, Finish},
    terms::plane,
};

/// The mean of minmax(m) over the finished maps m that another explainer makes of the picture and
/// of n − 1 copies with noise N(0, σ²) on every pixel, cut to 0..=1. Values in 0..=1. What is
/// explained is settled on the clean picture; copies on which the explainer has no map of that name
/// (the network takes them for another class, say) are left out, and a warning counts them.
///
/// Noise follows from the run's seed, the item's id, the role and the copy's number. For gradients
/// see `SmoothGrad`, which averages before it takes the absolute value.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Smooth {
    /// The explainer.
    pub of: Spec,
    /// Pictures in the mean, the clean one among them; 2 to 10000.
    #[serde(default = "n")]
    pub n: usize,
    /// σ in pixels of 0..=1; above 0.
    #[serde(default = "sigma")]
    pub sigma: f32,
    /// Steps from the mean to the map. Default: none.
    #[serde(default)]
    pub map: Vec<Spec>,
}

fn n() -> usize {
    10
}

fn sigma() -> f32 {
    0.1
}

impl Plugin<dyn Explainer> for Smooth {
    const NAME: &'static str = "Smooth";
    const SUMMARY: &'static str = "Another explainer, averaged over noisy copies of the picture";
    const CLAIM: &'static str = "Shows another method averaged over noisy copies of the picture; what that method shows and does not show holds for it too.";
    const EXAMPLE: &'static str = "Smooth(of: Saliency(), n: 10, sigma: 0.1)";
    const REFERENCE: &'static str =
        "After Smilkov et al., SmoothGrad, 2017, arXiv 1706.03825, of finished maps";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("n", (2..=10_000).contains(&self.n), "must be between 2 and 10000");
        assembly.check("sigma", self.sigma.is_finite() && self.sigma > 0.0, "must be above 0");
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let of = assembly.build::<dyn Explainer>("of", &self.of, with);
        let finish = Finish::build(assembly, &self.map, with);
        Some(Box::new(AimedExplainer { of: of?, n: self.n, sigma: self.sigma, finish }))
    }
}

fame_core::register!(Explainer: Smooth);

struct AimedExplainer {
    of: Built<dyn Explainer>,
    n: usize,
    sigma: f32,
    finish: Finish,
}

impl Explainer for AimedExplainer {
    fn check(&self, model: &Model) -> Result<()> {
        self.of.plugin.check(model)
    }

    fn files(&self, item: &ItemRef) -> Result<Vec<PathBuf>> {
        self.of.plugin.files(item)
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        let mut all: Vec<Result<Means>> = self
            .of
            .plugin
            .explain(with, samples)
            .into_iter()
            .map(|clean| clean.and_then(Means::of))
            .collect();
        for copy in 1..self.n {
            let there =
                ExplainContext { seed: seed_of(with.seed, &format!("copy {copy}")), ..*with };
            let noisy: Vec<Sample> =
                samples.iter().map(|sample| self.noisy(with.seed, copy, sample)).collect();
            for (means, said) in all.iter_mut().zip(self.of.plugin.explain(&there, &noisy)) {
                let Ok(sums) = means else { continue };
                let added = said.and_then(|said| sums.add(&said));
                if let Err(e) = added {
                    *means = Err(e.at(format!("noisy copy {copy}")));
                }
            }
        }
        all.into_iter().map(|means| means.and_then(|means| self.finish(means))).collect()
    }
}

impl AimedExplainer {
    /// A copy of `sample` with noise on all its pictures.
    fn noisy(&self, run: u64, copy: usize, sample: &Sample) -> Sample {
        let mut noisy = sample.clone();
        for (role, picture) in &mut noisy.pictures {
            let seed = seed_of(run, &format!("{}/{role}/smooth", sample.id));
            let mut noise = vec![0.0; picture.pixels.len()];
            Random::stream(seed, copy).fill_normal(&mut noise);
            for (x, e) in picture.pixels.data_mut().iter_mut().zip(noise) {
                *x = (*x + self.sigma * e).clamp(0.0, 1.0);
            }
        }
        noisy
    }

    fn finish(&self, means: Means) -> Result<Explanation> {
        let Means { mut explanation, sums } = means;
        for Mean { map, sum, count } in sums {
            if count < self.n {
                explanation.warnings.push(format!(
                    "{}: {} of {} noisy copies have no such map and are left out.",
                    map.name(),
                    self.n - count,
                    self.n - 1
                ));
            }
            let mean = sum.iter().map(|v| (v / count as f64) as f32).collect();
            let raw = Tensor::new([&[1], map.finished.shape()].concat(), mean)?;
            let NamedMap { id, frame, annotations, facts: about, .. } = map;
            let draft = Draft { frame, annotations, ..Draft::new(id, raw) };
            let draft = draft.with_facts(about).with_facts(facts([("pictures", count.into())]));
            self.finish.finish(draft, &mut explanation)?;
        }
        Ok(explanation)
    }
}

/// The sums over the copies of one sample.
struct Means {
    /// What was said of the clean picture, without its maps.
    explanation: Explanation,
    sums: Vec<Mean>,
}

struct Mean {
    /// Of the clean picture.
    map: NamedMap,
    sum: Vec<f64>,
    count: usize,
}

impl Means {
    fn of(mut clean: Explanation) -> Result<Self> {
        let begin = |map: NamedMap| {
            let sum = plane(&map)?.data().iter().map(|v| f64::from(*v)).collect();
            Ok(Mean { map, sum, count: 1 })
        };
        let sums = std::mem::take(&mut clean.maps).into_iter().map(begin).collect::<Result<_>>()?;
        clean.facts = facts([("explainer", Value::Map(clean.facts))]);
        Ok(Self { explanation: clean, sums })
    }

    fn add(&mut self, said: &Explanation) -> Result<()> {
        for mean in &mut self.sums {
            let same = |map: &&NamedMap| map.id == mean.map.id;
            let Some(map) = said.maps.iter().find(same) else { continue };
            let values = plane(map)?;
            if values.len() != mean.sum.len() {
                return Err(Error::bug("maps of one picture have different sizes."));
            }
            mean.sum.iter_mut().zip(values.data()).for_each(|(s, v)| *s += f64::from(*v));
            mean.count += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::terms::tests::{explained, walk};

    #[test]
    fn noise_that_hardly_shows_changes_little_and_belongs_to_the_seed() {
        // What noise of 1e-6 does to a walk of three steps on a small network without sharp turns.
        const SMALL: f32 = 1e-2;
        let once = explained(&format!("Sum(of: [{}])", walk(1))).unwrap().0;
        let smooth = |sigma: f32| {
            explained(&format!("Smooth(of: {}, n: 3, sigma: {sigma})", walk(1))).unwrap()
        };
        let (little, warnings) = smooth(1e-6);
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(once[0].0, little[0].0);
        for (a, b) in once[0].1.data().iter().zip(little[0].1.data()) {
            assert!((a - b).abs() < SMALL, "{a} {b}");
        }
        assert_eq!(smooth(0.2), smooth(0.2));
        assert_ne!(smooth(0.2).0, little);
    }

    /// A random map depends on the seed alone, so the mean of n of them is the mean of n draws.
    #[test]
    fn it_is_the_mean_of_all_copies() {
        let (maps, _) =
            explained("Smooth(of: RandomMap(loss: Logit(class: Index(0))), n: 400)").unwrap();
        let values = maps[0].1.data();
        // Uniform numbers of variance 1/12, stretched a little: seven standard errors of a mean.
        let bound = 7.0 * (1.0f32 / 12.0 / 400.0).sqrt();
        assert!(values.iter().all(|v| (v - 0.5).abs() < bound), "{values:?}");
    }
}
