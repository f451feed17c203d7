//! `Overlay`: a map over its picture.

use std::path::Path;

use fame_core::{
    Error, NamedMap, Picture, Result,
    contract::{FinishedItem, Writer},
    registry::{Assembly, BuildContext, Plugin},
};
use image::RgbImage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    colour::{Palette, SAFE, enlargement, over_original, overlay},
    plate::{marked, plate},
    thumbnail::answer,
};

/// Each finished map in colour over the prepared picture, as `<explainer>.<map>.overlay.png`: (1 −
/// opacity) · picture + opacity · colour. Values are clamped to 0..=1; maps with channels are
/// coloured by the mean of their channels. Small pictures are enlarged by a whole number (the
/// picture by Lanczos, the map bilinearly). With `on: Original` the map is laid back over the
/// photograph. The names of explainer and map stand above, and the colours from 0 to 1 beside it;
/// `Overlay(side: 0, title: false, bar: false)` is the bare overlay in the size of the map.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Overlay {
    /// What is under the map: `Prepared` or `Original`.
    pub on: On,
    /// Colours from 0 to 1: `viridis`, `cividis`, `inferno` or `magma`, which colour-blind readers
    /// tell apart too; `jet` (the authors' choice), `turbo`, `gray`, `plasma`, `reds`, `rd_bu`, ….
    pub colormap: String,
    /// How much the map covers the picture, from 0 (the picture alone) to 1 (the map alone).
    pub opacity: f32,
    /// Pictures are enlarged as long as their longer side has at most this many pixels; 0 to 4096.
    pub side: u32,
    /// Whether the names of explainer and map stand above.
    pub title: bool,
    /// Whether the colours from 0 to 1 stand beside it.
    pub bar: bool,
}

/// What a map is laid over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum On {
    /// The picture as the network sees it.
    #[default]
    Prepared,
    /// The picture as decoded, reduced to at most 512 pixels: the map is laid back through what the
    /// prepare steps did, and what they cut away stays bare. Where they did nothing, or
    /// cannot be undone, as `Prepared`.
    Original,
}

impl Default for Overlay {
    fn default() -> Self {
        let (on, colormap) = (On::Prepared, SAFE.to_owned());
        Self { on, colormap, opacity: 0.5, side: 448, title: true, bar: true }
    }
}

impl Plugin<dyn Writer> for Overlay {
    const NAME: &'static str = "Overlay";
    const SUMMARY: &'static str = "Maps in colour over the prepared picture, as PNG";
    const EXAMPLE: &'static str = r#"Overlay(colormap: "jet", opacity: 0.4)"#;

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("opacity", (0.0..=1.0).contains(&self.opacity), "must be between 0 and 1");
        assembly.check("side", self.side <= 4096, "must be at most 4096");
    }

    fn build(self, _: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Writer>> {
        Some(Box::new(Built { palette: Palette::parameter(&self.colormap, assembly)?, look: self }))
    }
}

fame_core::register!(Writer: Overlay);

struct Built {
    palette: Palette,
    look: Overlay,
}

impl Writer for Built {
    fn write(&self, item: &FinishedItem<'_>, folder: &Path) -> Result<Vec<String>> {
        super::maps(item)
            .map(|(explainer, map)| {
                let Overlay { title, bar, .. } = self.look;
                let over = self.over(super::picture_of(item.sample, map)?, map)?;
                let title = if title { title_of(explainer, map) } else { String::new() };
                let over = plate(&over, &title, bar.then_some(&self.palette));
                super::save(folder, map.file(explainer, ".overlay.png"), &over)
            })
            .collect()
    }
}

impl Built {
    /// `map` over the picture that was asked for.
    fn over(&self, picture: &Picture, map: &NamedMap) -> Result<RgbImage> {
        let Overlay { on, opacity, side, .. } = self.look;
        if let (On::Original, Some(original)) = (on, &picture.original) {
            let &[_, height, width] = original.pixels.shape() else {
                return Err(Error::bug("an original that is no picture."));
            };
            let enlarge = enlargement(width, height, side);
            if let Some(over) = over_original(picture, map, &self.palette, opacity, enlarge)? {
                return Ok(over);
            }
        }
        let enlarge = enlargement(picture.width(), picture.height(), side);
        overlay(picture, map, &self.palette, opacity, enlarge)
    }
}

