//! `DetectionPointing`: does the map's highest pixel lie in the detection's box?

use fame_core::{
    Explanation, LayerChoices, Parameter, Result, Sample,
    contract::{ExplainContext, Measurement, Metric},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Truth, each_map, inside, probe, ranked};
use crate::detections::Detections;

/// `hit` is 1 when the map's highest pixel (the first in reading order among equals) lies in the
/// box of the detection it explains, else 0. By chance it is the share of the picture that the box
/// covers.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetectionPointing {
    /// Which detections; the same as the explainers'.
    pub of: Detections,
    /// The output layers in the head's order. Default: those the head usually has.
    #[serde(default)]
    pub layer: Option<LayerChoices>,
    /// Which box is the true one: `Detection` or `Annotation`.
    #[serde(default)]
    pub truth: Truth,
}

impl Plugin<dyn Metric> for DetectionPointing {
    const NAME: &'static str = "DetectionPointing";
    const SUMMARY: &'static str = "Whether a map's highest pixel lies in the box of its detection";
    const EXAMPLE: &'static str = "DetectionPointing(of: Detections(head: UltraFace()))";
    const REFERENCE: &'static str = "Zhang et al., Excitation Backprop, IJCV 2018; for detections: Petsiuk et al., D-RISE, CVPR 2021";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        self.of.check("of", assembly);
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Metric>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Metric: DetectionPointing);

impl Metric for DetectionPointing {
    fn needs(&self) -> &'static str {
        "a detection that its boxes fit, or with `truth: Annotation` an annotated box"
    }

    fn measure(&self, with: &ExplainContext<'_>, sample: &Sample, explanation: &Explanation) -> Result<Vec<Measurement>> {
        let mut all = Vec::new();
        each_map(&probe(&self.of, self.layer.as_ref()), with, sample, &explanation.maps, |aimed| {
            if let (Some(frame), Some(highest)) = (aimed.frame(self.truth), ranked(&aimed.plane()?).first()) {
                let hit = inside(frame, *highest, aimed.picture.width());
                all.push(aimed.measured("hit", Parameter::None, f64::from(u8::from(hit))));
            }
            Ok(())
        })?;
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use fame_core::{Annotation, Random};

    use crate::testing::*;

    const SPEC: &str = "DetectionPointing(of: (head: CenterNet(stride: 8, offset: 0.5)))";

    #[test]
    fn the_blob_is_hit_and_noise_hits_as_often_as_its_size_says() {
        let (model, sample) = (blob_model(), blob_sample());
        let hit = |map: &fame_core::Explanation| measure(SPEC, &model, &sample, map).unwrap()[0].value;
        assert_eq!(hit(&map_of(|y, x| if (8..16).contains(&y) && (16..24).contains(&x) { 1.0 } else { 0.5 })), 1.0);
        assert_eq!(hit(&map_of(|y, _| y as f32)), 0.0);
        let mut random = Random::new(1);
        let hits: f64 = (0..400)
            .map(|_| {
                let noise: Vec<f32> = (0..1024).map(|_| random.uniform() as f32).collect();
                hit(&map_of(|y, x| noise[y * 32 + x]))
            })
            .sum();
        // 1/16 of the picture; four standard deviations of 400 draws are 19.
        assert!((hits - 25.0).abs() < 20.0, "{hits}");
    }

    #[test]
    fn the_datasets_box_can_be_the_true_one() {
        let (model, mut sample) = (blob_model(), blob_sample());
        let spec = SPEC.replace("0.5))", "0.5)), truth: Annotation");
        let map = map_of(|y, x| if (y, x) == (10, 26) { 1.0 } else { 0.0 });
        assert!(measure(&spec, &model, &sample, &map).unwrap().is_empty(), "no box is known");
        sample.pictures[0].1.annotations = vec![Annotation { name: "box".into(), label: None, points: vec![[16.0, 8.0], [28.0, 16.0]] }];
        assert_eq!(
            (measure(&spec, &model, &sample, &map).unwrap()[0].value, measure(SPEC, &model, &sample, &map).unwrap()[0].value),
            (1.0, 0.0)
        );
    }
}
