//! `Images`: a list of pictures.

use fame_core::{
    Error, Result, Sample,
    contract::{Dataset, Files, ItemRef},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ids::{stem, unique, without_extension};

/// Several pictures, one item each, in the order written, in the role `image`. An item is named
/// after its file; where that is ambiguous, after its path; a file listed twice is numbered: `a`,
/// `a-2`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Images {
    /// The pictures: files, relative to the recipe, or `picture:NAME`.
    pub files: Vec<String>,
    /// Their classes in the same order, counted from 0, if known.
    #[serde(default)]
    pub labels: Option<Vec<usize>>,
}

impl Plugin<dyn Dataset> for Images {
    const NAME: &'static str = "Images";
    const SUMMARY: &'static str = "A list of pictures, one item each: role image";
    const EXAMPLE: &'static str =
        r#"Images(files: ["picture:chelsea", "picture:coffee"], labels: [285, 967])"#;

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check(
            "files",
            !self.files.is_empty() && self.files.iter().all(|f| !f.is_empty()),
            "must name at least one file, and no empty one",
        );
        if let Some(labels) = &self.labels {
            let must = format!(
                "must be as many as there are files: {}, not {}",
                self.files.len(),
                labels.len()
            );
            assembly.check("labels", labels.len() == self.files.len(), &must);
        }
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Dataset>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Dataset: Images);

impl Dataset for Images {
    fn files(&self) -> Vec<String> {
        self.files.clone()
    }

    fn index(&self, _: &dyn Files) -> Result<Vec<ItemRef>> {
        let names: Vec<_> = self
            .files
            .iter()
            .map(|f| (stem(f).to_owned(), without_extension(f).to_owned()))
            .collect();
        let label = |i: usize| {
            self.labels.as_ref().and_then(|l| l.get(i)).map_or_else(String::new, usize::to_string)
        };
        let items = unique(&names).into_iter().zip(&self.files).enumerate();
        Ok(items
            .map(|(i, (id, file))| ItemRef { id, files: vec![file.clone()], note: label(i) })
            .collect())
    }

    fn load(&self, item: &ItemRef, files: &dyn Files) -> Result<Sample> {
        let label = match item.note.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| {
                Error::bug(format!("item `{}` came back with the note `{text}`.", item.id))
            })?),
        };
        super::single(item, label, files)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Beside, build};

    #[test]
    fn a_list_keeps_its_order_and_its_labels() {
        let files = Beside::with(&[
            ("z.png", [255, 0, 0]),
            ("x/a.png", [0, 255, 0]),
            ("y/a.png", [0, 0, 255]),
        ]);
        let images =
            build(r#"Images(files: ["z.png", "y/a.png", "x/a.png"], labels: [7, 0, 3])"#).unwrap();
        let items = images.index(&files).unwrap();
        assert_eq!(items.iter().map(|i| i.id.as_str()).collect::<Vec<_>>(), ["z", "y_a", "x_a"]);
        let samples: Vec<_> = items.iter().map(|i| images.load(i, &files).unwrap()).collect();
        assert_eq!(
            samples.iter().map(|s| s.label).collect::<Vec<_>>(),
            [Some(7), Some(0), Some(3)]
        );
        assert_eq!(samples[2].pictures[0].1.source, "x/a.png");
        // Green: the second plane of 12 pixels.
        assert_eq!(samples[2].pictures[0].1.pixels.data()[12], 1.0);
    }

    #[test]
    fn as_many_labels_as_files() {
        let problems = build(r#"Images(files: ["a"], labels: [1, 2])"#).err().unwrap();
        assert!(problems[0].message.contains("1, not 2"), "{}", problems[0].message);
        assert!(build("Images(files: [])").is_err());
    }
}