/// Explainer and map, and what the network answered for the clean picture: the class with its
/// probability, or the similarity.
fn title_of(explainer: &str, map: &NamedMap) -> String {
    let answer = answer(&map.facts, marked);
    let answer = answer.map_or_else(String::new, |answer| format!(", {}", answer.text));
    format!("{explainer}: {}{answer}", map.name())
}

#[cfg(test)]
mod tests {
    use fame_core::{Tensor, contract::FinishedItem};

    use super::{
        super::testing::{build, explanation, map, sample, write},
        title_of,
    };

    fn one_map() -> [(String, fame_core::Explanation); 1] {
        [(
            "cam".to_owned(),
            explanation(vec![map("image", "image", Tensor::new([1, 2], vec![0.0, 1.0]).unwrap())]),
        )]
    }

    #[test]
    fn opacity_mixes_picture_and_colour() {
        let pixel = |opacity: &str| {
            let writer = format!(r#"Overlay(colormap: "jet", opacity: {opacity}, side: 0)"#);
            let (_dir, files) = write(&writer, &sample(&["image"], 1, 2), &one_map());
            assert_eq!(files[0].0, "cam.image.overlay.png");
            files[0].1.as_ref().unwrap().get_pixel(1, 0).0
        };
        // Gray 0.5 under dark red (128, 0, 0).
        assert_eq!([pixel("0"), pixel("0.5"), pixel("1")], [[128; 3], [128, 64, 64], [128, 0, 0]]);
    }

    #[test]
    fn a_small_picture_is_enlarged_and_says_what_it_is() {
        let square = |writer: &str| {
            let map = map("image", "image", Tensor::filled([8, 8], 0.5));
            let maps = [("cam".to_owned(), explanation(vec![map]))];
            let (_dir, mut files) = write(writer, &sample(&["image"], 8, 8), &maps);
            files.remove(0).1.unwrap()
        };
        assert_eq!(square("Overlay(title: false, bar: false)").dimensions(), (448, 448));
        let whole = square("Overlay()");
        assert!(
            whole.width() > 448 && whole.height() > 448 && whole.pixels().any(|p| p.0 == [0; 3])
        );
        assert_eq!(square("Overlay(side: 0)").dimensions(), (8, 8));
        assert!(build("Overlay(side: 5000)").is_err());
    }

    #[test]
    fn the_photograph_can_be_under_the_map() {
        let mut sample = sample(&["image"], 1, 2);
        let size = |sample: &_| {
            let (_dir, files) = write(
                "Overlay(on: Original, side: 0, title: false, bar: false)",
                sample,
                &one_map(),
            );
            files[0].1.as_ref().unwrap().dimensions()
        };
        assert_eq!(size(&sample), (2, 1), "nothing was done to it");
        let decoded = fame_core::Picture::new(Tensor::filled([3, 3, 5], 0.5), "p").unwrap();
        let original = fame_core::data::Original::of(&decoded).unwrap();
        sample.pictures[0].1.original = Some(original);
        assert_eq!(size(&sample), (5, 3));
    }

    #[test]
    fn the_title_says_what_the_network_answered() {
        let mut map = map("image", "image", Tensor::filled([8, 8], 0.5));
        assert_eq!(title_of("cam", &map), "cam: image");
        map.facts.insert("similarity_before".into(), 0.41234.into());
        assert_eq!(title_of("cam", &map), "cam: image, similarity 0.412");
        map.facts.insert("probability_before".into(), 0.731.into());
        map.facts.insert("class_name".into(), "disc".into());
        assert_eq!(title_of("cam", &map), "cam: image, disc\u{200E} 73 %");
    }

    #[test]
    fn maps_must_fit_and_files_are_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let writer = build("Overlay()").unwrap();
        let explanations = one_map();
        let write = |role: &str, h: usize| {
            let sample = sample(&[role], h, 2);
            writer
                .write(&FinishedItem { sample: &sample, explanations: &explanations }, dir.path())
                .map_err(|e| e.code)
        };
        assert_eq!(write("image", 2).unwrap_err(), "fame::bug");
        assert_eq!(write("probe", 1).unwrap_err(), "fame::bug");
        assert!(write("image", 1).is_ok());
        assert_eq!(write("image", 1).unwrap_err(), "fame::writer::name_taken");
        assert!(build("Overlay(opacity: 1.5)").is_err() && build("Overlay(opacity: NaN)").is_err());
    }
}
