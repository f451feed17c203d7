//! `CenterCrop`: the middle of the picture.

use fame_core::{
    Affine, Error, Picture, Result, Tensor,
    contract::{PrepareContext, PrepareStep},
    data::{Value, facts},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::note;

/// Cuts out the middle `width` × `height` pixels. The offset is (picture − crop)/2, halves rounded
/// to the even number as in torchvision (and Python). A crop larger than the picture is an error:
/// torchvision would silently pad with black.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CenterCrop {
    /// Width and height of a square crop in pixels, at least 1. Default, when width and height are
    /// left out too: the model's input.
    pub size: Option<usize>,
    /// Width in pixels, at least 1; goes with `height`, not with `size`.
    pub width: Option<usize>,
    /// Height in pixels, at least 1; goes with `width`, not with `size`.
    pub height: Option<usize>,
}

impl Plugin<dyn PrepareStep> for CenterCrop {
    const NAME: &'static str = "CenterCrop";
    const SUMMARY: &'static str = "Cuts out the middle of the picture";
    const EXAMPLE: &'static str = "CenterCrop(size: 224)";
    const REFERENCE: &'static str = "torchvision.transforms.CenterCrop";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        for (name, value) in [("size", self.size), ("width", self.width), ("height", self.height)] {
            assembly.check(name, value != Some(0), "must be at least 1");
        }
        if self.size.is_some() {
            assembly.check("width", self.width.is_none(), "goes with `height`, not with `size`");
            assembly.check("height", self.height.is_none(), "goes with `width`, not with `size`");
        } else {
            assembly.check(
                "width",
                self.width.is_none() || self.height.is_some(),
                "needs `height` beside it; a square is `size: …`",
            );
            assembly.check(
                "height",
                self.height.is_none() || self.width.is_some(),
                "needs `width` beside it; a square is `size: …`",
            );
        }
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn PrepareStep>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Prepare: CenterCrop);

/// round((whole − part)/2), a half to the even neighbour.
fn offset(whole: usize, part: usize) -> usize {
    let twice = whole - part;
    let down = twice / 2;
    if twice % 2 == 1 && down % 2 == 1 { down + 1 } else { down }
}

impl PrepareStep for CenterCrop {
    fn apply(&self, mut picture: Picture, with: &PrepareContext<'_>) -> Result<Picture> {
        let (width, height) = (picture.width(), picture.height());
        let crop_width = self.size.or(self.width).unwrap_or(with.input_size.1);
        let crop_height = self.size.or(self.height).unwrap_or(with.input_size.0);
        if crop_width > width || crop_height > height {
            return Err(Error::new(
                "fame::prepare::crop_too_large",
                format!("a crop of {crop_width}×{crop_height} does not fit into a picture of {width}×{height} pixels."),
            )
            .with_help(format!("Put ResizeShorter(size: {}) before it, or crop less.", crop_width.max(crop_height))));
        }
        let (left, top) = (offset(width, crop_width), offset(height, crop_height));
        let mut data = Vec::with_capacity(3 * crop_width * crop_height);
        for channel in 0..3 {
            for row in picture.pixels.row(channel).chunks_exact(width).skip(top).take(crop_height) {
                data.extend_from_slice(&row[left..left + crop_width]);
            }
        }
        picture.pixels = Tensor::new([3, crop_height, crop_width], data)?;
        picture.geometry =
            picture.geometry.then(&Affine::scale_shift(1.0, 1.0, -(left as f64), -(top as f64)));
        let fact = facts([
            ("offset", vec![left, top].into()),
            ("to", vec![crop_width, crop_height].into()),
        ]);
        note(&mut picture, "CenterCrop", Value::Map(fact));
        Ok(picture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::testing::{NoModels, picture};

    fn crop(step: CenterCrop, height: usize, width: usize) -> Result<Picture> {
        let with = PrepareContext { models: &NoModels, input_size: (2, 3), role: "image" };
        step.apply(picture(height, width, |c, y, x| (100 * c + 10 * y + x) as f32 / 1000.0), &with)
    }

    #[test]
    fn halves_go_to_the_even_neighbour() {
        assert_eq!(
            [5, 6, 7, 8, 9].map(|whole| offset(whole, 4)),
            [0, 1, 2, 2, 2],
            "0.5 → 0, 1.5 → 2, 2.5 → 2"
        );
    }

    #[test]
    fn pixels_and_points_move_together() {
        let out = crop(CenterCrop { size: Some(2), ..CenterCrop::default() }, 5, 6).unwrap();
        assert_eq!(
            out.pixels.row(1),
            [0.122, 0.123, 0.132, 0.133],
            "rows from 2 (1.5 rounds to 2), columns from 2"
        );
        assert_eq!(out.map_point([2.0, 2.0]), [0.0, 0.0]);
    }

    #[test]
    fn the_default_is_the_models_input() {
        assert_eq!(crop(CenterCrop::default(), 5, 6).unwrap().pixels.shape(), [3, 2, 3]);
    }

    #[test]
    fn a_crop_larger_than_the_picture_says_what_to_do() {
        let error = crop(CenterCrop { size: Some(6), ..CenterCrop::default() }, 5, 6).unwrap_err();
        assert_eq!(error.message, "a crop of 6×6 does not fit into a picture of 6×5 pixels.");
        assert!(error.help.unwrap().contains("ResizeShorter(size: 6)"));
    }
}
