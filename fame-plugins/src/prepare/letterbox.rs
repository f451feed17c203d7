//! `Letterbox`: the whole picture, its proportions kept, on a ground that fills the rest.

use fame_core::{
    Affine, Picture, Result, Tensor,
    contract::{PrepareContext, PrepareStep},
    data::{Value, facts},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Filter, check_size, note, scale};

/// Scales the picture to fit into `width` × `height` pixels with its proportions kept, puts it in
/// the middle and fills the rest with one colour, as detectors are fed. Left out, width and height
/// are those of the model's input. Where the rest is odd, the larger half is right and below.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Letterbox {
    /// Width in pixels, at least 1. Default: that of the model's input.
    pub width: Option<usize>,
    /// Height in pixels, at least 1. Default: that of the model's input.
    pub height: Option<usize>,
    /// The colour of the rest, red, green, blue, each in 0..=1.
    pub fill: (f32, f32, f32),
    /// `Bilinear`, `Bicubic`, `Nearest` or `Lanczos`.
    pub filter: Filter,
    /// Whether every pixel counts when shrinking, as in Pillow and torchvision.
    pub antialias: bool,
}

impl Default for Letterbox {
    fn default() -> Self {
        /// The gray that YOLO's authors fill with.
        const GRAY: f32 = 114.0 / 255.0;
        let fill = (GRAY, GRAY, GRAY);
        Self { width: None, height: None, fill, filter: Filter::Bilinear, antialias: true }
    }
}

impl Plugin<dyn PrepareStep> for Letterbox {
    const NAME: &'static str = "Letterbox";
    const SUMMARY: &'static str = "Scales the picture to fit, proportions kept, and fills the rest";
    const EXAMPLE: &'static str = "Letterbox(width: 640, height: 640, fill: (0.5, 0.5, 0.5))";
    const REFERENCE: &'static str = "Redmon's darknet (letterbox_image); Ultralytics' YOLO";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("width", self.width != Some(0), "must be at least 1");
        assembly.check("height", self.height != Some(0), "must be at least 1");
        let (red, green, blue) = self.fill;
        let sound = [red, green, blue].iter().all(|v| (0.0..=1.0).contains(v));
        assembly.check("fill", sound, "must be three numbers in 0..=1");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn PrepareStep>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Prepare: Letterbox);

impl PrepareStep for Letterbox {
    fn apply(&self, picture: Picture, with: &PrepareContext<'_>) -> Result<Picture> {
        let (width, height) =
            (self.width.unwrap_or(with.input_size.1), self.height.unwrap_or(with.input_size.0));
        check_size(width, height)?;
        let (inner_width, inner_height) = fitting(&picture, width, height);
        let mut picture = scale(picture, inner_width, inner_height, self.filter, self.antialias)?;
        let (left, top) = ((width - inner_width) / 2, (height - inner_height) / 2);
        let (red, green, blue) = self.fill;
        let mut pixels = Tensor::zeros([3, height, width]);
        for (channel, fill) in [red, green, blue].into_iter().enumerate() {
            let ground = pixels.row_mut(channel);
            ground.fill(fill);
            let rows = picture.pixels.row(channel).chunks_exact(inner_width);
            for (y, row) in rows.enumerate() {
                let start = (top + y) * width + left;
                ground[start..start + inner_width].copy_from_slice(row);
            }
        }
        picture.pixels = pixels;
        picture.geometry =
            picture.geometry.then(&Affine::scale_shift(1.0, 1.0, left as f64, top as f64));
        let fact = facts([
            ("picture", vec![inner_width, inner_height].into()),
            ("offset", vec![left, top].into()),
            ("to", vec![width, height].into()),
        ]);
        note(&mut picture, "Letterbox", Value::Map(fact));
        Ok(picture)
    }
}

/// Width and height of the largest picture of the same proportions that fits; at least 1 each.
fn fitting(picture: &Picture, width: usize, height: usize) -> (usize, usize) {
    let (from_width, from_height) = (picture.width() as f64, picture.height() as f64);
    let factor = (width as f64 / from_width).min(height as f64 / from_height);
    let side = |from: f64, most: usize| ((from * factor).round() as usize).clamp(1, most);
    (side(from_width, width), side(from_height, height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::testing::{NoModels, picture};

    #[test]
    fn the_picture_lies_in_the_middle_and_points_move_with_it() {
        let with = PrepareContext { models: &NoModels, input_size: (4, 4), role: "image" };
        let step = Letterbox { fill: (0.0, 0.5, 1.0), ..Letterbox::default() };
        // 8 × 4 pixels, scaled by one half: two rows of four, one row of ground above and below.
        let out = step.apply(picture(4, 8, |_, _, _| 0.25), &with).unwrap();
        assert_eq!(out.pixels.shape(), [3, 4, 4]);
        let rows: Vec<f32> = out.pixels.row(1).iter().copied().step_by(4).collect();
        assert_eq!(rows, [0.5, 0.25, 0.25, 0.5]);
        assert_eq!(out.pixels.row(0)[0], 0.0);
        assert_eq!(out.map_point([8.0, 4.0]), [4.0, 3.0]);
        assert_eq!(out.facts["Letterbox"].get("offset"), Some(&vec![0usize, 1].into()));
    }

    #[test]
    fn a_strip_keeps_one_pixel() {
        let with = PrepareContext { models: &NoModels, input_size: (4, 4), role: "image" };
        let out = Letterbox::default().apply(picture(1, 300, |_, _, _| 1.0), &with).unwrap();
        assert_eq!(out.pixels.row(0).iter().filter(|v| **v == 1.0).count(), 4);
    }
}
