//! `DetectionEnergy`: how much of the map lies in the detection's box.

use fame_core::{
    Explanation, LayerChoices, Parameter, Result, Sample,
    contract::{ExplainContext, Measurement, Metric},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Truth, each_map, inside, probe};
use crate::detections::Detections;

/// `energy` is the share, 0..=1, of the map's sum (of absolute values, where it is signed) that
/// lies in the box of the detection it explains; `area` is the share of the picture that the box
/// covers, which is what an even map, or noise, would score.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetectionEnergy {
    /// Which detections; the same as the explainers'.
    pub of: Detections,
    /// The output layers in the head's order. Default: those the head usually has.
    #[serde(default)]
    pub layer: Option<LayerChoices>,
    /// Which box is the true one: `Detection` or `Annotation`.
    #[serde(default)]
    pub truth: Truth,
}

impl Plugin<dyn Metric> for DetectionEnergy {
    const NAME: &'static str = "DetectionEnergy";
    const SUMMARY: &'static str = "The share of a map that lies in the box of its detection";
    const EXAMPLE: &'static str = "DetectionEnergy(of: Detections(head: UltraFace()))";
    const REFERENCE: &'static str = "Wang et al., Score-CAM (energy-based pointing game), CVPR Workshops 2020, arXiv 1910.01279";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        self.of.check("of", assembly);
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Metric>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Metric: DetectionEnergy);

impl Metric for DetectionEnergy {
    fn needs(&self) -> &'static str {
        "a detection that its boxes fit, or with `truth: Annotation` an annotated box"
    }

    fn measure(&self, with: &ExplainContext<'_>, sample: &Sample, explanation: &Explanation) -> Result<Vec<Measurement>> {
        let mut all = Vec::new();
        each_map(&probe(&self.of, self.layer.as_ref()), with, sample, &explanation.maps, |aimed| {
            let Some(frame) = aimed.frame(self.truth) else { return Ok(()) };
            let (values, width) = (aimed.plane()?, aimed.picture.width());
            let whole: f64 = values.iter().map(|v| f64::from(v.abs())).sum();
            let part: f64 = values.iter().enumerate().filter(|(i, _)| inside(frame, *i, width)).map(|(_, v)| f64::from(v.abs())).sum();
            let area = ((frame.bottom - frame.top) * (frame.right - frame.left)) as f64 / values.len() as f64;
            all.push(aimed.measured("energy", Parameter::None, if whole > 0.0 { part / whole } else { 0.0 }));
            all.push(aimed.measured("area", Parameter::None, area));
            Ok(())
        })?;
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use fame_core::{MapId, Random, Subject};

    use crate::testing::*;

    const SPEC: &str = "DetectionEnergy(of: (head: CenterNet(stride: 8, offset: 0.5), which: All))";

    #[test]
    fn a_perfect_map_has_all_its_energy_inside_and_noise_what_the_area_says() {
        let (model, sample) = (blob_model(), blob_sample());
        let energy = |map: &fame_core::Explanation| {
            let m = measure(SPEC, &model, &sample, map).unwrap();
            assert_eq!((m[1].name.as_str(), m[1].value), ("area", 1.0 / 16.0));
            m[0].value
        };
        let within = |y: usize, x: usize| (8..16).contains(&y) && (16..24).contains(&x);
        assert_eq!(energy(&map_of(|y, x| if within(y, x) { 0.7 } else { 0.0 })), 1.0);
        assert_eq!(energy(&map_of(|y, x| if within(y, x) { 0.0 } else { -0.7 })), 0.0);
        let mut random = Random::new(3);
        let noise: Vec<f32> = (0..1024).map(|_| random.uniform() as f32).collect();
        // 64 numbers of mean 1/2 and deviation 0.29 out of a sum of about 512: four standard errors
        // are 0.018.
        assert!((energy(&map_of(|y, x| noise[y * 32 + x])) - 0.0625).abs() < 0.018);
    }

    #[test]
    fn a_map_is_measured_against_the_detection_it_names() {
        let (model, sample) = (blob_model(), blob_sample());
        let mut map = map_of(|y, x| if y >= 24 && x < 8 { 1.0 } else { 0.0 });
        let id = || MapId::new("image");
        let about = |id: MapId, name: &str| id.about(Subject::Named(name.into()));
        for (id, energy) in [
            (id(), 0.0),
            (about(id(), "blob_0"), 0.0),
            (about(id().alone(true), "blob_1"), 1.0),
            (about(id(), "blob_1").finished(Some("sigma".into())), 1.0),
            (about(id(), "blob_10"), 0.0),
            // A finish may be called what it likes.
            (about(id(), "blob_0").finished(Some("blob_1".into())), 0.0),
        ] {
            map.maps[0].id = id.clone();
            assert_eq!(measure(SPEC, &model, &sample, &map).unwrap()[0].value, energy, "{}", id.name());
        }
    }
}
