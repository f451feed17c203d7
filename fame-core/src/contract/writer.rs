//! Writers: what a run leaves behind.

use std::path::Path;

use crate::{Explanation, Result, Sample};

/// Writes files about one item.
///
/// A writer is given a fresh folder under a temporary name; the runner renames it when all writers have finished, so an item is there
/// whole or not at all.
pub trait Writer: Send + Sync {
    /// Writes into `folder` and returns the names of the files written.
    fn write(&self, item: &FinishedItem<'_>, folder: &Path) -> Result<Vec<String>>;
}

/// Everything known about an item when it is written.
pub struct FinishedItem<'a> {
    /// The sample with its prepared pictures.
    pub sample: &'a Sample,
    /// Explanations by the recipe's name, in the recipe's order. Failed ones are left out.
    pub explanations: &'a [(String, Explanation)],
}
