//! The files that a plan needs: whether they are there, before anything runs.

use std::{ops::Range, path::Path};

use super::Resolver;
use crate::{
    Error,
    contract::{Dataset, PrepareStep},
    registry::Built,
    store::ModelStore,
    text::near_file,
};

impl Resolver<'_> {
    /// Reports the dataset's files that are not there.
    pub(super) fn files(
        &mut self,
        data: Option<&Built<dyn Dataset>>,
        span: &Range<usize>,
        store: &ModelStore,
    ) {
        for file in data.map(|d| d.plugin.files()).unwrap_or_default() {
            let found = match file.strip_prefix("picture:") {
                Some(name) => store.check_picture(name),
                None if self.folder.join(&file).exists() => Ok(()),
                None => Err(missing_file(&file, self.folder)),
            };
            if let Err(e) = found {
                // Under the file's own name, where the recipe wrote it plainly.
                let quoted = format!("{file:?}");
                let at = self.text.merged()[span.clone()]
                    .find(&quoted)
                    .map(|i| span.start + i..span.start + i + quoted.len());
                self.error_at(e, &at.unwrap_or_else(|| span.clone()));
            }
        }
    }

    /// Reports the models that prepare steps need and nobody knows.
    pub(super) fn auxiliary_models(
        &mut self,
        prepare: &[Built<dyn PrepareStep>],
        at: &Range<usize>,
        store: &ModelStore,
    ) {
        for step in prepare {
            for model in step.plugin.models() {
                if let Err(e) = store.manifest(&model) {
                    self.error_at(e.at(format!("prepare step `{}`", step.name)), at);
                }
            }
        }
    }
}

/// The error of a file that is not there, with the nearest name beside it.
fn missing_file(file: &str, folder: &Path) -> Error {
    let path = folder.join(file);
    let error =
        Error::new("fame::data::missing_file", format!("there is no file `{}`.", path.display()));
    let otherwise = || {
        "paths start from the recipe's folder, or, without a recipe, from the folder that the \
         command is run in; `picture:NAME` names a picture that fame can fetch"
            .to_owned()
    };
    error.with_help(near_file(&path).unwrap_or_else(otherwise))
}
