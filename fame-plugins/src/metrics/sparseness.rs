//! `Sparseness`: how few pixels hold the map, by the Gini index.

use fame_core::{
    Better, Explanation, Parameter, Result, Sample, Scores, Table,
    contract::{ExplainContext, Measurement, Metric, MetricRow, means, scores},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{measured, reading::Reading};

/// The Gini index of the absolute values a of a map, sorted upwards: Σ_i (2i − n − 1)·a_i / (n·Σ a),
/// i = 1, …, n (Chalasani et al. 2020). `gini` is 0 for a map that is the same everywhere and
/// 1 − 1/n for a single pixel; high is good.
///
/// It looks at the map alone: a map of one wrong pixel is as sparse as one of the right pixel, and
/// blurring a map lowers it whatever it shows.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sparseness {
    /// `Finished`, or `Raw`: before the map steps.
    pub reading: Reading,
}

impl Plugin<dyn Metric> for Sparseness {
    const NAME: &'static str = "Sparseness";
    const SUMMARY: &'static str = "How few pixels hold the map: the Gini index of its values";
    const EXAMPLE: &'static str = "Sparseness(reading: Finished)";
    const REFERENCE: &'static str = "Chalasani et al., Concise Explanations of Neural Networks using Adversarial Training, ICML 2020, arXiv 1810.06583";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Metric>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Metric: Sparseness);

impl Metric for Sparseness {
    fn measure(
        &self,
        _: &ExplainContext<'_>,
        _: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let mut all = Vec::new();
        for map in &explanation.maps {
            let found = gini(&self.reading.of(map)?);
            all.extend(found.map(|v| measured(map, "gini", Parameter::None, v)));
        }
        Ok(all)
    }

    fn scores(&self, rows: &[MetricRow]) -> Result<Scores> {
        Ok(scores(rows, |_| Some(Better::Higher)))
    }

    fn summarise(&self, name: &str, rows: &[MetricRow]) -> Result<Vec<Table>> {
        Ok(means(name, rows, |_| Some(Better::Higher), &[]))
    }
}

/// `None` for a map of zeros: it has no shares.
fn gini(values: &[f32]) -> Option<f64> {
    let mut sizes: Vec<f64> = values.iter().map(|v| f64::from(v.abs())).collect();
    sizes.sort_by(f64::total_cmp);
    let (n, sum) = (sizes.len() as f64, sizes.iter().sum::<f64>());
    let weighted: f64 =
        sizes.iter().enumerate().map(|(i, a)| (2.0 * (i + 1) as f64 - n - 1.0) * a).sum();
    (sum > 0.0).then(|| weighted / (n * sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pixel_is_sparsest_and_an_even_map_not_at_all() {
        // n = 4: 1 − 1/4, and 0.
        assert!((gini(&[0.0, 0.0, 9.0, 0.0]).unwrap() - 0.75).abs() < 1e-12);
        assert!(gini(&[0.3; 4]).unwrap().abs() < 1e-9);
        // (−3·0 − 1·1 + 1·1 + 3·2) / (4·4).
        assert!((gini(&[1.0, 0.0, -2.0, 1.0]).unwrap() - 0.375).abs() < 1e-12);
        assert!(gini(&[0.0; 4]).is_none());
    }

    #[test]
    fn neither_order_nor_size_nor_copies_matter() {
        let map = [0.1, 0.7, 0.4, 0.0, 0.9];
        let once = gini(&map).unwrap();
        let turned: Vec<f32> = map.iter().rev().map(|v| v * 8.0).collect();
        assert!((gini(&turned).unwrap() - once).abs() < 1e-7);
        assert!((gini(&map.repeat(3)).unwrap() - once).abs() < 1e-12);
    }
}
