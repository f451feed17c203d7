//! `Folder`: every picture of a folder.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use fame_core::{
    Error, Result, Sample,
    contract::{Dataset, Files, ItemRef},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ids::{unique, without_extension};
use crate::pictures::{EXTENSIONS, UNREAD_EXTENSIONS, has_extension};

/// Every PNG, JPEG, WebP, TIFF, BMP and GIF picture of a folder, by extension, one item each, sorted
/// by name, in the role `image`. Hidden files are left out; so are pictures of other formats and
/// pictures whose names do not say that they are some, and these are told. An item is named after
/// its path in the folder without the extension; where that is ambiguous, with it.
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
        Some(Box::new(FolderDataset { parameters: self, skipped: Mutex::default() }))
    }
}

fame_core::register!(Dataset: Folder);

struct FolderDataset {
    parameters: Folder,
    /// Pictures that were left out when the folder was looked through.
    skipped: Mutex<Vec<String>>,
}

/// What a folder holds, as `inner/name`.
#[derive(Default)]
pub(super) struct Content {
    pub(super) pictures: Vec<String>,
    /// Pictures that cannot be taken.
    pub(super) skipped: Vec<String>,
}

impl Dataset for FolderDataset {
    fn files(&self) -> Vec<String> {
        vec![self.parameters.path.clone()]
    }

    fn notes(&self, _: &[ItemRef]) -> Vec<String> {
        told(&self.skipped.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }

    fn index(&self, files: &dyn Files) -> Result<Vec<ItemRef>> {
        let folder = &self.parameters;
        let Content { pictures: found, skipped } = folder.content(files)?;
        *self.skipped.lock().unwrap_or_else(PoisonError::into_inner) = skipped;
        let names: Vec<_> =
            found.iter().map(|f| (without_extension(f).to_owned(), f.clone())).collect();
        let folder = folder.path.trim_end_matches('/');
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
    /// What the folder holds, sorted.
    ///
    /// # Errors
    /// When it cannot be read, or holds no picture.
    pub(super) fn content(&self, files: &dyn Files) -> Result<Content> {
        let mut content = Content::default();
        self.search(&files.locate(&self.path)?, "", &mut content)?;
        content.pictures.sort_unstable();
        content.skipped.sort_unstable();
        if !content.pictures.is_empty() {
            return Ok(content);
        }
        let deeper = if self.recursive {
            ""
        } else {
            " `recursive: true` searches the folders within it too."
        };
        Err(Error::new(
            "fame::data::empty_folder",
            format!("folder `{}` holds no picture.", self.path),
        )
        .with_help(format!(
            "Pictures are files that end in .{}.{deeper}{}",
            EXTENSIONS.join(", ."),
            told(&content.skipped).map_or_else(String::new, |told| format!(" {told}"))
        )))
    }

    /// Adds the pictures of `folder` to `found`, as `inner` (the way there from the root, with `/`)
    /// and their names, and those that cannot be taken.
    fn search(&self, folder: &Path, inner: &str, found: &mut Content) -> Result<()> {
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
                continue;
            }
            // A link that leads nowhere is a picture that cannot be read, and its item fails.
            let is_file = entry.path().is_file() || kind.is_symlink() && !entry.path().exists();
            if is_file && has_extension(name, &EXTENSIONS) {
                found.pictures.push(format!("{inner}{name}"));
            } else if is_file
                && (has_extension(name, &UNREAD_EXTENSIONS) || begins_like_one(&entry.path()))
            {
                found.skipped.push(format!("{inner}{name}"));
            }
        }
        Ok(())
    }
}

/// Whether a file begins like a picture, whatever its name.
fn begins_like_one(path: &Path) -> bool {
    /// As many bytes as the longest mark of a format needs.
    const MARK: u64 = 64;
    let mut first = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| {
        std::io::Read::read_to_end(&mut std::io::Read::take(file, MARK), &mut first)
    });
    read.is_ok() && image::guess_format(&first).is_ok()
}

/// A sentence about pictures that were left out, if there are some.
pub(super) fn told(skipped: &[String]) -> Option<String> {
    /// So many are named; the rest is counted.
    const NAMED: usize = 5;
    let names: Vec<String> = skipped.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    let more = match skipped.len().saturating_sub(NAMED) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    (!skipped.is_empty()).then(|| {
        format!(
            "Left out, because fame does not read their format or their names do not end like a picture's: {}{more}. Convert them to PNG or JPEG, or rename them.",
            names.join(", ")
        )
    })
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
    fn every_picture_is_read_or_named() {
        let files = Beside::with(&[("d/a.png", GRAY)]);
        let picture = image::open(files.path().join("d/a.png")).unwrap();
        for name in ["b.bmp", "c.gif", "d.tif", "e.TIFF"] {
            picture.save(files.path().join("d").join(name)).unwrap();
        }
        for unread in ["f.heic", "g.AVIF", "h.jxl"] {
            std::fs::write(files.path().join("d").join(unread), "whatever").unwrap();
        }
        std::fs::copy(files.path().join("d/a.png"), files.path().join("d/no_ending")).unwrap();
        std::fs::write(files.path().join("d/notes.txt"), "no picture").unwrap();
        let folder = build(r#"Folder(path: "d")"#).unwrap();
        let items = folder.index(&files).unwrap();
        let ids: Vec<&str> = items.iter().map(|i| i.id.as_str()).collect();
        assert_eq!(ids, ["a", "b", "c", "d", "e"]);
        let gray = |item| folder.load(item, &files).unwrap().pictures[0].1.pixels.data()[0];
        assert!(items.iter().all(|item| gray(item).to_bits() == (128.0f32 / 255.0).to_bits()));
        let [note] = &folder.notes(&items)[..] else { panic!("one note") };
        assert!(
            note.contains("`f.heic`, `g.AVIF`, `h.jxl`, `no_ending`.") && !note.contains("notes"),
            "{note}"
        );
        std::fs::create_dir(files.path().join("only")).unwrap();
        std::fs::write(files.path().join("only/x.heic"), "").unwrap();
        let e = build(r#"Folder(path: "only")"#).unwrap().index(&files).unwrap_err();
        assert!(e.help.unwrap().contains("`x.heic`"));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_nowhere_is_an_item_that_fails() {
        let files = Beside::with(&[("d/a.png", GRAY)]);
        std::os::unix::fs::symlink("gone.png", files.path().join("d/b.png")).unwrap();
        std::os::unix::fs::symlink("gone.txt", files.path().join("d/c.txt")).unwrap();
        let folder = build(r#"Folder(path: "d")"#).unwrap();
        let items = folder.index(&files).unwrap();
        assert_eq!(items.iter().map(|i| i.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let error = folder.load(&items[1], &files).err().unwrap();
        assert!(error.message.contains("d/b.png"), "{error}");
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
        assert!(e.help.unwrap().contains(".jpg, .png, .tif, .tiff, .webp. `recursive: true`"));
        let e = build(r#"Folder(path: "d/in/c.png")"#).unwrap().index(&files).unwrap_err();
        assert!(
            e.code == "fame::data::unreadable_folder"
                && e.message.starts_with("folder `d/in/c.png` cannot be read"),
            "{e}"
        );
    }
}
