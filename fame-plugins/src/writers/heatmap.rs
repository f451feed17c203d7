//! `Heatmap`: a map in colour.

use std::path::Path;

use fame_core::{
    Result,
    contract::{FinishedItem, Writer},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::colour::{Palette, SAFE, heatmap};

/// Each finished map in colour, as `<explainer>.<map>.heatmap.png` of the map's size. Values are
/// clamped to 0..=1; maps with channels are coloured by the mean of their channels.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Heatmap {
    /// Colours from 0 to 1: `viridis`, `cividis`, `inferno` or `magma`, which colour-blind readers
    /// tell apart too; `jet` (the authors' choice), `turbo`, `gray`, `plasma`, `reds`, `rd_bu`, ….
    pub colormap: String,
}

impl Default for Heatmap {
    fn default() -> Self {
        Self { colormap: SAFE.to_owned() }
    }
}

impl Plugin<dyn Writer> for Heatmap {
    const NAME: &'static str = "Heatmap";
    const SUMMARY: &'static str = "Maps in colour, as PNG";
    const EXAMPLE: &'static str = r#"Heatmap(colormap: "inferno")"#;

    fn build(self, _: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Writer>> {
        Some(Box::new(Built(Palette::parameter(&self.colormap, assembly)?)))
    }
}

fame_core::register!(Writer: Heatmap);

struct Built(Palette);

impl Writer for Built {
    fn write(&self, item: &FinishedItem<'_>, folder: &Path) -> Result<Vec<String>> {
        super::maps(item)
            .map(|(explainer, map)| {
                super::save(folder, map.file(explainer, ".heatmap.png"), &heatmap(map, &self.0)?)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use fame_core::Tensor;

    use super::super::testing::{build, explanation, map, sample, write};

    #[test]
    fn a_map_is_drawn_in_its_own_size() {
        let explanations = [(
            "cam".to_owned(),
            explanation(vec![map(
                "image",
                "image",
                Tensor::new([1, 3], vec![0.0, 0.5, 1.0]).unwrap(),
            )]),
        )];
        let (_dir, files) =
            write(r#"Heatmap(colormap: "jet")"#, &sample(&["image"], 1, 3), &explanations);
        let (name, Some(png)) = &files[0] else { panic!("a PNG is written") };
        assert_eq!((name.as_str(), png.dimensions()), ("cam.image.heatmap.png", (3, 1)));
        // 0.5 is entry 128 of 256, just beyond the middle.
        assert_eq!(
            [0, 1, 2].map(|x| png.get_pixel(x, 0).0),
            [[0, 0, 128], [130, 255, 126], [128, 0, 0]]
        );
    }

    #[test]
    fn an_unknown_colour_map_gets_a_suggestion() {
        let problems = build(r#"Heatmap(colormap: "virdis")"#).err().unwrap();
        assert!(
            problems.len() == 1 && problems[0].message.contains("did you mean `viridis`?"),
            "{problems:?}"
        );
    }
}
