//! `CorrRise`: which pixels' absence goes along with a lower similarity?

use fame_core::{
    Explanation, LayerChoices, Model, Result, Sample,
    ask::{Aim, Answer, Question, broken},
    contract::{ExplainContext, Explainer, Loss},
    data::facts,
    registry::{Assembly, BuildContext, Built, Parameters, Plugin},
    seed_of,
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    super::{
        aimed::check_roles,
        black_box::{Fill, patches::PatchMasks},
        finish::{Draft, Finish, no_map, plane, specs},
        meter::{Meter, per_sample},
    },
    embedding::embedding_layer,
};
use crate::{Preset, losses::Similarity};

/// How scores enter the correlation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Correlation {
    /// Pearson's: as they are (the FAME paper). Unchanged when scores are scaled by a positive
    /// number and shifted.
    Pearson,
    /// Spearman's: their ranks (the code behind the FAME paper's tables). The mask has two values
    /// only, so ranking it changes nothing.
    Rank,
}

/// The ranks of equal scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Ties {
    /// Equal scores share the mean of their ranks: all scores equal means no correlation anywhere.
    Average,
    /// Equal scores are ranked in the order of their masks, as the authors' code does: with many
    /// ties it invents correlations.
    Ordinal,
}

fame_core::parameters! {
    /// Correlation-based RISE. N masks hide random square patches of one picture; c_i is the
    /// similarity of the masked picture to the other, unmasked one; S(pixel) is the correlation
    /// over i of "the pixel is visible" with c_i. `similar` is S above zero, `dissimilar` what is
    /// below; of a loss that claims the opposite, such as `Dissimilarity()`, the other way round.
    ///
    /// The same masks serve every pair and both pictures, so that maps differ by pictures only. A
    /// pixel that is always or never hidden has S = 0. Masks are kept as the corners of their
    /// patches and scores as N numbers; no mask is stored.
    pub struct CorrRise {
        /// The embedding: a tensor's name or an alias in quotes, or `Output`.
        layer: LayerChoices = LayerChoices(vec![embedding_layer()]),
        /// Whose value is the score. Default: `Similarity()`.
        loss: Spec = Spec::named(Similarity::NAME),
        /// How many masks; at least 2.
        masks: usize = 500,
        /// Patches of each mask. Default: 10 (preset Paper), 3 (preset Authors).
        patches: usize = open,
        /// Side of a patch in pixels of the network's input, whatever its size. 30 is meant for
        /// faces of 112 × 112.
        patch: usize = 30,
        /// `Pearson` (preset Paper) or `Rank` (preset Authors).
        correlation: Correlation = open,
        /// For `Rank`: `Average` (preset Paper) or `Ordinal` (preset Authors).
        ties: Ties = open,
        /// What stands in hidden pixels: `Black` before normalisation, or the model's `Mean`
        /// colour.
        fill: Fill = Fill::Black,
        /// Seed of the mask set. Default: the run's.
        seed: Option<u64> = None,
        /// Steps from S to the map. Default: min-max, no blur.
        map: Vec<Spec> = specs(&["MinMaxNormalize()"]),
        /// Which pictures to explain, by role. Default: both, each against the other.
        roles: Option<Vec<String>> = None,
    }
}

impl Parameters for CorrRise {
    type Typed = typed::CorrRise;

    fn fill(typed: typed::CorrRise, with: &BuildContext<'_>, _: &mut Assembly) -> Option<Self> {
        Some(match Preset::of(with) {
            Preset::Paper | Preset::Fast => typed.or(10, Correlation::Pearson, Ties::Average),
            Preset::Authors => typed.or(3, Correlation::Rank, Ties::Ordinal),
        })
    }
}

impl Plugin<dyn Explainer> for CorrRise {
    const NAME: &'static str = "CorrRise";
    const SUMMARY: &'static str =
        "Hides random patches and correlates each pixel's visibility with the similarity";
    const CLAIM: &'static str = "Shows where seeing a place goes along with more similarity (e+) or with less (e−) over random masks; a correlation, and with few masks much of it is noise.";
    const EXAMPLE: &'static str = "CorrRise(masks: 500, patches: 10, correlation: Pearson)";
    const REFERENCE: &'static str = "Lu, Xu & Ebrahimi, CorrRISE, WACV 2024, arXiv 2305.08546; masks and ranks: the FAME authors' code";

    const PRESETS: &'static [&'static str] = Preset::NAMES;

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("masks", (2..=1_000_000).contains(&self.masks), "must be 2 to 1000000");
        assembly.check("patch", self.patch > 0, "must be at least 1 pixel");
        check_roles(self.roles.as_deref(), assembly);
        assembly.check("patches", (1..=1000).contains(&self.patches), "must be 1 to 1000");
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let loss = assembly.build::<dyn Loss>("loss", &self.loss, with);
        let finish = Finish::build(assembly, &self.map, with);
        Some(Box::new(CorrRiseExplainer { parameters: self, loss: loss?, finish }))
    }
}

