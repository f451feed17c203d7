//! `HsicAttribution`: how far the answer depends on whether a cell is there.

use fame_core::{
    LayerChoices, Random, Result,
    ask::Answer,
    contract::Explainer,
    data::{Facts, facts},
    registry::{Assembly, BuildContext, Parameters, Plugin},
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    super::{aimed::check_roles, finish::specs},
    sampling::latin,
    tiles::{Asked, OfTiles, Tiling, unmoved},
};
use crate::{
    ask::{usual_layer, usual_loss},
    maps::Towards,
};

/// At most so many pairs of masks, times cells.
const MOST_SUMMANDS: u64 = 10_000_000_000;

/// The width of the kernel over answers, in the unit of y.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Width {
    /// The median of the answers, as the authors' code. Where it is large beside what the answers
    /// differ by, only their covariance with a cell counts; it changes if a constant is added to y.
    Median,
    /// The standard deviation of the answers: the same whatever constant is added to y.
    Deviation,
}

fame_core::parameters! {
    /// The Hilbert-Schmidt independence criterion of each cell of a grid and y. Each of n masks
    /// keeps a cell or puts a plainer picture in its place, half of the masks each. A cell's value
    /// is n times the criterion, the statistic of a test of independence: tr(K·H·L·H) / n with
    /// H = I − 1/n, K_ij = 1 + ½ − (m_i − m_j)² over the cell's states m, 0 or 1, whose mean is 1
    /// as an analysis of variance wants it, and L_ij = exp(−(y_i − y_j)² / 2w²) over answers. Any
    /// dependence counts, linear or not. Every pixel has the value of its cell.
    ///
    /// The value has no sign, and from few masks it is never quite 0: the facts hold, as
    /// `chance_level`, its mean over all orders of the answers, which is what a cell gets that says
    /// nothing. The network is asked n + 2 times, however fine the grid.
    pub struct HsicAttribution {
        /// The target layer or layers. Default: the one in the model's manifest, else its `Output`.
        layer: LayerChoices = open,
        /// Whose value y is watched. Default: what the model's manifest asks for, else `Logit()`,
        /// the class the network sees.
        loss: Spec = open,
        /// The loss's `Value`, or the softmax `Probability` of its class.
        answer: Answer = Answer::Value,
        /// Cells along each side, 1 to 100.
        grid: usize = 8,
        /// How many masks n, 2 to 10000; drawn as a Latin hypercube. n² times the number of cells
        /// is at most 10¹⁰: 10000 masks of 10 × 10 cells, 1000 of 100 × 100.
        masks: usize = 500,
        /// The width w of the kernel over answers: their `Median` or their `Deviation`.
        width: Width = Width::Median,
        /// What stands where a cell is not: the model's `Mean` colour, `Black` before
        /// normalisation, or `Blur(sigma: 10)`.
        towards: Towards = Towards::Mean,
        /// Steps to the map. Default: the maximum becomes 1.
        map: Vec<Spec> = specs(&["MaxNormalize()"]),
        /// Which pictures of a sample to explain, by role. Default: all.
        roles: Option<Vec<String>> = None,
    }
}

impl Parameters for HsicAttribution {
    type Typed = typed::HsicAttribution;

    fn fill(
        typed: typed::HsicAttribution,
        with: &BuildContext<'_>,
        _: &mut Assembly,
    ) -> Option<Self> {
        Some(typed.or(usual_layer(with), usual_loss(with)))
    }
}

