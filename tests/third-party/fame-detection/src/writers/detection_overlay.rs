//! `DetectionOverlay`: a map over its picture, with the boxes it is about.

use std::path::Path;

use colorous::Gradient;
use fame_core::{
    Annotation, Error, NamedMap, Picture, Result,
    contract::{FinishedItem, Writer},
    data::write_whole,
    registry::{Assembly, BuildContext, Plugin},
};
use image::ImageFormat;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::canvas::Canvas;
use crate::{
    detections::annotated_boxes,
    matched::{DETECTED_BOX, TARGET_BOX},
    rect::Rect,
};

/// The colours of a map from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Colours {
    /// Violet over green to yellow; told apart by colour-blind readers too.
    #[default]
    Viridis,
    /// Black over red to yellow; told apart by colour-blind readers too.
    Inferno,
    /// Blue over green to red.
    Turbo,
}

/// Each finished map in colour over the prepared picture with boxes, as
/// `<explainer>.<map>.detection.png`: all detections of the clean picture thin and white, the
/// dataset's boxes thin and cyan, and the detection that the map explains thick and green with its
/// label and score, shortened where the picture is too narrow. A map of a method that knows nothing of detections gets the boxes of the first
/// that does.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DetectionOverlay {
    /// `Viridis`, `Inferno` or `Turbo`.
    pub colours: Colours,
    /// How much the map covers the picture, from 0 (the picture alone) to 1 (the map alone).
    pub opacity: f32,
    /// Each pixel becomes so many a side, that lines stay fine.
    pub scale: usize,
    /// Whether the dataset's boxes are drawn.
    pub annotations: bool,
}

impl Default for DetectionOverlay {
    fn default() -> Self {
        Self { colours: Colours::Viridis, opacity: 0.5, scale: 2, annotations: true }
    }
}

impl Plugin<dyn Writer> for DetectionOverlay {
    const NAME: &'static str = "DetectionOverlay";
    const SUMMARY: &'static str = "Maps over the picture with the boxes of all detections and of the one explained, as PNG";
    const EXAMPLE: &'static str = "DetectionOverlay(opacity: 0.4, scale: 3)";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("opacity", (0.0..=1.0).contains(&self.opacity), "must be between 0 and 1");
        assembly.check("scale", (1..=16).contains(&self.scale), "must be 1 to 16");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Writer>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Writer: DetectionOverlay);

const TARGET: [u8; 3] = [0, 255, 0];
const DETECTED: [u8; 3] = [255; 3];
const ANNOTATED: [u8; 3] = [0, 255, 255];

impl Writer for DetectionOverlay {
    fn write(&self, item: &FinishedItem<'_>, folder: &Path) -> Result<Vec<String>> {
        let all = || item.explanations.iter().flat_map(|(name, e)| e.maps.iter().map(move |m| (name, m)));
        let mut names = Vec::new();
        for (explainer, map) in all() {
            let aimed = |m: &NamedMap| m.annotations.iter().any(|a| a.name == TARGET_BOX);
            // A map that knows nothing of detections is drawn with those of another one.
            let about = if aimed(map) { Some(map) } else { all().map(|(_, m)| m).find(|m| m.id.role == map.id.role && aimed(m)) };
            let role = &map.id.role;
            let picture = item.sample.picture(role).ok_or_else(|| Error::bug(format!("map `{}` has no picture `{role}`.", map.name())))?;
            let drawn = self.draw(picture, map, about.map_or(&[][..], |m| &m.annotations))?;
            let name = map.file(explainer, ".detection.png");
            let mut png = Vec::new();
            drawn
                .write_to(&mut std::io::Cursor::new(&mut png), ImageFormat::Png)
                .map_err(|e| Error::new("fame_detection::png", format!("`{name}` cannot be written: {e}.")))?;
            write_whole(&folder.join(&name), &png)?;
            names.push(name);
        }
        Ok(names)
    }
}

