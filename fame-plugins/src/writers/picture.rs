//! `Picture`: what the network was shown.

use std::{collections::BTreeSet, path::Path};

use fame_core::{
    Result,
    contract::{FinishedItem, Writer},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{losses::set_against, pictures::to_rgb8};

/// The prepared pictures, aligned and cropped, before the model's normalisation: `<role>.png`. Of a
/// probe and its gallery (dataset `Gallery`), those that the maps are about: the probe, whom it was
/// taken for, and the rival; of hundreds of enrolled faces the others say nothing about this item.
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
        let shown = roles(item);
        let pictures = item.sample.pictures.iter();
        pictures
            .filter(|(role, _)| shown.as_ref().is_none_or(|shown| shown.contains(role.as_str())))
            .map(|(role, picture)| {
                super::save(folder, format!("{role}.png"), &to_rgb8(&picture.pixels)?)
            })
            .collect()
    }
}

/// The roles to be shown, where not all are: of maps that set candidates of a gallery against each
/// other, these, and all roles that have maps.
fn roles<'a>(item: &FinishedItem<'a>) -> Option<BTreeSet<&'a str>> {
    let against = super::maps(item).filter_map(|(_, map)| set_against(&map.facts));
    let mut shown: BTreeSet<&str> = against.flatten().collect();
    if shown.is_empty() {
        return None;
    }
    shown.extend(super::maps(item).map(|(_, map)| map.id.role.as_str()));
    Some(shown)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fame_core::Tensor;

    use super::super::testing::{explanation, map, sample, write};

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

    #[test]
    fn of_a_gallery_only_whom_the_maps_are_about_is_written() {
        let mut found = map("probe", "probe", Tensor::filled([2, 5], 0.5));
        for (name, role) in [("rank_1", "bob"), ("rival", "ann")] {
            found.facts.insert(name.into(), role.into());
        }
        let sample = sample(&["probe", "ann", "bob", "cy", "dee"], 2, 5);
        let made = [("fame".to_owned(), explanation(vec![found]))];
        let (_dir, files) = write("Picture()", &sample, &made);
        let names: BTreeSet<_> = files.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["ann.png", "bob.png", "probe.png"].into());
    }
}
