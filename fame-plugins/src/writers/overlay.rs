//! `Overlay`: a map over its picture.

use std::path::Path;

use fame_core::{
    Result,
    contract::{FinishedItem, Writer},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::colour::{Palette, overlay};

/// Each finished map in colour over the prepared picture, as `<explainer>.<map>.overlay.png`: (1 −
/// opacity) · picture + opacity · colour. Values are clamped to 0..=1; maps with channels are
/// coloured by the mean of their channels.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Overlay {
    /// Colours from 0 to 1: `turbo`, `jet` (the authors' choice), `gray`, `viridis`, `inferno`,
    /// `magma`, `plasma`, `reds`, `rd_bu`, ….
    pub colormap: String,
    /// How much the map covers the picture, from 0 (the picture alone) to 1 (the map alone).
    pub opacity: f32,
}

impl Default for Overlay {
    fn default() -> Self {
        Self { colormap: "turbo".to_owned(), opacity: 0.5 }
    }
}

impl Plugin<dyn Writer> for Overlay {
    const NAME: &'static str = "Overlay";
    const SUMMARY: &'static str = "Maps in colour over the prepared picture, as PNG";
    const EXAMPLE: &'static str = r#"Overlay(colormap: "jet", opacity: 0.4)"#;

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("opacity", (0.0..=1.0).contains(&self.opacity), "must be between 0 and 1");
    }

    fn build(self, _: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Writer>> {
        Some(Box::new(Built {
            palette: Palette::parameter(&self.colormap, assembly)?,
            opacity: self.opacity,
        }))
    }
}

fame_core::register!(Writer: Overlay);

struct Built {
    palette: Palette,
    opacity: f32,
}

impl Writer for Built {
    fn write(&self, item: &FinishedItem<'_>, folder: &Path) -> Result<Vec<String>> {
        super::maps(item)
            .map(|(explainer, map)| {
                let picture = overlay(
                    super::picture_of(item.sample, map)?,
                    map,
                    &self.palette,
                    self.opacity,
                )?;
                super::save(folder, format!("{explainer}.{}.overlay.png", map.name()), &picture)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use fame_core::{Tensor, contract::FinishedItem};

    use super::super::testing::{build, explanation, map, sample, write};

    fn one_map() -> [(String, fame_core::Explanation); 1] {
        [(
            "cam".to_owned(),
            explanation(vec![map("image", "image", Tensor::new([1, 2], vec![0.0, 1.0]).unwrap())]),
        )]
    }

    #[test]
    fn opacity_mixes_picture_and_colour() {
        let pixel = |opacity: &str| {
            let writer = format!(r#"Overlay(colormap: "jet", opacity: {opacity})"#);
            let (_dir, files) = write(&writer, &sample(&["image"], 1, 2), &one_map());
            assert_eq!(files[0].0, "cam.image.overlay.png");
            files[0].1.as_ref().unwrap().get_pixel(1, 0).0
        };
        // Gray 0.5 under dark red (128, 0, 0).
        assert_eq!([pixel("0"), pixel("0.5"), pixel("1")], [[128; 3], [128, 64, 64], [128, 0, 0]]);
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
