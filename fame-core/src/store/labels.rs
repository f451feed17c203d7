//! The names of a model's classes.

use std::fs;

use super::{FetchEvent, Labels, ModelManifest, ModelStore};
use crate::{Error, Result};

impl ModelStore {
    /// The names of a model's classes in the order of its outputs; `None` when its manifest has
    /// none. Fetches them if need be.
    ///
    /// # Errors
    /// As [`ModelStore::fetch_model`]; `fame::model::labels` when the file does not hold names.
    pub fn labels(
        &self,
        manifest: &ModelManifest,
        progress: &mut dyn FnMut(FetchEvent),
    ) -> Result<Option<Vec<String>>> {
        let Some(labels) = &manifest.labels else { return Ok(None) };
        let source = match labels {
            Labels::List(names) => return Ok(Some(names.clone())),
            Labels::Json(source) | Labels::Lines(source) => source,
        };
        let fetched = self
            .obtain(source, manifest.folder.as_deref(), progress)
            .and_then(|found| found.done(progress));
        let path =
            fetched.map_err(|error| error.at(format!("labels of model `{}`", manifest.name)))?;
        let text = fs::read_to_string(&path).map_err(|error| Error::io("read", &path, &error))?;
        let names = match labels {
            Labels::Json(_) => names_from_json(&text),
            _ => Some(text.lines().map(|line| line.trim().to_owned()).collect()),
        };
        names.filter(|names: &Vec<String>| !names.is_empty()).map(Some).ok_or_else(|| {
            Error::new("fame::model::labels", format!("`{}` holds no labels.", path.display()))
                .with_help("A JSON file of labels is an array of names, or an object with the keys \"0\", \"1\", … and names.")
        })
    }
}

/// The names in a JSON file: an array, or an object with the keys `"0"`, `"1"`, ….
fn names_from_json(text: &str) -> Option<Vec<String>> {
    match serde_json::from_str(text).ok()? {
        serde_json::Value::Array(names) => {
            names.into_iter().map(|name| name.as_str().map(str::to_owned)).collect()
        }
        serde_json::Value::Object(names) => (0..names.len())
            .map(|index| {
                names.get(&index.to_string()).and_then(|name| name.as_str()).map(str::to_owned)
            })
            .collect(),
        _ => None,
    }
}
