//! `Picture`: what the network was shown.

use std::path::Path;

use fame_core::{
    Result,
    contract::{FinishedItem, Writer},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pictures::to_rgb8;

/// The prepared pictures, aligned and cropped, before the model's normalisation: `<role>.png`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Picture {}

impl Plugin<dyn Writer> for Picture {
    const NAME: &'static str = "Picture";
    const SUMMARY: &'static str = "The prepared pictures, as PNG";
    const EXAMPLE: &'static str = "Picture()";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Writer>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Writer: Picture);

impl Writer for Picture {
    fn write(&self, item: &FinishedItem<'_>, folder: &Path) -> Result<Vec<String>> {
        let pictures = item.sample.pictures.iter();
        pictures
            .map(|(role, picture)| {
                super::save(folder, format!("{role}.png"), &to_rgb8(&picture.pixels)?)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{sample, write};

    #[test]
    fn each_role_is_one_file() {
        let (_dir, files) = write("Picture()", &sample(&["gallery", "probe"], 2, 5), &[]);
        assert_eq!(
            files.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(),
            ["gallery.png", "probe.png"]
        );
        let png = files[1].1.as_ref().unwrap();
        assert_eq!((png.dimensions(), png.get_pixel(4, 1).0), ((5, 2), [128; 3]));
    }
}
