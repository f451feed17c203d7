//! `Complexity`: over how many pixels the map is spread, as an entropy.

use fame_core::{
    Better, Explanation, Parameter, Result, Sample, Scores, Table,
    contract::{ExplainContext, Measurement, Metric, MetricRow, means, scores},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{measured, reading::Reading};

/// The entropy of the map's shares p_i = |a_i| / Σ|a| (Bhatt, Weller & Moura 2020): `entropy` =
/// −Σ p ln p in nats, from 0 for a single pixel to ln n for a map that is the same everywhere, and
/// `relative_entropy`, its share of ln n, 0..=1. Low is good.
///
/// It looks at the map alone, and knows nothing of where the pixels lie: a map and its pixels
/// shuffled are equally complex.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Complexity {
    /// `Finished`, or `Raw`: before the map steps.
    pub reading: Reading,
}

impl Plugin<dyn Metric> for Complexity {
    const NAME: &'static str = "Complexity";
    const SUMMARY: &'static str =
        "Over how many pixels the map is spread: the entropy of its shares";
    const EXAMPLE: &'static str = "Complexity(reading: Finished)";
    const REFERENCE: &'static str = "Bhatt, Weller & Moura, Evaluating and Aggregating Feature-based Model Explanations, IJCAI 2020, arXiv 2005.00631";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Metric>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Metric: Complexity);

impl Metric for Complexity {
    fn measure(
        &self,
        _: &ExplainContext<'_>,
        _: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let mut all = Vec::new();
        for map in &explanation.maps {
            let values = self.reading.of(map)?;
            let Some(entropy) = entropy(&values) else { continue };
            all.push(measured(map, "entropy", Parameter::None, entropy));
            if values.len() > 1 {
                let relative = entropy / (values.len() as f64).ln();
                all.push(measured(map, "relative_entropy", Parameter::None, relative));
            }
        }
        Ok(all)
    }

    fn scores(&self, rows: &[MetricRow]) -> Result<Scores> {
        // The two rank alike; the summary needs one of them.
        Ok(scores(rows, |quantity| (quantity == "entropy").then_some(Better::Lower)))
    }

    fn summarise(&self, name: &str, rows: &[MetricRow]) -> Result<Vec<Table>> {
        Ok(means(name, rows, |_| Some(Better::Lower), &[]))
    }
}

/// In nats; `None` for a map of zeros: it has no shares.
fn entropy(values: &[f32]) -> Option<f64> {
    let sizes = || values.iter().map(|v| f64::from(v.abs()));
    let sum: f64 = sizes().sum();
    let of = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
    (sum > 0.0).then(|| sizes().map(|size| of(size / sum)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pixel_is_simple_and_an_even_map_as_complex_as_can_be() {
        assert_eq!(entropy(&[0.0, 5.0, 0.0]), Some(0.0));
        assert!((entropy(&[0.2; 8]).unwrap() - 8f64.ln()).abs() < 1e-12);
        // Shares 1/2, 1/4, 1/4: 1.5 bits.
        assert!((entropy(&[2.0, -1.0, 1.0]).unwrap() - 1.5 * 2f64.ln()).abs() < 1e-12);
        assert!(entropy(&[0.0; 3]).is_none());
    }
}
