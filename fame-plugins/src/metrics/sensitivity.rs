//! `Sensitivity`: how far a map moves when its picture hardly does.

use fame_core::{
    Better, Explanation, Parameter, Result, Sample, Scores, Table,
    contract::{ExplainContext, Explainer, Measurement, Metric, MetricRow, means, scores},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    again::{counterparts, explained, noisy},
    measured,
    reading::Reading,
};

/// Yeh et al.'s sensitivity of an explanation Φ: over `samples` copies x + δ with every |δ| ≤
/// `radius` (uniform noise, cut to 0..=1, on all pictures of the item), `max_sensitivity` is the
/// largest ‖Φ(x + δ) − Φ(x)‖ / ‖Φ(x)‖ and `avg_sensitivity` (Bhatt et al.) its mean, in the
/// Euclidean norm over pixels; 0 and up, low is good. The paper leaves the denominator out (`relative:
/// false`); its authors' code, Quantus and Captum divide by it.
///
/// `again` is the share of the copies that have a map of the same thing, 0..=1: a copy that the
/// network takes for another class has none, and is left out. The largest of few random copies is
/// below the true maximum, and a map that ignores the picture has 0: read it beside a metric of
/// faithfulness. Explains `samples` times again, so it costs so many times the explainer.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sensitivity {
    /// Altered copies.
    pub samples: usize,
    /// The most that a value moves, in pixels of 0..=1; above 0.
    pub radius: f32,
    /// Whether the distance is divided by the norm of the map.
    pub relative: bool,
    /// `Finished`, or `Raw`: before the map steps.
    pub reading: Reading,
}

impl Default for Sensitivity {
    fn default() -> Self {
        Self { samples: 10, radius: 0.02, relative: true, reading: Reading::default() }
    }
}

impl Plugin<dyn Metric> for Sensitivity {
    const NAME: &'static str = "Sensitivity";
    const SUMMARY: &'static str =
        "How far a map moves when its picture hardly does: max-sensitivity and avg-sensitivity";
    const EXAMPLE: &'static str = "Sensitivity(samples: 10, radius: 0.02)";
    const REFERENCE: &'static str = "Yeh et al., On the (In)fidelity and Sensitivity of Explanations, NeurIPS 2019, arXiv 1901.09392; mean: Bhatt, Weller & Moura, IJCAI 2020";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("samples", (1..=10_000).contains(&self.samples), "must be 1 to 10000");
        let good = self.radius.is_finite() && self.radius > 0.0;
        assembly.check("radius", good, "must be above 0");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Metric>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Metric: Sensitivity);

impl Metric for Sensitivity {
    fn measure(
        &self,
        _: &ExplainContext<'_>,
        _: &Sample,
        _: &Explanation,
    ) -> Result<Vec<Measurement>> {
        // Nothing can be said without the explainer.
        Ok(Vec::new())
    }

    fn measure_again(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
        explainer: &dyn Explainer,
    ) -> Result<Vec<Measurement>> {
        let copies = noisy(with, sample, self.samples, self.radius);
        let said = explained(with, explainer, &copies)?;
        let mut all = Vec::new();
        for map in &explanation.maps {
            let clean = self.reading.of(map)?;
            let scale = if self.relative { distance(&clean, &vec![0.0; clean.len()]) } else { 1.0 };
            let mut moved = Vec::new();
            for other in counterparts(map, &said).flatten() {
                moved.push(distance(&self.reading.of(other)?, &clean) / scale);
            }
            let again = moved.len() as f64 / self.samples as f64;
            if scale > 0.0 && !moved.is_empty() {
                let max = moved.iter().copied().fold(0.0, f64::max);
                let mean = moved.iter().sum::<f64>() / moved.len() as f64;
                all.push(measured(map, "max_sensitivity", Parameter::None, max));
                all.push(measured(map, "avg_sensitivity", Parameter::None, mean));
            }
            all.push(measured(map, "again", Parameter::None, again));
        }
        Ok(all)
    }

    fn scores(&self, rows: &[MetricRow]) -> Result<Scores> {
        Ok(scores(rows, better))
    }

    fn summarise(&self, name: &str, rows: &[MetricRow]) -> Result<Vec<Table>> {
        Ok(means(name, rows, better, &[]))
    }
}

fn better(quantity: &str) -> Option<Better> {
    matches!(quantity, "max_sensitivity" | "avg_sensitivity").then_some(Better::Lower)
}

/// Euclidean.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::{super::again::testing::measured_again, *};

    fn of(metric: &Sensitivity, map: fn(&[f32]) -> Vec<f32>) -> [f64; 3] {
        let rows = measured_again(metric, map);
        ["max_sensitivity", "avg_sensitivity", "again"]
            .map(|name| rows.iter().find(|m| m.name == name).unwrap().value)
    }

    #[test]
    fn a_map_that_ignores_the_picture_does_not_move() {
        let still = |pixels: &[f32]| (0..pixels.len()).map(|i| i as f32).collect();
        assert_eq!(of(&Sensitivity::default(), still), [0.0, 0.0, 1.0]);
    }

    #[test]
    fn a_map_that_is_the_picture_moves_as_it_does() {
        let metric = Sensitivity { relative: false, radius: 0.01, ..Sensitivity::default() };
        let [max, mean, _] = of(&metric, <[f32]>::to_vec);
        let n = (fame_core::testkit::SIZE * fame_core::testkit::SIZE) as f64;
        // Uniform noise of ±r has the variance r²/3, so the distance is near r·√(n/3); cutting to
        // 0..=1 takes a little away.
        let expected = 0.01 * (n / 3.0).sqrt();
        assert!(mean <= max && max < 1.2 * expected, "{max} {expected}");
        assert!(mean > 0.7 * expected, "{mean} {expected}");
        // A map ten times as high moves ten times as far, and relatively no further.
        let [higher, ..] = of(&metric, |p| p.iter().map(|v| 10.0 * v).collect());
        assert!((higher / max - 10.0).abs() < 1e-4, "{higher} {max}");
        let relative = Sensitivity { radius: 0.01, ..Sensitivity::default() };
        let [a, ..] = of(&relative, <[f32]>::to_vec);
        let [b, ..] = of(&relative, |p| p.iter().map(|v| 10.0 * v).collect());
        assert!((a - b).abs() < 1e-6 * a, "{a} {b}");
    }

    #[test]
    fn distances_are_euclidean() {
        assert_eq!(distance(&[3.0, 0.0], &[0.0, 4.0]), 5.0);
    }
}
