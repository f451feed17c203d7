//! An item's record as tables and writers read it that bring a run together: one reader for all.

use std::path::Path;

use serde::Deserialize;

use super::item::parameter_of;
use crate::{
    Error, Parameter, Result,
    data::{Facts, Value, read_ordinary},
};

/// What an `item.json` says of an item and of what was measured of it; the rest is passed over.
///
/// `metrics.csv` is made of this, and so is whatever a writer brings together from the same rows. A
/// run says which records cannot be read, and leaves their items out of the one and the other.
#[derive(Clone, Debug, Deserialize)]
pub struct ItemRecord {
    /// The item's id.
    pub id: String,
    /// The class it is labelled with.
    #[serde(default)]
    pub label: Option<usize>,
    /// The name of that class, where the model has names.
    #[serde(default)]
    pub label_name: Option<String>,
    /// What its dataset knows of it, by the names of its marks.
    #[serde(default)]
    pub marks: Facts,
    /// What was measured of it, in the order of the recipe; see [`ItemRecord::rows`].
    #[serde(default)]
    pub measurements: Vec<MeasuredRow>,
}

/// A measurement as the record of its item has it.
#[derive(Clone, Debug, Deserialize)]
pub struct MeasuredRow {
    /// The recipe's name of the explainer.
    pub explainer: String,
    /// The name of the map.
    pub map: String,
    /// The recipe's name of the metric.
    pub metric: String,
    /// What was measured.
    pub quantity: String,
    /// What it depends on, as written; [`ItemRecord::rows`] reads it.
    pub(super) parameter: Value,
    /// The value; `None` where it was not finite.
    pub value: Option<f64>,
}

impl ItemRecord {
    /// The record of the item in `folder`.
    ///
    /// # Errors
    /// `fame::run::item` where the file is there and no such record, and when it cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("item.json");
        serde_json::from_slice(&read_ordinary(&path)?).map_err(|e| {
            let message = format!("`{}` is not as the run wrote it: {e}.", path.display());
            Error::new("fame::run::item", message)
                .with_help("It was changed afterwards: run again with --force.")
        })
    }

    /// The measurements in their order, each with its parameter and value: the rows of
    /// `metrics.csv`, which has none where a value was not finite.
    pub fn rows(&self) -> impl Iterator<Item = (&MeasuredRow, Parameter, f64)> {
        self.measurements
            .iter()
            .filter_map(|row| Some((row, parameter_of(&row.parameter)?, row.value?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_that_have_a_value_and_every_record_has_an_id() {
        let dir = tempfile::tempdir().unwrap();
        let write = |text: &str| std::fs::write(dir.path().join("item.json"), text).unwrap();
        write(
            r#"{"id": "a", "key": "k", "measurements": [
                {"explainer": "e", "map": "m", "metric": "M", "quantity": "q",
                 "parameter": {"axis": "P", "unit": "percent", "value": 10.0}, "value": 1},
                {"explainer": "e", "map": "m", "metric": "M", "quantity": "q",
                 "parameter": null, "value": null}]}"#,
        );
        let item = ItemRecord::read(dir.path()).unwrap();
        let rows: Vec<(String, f64)> = item.rows().map(|(_, p, v)| (p.to_string(), v)).collect();
        assert_eq!(rows, [("P=10".to_owned(), 1.0)]);
        assert_eq!((item.label, item.marks.len(), item.measurements.len()), (None, 0, 2));
        for text in [r#"{"id": 3}"#, r#"{"measurements": []}"#, "{"] {
            write(text);
            let error = ItemRecord::read(dir.path()).unwrap_err();
            assert_eq!(error.code, "fame::run::item", "{text}");
            assert!(error.message.contains("item.json"), "{error}");
        }
    }
}
