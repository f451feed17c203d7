//! `Infidelity`: how badly the map foretells what changes of the picture do to the answer.

use fame_core::{
    Better, Explanation, LayerChoices, Parameter, Random, Result, Sample, Scores, Table, Tensor,
    ask::Answer,
    contract::{ExplainContext, Measurement, Metric, MetricRow, means, scores},
    registry::{Assembly, BuildContext, Parameters, Plugin},
    seed_of,
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    asking::Asking,
    fill::{Filling, replace},
    measured,
    reading::Reading,
};
use crate::ask::{usual_layer, usual_loss};

/// The changes I of the picture, in pixels of 0..=1.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Change {
    /// Noise on every pixel and channel, N(0, σ²): the paper's difference to a noisy baseline.
    Noise {
        /// σ, above 0.
        sigma: f32,
    },
    /// The picture less its filling in a square at a random place, and 0 elsewhere: the paper's
    /// square removal.
    Square {
        /// Side in pixels.
        side: usize,
        /// What stands in the square then.
        fill: Filling,
    },
}
fame_core::parameters! {
    /// Yeh et al.'s infidelity over random changes I of the picture: with h = Σ_i I_i·a_i what the map
    /// foretells (the map stands for every channel) and d = f(x) − f(x − I) what happens, `infidelity` =
    /// mean (h − d)², and `infidelity_scaled` = mean (β·h − d)² with β = Σ h·d / Σ h², the one factor that
    /// makes it smallest: the definition of the authors' code and of Captum's `normalize`. Both are in the
    /// answer's unit squared; low is good.
    ///
    /// `infidelity` asks that a map be in the answer's unit per pixel value, as a gradient is: of a map stretched
    /// to 0..=1 it measures the stretching. Read `infidelity_scaled` there, and beside it the variance that
    /// no map at all would leave: `variance` = mean d².
    pub struct Infidelity {
        /// `Noise(sigma: …)` or `Square(side: …, fill: …)`.
        change: Change = Change::Square { side: 16, fill: Filling::Black },
        /// Changes.
        samples: usize = 100,
        /// `Finished`, or `Raw`: before the map steps.
        reading: Reading = Reading::default(),
        /// `Value` (a logit) or `Probability` (after softmax).
        answer: Answer = Answer::Value,
        /// Explainers that every other one is tested against, item by item, such as random maps.
        against: Vec<String> = Vec::new(),
        /// What is asked: any loss; its value counts. Default: what the model's manifest asks for,
        /// else `Logit()`, the class the network sees.
        loss: Spec = open,
        /// The layer the loss reads. Default: the one in the model's manifest, else its `Output`.
        layer: LayerChoices = open,
    }
}

impl Parameters for Infidelity {
    type Typed = typed::Infidelity;

    fn fill(typed: typed::Infidelity, with: &BuildContext<'_>, _: &mut Assembly) -> Option<Self> {
        Some(typed.or(usual_loss(with), usual_layer(with)))
    }
}

impl Plugin<dyn Metric> for Infidelity {
    const NAME: &'static str = "Infidelity";
    const SUMMARY: &'static str =
        "How badly the map foretells what noise, or missing squares, do to the score";
    const EXAMPLE: &'static str = "Infidelity(change: Noise(sigma: 0.1), samples: 100)";
    const REFERENCE: &'static str = "Yeh et al., On the (In)fidelity and Sensitivity of Explanations, NeurIPS 2019, arXiv 1901.09392";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        let good = match self.change {
            Change::Noise { sigma } => sigma.is_finite() && sigma > 0.0,
            Change::Square { side, .. } => side > 0,
        };
        assembly.check("change", good, "must have a sigma above 0, or a side of at least 1 pixel");
        assembly.check(
            "samples",
            (2..=100_000).contains(&self.samples),
            "must be between 2 and 100000",
        );
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Metric>> {
        let asking = Asking::build(&self.layer, &self.loss, self.answer, with, assembly)?;
        Some(Box::new(InfidelityMetric { parameters: self, asking }))
    }
}

fame_core::register!(Metric: Infidelity);

struct InfidelityMetric {
    parameters: Infidelity,
    asking: Asking,
}

impl Metric for InfidelityMetric {
    fn measure(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let Infidelity { change, samples, reading, .. } = self.parameters;
        let mut all = Vec::new();
        self.asking.each_map(
            with,
            sample,
            explanation,
            |_| true,
            |map, question| {
                let values = reading.of(map)?;
                let seed = seed_of(with.seed, &format!("{}/{}/infidelity", sample.id, map.id.role));
                let filling = match change {
                    Change::Square { fill, .. } => {
                        fill.picture(&question.pixels, &with.model.manifest.input)?
                    }
                    Change::Noise { .. } => question.pixels.clone(),
                };
                let size = question.size();
                let mut foretold = Vec::with_capacity(samples);
                let answers = question.ask_all(samples + 1, |n, copy| {
                    if n == samples {
                        return;
                    }
                    let before = copy.clone();
                    match change {
                        Change::Noise { sigma } => noise(copy, sigma, Random::stream(seed, n)),
                        Change::Square { side, .. } => {
                            square(copy, &filling, side, size, Random::stream(seed, n));
                        }
                    }
                    foretold.push(product(&before, copy, &values));
                })?;
                let clean = f64::from(answers[samples]);
                let happened: Vec<f64> =
                    answers[..samples].iter().map(|a| clean - f64::from(*a)).collect();
                let [plain, scaled, variance] = infidelities(&foretold, &happened);
                all.push(measured(map, "infidelity", Parameter::None, plain));
                all.push(measured(map, "infidelity_scaled", Parameter::None, scaled));
                all.push(measured(map, "variance", Parameter::None, variance));
                Ok(())
            },
        )?;
        Ok(all)
    }