fame_core::register!(Explainer: CorrRise);

struct CorrRiseExplainer {
    parameters: CorrRise,
    loss: Built<dyn Loss>,
    finish: Finish,
}

impl Explainer for CorrRiseExplainer {
    fn check(&self, model: &Model) -> Result<()> {
        Aim::new(model, &self.parameters.layer, self.loss.plugin.as_ref()).map(|_| ())
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        let prepared = Aim::new(with.model, &self.parameters.layer, self.loss.plugin.as_ref())
            .and_then(|aim| Ok((aim, self.masks(with)?)));
        match prepared {
            Ok((aim, masks)) => {
                per_sample(with, samples, |sample, meter| self.sample(&aim, &masks, sample, meter))
            }
            Err(e) => samples.iter().map(|_| Err(e.clone())).collect(),
        }
    }
}

impl CorrRiseExplainer {
    fn masks(&self, with: &ExplainContext<'_>) -> Result<PatchMasks> {
        let CorrRise { masks, patches, patch, seed, .. } = self.parameters;
        let input = &with.model.manifest.input;
        // No sample takes part: the set is the same for every pair.
        let seed = seed_of(seed.unwrap_or(with.seed), CorrRise::NAME);
        PatchMasks::draw(seed, masks, patches, patch, (input.height, input.width))
    }

    fn sample(
        &self,
        aim: &Aim<'_>,
        masks: &PatchMasks,
        sample: &Sample,
        meter: &mut Meter<'_>,
    ) -> Result<Explanation> {
        let parameters = &self.parameters;
        let rows = aim
            .rows(sample, parameters.roles.as_deref())
            .map_err(|e| e.at(format!("loss {}", self.loss.name)))?;
        meter.begin(rows.len() * parameters.masks);
        let facts_of_all = facts([("layers", aim.layer_facts()), ("loss", self.loss.record())]);
        let mut explanation = Explanation { facts: facts_of_all, ..Explanation::default() };
        let input = &aim.model.manifest.input;
        for row in rows {
            let question = Question::new(aim, sample, &row, Answer::Value)?;
            let (height, width) = question.size();
            let alter = |index: usize, copy: &mut fame_core::Tensor| {
                for channel in 0..input.channels {
                    let (fill, plane) =
                        (parameters.fill.value(input, channel), copy.row_mut(channel));
                    masks.hidden(index, |pixel| plane[pixel] = fill);
                }
            };
            let scores = question.ask(parameters.masks, alter, |n| meter.tick(n))?;
            if let Some(why) = broken(&scores) {
                no_map(&row.id, &why, &mut explanation);
                continue;
            }
            let spread = spread(&scores);
            let scores = match parameters.correlation {
                Correlation::Rank => ranks(&scores, parameters.ties),
                Correlation::Pearson => scores.iter().map(|s| f64::from(*s)).collect(),
            };
            let map = plane(&correlate(masks, &scores, height * width), height, width)?;
            let draft = Draft::of_row(&row, map).with_facts(spread);
            self.finish.finish_both(&draft, &mut explanation)?;
        }
        Ok(explanation)
    }
}

/// Smallest, largest and mean score.
fn spread(scores: &[f32]) -> fame_core::data::Facts {
    let (low, high) =
        scores.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), s| (l.min(*s), h.max(*s)));
    let mean = scores.iter().map(|s| f64::from(*s)).sum::<f64>() / scores.len() as f64;
    facts([("score_min", low.into()), ("score_max", high.into()), ("score_mean", mean.into())])
}

/// Ranks from 1, equal values sharing the mean of theirs.
pub(crate) fn average_ranks(values: &[f32]) -> Vec<f64> {
    ranks(values, Ties::Average)
}

/// Ranks from 1.
fn ranks(scores: &[f32], ties: Ties) -> Vec<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let mut ranks = vec![0.0; scores.len()];
    let mut first = 0;
    while first < order.len() {
        let equal = order[first..]
            .iter()
            .take_while(|i| scores[**i] == scores[order[first]])
            .count()
            .max(1);
        for (k, index) in order[first..first + equal].iter().enumerate() {
            ranks[*index] = match ties {
                Ties::Ordinal => (first + k + 1) as f64,
                // The mean of first + 1 … first + equal.
                Ties::Average => f64::midpoint((first + 1) as f64, (first + equal) as f64),
            };
        }
        first += equal;
    }
    ranks
}

