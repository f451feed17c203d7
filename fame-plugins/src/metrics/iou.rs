//! `Iou`: how well the map, cut at a threshold, covers the true box.

use fame_core::{
    Better, Explanation, Parameter, Result, Sample, Scores,
    contract::{ExplainContext, Measurement, Metric, MetricRow, scores},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{boxes::Boxes, measured, plane};

/// Intersection over union of the pixels with map value ≥ t and those inside the dataset's boxes,
/// 0..=1, for each threshold t on the finished map of 0..=1. The paper's Table 1 has its mean times
/// 100. Pictures without boxes are left out.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Iou {
    /// Thresholds, each in 0..=1.
    pub thresholds: Vec<f32>,
    /// Which boxes count: `Union`, `First` (the authors') or `Best`.
    pub boxes: Boxes,
}

impl Default for Iou {
    fn default() -> Self {
        Self { thresholds: vec![0.3, 0.5, 0.7], boxes: Boxes::default() }
    }
}

impl Plugin<dyn Metric> for Iou {
    const NAME: &'static str = "Iou";
    const SUMMARY: &'static str = "Overlap of the thresholded map with the true boxes";
    const EXAMPLE: &'static str = "Iou(thresholds: [0.3, 0.5, 0.7], boxes: First)";
    const REFERENCE: &'static str = "Zhang & Günther, FAME (2026), Table 1";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        let good =
            !self.thresholds.is_empty() && self.thresholds.iter().all(|t| (0.0..=1.0).contains(t));
        assembly.check("thresholds", good, "must hold numbers from 0 to 1, at least one");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Metric>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Metric: Iou);

impl Metric for Iou {
    fn needs(&self) -> &'static str {
        "the true boxes of a picture, as `ImageNet`, `ImageList` and other datasets with boxes know them"
    }

    fn measure(
        &self,
        _: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let mut all = Vec::new();
        for map in &explanation.maps {
            let values = plane(map)?;
            for t in &self.thresholds {
                let found = self.boxes.best(sample, map, |inside| iou(&values, *t, inside))?;
                all.extend(found.map(|v| measured(map, "iou", at_threshold(*t), v)));
            }
        }
        Ok(all)
    }

    fn scores(&self, rows: &[MetricRow]) -> Result<Scores> {
        Ok(scores(rows, |_| Some(Better::Higher)))
    }
}

/// At a threshold, with the digits of the recipe: 0.3 is another number in single precision.
fn at_threshold(threshold: f32) -> Parameter {
    let digits = threshold.to_string().parse().unwrap_or(f64::from(threshold));
    Parameter::at("at", "threshold on the map", digits)
}

fn iou(values: &[f32], threshold: f32, inside: &[bool]) -> f64 {
    let of = |both: fn(bool, bool) -> bool| {
        values.iter().zip(inside).filter(|(v, i)| both(**v >= threshold, **i)).count() as f64
    };
    let union = of(|a, b| a || b);
    if union == 0.0 { 0.0 } else { of(|a, b| a && b) / union }
}

#[cfg(test)]
mod tests {
    use super::{super::boxes::testing::*, *};

    #[test]
    fn a_perfect_map_beats_an_even_one_and_an_inverted_one() {
        let number = |m: &fame_core::NamedMap| {
            Boxes::Union
                .best(&boxed(false), m, |i| iou(&plane(m).unwrap(), 0.5, i))
                .unwrap()
                .unwrap()
        };
        assert_eq!(
            (number(&map(1.0, 0.0)), number(&map(0.8, 0.8)), number(&map(0.0, 1.0))),
            (1.0, 0.25, 0.0)
        );
    }
}