    fn named_explainers(&self) -> Vec<String> {
        self.parameters.against.clone()
    }

    fn only_for_tables(&self) -> &'static [&'static str] {
        &["against"]
    }

    fn scores(&self, rows: &[MetricRow]) -> Result<Scores> {
        Ok(scores(rows, better))
    }

    fn summarise(&self, name: &str, rows: &[MetricRow]) -> Result<Vec<Table>> {
        Ok(means(name, rows, better, &self.parameters.against))
    }
}

fn better(quantity: &str) -> Option<Better> {
    matches!(quantity, "infidelity" | "infidelity_scaled").then_some(Better::Lower)
}

/// Takes N(0, σ²) away from every value.
fn noise(copy: &mut Tensor, sigma: f32, mut random: Random) {
    let mut drawn = vec![0.0; copy.len()];
    random.fill_normal(&mut drawn);
    copy.data_mut().iter_mut().zip(drawn).for_each(|(v, e)| *v -= sigma * e);
}

/// Fills a square at a random place, wholly inside the picture (all of it, where it is smaller).
fn square(
    copy: &mut Tensor,
    filling: &Tensor,
    side: usize,
    (height, width): (usize, usize),
    mut random: Random,
) {
    let (rows, columns) = (side.min(height), side.min(width));
    let (top, left) = (random.below(height - rows + 1), random.below(width - columns + 1));
    replace(copy, filling, |pixel| {
        let (y, x) = (pixel / width, pixel % width);
        (top..top + rows).contains(&y) && (left..left + columns).contains(&x)
    });
}

/// Σ I·a: the change of every channel times the map's value there.
fn product(before: &Tensor, after: &Tensor, values: &[f32]) -> f64 {
    let of_channel = |(from, to): (&[f32], &[f32])| -> f64 {
        let changes = from.iter().zip(to).map(|(a, b)| f64::from(*a) - f64::from(*b));
        changes.zip(values).map(|(change, v)| change * f64::from(*v)).sum()
    };
    before
        .data()
        .chunks_exact(values.len())
        .zip(after.data().chunks_exact(values.len()))
        .map(of_channel)
        .sum()
}

/// Infidelity, the same with the best factor, and the mean square of what happened.
fn infidelities(foretold: &[f64], happened: &[f64]) -> [f64; 3] {
    let n = foretold.len() as f64;
    let mean = |factor: f64| {
        let pairs = foretold.iter().zip(happened);
        pairs.map(|(h, d)| (factor * h - d).powi(2)).sum::<f64>() / n
    };
    let squares: f64 = foretold.iter().map(|h| h * h).sum();
    let both: f64 = foretold.iter().zip(happened).map(|(h, d)| h * d).sum();
    let best = if squares > 0.0 { both / squares } else { 0.0 };
    [mean(1.0), mean(best), mean(0.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_that_foretells_all_has_none() {
        assert_eq!(infidelities(&[1.0, -2.0], &[1.0, -2.0]), [0.0, 0.0, 2.5]);
        // Ten times too high: 81·(1 + 4)/2, and nothing once scaled.
        let [plain, scaled, _] = infidelities(&[10.0, -20.0], &[1.0, -2.0]);
        assert!((plain - 202.5).abs() < 1e-9 && scaled < 1e-20);
        // β = (1·1 + 1·3)/2 = 2.
        assert_eq!(infidelities(&[1.0, 1.0], &[1.0, 3.0]), [2.0, 1.0, 5.0]);
        assert_eq!(infidelities(&[0.0, 0.0], &[1.0, 3.0]), [5.0, 5.0, 5.0]);
    }

    #[test]
    fn the_gradient_of_a_linear_answer_foretells_it() {
        // f = 2·a − b on one channel of two pixels, its gradient as the map.
        let f = |t: &Tensor| f64::from(2.0 * t.data()[0] - t.data()[1]);
        let before = Tensor::new([1, 1, 2], vec![0.3, 0.6]).unwrap();
        for n in 0..5 {
            let mut after = before.clone();
            noise(&mut after, 0.1, Random::stream(9, n));
            let foretold = product(&before, &after, &[2.0, -1.0]);
            // Single precision of values below 1.
            assert!((foretold - (f(&before) - f(&after))).abs() < 1e-6);
        }
    }

    #[test]
    fn squares_lie_inside() {
        let black = Tensor::zeros([1, 4, 5]);
        for n in 0..50 {
            let mut copy = Tensor::filled([1, 4, 5], 1.0);
            square(&mut copy, &black, 3, (4, 5), Random::stream(1, n));
            assert_eq!(copy.data().iter().filter(|v| **v == 0.0).count(), 9);
        }
        let mut copy = Tensor::filled([1, 4, 5], 1.0);
        square(&mut copy, &black, 9, (4, 5), Random::new(1));
        assert!(copy.data().iter().all(|v| *v == 0.0));
    }
}