/// Pearson's correlation of every pixel's visibility with the scores; 0 where a pixel or the scores
/// never vary.
///
/// With h the indicator of "hidden", n its count and c centred: corr(visible, c) = −corr(hidden, c)
/// = −Σ_{hidden} c / √(n·(1 − n/N)·Σc²), so one running sum and one count per pixel suffice.
fn correlate(masks: &PatchMasks, scores: &[f64], area: usize) -> Vec<f64> {
    let total = scores.len() as f64;
    let mean = scores.iter().sum::<f64>() / total;
    let energy: f64 = scores.iter().map(|s| (s - mean).powi(2)).sum();
    // `last` remembers the mask that hid a pixel last: a pixel under two patches of one mask is
    // hidden once.
    let (mut sums, mut counts, mut last) =
        (vec![0.0f64; area], vec![0u32; area], vec![u32::MAX; area]);
    for (index, score) in scores.iter().enumerate() {
        masks.hidden(index, |pixel| {
            if last[pixel] != index as u32 {
                last[pixel] = index as u32;
                counts[pixel] += 1;
                sums[pixel] += score - mean;
            }
        });
    }
    // Scores that differ by rounding only are equal: their squares vanish next to their size.
    let flat = energy <= total * (mean * f64::from(f32::EPSILON)).powi(2);
    let correlation = |(sum, count): (f64, u32)| {
        let variance = f64::from(count) * (1.0 - f64::from(count) / total);
        if flat || variance <= 0.0 { 0.0 } else { -sum / (variance * energy).sqrt() }
    };
    sums.into_iter().zip(counts).map(correlation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (usize, usize) = (9, 8);

    /// By the book: centred masks times centred scores, all masks in memory.
    fn naive(masks: &PatchMasks, scores: &[f64]) -> Vec<f64> {
        let area = SIZE.0 * SIZE.1;
        let n = scores.len() as f64;
        let visible: Vec<Vec<f64>> = (0..scores.len())
            .map(|i| {
                let mut m = vec![1.0; area];
                masks.hidden(i, |p| m[p] = 0.0);
                m
            })
            .collect();
        let mean = scores.iter().sum::<f64>() / n;
        let deviation = |values: &dyn Fn(usize) -> f64, mean: f64| {
            (0..scores.len()).map(|i| (values(i) - mean).powi(2)).sum::<f64>().sqrt()
        };
        (0..area)
            .map(|p| {
                let m = visible.iter().map(|v| v[p]).sum::<f64>() / n;
                let covariance: f64 =
                    (0..scores.len()).map(|i| (visible[i][p] - m) * (scores[i] - mean)).sum();
                let scale = deviation(&|i| visible[i][p], m) * deviation(&|i| scores[i], mean);
                if scale < 1e-12 { 0.0 } else { covariance / scale }
            })
            .collect()
    }

    fn close(a: &[f64], b: &[f64]) {
        // Two ways to add up a hundred numbers of size 1 in double precision.
        const ROUNDING: f64 = 1e-10;
        assert!(a.iter().zip(b).all(|(x, y)| (x - y).abs() < ROUNDING));
    }

    fn masks() -> PatchMasks {
        PatchMasks::draw(5, 60, 3, 3, SIZE).unwrap()
    }

    proptest::proptest! {
        #[test]
        fn running_sums_give_the_textbook_correlation(scores in proptest::collection::vec(-1f64..1.0, 60)) {
            close(&correlate(&masks(), &scores, 72), &naive(&masks(), &scores));
        }

        /// Pearson's correlation does not see a positive scale and a shift of the scores.
        #[test]
        fn scale_and_shift_of_scores_do_not_matter(scores in proptest::collection::vec(-1f64..1.0, 60), scale in 0.1f64..10.0, shift in -5f64..5.0) {
            let moved: Vec<f64> = scores.iter().map(|s| scale * s + shift).collect();
            close(&correlate(&masks(), &scores, 72), &correlate(&masks(), &moved, 72));
        }
    }

    #[test]
    fn equal_scores_and_constant_pixels_have_no_correlation() {
        assert!(correlate(&masks(), &[0.25; 60], 72).iter().all(|c| *c == 0.0));
        // One patch as large as the picture: every pixel is always hidden.
        let all = PatchMasks::draw(1, 4, 1, 8, (8, 8)).unwrap();
        assert!(correlate(&all, &[0.0, 1.0, 2.0, 3.0], 64).iter().all(|c| *c == 0.0));
    }

    #[test]
    fn hiding_the_pixel_that_matters_lowers_the_score() {
        let masks = masks();
        let scores: Vec<f64> = (0..60)
            .map(|i| {
                let mut s = 1.0;
                masks.hidden(i, |p| {
                    if p == 36 {
                        s = 0.0;
                    }
                });
                s
            })
            .collect();
        let map = correlate(&masks, &scores, 72);
        assert!((map[36] - 1.0).abs() < 1e-12 && map.iter().all(|c| *c <= 1.0 + 1e-12));
    }

    #[test]
    fn ties_share_their_rank_or_follow_the_order() {
        let scores = [0.5, 0.1, 0.5, 0.9];
        assert_eq!(ranks(&scores, Ties::Average), [2.5, 1.0, 2.5, 4.0]);
        assert_eq!(ranks(&scores, Ties::Ordinal), [2.0, 1.0, 3.0, 4.0]);
    }
}
