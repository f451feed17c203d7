//! Metrics about detections, one file each: does a map lie where the detection is, and does the
//! detection need what the map shows?

mod detection_deletion;
mod detection_energy;
mod detection_pointing;

pub use detection_deletion::{DetectionDeletion, Filling};
pub use detection_energy::DetectionEnergy;
pub use detection_pointing::DetectionPointing;

use fame_core::{
    Error, Frame, LayerChoices, NamedMap, Parameter, Picture, Result, Sample,
    contract::{ExplainContext, Measurement},
};

use crate::{
    detections::{Detections, Wanted, annotated_boxes},
    probe::{Clean, Probe},
};

/// A map with the target it is measured against.
struct Aimed<'a> {
    map: &'a NamedMap,
    picture: &'a Picture,
    clean: &'a Clean,
    wanted: &'a Wanted,
}

/// The probe of a metric whose recipe left the layers out, or not.
fn probe(of: &Detections, layer: Option<&LayerChoices>) -> Probe {
    Probe { of: of.clone(), layer: layer.cloned().unwrap_or_else(|| of.head.usual_layers()) }
}

/// Detects on the clean pictures and hands every map with its target to `about`. A map whose subject
/// is one of the targets (`face_1`) is about that; any other map (noise, a method that knows nothing
/// of detections) is measured against the first.
fn each_map(
    probe: &Probe,
    with: &ExplainContext<'_>,
    sample: &Sample,
    maps: &[NamedMap],
    mut about: impl FnMut(&Aimed<'_>) -> Result<()>,
) -> Result<()> {
    for (role, picture) in &sample.pictures {
        let of_role: Vec<&NamedMap> = maps.iter().filter(|m| m.id.role == *role).collect();
        if of_role.is_empty() {
            continue;
        }
        let clean = probe.ask(with.model, picture)?;
        for map in of_role {
            let named = clean.found.wanted.iter().find(|w| map.id.subject == w.subject());
            let Some(wanted) = named.or(clean.found.wanted.first()) else { continue };
            about(&Aimed { map, picture, clean: &clean, wanted })?;
        }
    }
    Ok(())
}

impl Aimed<'_> {
    /// The pixels of the target's box, or of the annotated box that it overlaps most.
    fn frame(&self, truth: Truth) -> Option<Frame> {
        let (height, width) = (self.picture.height(), self.picture.width());
        match truth {
            Truth::Detection => self.wanted.rect.frame(height, width),
            Truth::Annotation => {
                let boxes = annotated_boxes(self.picture).map(|(_, rect)| (rect.overlap(&self.wanted.rect), rect));
                let best = boxes.filter(|(overlap, _)| *overlap > 0.0).reduce(|best, next| if next.0 > best.0 { next } else { best });
                best.and_then(|(_, rect)| rect.frame(height, width))
            }
        }
    }

    /// One value for each pixel: of a map with channels the sum of their absolute values.
    fn plane(&self) -> Result<Vec<f32>> {
        let (height, width, values) = self.map.plane(|channels| channels.map(f32::abs).sum())?;
        if (height, width) != (self.picture.height(), self.picture.width()) {
            let (map, picture) = (self.map.name(), self.picture.pixels.shape());
            return Err(Error::bug(format!("map `{map}` has {height} × {width} pixels, its picture {picture:?}.")));
        }
        Ok(values.into_owned())
    }

    fn measured(&self, name: &str, parameter: Parameter, value: f64) -> Measurement {
        Measurement { map: self.map.name(), name: name.to_owned(), parameter, value }
    }
}

/// Which box counts as true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
pub enum Truth {
    /// The detection's own.
    #[default]
    Detection,
    /// The dataset's box that overlaps the detection most; detections that overlap none are left
    /// out.
    Annotation,
}

/// Pixel numbers from the highest value to the lowest, equal ones in reading order.
fn ranked(values: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    order
}

fn inside(frame: Frame, pixel: usize, width: usize) -> bool {
    (frame.top..frame.bottom).contains(&(pixel / width)) && (frame.left..frame.right).contains(&(pixel % width))
}