impl Plugin<dyn Explainer> for HsicAttribution {
    const NAME: &'static str = "HsicAttribution";
    const SUMMARY: &'static str = "How far the answer depends on whether a cell is there";
    const CLAIM: &'static str = "Shows how far the asked value depends in any way on whether a cell is there; not whether a cell speaks for or against it, and cells that say nothing are not quite dark.";
    const EXAMPLE: &'static str = "HsicAttribution(grid: 8, masks: 500)";
    const REFERENCE: &'static str = "Novello, Fel & Vigouroux, Making Sense of Dependence, NeurIPS 2022, arXiv 2206.06219; criterion: Gretton et al., ALT 2005";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("grid", (1..=100).contains(&self.grid), "must be 1 to 100");
        assembly.check("masks", (2..=10_000).contains(&self.masks), "must be 2 to 10000");
        // What the criterion is summed over, for which no network is asked: a few seconds at most.
        let square = |n: usize| (n as u64).saturating_pow(2);
        let pairs = square(self.masks).saturating_mul(square(self.grid));
        assembly.check(
            "masks",
            pairs <= MOST_SUMMANDS,
            "are too many for so fine a `grid`: masks² · grid² is at most 10¹⁰",
        );
        assembly.check("towards", self.towards.good(), "needs a sigma above 0 and below 10000");
        check_roles(self.roles.as_deref(), assembly);
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let Self { layer, loss, answer, grid, masks, width, towards, map, roles } = self;
        let asked = Asked { layer, loss, answer, map, roles };
        asked.explainer(Dependence { masks, width }, Tiling::Grid(grid), towards, with, assembly)
    }
}

fame_core::register!(Explainer: HsicAttribution);

/// The criterion from binary masks.
struct Dependence {
    masks: usize,
    width: Width,
}

impl Dependence {
    /// L, the kernel over `answers`, as a function of two places.
    fn kernel(&self, answers: &[f64]) -> impl Fn(usize, usize) -> f64 {
        let width = match self.width {
            Width::Median => median(answers),
            Width::Deviation => deviation(answers),
        };
        move |i, j| {
            let apart = answers[i] - answers[j];
            // Of width 0 only equal answers are alike.
            if apart == 0.0 { 1.0 } else { (-0.5 * (apart / width).powi(2)).exp() }
        }
    }

    /// The value of each cell, and the chance level.
    ///
    /// For states of 0 and 1, −(m_i − m_j)² is 2·m_i·m_j up to what H takes away, so that
    /// tr(K·H·L·H) = 2·zᵀ·L·z with z the centred states. Over all orders of the answers, zᵀ·L·z is
    /// in the mean |z|²·(1 − l), l the mean of L off its diagonal.
    fn criterion(&self, masks: &[Vec<bool>], answers: &[f64]) -> (Vec<f64>, f64) {
        let (n, cells) = (masks.len(), masks.first().map_or(0, Vec::len));
        let mut sums = vec![0.0; cells];
        // Rounding alone must not pass for dependence: the kernel's width may be as small as it.
        if unmoved(answers) {
            return (sums, 0.0);
        }
        let (kernel, states) = (self.kernel(answers), centred(masks));
        let mut all_alike = 0.0;
        for (i, z) in states.iter().enumerate() {
            // Row i of L·z, from the half of L before the diagonal, which counts twice.
            let mut row: Vec<f64> = z.iter().map(|z| 0.5 * z).collect();
            for (j, other) in states[..i].iter().enumerate() {
                let alike = kernel(i, j);
                all_alike += alike;
                row.iter_mut().zip(other).for_each(|(row, z)| *row += alike * z);
            }
            sums.iter_mut().zip(&row).zip(z).for_each(|((sum, row), z)| *sum += 2.0 * z * row);
        }
        let l = all_alike / (n * (n - 1) / 2) as f64;
        let squares: f64 = states.iter().flatten().map(|z| z * z).sum();
        let chance = 2.0 * squares / (n * cells) as f64 * (1.0 - l);
        (sums.into_iter().map(|sum| 2.0 * sum / n as f64).collect(), chance)
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { 0.5 * (sorted[half - 1] + sorted[half]) }
}

fn deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
}

/// For each mask and cell 1 or 0 for kept or not, less the cell's mean over the masks.
fn centred(masks: &[Vec<bool>]) -> Vec<Vec<f64>> {
    let state = |kept: &bool| f64::from(u8::from(*kept));
    let mut means = vec![0.0; masks.first().map_or(0, Vec::len)];
    for mask in masks {
        means.iter_mut().zip(mask).for_each(|(mean, m)| *mean += state(m) / masks.len() as f64);
    }
    masks.iter().map(|mask| mask.iter().zip(&means).map(|(m, u)| state(m) - u).collect()).collect()
}

impl OfTiles for Dependence {
    const NAME: &'static str = HsicAttribution::NAME;

