//! Datasets: where samples come from.

use std::path::PathBuf;

use crate::{Result, Sample};

/// A list of samples that are loaded one by one. The index is small (ids and places); pictures
/// stream.
pub trait Dataset: Send + Sync {
    /// Every file the dataset names itself, as written in the recipe: a path, or `picture:NAME`.
    /// The plan makes sure that each exists or can be fetched, and reports all that do not.
    fn files(&self) -> Vec<String>;

    /// Reads lists and folders (never pictures) and names every sample, in order.
    ///
    /// # Errors
    /// All malformed rows, with file and line.
    fn index(&self, files: &dyn Files) -> Result<Vec<ItemRef>>;

    /// What the list holds, in one sentence, where its length does not tell: how many pairs are of
    /// which kind, say. For information, and for the record, where it stands before the notes.
    fn contents(&self, items: &[ItemRef]) -> Option<String> {
        let _ = items;
        None
    }

    /// What a reader of the results must be warned of in the list as a whole, one sentence each:
    /// repeated pictures, say. For the record.
    fn notes(&self, items: &[ItemRef]) -> Vec<String> {
        let _ = items;
        Vec::new()
    }

    /// The kind of an item, a number from 0, where a few items should hold some of each: a run that
    /// is limited takes the kinds in turn. Default: all of one kind.
    fn kind(&self, item: &ItemRef) -> usize {
        let _ = item;
        0
    }

    /// Decodes the pictures of one sample.
    fn load(&self, item: &ItemRef, files: &dyn Files) -> Result<Sample>;
}

/// A sample by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemRef {
    /// Becomes [`Sample::id`]: unique, stable between runs, made of letters, digits, `.`, `_` and
    /// `-`.
    pub id: String,
    /// The files its pictures are decoded from, as written: their contents are part of the item's
    /// key.
    pub files: Vec<String>,
    /// Anything the dataset wants to find again in [`Dataset::load`]; also part of the key (a
    /// label, a line number).
    pub note: String,
}

/// Turns what a recipe writes into a file on this machine.
pub trait Files {
    /// The file behind `text`: a path relative to the recipe, or `picture:NAME`, fetched and
    /// verified if need be.
    fn locate(&self, text: &str) -> Result<PathBuf>;
}
