//! `Rise`: the mean of many soft random masks, each weighted by what the network says of the
//! picture behind it.

use fame_core::{
    Explanation, LayerChoices, Model, Result, Sample, Tensor,
    ask::{Aim, AimedRow, Answer, Question, broken},
    contract::{ExplainContext, Explainer, Loss},
    data::{Facts, facts},
    registry::{Assembly, BuildContext, Built, Parameters, Plugin},
    seed_of,
    text::Spec,
};

use super::{
    super::{
        aimed::check_roles,
        finish::{Draft, Finish, no_map, plane, specs},
        meter::{Meter, per_sample},
        random::Random,
    },
    answers::Fill,
    tiles::unmoved,
};
use crate::ask::{usual_layer, usual_loss};

fame_core::parameters! {
    /// S(pixel) = 1/(N·p) · Σ_i y(x behind mask i) · M_i(pixel). A mask is a coarse random grid,
    /// cells open with probability p, enlarged smoothly and shifted at random. Behind closed cells
    /// stands the fill: the mean colour as in the original, which multiplies normalised pictures,
    /// or black.
    ///
    /// S has a floor (every mask shows something), which the default min-max takes away. The facts
    /// hold its confidence: the standard error per pixel, and the correlation of the maps of the
    /// even and the odd masks (1: more masks would change nothing). Masks are made again when
    /// needed, never stored.
    pub struct Rise {
        /// The target layer or layers. Default: the one in the model's manifest, else its `Output`.
        layer: LayerChoices = open,
        /// Whose value is y. Default: what the model's manifest asks for, else `Logit()`, the class
        /// the network sees.
        loss: Spec = open,
        /// The loss's `Value`, or the softmax `Probability` of its class as in the original's
        /// notebooks.
        answer: Answer = Answer::Value,
        /// How many masks N; at least 2.
        masks: usize = 4000,
        /// Cells of the grid along each side.
        grid: usize = 8,
        /// Probability p that a cell is open, above 0 and below 1.
        probability: f32 = 0.5,
        /// What stands behind closed cells: the model's `Mean` colour, or `Black` before
        /// normalisation.
        fill: Fill = Fill::Mean,
        /// Seed of the masks. Default: the run's.
        seed: Option<u64> = None,
        /// Steps to the map. Default: min-max.
        map: Vec<Spec> = specs(&["MinMaxNormalize()"]),
        /// Which pictures of a sample to explain, by role. Default: all.
        roles: Option<Vec<String>> = None,
    }
}

impl Parameters for Rise {
    type Typed = typed::Rise;

    fn fill(typed: typed::Rise, with: &BuildContext<'_>, _: &mut Assembly) -> Option<Self> {
        Some(typed.or(usual_layer(with), usual_loss(with)))
    }
}

impl Plugin<dyn Explainer> for Rise {
    const NAME: &'static str = "Rise";
    const SUMMARY: &'static str =
        "Many soft random masks, each weighted by what the network still sees";
    const CLAIM: &'static str = "Shows where random masks that keep a place keep the asked value; not fine detail, and with few masks much of it is noise.";
    const EXAMPLE: &'static str = "Rise(masks: 1000, grid: 8, probability: 0.5)";
    const REFERENCE: &'static str = "Petsiuk, Das & Saenko, RISE, BMVC 2018, arXiv 1806.07421";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("masks", (2..=10_000_000).contains(&self.masks), "must be 2 to 10000000");
        assembly.check("grid", (1..=1000).contains(&self.grid), "must be 1 to 1000");
        assembly.check(
            "probability",
            self.probability > 0.0 && self.probability < 1.0,
            "must be above 0 and below 1",
        );
        check_roles(self.roles.as_deref(), assembly);
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let loss = assembly.build::<dyn Loss>("loss", &self.loss, with);
        let finish = Finish::build(assembly, &self.map, with);
        Some(Box::new(RiseExplainer { parameters: self, loss: loss?, finish }))
    }
}

fame_core::register!(Explainer: Rise);

struct RiseExplainer {
    parameters: Rise,
    loss: Built<dyn Loss>,
    finish: Finish,
}

impl Explainer for RiseExplainer {
    fn check(&self, model: &Model) -> Result<()> {
        Aim::new(model, &self.parameters.layer, self.loss.plugin.as_ref()).map(|_| ())
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        let input = &with.model.manifest.input;
        let Rise { grid, probability, seed, .. } = self.parameters;
        let seed = seed_of(seed.unwrap_or(with.seed), Rise::NAME);
        let masks = SoftMasks { seed, grid, probability, height: input.height, width: input.width };
        match Aim::new(with.model, &self.parameters.layer, self.loss.plugin.as_ref()) {
            Ok(aim) => {
                per_sample(with, samples, |sample, meter| self.sample(&aim, &masks, sample, meter))
            }
            Err(e) => samples.iter().map(|_| Err(e.clone())).collect(),
        }
    }
}