    type Masks = Vec<Vec<bool>>;

    fn masks(&self, seed: u64, tiles: usize) -> Vec<Vec<bool>> {
        let cell = |cell| latin(&mut Random::stream(seed, cell), self.masks);
        let cells: Vec<Vec<f32>> = (0..tiles).map(cell).collect();
        (0..self.masks).map(|n| cells.iter().map(|cell| cell[n] >= 0.5).collect()).collect()
    }

    fn values(&self, masks: &Self::Masks, answers: &[f64], _: f64, _: f64) -> Result<Vec<f64>> {
        Ok(self.criterion(masks, answers).0)
    }

    fn measured(
        &self,
        masks: &Self::Masks,
        answers: &[f64],
        _: f64,
        _: f64,
    ) -> Result<(Vec<f64>, Facts)> {
        let (values, chance) = self.criterion(masks, answers);
        Ok((values, facts([("masks", masks.len().into()), ("chance_level", chance.into())])))
    }
}

#[cfg(test)]
mod tests {
    use fame_core::testkit;

    use super::{
        super::tiles::testing::{explained, shown},
        *,
    };

    const MASKS: [[u8; 4]; 8] = [
        [1, 0, 1, 0],
        [0, 1, 1, 0],
        [1, 1, 0, 1],
        [0, 0, 0, 1],
        [1, 0, 0, 1],
        [0, 1, 0, 0],
        [1, 1, 1, 1],
        [0, 0, 1, 0],
    ];
    const ANSWERS: [f64; 8] = [2.0, 0.5, 1.75, -0.25, 1.0, 0.125, 3.0, 0.75];

    fn masks() -> Vec<Vec<bool>> {
        MASKS.iter().map(|mask| mask.iter().map(|m| *m == 1).collect()).collect()
    }

    fn found(width: Width, answers: &[f64]) -> Vec<f64> {
        let method = Dependence { masks: 8, width };
        method.values(&masks(), answers, 0.0, 0.0).unwrap()
    }

    #[test]
    fn the_criterion_is_xpliques() {
        // `BinaryEstimator` of xplique 2.0.2 (TensorFlow 2.20) for these masks and answers, whose
        // median is 0.875; single precision.
        const THEIRS: [f64; 4] = [0.900_483_370, 0.073_387_325, 0.162_553_415, 0.150_441_140];
        const SINGLE: f64 = 1e-6;
        let found = found(Width::Median, &ANSWERS);
        for (is, wanted) in found.iter().zip(THEIRS) {
            assert!((is - wanted).abs() < SINGLE, "{found:?}");
        }
    }

    #[test]
    fn the_chance_level_is_the_mean_over_all_orders_of_the_answers() {
        // Sums of a few dozen numbers about 1 in double precision.
        const ROUNDING: f64 = 1e-12;
        let (few, answers) = (masks()[..5].to_vec(), ANSWERS[..5].to_vec());
        let method = Dependence { masks: 5, width: Width::Deviation };
        // All 120 orders, by Heap's algorithm.
        let (mut order, mut turns, mut at) = (answers.clone(), [0; 5], 0);
        let mean = |order: &[f64]| method.criterion(&few, order).0.iter().sum::<f64>() / 4.0;
        let mut all = vec![mean(&order)];
        while at < 5 {
            if turns[at] < at {
                order.swap(if at % 2 == 0 { 0 } else { turns[at] }, at);
                all.push(mean(&order));
                turns[at] += 1;
                at = 0;
            } else {
                turns[at] = 0;
                at += 1;
            }
        }
        assert_eq!(all.len(), 120);
        let (chance, wanted) =
            (method.criterion(&few, &answers).1, all.iter().sum::<f64>() / 120.0);
        assert!((chance - wanted).abs() < ROUNDING, "{chance} {wanted}");
    }

