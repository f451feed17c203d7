//! `Pair`: two faces to compare.

use fame_core::{
    Marks, Result, Sample,
    contract::{Dataset, Files, ItemRef},
    data::safe_id,
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GALLERY, GENUINE, PROBE, ids::stem};
use crate::pictures;

/// One pair of pictures: the enrolled one in the role `gallery`, the presented one in the role
/// `probe`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// The enrolled face: a file, relative to the recipe, or `picture:NAME`.
    pub gallery: String,
    /// The presented face, likewise.
    pub probe: String,
    /// Name of the item, of letters, digits, `.`, `_` and `-`. Default: the names of both files,
    /// `a--b`.
    #[serde(default)]
    pub id: Option<String>,
    /// Whether both show the same person, if known.
    #[serde(default)]
    pub genuine: Option<bool>,
}

impl Plugin<dyn Dataset> for Pair {
    const NAME: &'static str = "Pair";
    const SUMMARY: &'static str = "Two pictures to compare: roles gallery and probe";
    const EXAMPLE: &'static str =
        r#"Pair(gallery: "picture:obama", probe: "picture:obama2", genuine: true)"#;

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("gallery", !self.gallery.is_empty(), "must name a file");
        assembly.check("probe", !self.probe.is_empty(), "must name a file");
        let id = self.id.get_or_insert_with(|| {
            safe_id(&format!("{}--{}", stem(&self.gallery), stem(&self.probe)))
        });
        assembly.check(
            "id",
            safe_id(id) == *id,
            "must be made of letters, digits, `.`, `_` and `-`, not start with a dot, and have at most 200 bytes",
        );
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Dataset>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Dataset: Pair);

impl Dataset for Pair {
    fn files(&self) -> Vec<String> {
        vec![self.gallery.clone(), self.probe.clone()]
    }

    fn index(&self, _: &dyn Files) -> Result<Vec<ItemRef>> {
        // "not known" must not share a key with "impostor".
        let note = self.genuine.map_or("", |g| if g { "genuine" } else { "impostor" });
        Ok(vec![ItemRef {
            id: self.id.clone().unwrap_or_default(),
            files: self.files(),
            note: note.to_owned(),
        }])
    }

    fn load(&self, item: &ItemRef, files: &dyn Files) -> Result<Sample> {
        let picture = |role: &str, file: &str| {
            Ok((
                role.to_owned(),
                pictures::load(&files.locate(file)?, file).map_err(|e| e.at(role))?,
            ))
        };
        Ok(Sample {
            id: item.id.clone(),
            pictures: vec![picture(GALLERY, &self.gallery)?, picture(PROBE, &self.probe)?],
            marks: Marks::default().with(&GENUINE, self.genuine),
            ..Sample::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        GENUINE,
        testing::{Beside, build},
    };

    #[test]
    fn a_pair_is_two_pictures_in_two_roles() {
        let files = Beside::with(&[("a.b.png", [255, 0, 0]), ("c.png", [0, 255, 0])]);
        let pair =
            build(r#"Pair(gallery: "a.b.png", probe: "picture:c.png", genuine: false)"#).unwrap();
        assert_eq!(pair.files(), ["a.b.png", "picture:c.png"]);
        let items = pair.index(&files).unwrap();
        assert_eq!(
            (items.len(), items[0].id.as_str(), items[0].note.as_str()),
            (1, "a.b--c.png", "impostor")
        );
        assert_eq!(items[0].files, pair.files());
        let sample = pair.load(&items[0], &files).unwrap();
        assert_eq!(sample.roles().collect::<Vec<_>>(), ["gallery", "probe"]);
        assert_eq!((sample.marks.get(&GENUINE), sample.label), (Some(false), None));
        // As the recipe wrote it: a record must not know where this machine keeps its files.
        assert_eq!(sample.pictures[1].1.source, "picture:c.png");
        assert_eq!(sample.picture("gallery").unwrap().pixels.data()[0], 1.0);
    }

    #[test]
    fn an_unreadable_side_is_named_with_its_role() {
        let files = Beside::with(&[("a.png", [9, 9, 9])]);
        std::fs::write(files.path().join("b.png"), "").unwrap();
        let pair = build(r#"Pair(gallery: "a.png", probe: "b.png")"#).unwrap();
        let e = pair.load(&pair.index(&files).unwrap()[0], &files).unwrap_err();
        assert!(e.message.starts_with("probe: `b.png`"), "{e}");
    }

    #[test]
    fn ids_that_are_no_folder_names_are_refused() {
        let problems = build(r#"Pair(gallery: "", probe: "b", id: "../up")"#).err().unwrap();
        assert_eq!(problems.len(), 2);
        assert!(build(r#"Pair(gallery: "a")"#).is_err());
    }
}