impl DetectionOverlay {
    fn draw(&self, picture: &Picture, map: &NamedMap, about: &[Annotation]) -> Result<image::RgbImage> {
        let (height, width) = (picture.height(), picture.width());
        let area = height * width;
        // A map with channels is shown by their mean.
        let channels = map.finished.len() / area;
        if channels * area != map.finished.len() || channels == 0 {
            return Err(Error::bug(format!(
                "map `{}` has shape {:?}, its picture {:?}.",
                map.name(),
                map.finished.shape(),
                picture.pixels.shape()
            )));
        }
        let gradient: Gradient = match self.colours {
            Colours::Turbo => colorous::TURBO,
            Colours::Viridis => colorous::VIRIDIS,
            Colours::Inferno => colorous::INFERNO,
        };
        let mut canvas = Canvas::new(height, width, self.scale, |y, x| {
            let i = y * width + x;
            let value = (0..channels).map(|c| map.finished.data()[c * area + i]).sum::<f32>() / channels as f32;
            let heat = gradient.eval_continuous(f64::from(value.clamp(0.0, 1.0))).as_array();
            [0, 1, 2].map(|c| {
                let mixed = (1.0 - self.opacity) * picture.pixels.data()[c * area + i] + self.opacity * f32::from(heat[c]) / 255.0;
                (mixed.clamp(0.0, 1.0) * 255.0).round() as u8
            })
        });
        if self.annotations {
            annotated_boxes(picture).for_each(|(_, rect)| canvas.outline(&rect, ANNOTATED, 1));
        }
        let called =
            |name: &'static str| about.iter().filter(move |a| a.name == name).filter_map(|a| Some((Rect::between(a)?, a.label.as_deref())));
        called(DETECTED_BOX).for_each(|(rect, _)| canvas.outline(&rect, DETECTED, 1));
        for (rect, label) in called(TARGET_BOX) {
            canvas.outline(&rect, TARGET, 2);
            canvas.caption(&rect, label.unwrap_or_default(), TARGET);
        }
        Ok(canvas.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn the_target_is_green_and_other_detections_white() {
        let (model, mut sample) = (blob_model(), blob_sample());
        sample.pictures[0].1.annotations =
            vec![fame_core::Annotation { name: "box".into(), label: None, points: vec![[24.0, 24.0], [31.0, 31.0]] }];
        let of = "DRise(of: (head: CenterNet(stride: 8, offset: 0.5)), masks: 20, grid: 4)";
        let explanations =
            [("noise".to_owned(), map_of(|y, x| (y + x) as f32 / 62.0)), ("d_rise".to_owned(), explain(of, &model, &sample).unwrap())];
        let dir = tempfile::tempdir().unwrap();
        let writer = DetectionOverlay { opacity: 0.0, scale: 4, ..DetectionOverlay::default() };
        let names = writer.write(&FinishedItem { sample: &sample, explanations: &explanations }, dir.path()).unwrap();
        assert_eq!(names, ["noise.image.detection.png", "d_rise.blob_0.detection.png"]);
        for name in names {
            let png = image::open(dir.path().join(name)).unwrap().into_rgb8();
            // The lower right corner of the target and of the other detection, the upper left one
            // of the annotation.
            assert_eq!([png.get_pixel(95, 63).0, png.get_pixel(31, 127).0, png.get_pixel(96, 96).0], [TARGET, DETECTED, ANNOTATED]);
        }
    }

    #[test]
    fn a_map_of_another_size_is_refused() {
        let mut sample = blob_sample();
        sample.pictures[0].1.pixels = fame_core::Tensor::zeros([3, 30, 30]);
        let dir = tempfile::tempdir().unwrap();
        let explanations = [("noise".to_owned(), map_of(|y, _| y as f32))];
        let e = DetectionOverlay::default().write(&FinishedItem { sample: &sample, explanations: &explanations }, dir.path()).unwrap_err();
        assert_eq!(e.code, "fame::bug");
    }
}
