//! `ResizeShorter`: the shorter side to a given size, proportions kept.

use fame_core::{
    Picture, Result,
    contract::{PrepareContext, PrepareStep},
    data::{Value, facts},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Filter, note, scale};

/// Scales the picture so that its shorter side has `size` pixels; the longer side gets ⌊size · long
/// / short⌋, as in torchvision, so the proportions are kept to within one pixel. Usually followed
/// by `CenterCrop`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResizeShorter {
    /// Pixels of the shorter side, at least 1. torchvision's weights ask for 256 (ResNet-34,
    /// VGG-19), 232 (ResNet-50 and -101) or 236 (ConvNeXt-Tiny).
    pub size: usize,
    /// `Bilinear`, `Bicubic`, `Nearest` or `Lanczos`.
    pub filter: Filter,
    /// Whether every pixel counts when shrinking, as in Pillow and torchvision.
    pub antialias: bool,
}

impl Default for ResizeShorter {
    fn default() -> Self {
        Self { size: 256, filter: Filter::Bilinear, antialias: true }
    }
}

impl Plugin<dyn PrepareStep> for ResizeShorter {
    const NAME: &'static str = "ResizeShorter";
    const SUMMARY: &'static str = "Scales the shorter side to a size, proportions kept";
    const EXAMPLE: &'static str = "ResizeShorter(size: 256, filter: Bilinear, antialias: true)";
    const REFERENCE: &'static str = "torchvision.transforms.Resize";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("size", self.size > 0, "must be at least 1");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn PrepareStep>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Prepare: ResizeShorter);

impl ResizeShorter {
    /// Width and height of the result for a picture of `width` × `height`.
    fn target(&self, width: usize, height: usize) -> (usize, usize) {
        // In 128 bits, because a size typed by hand may be anything; what is too large is refused
        // later.
        let long = |long: usize, short: usize| {
            usize::try_from(self.size as u128 * long as u128 / short as u128).unwrap_or(usize::MAX)
        };
        if width <= height {
            (self.size, long(height, width))
        } else {
            (long(width, height), self.size)
        }
    }
}

impl PrepareStep for ResizeShorter {
    fn apply(&self, picture: Picture, _: &PrepareContext<'_>) -> Result<Picture> {
        let from = vec![picture.width(), picture.height()];
        let (width, height) = self.target(from[0], from[1]);
        let mut picture = scale(picture, width, height, self.filter, self.antialias)?;
        note(
            &mut picture,
            "ResizeShorter",
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
    fn the_longer_side_is_rounded_down_as_in_torchvision() {
        let to = |size, w, h| ResizeShorter { size, ..ResizeShorter::default() }.target(w, h);
        assert_eq!(to(256, 640, 427), (383, 256), "256·640/427 = 383.7");
        assert_eq!(to(232, 427, 640), (232, 347), "232·640/427 = 347.7");
        assert_eq!(to(224, 500, 500), (224, 224));
    }

    #[test]
    fn corners_go_to_corners() {
        let with = PrepareContext { models: &NoModels, input_size: (1, 1), role: "image" };
        let out = ResizeShorter { size: 4, ..ResizeShorter::default() }
            .apply(picture(20, 11, |_, _, _| 0.5), &with)
            .unwrap();
        assert_eq!((out.width(), out.height()), (4, 7));
        assert_eq!(out.map_point([11.0, 20.0]), [4.0, 7.0]);
    }

    #[test]
    fn a_strip_is_refused_before_memory_is_asked_for() {
        let with = PrepareContext { models: &NoModels, input_size: (1, 1), role: "image" };
        for size in [60_000, usize::MAX] {
            let error = ResizeShorter { size, ..ResizeShorter::default() }
                .apply(picture(1, 900, |_, _, _| 0.5), &with)
                .unwrap_err();
            assert_eq!(error.code, "fame::prepare::size");
        }
    }
}
