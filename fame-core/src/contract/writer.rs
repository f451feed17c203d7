//! Writers: what a run leaves behind.

use std::path::{Path, PathBuf};

use crate::{Explanation, Result, Sample};

/// Writes files about one item.
///
/// A writer is given a fresh folder under a temporary name; the runner renames it when all writers
/// have finished, so an item is there whole or not at all.
pub trait Writer: Send + Sync {
    /// Writes into `folder` and returns the names of the files written.
    /// [`NamedMap::file`](crate::NamedMap::file) makes the name of a map's file: names of maps may be
    /// longer than those of files.
    fn write(&self, item: &FinishedItem<'_>, folder: &Path) -> Result<Vec<String>>;

    /// Brings together, in the run's folder `out`, what it wrote about all items, for readers that
    /// want another order of files. Called when a run has gone through, its record and tables
    /// included, with the folders of the items that are there and whose `item.json` can be read
    /// (as [`run::ItemRecord`](crate::run::ItemRecord)), kept ones included, in the data's order.
    /// What it makes must follow from these folders, the record and the tables alone, and replace
    /// whole what it made before.
    ///
    /// Returns the names in `out` of the files and folders that it made, folders by
    /// [`replace_folder`](crate::data::replace_folder): the run records their digests, which
    /// `verify-run` compares, and a later run whose writers do not make them removes them, unless
    /// somebody has changed them. What it does not name is left alone. Default: nothing.
    ///
    /// # Errors
    /// When `out` cannot be written: the run has then failed; its items stay.
    fn gather(&self, out: &Path, items: &[PathBuf]) -> Result<Vec<String>> {
        let _ = (out, items);
        Ok(Vec::new())
    }

    /// The names in the run's folder of what [`Writer::gather`] is going to make and would put in the
    /// place of anything that lies there: where that is not what a run has made, the run is refused
    /// before anything is written. A writer that looks itself whose files it replaces need not name
    /// them. Default: none.
    fn replaces(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether [`Writer::gather`] is called when all others have been: for a writer that describes
    /// what they made, wherever it stands in the recipe. Default: no.
    fn gathers_last(&self) -> bool {
        false
    }
}

/// Everything known about an item when it is written.
pub struct FinishedItem<'a> {
    /// The sample with its prepared pictures.
    pub sample: &'a Sample,
    /// Explanations by the recipe's name, in the recipe's order. Failed ones are left out.
    pub explanations: &'a [(String, Explanation)],
}
