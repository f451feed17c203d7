//! `PointingGame`: does the map's highest pixel lie in the true box?

use fame_core::{
    Better, Explanation, Parameter, Result, Sample, Scores,
    contract::{ExplainContext, Measurement, Metric, MetricRow, scores},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{boxes::Boxes, masks::ranked, measured, plane};

/// 1 when the map's highest pixel (the first in reading order among equals) lies inside one of the
/// dataset's boxes, widened by `tolerance` pixels; else 0. Pictures without boxes are left out.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PointingGame {
    /// Pixels by which a near miss still counts; the original allows 15.
    pub tolerance: usize,
    /// Which boxes count.
    pub boxes: Boxes,
}

impl Plugin<dyn Metric> for PointingGame {
    const NAME: &'static str = "PointingGame";
    const SUMMARY: &'static str = "Whether the highest pixel lies in a true box";
    const EXAMPLE: &'static str = "PointingGame(tolerance: 15)";
    const REFERENCE: &'static str = "Zhang et al., Top-down Neural Attention by Excitation Backprop, IJCV 2018, arXiv 1608.00507";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Metric>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Metric: PointingGame);

impl Metric for PointingGame {
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
            let Some(&highest) = ranked(&plane(map)?).first() else { continue };
            let width = map.finished.shape().last().copied().unwrap_or(1);
            let hit = self.boxes.best(sample, map, |inside| {
                f64::from(u8::from(near(inside, width, highest, self.tolerance)))
            })?;
            all.extend(hit.map(|v| measured(map, "hit", Parameter::None, v)));
        }
        Ok(all)
    }

    fn scores(&self, rows: &[MetricRow]) -> Result<Scores> {
        Ok(scores(rows, |_| Some(Better::Higher)))
    }
}

/// Whether a pixel of `inside` lies within `tolerance` pixels (Euclidean) of pixel `at`.
fn near(inside: &[bool], width: usize, at: usize, tolerance: usize) -> bool {
    let distance = |i: usize| {
        (i / width).abs_diff(at / width).pow(2) + (i % width).abs_diff(at % width).pow(2)
    };
    inside.iter().enumerate().any(|(i, inside)| *inside && distance(i) <= tolerance * tolerance)
}

#[cfg(test)]
mod tests {
    use super::{super::boxes::testing::*, *};

    #[test]
    fn only_the_highest_pixel_counts_and_a_near_miss_if_allowed() {
        let hit = |m: &fame_core::NamedMap, tolerance| {
            let at = ranked(&plane(m).unwrap())[0];
            Boxes::Union
                .best(&boxed(false), m, |i| f64::from(u8::from(near(i, 4, at, tolerance))))
                .unwrap()
        };
        assert_eq!(
            (hit(&map(1.0, 0.5), 0), hit(&map(0.5, 1.0), 0), hit(&map(0.5, 1.0), 1)),
            (Some(1.0), Some(0.0), Some(1.0))
        );
    }
}
