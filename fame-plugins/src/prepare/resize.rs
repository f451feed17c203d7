//! `Resize`: to a given width and height, whatever the proportions were.

use fame_core::{
    Picture, Result,
    contract::{PrepareContext, PrepareStep},
    data::{Value, facts},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Filter, note, scale};

/// Scales the picture to `width` × `height` pixels; proportions are not kept. Left out, width and
/// height are those of the model's input.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resize {
    /// Width in pixels, at least 1. Default: that of the model's input.
    pub width: Option<usize>,
    /// Height in pixels, at least 1. Default: that of the model's input.
    pub height: Option<usize>,
    /// `Bilinear`, `Bicubic`, `Nearest` or `Lanczos`.
    pub filter: Filter,
    /// Whether every pixel counts when shrinking, as in Pillow and torchvision.
    pub antialias: bool,
}

impl Default for Resize {
    fn default() -> Self {
        Self { width: None, height: None, filter: Filter::Bilinear, antialias: true }
    }
}

impl Plugin<dyn PrepareStep> for Resize {
    const NAME: &'static str = "Resize";
    const SUMMARY: &'static str = "Scales the picture to a width and height";
    const EXAMPLE: &'static str = "Resize(width: 320, height: 240, filter: Bilinear)";
    const REFERENCE: &'static str = "Pillow Image.resize; torchvision.transforms.Resize";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("width", self.width != Some(0), "must be at least 1");
        assembly.check("height", self.height != Some(0), "must be at least 1");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn PrepareStep>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Prepare: Resize);

impl PrepareStep for Resize {
    fn apply(&self, picture: Picture, with: &PrepareContext<'_>) -> Result<Picture> {
        let (width, height) =
            (self.width.unwrap_or(with.input_size.1), self.height.unwrap_or(with.input_size.0));
        let from = vec![picture.width(), picture.height()];
        let mut picture = scale(picture, width, height, self.filter, self.antialias)?;
        note(
            &mut picture,
            "Resize",
            Value::Map(facts([("from", from.into()), ("to", vec![width, height].into())])),
        );
        Ok(picture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::testing::{NoModels, picture};

    #[test]
    fn size_defaults_to_the_models_and_points_follow_each_axis() {
        let with = PrepareContext { models: &NoModels, input_size: (6, 4), role: "image" };
        let out = Resize::default().apply(picture(3, 8, |_, _, _| 0.25), &with).unwrap();
        assert_eq!(out.pixels.shape(), [3, 6, 4]);
        assert_eq!(out.map_point([8.0, 3.0]), [4.0, 6.0], "outer corner goes to outer corner");
        assert_eq!(out.facts["Resize"].get("from"), Some(&vec![8usize, 3].into()));
    }

    #[test]
    fn two_resizes_leave_two_facts() {
        let with = PrepareContext { models: &NoModels, input_size: (6, 4), role: "image" };
        let once = Resize::default().apply(picture(3, 8, |_, _, _| 0.25), &with).unwrap();
        let twice = Resize { width: Some(2), ..Resize::default() }.apply(once, &with).unwrap();
        assert_eq!(twice.facts.keys().collect::<Vec<_>>(), ["Resize", "Resize 2"]);
        assert_eq!(twice.map_point([8.0, 3.0]), [2.0, 6.0]);
    }
}
