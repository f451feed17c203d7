//! `RelevanceMass`: how much of the map lies in the true box.

use fame_core::{
    Better, Explanation, Parameter, Result, Sample, Scores,
    contract::{ExplainContext, Measurement, Metric, MetricRow, scores},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{boxes::Boxes, masks::ranked, measured, plane};

/// Two numbers of 0..=1 (Arras, Osman & Samek 2022): `mass`, the share of the map's sum that lies
/// inside the dataset's boxes, and `rank`, the share of the K highest pixels that do, K being the
/// number of pixels inside. `area` is the share of the picture that the boxes cover: what an even
/// map would score in both. Pictures without boxes are left out.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RelevanceMass {
    /// Which boxes count.
    pub boxes: Boxes,
}

impl Plugin<dyn Metric> for RelevanceMass {
    const NAME: &'static str = "RelevanceMass";
    const SUMMARY: &'static str =
        "The share of the map, and of its highest pixels, that lies in the true boxes";
    const EXAMPLE: &'static str = "RelevanceMass(boxes: Union)";
    const REFERENCE: &'static str =
        "Arras, Osman & Samek, CLEVR-XAI, Information Fusion 2022, arXiv 2003.07258";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Metric>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Metric: RelevanceMass);

impl Metric for RelevanceMass {
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
            for (name, number) in
                [("mass", mass as fn(&[f32], &[bool]) -> f64), ("rank", rank), ("area", area)]
            {
                let found = self.boxes.best(sample, map, |inside| number(&values, inside))?;
                all.extend(found.map(|v| measured(map, name, Parameter::None, v)));
            }
        }
        Ok(all)
    }

    fn scores(&self, rows: &[MetricRow]) -> Result<Scores> {
        Ok(scores(rows, |quantity| (quantity != "area").then_some(Better::Higher)))
    }
}

fn mass(values: &[f32], inside: &[bool]) -> f64 {
    // A map that is signed counts with what it says, not with its sign.
    let sum = |pick: &dyn Fn(bool) -> bool| {
        values
            .iter()
            .zip(inside)
            .filter(|(_, i)| pick(**i))
            .map(|(v, _)| f64::from(v.abs()))
            .sum::<f64>()
    };
    let all = sum(&|_| true);
    if all == 0.0 { 0.0 } else { sum(&|i| i) / all }
}

fn rank(values: &[f32], inside: &[bool]) -> f64 {
    let k = inside.iter().filter(|i| **i).count();
    ranked(values)[..k].iter().filter(|i| inside[**i]).count() as f64 / k as f64
}

fn area(_: &[f32], inside: &[bool]) -> f64 {
    inside.iter().filter(|i| **i).count() as f64 / inside.len() as f64
}

#[cfg(test)]
mod tests {
    use super::{super::boxes::testing::*, *};

    #[test]
    fn a_perfect_map_has_all_its_mass_inside_and_an_inverted_one_none() {
        let of = |inside, outside, number: fn(&[f32], &[bool]) -> f64| {
            let m = map(inside, outside);
            Boxes::Union
                .best(&boxed(false), &m, |i| number(&plane(&m).unwrap(), i))
                .unwrap()
                .unwrap()
        };
        assert_eq!((of(1.0, 0.0, mass), of(1.0, 1.0, mass), of(0.0, 1.0, mass)), (1.0, 0.25, 0.0));
        assert_eq!((of(1.0, 0.5, rank), of(0.5, 1.0, rank), of(1.0, 0.0, area)), (1.0, 0.0, 0.25));
    }
}