impl RiseExplainer {
    fn sample(
        &self,
        aim: &Aim<'_>,
        masks: &SoftMasks,
        sample: &Sample,
        meter: &mut Meter<'_>,
    ) -> Result<Explanation> {
        let rows = aim
            .rows(sample, self.parameters.roles.as_deref())
            .map_err(|e| e.at(format!("loss {}", self.loss.name)))?;
        meter.begin(rows.len() * self.parameters.masks);
        let facts_of_all = facts([("layers", aim.layer_facts()), ("loss", self.loss.record())]);
        let mut explanation = Explanation { facts: facts_of_all, ..Explanation::default() };
        for row in rows {
            self.row(aim, masks, sample, &row, meter, &mut explanation)?;
        }
        Ok(explanation)
    }

    fn row(
        &self,
        aim: &Aim<'_>,
        masks: &SoftMasks,
        sample: &Sample,
        row: &AimedRow,
        meter: &mut Meter<'_>,
        into: &mut Explanation,
    ) -> Result<()> {
        let Rise { masks: count, probability, fill, answer, .. } = self.parameters;
        let input = &aim.model.manifest.input;
        let question = Question::new(aim, sample, row, answer)?;
        let mut mask = vec![0.0; masks.height * masks.width];
        let alter = |index: usize, copy: &mut Tensor| {
            masks.fill(index, &mut mask);
            for channel in 0..input.channels {
                let behind = fill.value(input, channel);
                copy.row_mut(channel)
                    .iter_mut()
                    .zip(&mask)
                    .for_each(|(x, m)| *x = behind + m * (*x - behind));
            }
        };
        let answers = question.ask(count, alter, |n| meter.tick(n))?;
        if let Some(why) = broken(&answers) {
            no_map(&row.id, &why, into);
            return Ok(());
        }
        // The mean of masks that all weigh the same is no blank map: it shows which pixels these
        // masks happen to keep more often.
        let values: Vec<f64> = answers.iter().copied().map(f64::from).collect();
        if unmoved(&values) {
            let why = format!(
                "under each of {count} masks the answer is {}: no pixel speaks for it.",
                answers[0]
            );
            no_map(&row.id, &why, into);
            return Ok(());
        }
        let mut sums = Sums::over(masks.height * masks.width);
        for (index, answer) in answers.iter().enumerate() {
            masks.fill(index, &mut mask);
            sums.add(index, f64::from(*answer) / f64::from(probability), &mask);
        }
        let raw = plane(&sums.means(count), masks.height, masks.width)?;
        let agreement = correlation(&sums.halves[0], &sums.halves[1]).unwrap_or(0.0);
        if agreement < AGREEMENT {
            into.warnings.push(format!(
                "{}: the maps of the even and of the odd masks correlate by {agreement:.2} only: {count} masks are too few to trust this map.",
                row.name()
            ));
        }
        self.finish.finish(Draft::of_row(row, raw).with_facts(sums.confidence(count)), into)
    }
}

/// Halves that correlate less than this make a whole map that correlates less than √⅔ ≈ 0.82 with
/// that of infinitely many masks (Spearman-Brown).
const AGREEMENT: f64 = 0.5;

/// A set of soft masks, made on demand: mask i depends on the seed and i only.
struct SoftMasks {
    seed: u64,
    grid: usize,
    probability: f32,
    height: usize,
    width: usize,
}

impl SoftMasks {
    /// Writes mask `index`, values in 0..=1, row-major, into `mask`.
    ///
    /// s×s cells are enlarged bilinearly (half-pixel centres, mirrored at the edge without
    /// repeating it) to (s + 1)·cell pixels a side, cell = ⌈side / s⌉, and a window of the
    /// picture's size is cut out at a random shift below one cell.
    fn fill(&self, index: usize, mask: &mut [f32]) {
        let mut random = Random::stream(self.seed, index);
        let open: Vec<f32> = (0..self.grid * self.grid)
            .map(|_| if random.uniform() < f64::from(self.probability) { 1.0 } else { 0.0 })
            .collect();
        let rows = self.axis(self.height, &mut random);
        let columns = self.axis(self.width, &mut random);
        for ((a, b, t), line) in rows.iter().zip(mask.chunks_exact_mut(self.width)) {
            let (above, below) = (
                &open[a * self.grid..(a + 1) * self.grid],
                &open[b * self.grid..(b + 1) * self.grid],
            );
            for ((left, right, u), value) in columns.iter().zip(line) {
                let top = above[*left] + u * (above[*right] - above[*left]);
                let bottom = below[*left] + u * (below[*right] - below[*left]);
                *value = top + t * (bottom - top);
            }
        }
    }

    /// For each pixel along an axis the two cells it lies between and how far it is towards the
    /// second.
    fn axis(&self, extent: usize, random: &mut Random) -> Vec<(usize, usize, f32)> {
        let cell = extent.div_ceil(self.grid);
        let shift = random.below(cell);
        let scale = self.grid as f64 / ((self.grid + 1) * cell) as f64;
        let last = self.grid as i64 - 1;
        let mirrored = |i: i64| {
            (if i < 0 {
                -i
            } else if i > last {
                2 * last - i
            } else {
                i
            })
            .clamp(0, last) as usize
        };
        let place = |pixel: usize| {
            let at = ((pixel + shift) as f64 + 0.5) * scale - 0.5;
            let floor = at.floor();
            (mirrored(floor as i64), mirrored(floor as i64 + 1), (at - floor) as f32)
        };
        (0..extent).map(place).collect()
    }
}