    #[test]
    fn it_is_the_trace_of_the_definition() {
        // Sums of 64 numbers about 1 in double precision.
        const ROUNDING: f64 = 1e-12;
        let width = deviation(&ANSWERS);
        let centre = |matrix: &dyn Fn(usize, usize) -> f64| {
            // H·M·H: less the means of rows and columns, and the whole's mean given back.
            let mean = |of: &dyn Fn(usize) -> f64| (0..8).map(of).sum::<f64>() / 8.0;
            let rows: Vec<f64> = (0..8).map(|i| mean(&|j| matrix(i, j))).collect();
            let all = mean(&|i| rows[i]);
            let at = |i: usize, j: usize| matrix(i, j) - rows[i] - rows[j] + all;
            (0..64).map(|k| at(k / 8, k % 8)).collect::<Vec<f64>>()
        };
        let answers =
            centre(&|i, j| (-(ANSWERS[i] - ANSWERS[j]).powi(2) / (2.0 * width * width)).exp());
        for (cell, is) in found(Width::Deviation, &ANSWERS).iter().enumerate() {
            let state = |i: usize| f64::from(MASKS[i][cell]);
            let states = centre(&|i, j| 1.5 - (state(i) - state(j)).powi(2));
            let trace: f64 = states.iter().zip(&answers).map(|(k, l)| k * l).sum();
            assert!((is - trace / 8.0).abs() < ROUNDING, "{cell}: {is} {trace}");
        }
    }

    #[test]
    fn the_deviation_forgets_a_constant_and_a_median_of_zero_is_a_width() {
        // Sums of answers near 100 in double precision.
        const ROUNDING: f64 = 1e-9;
        let moved = ANSWERS.map(|y| y + 100.0);
        let (before, after) = (found(Width::Deviation, &ANSWERS), found(Width::Deviation, &moved));
        assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < ROUNDING));
        let centred = ANSWERS.map(|y| y - 0.875);
        assert_eq!(median(&centred), 0.0);
        assert!(found(Width::Median, &centred).iter().all(|v| v.is_finite() && *v > 0.0));
        assert_eq!(found(Width::Median, &[0.3; 8]), [0.0; 4]);
    }

    #[test]
    fn half_of_the_masks_keep_a_cell_and_only_what_counts_is_above_chance() {
        let method = Dependence { masks: 400, width: Width::Deviation };
        let masks = method.masks(5, 6);
        for cell in 0..6 {
            assert_eq!(masks.iter().filter(|mask| mask[cell]).count(), 200);
        }
        // Cell 1 has a part in the spread, cell 4 in the mean: no correlation finds the former.
        let noise = |n: usize| Random::stream(9, n).uniform() - 0.5;
        let answers: Vec<f64> = (0..400)
            .map(|n| {
                let (spread, mean) = (if masks[n][1] { 4.0 } else { 0.2 }, masks[n][4]);
                spread * noise(n) + f64::from(u8::from(mean))
            })
            .collect();
        let (found, facts) = method.measured(&masks, &answers, 0.0, 0.0).unwrap();
        let chance = facts["chance_level"].as_f64().unwrap();
        // A cell without a part has χ² of one degree of freedom times the chance level, nearly,
        // which is above 12 once in 2000; these two have 36 and 72 times the chance level.
        for (cell, value) in found.iter().enumerate() {
            assert_eq!(*value > 12.0 * chance, cell == 1 || cell == 4, "{found:?} {chance}");
        }
    }

    #[test]
    fn a_picture_is_explained_cell_by_cell() {
        let said = shown("HsicAttribution", "grid: 2, masks: 60, width: Deviation");
        let raw = &said.maps[0].raw;
        assert_eq!(raw.data()[0], raw.data()[3], "one cell, one value");
        assert!(raw.data().iter().any(|v| *v != raw.data()[0]));
        assert_eq!(said.maps[0].facts["masks"].as_f64(), Some(60.0));
        assert!(said.maps[0].facts["chance_level"].as_f64().unwrap() > 0.0);
        let error = explained("HsicAttribution(masks: 1)").unwrap_err();
        assert!(error.to_string().contains("2 to 10000"), "{error}");
        // 10⁸ pairs of masks, of 100 cells and of 121.
        assert!(testkit::build::<dyn Explainer>("HsicAttribution(grid: 10, masks: 10000)").is_ok());
        let error = explained("HsicAttribution(grid: 11, masks: 10000)").unwrap_err();
        assert!(error.to_string().contains("so fine a `grid`"), "{error}");
    }
}
