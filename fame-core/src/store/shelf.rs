//! A shelf: one place where manifests, pictures and scripts are kept.
//!
//! ```text
//! NAME.ron           a model's manifest
//! pictures/NAME.ron  the pictures of one package
//! exporters/NAME.py  scripts that convert weights
//! ```
//!
//! What is built into the program has the same paths, so that a manifest reads the same in both.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// A collection of manifests: a folder, or files built into the program.
#[derive(Clone, Debug)]
pub(super) enum Shelf {
    /// A folder like `models/`.
    Folder(PathBuf),
    /// The same built into the program: paths relative to that folder, and texts.
    BuiltIn(BTreeMap<String, String>),
}

impl Shelf {
    /// The folder, if it is one.
    pub(super) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::BuiltIn(_) => None,
        }
    }

    /// The name of the file `relative` in errors.
    pub(super) fn place(&self, relative: &str) -> String {
        self.folder().map_or_else(
            || relative.to_owned(),
            |folder| folder.join(relative).display().to_string(),
        )
    }

    /// The stems of the RON files directly in `inner` (empty, or a folder with its `/`), sorted.
    pub(super) fn list(&self, inner: &str) -> Result<Vec<String>> {
        let names: Vec<String> = match self {
            Self::BuiltIn(files) => files
                .keys()
                .filter_map(|path| path.strip_prefix(inner))
                .map(str::to_owned)
                .collect(),
            Self::Folder(folder) => {
                let folder = folder.join(inner);
                match fs::read_dir(&folder) {
                    // A models folder needs no pictures.
                    Err(error)
                        if !inner.is_empty() && error.kind() == std::io::ErrorKind::NotFound =>
                    {
                        Vec::new()
                    }
                    Err(error) => return Err(Error::io("read", &folder, &error)),
                    Ok(entries) => entries
                        .flatten()
                        .filter_map(|entry| entry.file_name().into_string().ok())
                        .collect(),
                }
            }
        };
        let mut stems: Vec<String> = names
            .iter()
            .filter_map(|name| name.strip_suffix(".ron"))
            .filter(|stem| !stem.contains('/'))
            .map(str::to_owned)
            .collect();
        stems.sort();
        Ok(stems)
    }

    /// The text of a file; `None` when there is none.
    pub(super) fn read(&self, relative: &str) -> Result<Option<String>> {
        match self {
            Self::BuiltIn(files) => Ok(files.get(relative).cloned()),
            Self::Folder(folder) => {
                let path = folder.join(relative);
                match fs::read_to_string(&path) {
                    Ok(text) => Ok(Some(crate::data::without_mark(text))),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(Error::io("read", &path, &error)),
                }
            }
        }
    }
}