/// Running sums of y·M / p at each pixel, for even and odd masks.
struct Sums {
    halves: [Vec<f64>; 2],
    squares: Vec<f64>,
}

impl Sums {
    fn over(area: usize) -> Self {
        Self { halves: [vec![0.0; area], vec![0.0; area]], squares: vec![0.0; area] }
    }

    fn add(&mut self, index: usize, weight: f64, mask: &[f32]) {
        let half = &mut self.halves[index % 2];
        for ((h, s), m) in half.iter_mut().zip(&mut self.squares).zip(mask) {
            let value = weight * f64::from(*m);
            *h += value;
            *s += value * value;
        }
    }

    fn means(&self, count: usize) -> Vec<f64> {
        let [even, odd] = &self.halves;
        even.iter().zip(odd).map(|(a, b)| (a + b) / count as f64).collect()
    }

    /// How far the map may be from that of infinitely many masks.
    fn confidence(&self, count: usize) -> Facts {
        let n = count as f64;
        let means = self.means(count);
        let error = |(m, s): (&f64, &f64)| ((s / n - m * m).max(0.0) / (n - 1.0)).sqrt();
        let errors: Vec<f64> = means.iter().zip(&self.squares).map(error).collect();
        let (low, high) = means
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), m| (l.min(*m), h.max(*m)));
        facts([
            ("masks", count.into()),
            ("standard_error_mean", (errors.iter().sum::<f64>() / errors.len() as f64).into()),
            ("standard_error_max", errors.iter().copied().fold(0.0, f64::max).into()),
            ("map_range", (high - low).into()),
            ("split_half_correlation", correlation(&self.halves[0], &self.halves[1]).into()),
        ])
    }
}

/// Pearson's correlation of two maps; `None` when one of them is flat.
fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        ab += (x - ma) * (y - mb);
        aa += (x - ma).powi(2);
        bb += (y - mb).powi(2);
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}

#[cfg(test)]
mod tests {
    use fame_core::{contract::Silent, testkit};

    use super::*;

    /// Behind the mean colour a picture of the mean colour stays what it is, whatever is masked.
    #[test]
    fn a_network_that_never_reacts_has_no_map_and_no_need_of_more_masks() {
        let explainer = testkit::build::<dyn Explainer>("Rise(masks: 20, grid: 3)").unwrap();
        let model = testkit::model().unwrap();
        let mut sample = testkit::sample("a", &["image"], testkit::SIZE).unwrap();
        let mean = model.manifest.input.mean.clone();
        let pixels = &mut sample.pictures[0].1.pixels;
        mean.iter().enumerate().for_each(|(channel, mean)| pixels.row_mut(channel).fill(*mean));
        let with = ExplainContext { model: &model, seed: 7, progress: &Silent };
        let said = explainer.plugin.explain(&with, &[sample]).swap_remove(0).unwrap();
        assert!(said.maps.is_empty());
        assert!(said.warnings.len() == 1 && said.warnings[0].contains("under each of 20 masks"));
    }

    const MASKS: SoftMasks =
        SoftMasks { seed: 11, grid: 4, probability: 0.5, height: 18, width: 21 };

    fn mask(index: usize) -> Vec<f32> {
        let mut m = vec![9.0; MASKS.height * MASKS.width];
        MASKS.fill(index, &mut m);
        m
    }

    #[test]
    fn masks_are_soft_repeatable_and_open_half_the_time() {
        assert_eq!(mask(3), mask(3));
        assert_ne!(mask(3), mask(4));
        assert!(
            mask(0).iter().all(|m| (0.0..=1.0).contains(m))
                && mask(0).iter().any(|m| *m > 0.0 && *m < 1.0)
        );
        let mean = (0..400).map(|i| mask(i).iter().sum::<f32>() / 378.0).sum::<f32>() / 400.0;
        // A mask's mean is that of 16 coin flips or fewer (sd 1/8 and somewhat more); of 400 masks
        // five times that over 20.
        assert!((mean - 0.5).abs() < 0.04, "{mean}");
    }

    #[test]
    fn a_pixel_that_decides_stands_out_and_more_masks_agree_better() {
        let sums = |count: usize| {
            let mut sums = Sums::over(378);
            for i in 0..count {
                let m = mask(i);
                sums.add(i, f64::from(m[200]) / 0.5, &m);
            }
            sums
        };
        let (few, many) = (sums(20), sums(800));
        let means = many.means(800);
        assert_eq!(
            means.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i),
            Some(200)
        );
        let read = |s: &Sums, n: usize, what: &str| s.confidence(n)[what].as_f64().unwrap();
        assert!(
            read(&many, 800, "split_half_correlation") > read(&few, 20, "split_half_correlation")
        );
        assert!(read(&many, 800, "standard_error_mean") < read(&few, 20, "standard_error_mean"));
    }
}
