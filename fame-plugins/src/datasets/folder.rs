//! `Folder`: every picture of a folder.

use std::path::Path;

use fame_core::{
    Error, Result, Sample,
    contract::{Dataset, Files, ItemRef},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ids::{unique, without_extension};
use crate::pictures::EXTENSIONS;

/// Every PNG, JPEG and WebP picture of a folder, by extension, one item each, sorted by name, in
/// the role `image`. Hidden files are left out. An item is named after its path in the folder
/// without the extension; where that is ambiguous, with it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// The folder, relative to the recipe.
    pub path: String,
    /// Whether folders within it are searched too. Links to folders are not followed.
    #[serde(default)]
    pub recursive: bool,
}

impl Plugin<dyn Dataset> for Folder {
    const NAME: &'static str = "Folder";
    const SUMMARY: &'static str = "Every picture of a folder, one item each: role image";
    const EXAMPLE: &'static str = r#"Folder(path: "faces", recursive: true)"#;

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check(
            "path",
            !self.path.is_empty() && !self.path.starts_with("picture:"),
            "must name a folder",
        );
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Dataset>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Dataset: Folder);

impl Dataset for Folder {
    fn files(&self) -> Vec<String> {
        vec![self.path.clone()]
    }

    fn index(&self, files: &dyn Files) -> Result<Vec<ItemRef>> {
        let root = files.locate(&self.path)?;
        let mut found = Vec::new();
        self.search(&root, "", &mut found)?;
        found.sort_unstable();
        if found.is_empty() {
            let deeper = if self.recursive {
                ""
            } else {
                " `recursive: true` searches the folders within it too."
            };
            return Err(Error::new(
                "fame::data::empty_folder",
                format!("folder `{}` holds no picture.", self.path),
            )
            .with_help(format!(
                "Pictures are files that end in .{}.{deeper}",
                EXTENSIONS.join(", .")
            )));
        }
        let names: Vec<_> =
            found.iter().map(|f| (without_extension(f).to_owned(), f.clone())).collect();
        let folder = self.path.trim_end_matches('/');
        let items = unique(&names).into_iter().zip(found);
        Ok(items
            .map(|(id, file)| ItemRef {
                id,
                files: vec![format!("{folder}/{file}")],
                note: String::new(),
            })
            .collect())
    }

    fn load(&self, item: &ItemRef, files: &dyn Files) -> Result<Sample> {
        super::single(item, None, files)
    }
}

impl Folder {
    /// Adds the pictures of `folder` to `found`, as `inner` (the way there from the root, with `/`)
    /// and their names.
    fn search(&self, folder: &Path, inner: &str, found: &mut Vec<String>) -> Result<()> {
        let failed = |e: std::io::Error| {
            let shown = format!("{}/{inner}", self.path.trim_end_matches('/'));
            Error::new(
                "fame::data::unreadable_folder",
                format!("folder `{}` cannot be read: {e}.", shown.trim_end_matches('/')),
            )
        };
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                let message = format!(
                    "folder `{}` holds a file whose name is not UTF-8: `{}`.",
                    self.path,
                    name.to_string_lossy()
                );
                return Err(Error::new("fame::data::file_name", message)
                    .with_help("Rename it: a record has to write its name down."));
            };
            if name.starts_with('.') {
                continue;
            }
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                if self.recursive {
                    self.search(&entry.path(), &format!("{inner}{name}/"), found)?;
                }
            } else if is_picture(name) && entry.path().is_file() {
                found.push(format!("{inner}{name}"));
            }
        }
        Ok(())
    }
}

fn is_picture(name: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|e| EXTENSIONS.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Beside, build};

    const GRAY: [u8; 3] = [128; 3];

    #[test]
    fn pictures_are_sorted_by_name_and_others_left_out() {
        let files = Beside::with(&[
            ("d/b.png", GRAY),
            ("d/a.png", GRAY),
            ("d/in/c.png", GRAY),
            ("d/._a.png", GRAY),
        ]);
        std::fs::copy(files.path().join("d/a.png"), files.path().join("d/Z.JPG")).unwrap();
        std::fs::write(files.path().join("d/notes.txt"), "").unwrap();
        let ids = |spec: &str| {
            build(spec)
                .unwrap()
                .index(&files)
                .unwrap()
                .into_iter()
                .map(|i| i.id)
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(r#"Folder(path: "d")"#), ["Z", "a", "b"]);
        assert_eq!(ids(r#"Folder(path: "d/", recursive: true)"#), ["Z", "a", "b", "in_c"]);
        let folder = build(r#"Folder(path: "d/", recursive: true)"#).unwrap();
        let items = folder.index(&files).unwrap();
        assert_eq!(items[3].files, ["d/in/c.png"]);
        assert_eq!(folder.load(&items[0], &files).unwrap().pictures[0].1.source, "d/Z.JPG");
    }

    #[test]
    fn ids_stay_unique_when_only_extensions_or_folders_differ() {
        let files = Beside::with(&[
            ("d/a.png", GRAY),
            ("d/a.jpg", GRAY),
            ("d/x/b.png", GRAY),
            ("d/x_b.png", GRAY),
        ]);
        let folder = build(r#"Folder(path: "d", recursive: true)"#).unwrap();
        let ids: Vec<_> = folder.index(&files).unwrap().into_iter().map(|i| i.id).collect();
        assert_eq!(ids, ["a.jpg", "a.png", "x_b.png", "x_b.png-2"]);
    }

    #[test]
    fn a_folder_without_pictures_says_what_it_looked_for() {
        let files = Beside::with(&[("d/in/c.png", GRAY)]);
        let e = build(r#"Folder(path: "d")"#).unwrap().index(&files).unwrap_err();
        assert_eq!(
            (e.code.as_str(), e.message.as_str()),
            ("fame::data::empty_folder", "folder `d` holds no picture.")
        );
        assert!(e.help.unwrap().contains(".jpeg, .jpg, .png, .webp. `recursive: true`"));
        let e = build(r#"Folder(path: "d/in/c.png")"#).unwrap().index(&files).unwrap_err();
        assert!(
            e.code == "fame::data::unreadable_folder"
                && e.message.starts_with("folder `d/in/c.png` cannot be read"),
            "{e}"
        );
    }
}
