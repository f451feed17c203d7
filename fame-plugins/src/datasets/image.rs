//! `Image`: one picture.

use fame_core::{
    Result, Sample,
    contract::{Dataset, Files, ItemRef},
    data::safe_id,
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ids::stem;

/// One picture in the role `image`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The picture: a file, relative to the recipe, or `picture:NAME`.
    pub file: String,
    /// Its class, counted from 0, if known.
    #[serde(default)]
    pub label: Option<usize>,
    /// Name of the item, of letters, digits, `.`, `_` and `-`. Default: the file's name without its
    /// extension.
    #[serde(default)]
    pub id: Option<String>,
}

impl Plugin<dyn Dataset> for Image {
    const NAME: &'static str = "Image";
    const SUMMARY: &'static str = "One picture: role image";
    const EXAMPLE: &'static str = r#"Image(file: "picture:chelsea", label: 285)"#;

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("file", !self.file.is_empty(), "must name a file");
        let id = self.id.get_or_insert_with(|| safe_id(stem(&self.file)));
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

fame_core::register!(Dataset: Image);

impl Dataset for Image {
    fn files(&self) -> Vec<String> {
        vec![self.file.clone()]
    }

    fn index(&self, _: &dyn Files) -> Result<Vec<ItemRef>> {
        let note = self.label.map_or_else(String::new, |l| format!("label {l}"));
        Ok(vec![ItemRef { id: self.id.clone().unwrap_or_default(), files: self.files(), note }])
    }

    fn load(&self, item: &ItemRef, files: &dyn Files) -> Result<Sample> {
        super::single(item, self.label, files)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Beside, build};

    #[test]
    fn an_image_is_one_picture_with_its_label() {
        let files = Beside::with(&[("pets/a cat.png", [0, 51, 0])]);
        let image = build(r#"Image(file: "pets/a cat.png", label: 285)"#).unwrap();
        let items = image.index(&files).unwrap();
        assert_eq!((items[0].id.as_str(), items[0].note.as_str()), ("a_cat", "label 285"));
        let sample = image.load(&items[0], &files).unwrap();
        assert_eq!((sample.label, sample.roles().collect::<Vec<_>>()), (Some(285), vec!["image"]));
        assert_eq!(sample.picture("image").unwrap().pixels.data()[12], 0.2);
    }
}
