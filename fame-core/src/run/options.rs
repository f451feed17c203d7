//! The choices for one run that are not in its recipe.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Shard, StopHandle};

/// Choices for one run that are not part of the recipe: where it writes, which items it does, and
/// the handle by which it is stopped.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Output folder.
    pub out: PathBuf,
    /// Recompute items that are there already.
    pub force: bool,
    /// Only the first so many items.
    pub limit: Option<usize>,
    /// Only these items.
    pub only: Vec<String>,
    /// Only this share of the items, without what needs all of them; it is written into a folder of
    /// its own below [`RunOptions::out`], where [`merge()`](super::merge()) finds it.
    pub shard: Option<Shard>,
    /// The time that an item may take before it has failed and the run goes on. It is asked for at
    /// every pass through the explained network and between the stages of an item; what an engine,
    /// a decoder, a writer or a plugin does between two of these is waited for.
    pub item_timeout: Option<Duration>,
    /// What was assumed where nobody said it, one sentence each, such as how the input of a network
    /// without a manifest is made: the record and the report say it too.
    pub assumed: Vec<String>,
    /// The handle that stops the run.
    pub stop: StopHandle,
}

impl RunOptions {
    /// A run of all items into the folder `out`, where finished items are kept.
    pub fn new(out: impl Into<PathBuf>) -> Self {
        Self {
            out: out.into(),
            force: false,
            limit: None,
            only: Vec::new(),
            shard: None,
            item_timeout: None,
            assumed: Vec::new(),
            stop: StopHandle::default(),
        }
    }

    /// The folder that this run writes: [`RunOptions::out`], or that of the shard in it.
    pub fn folder(&self) -> PathBuf {
        self.shard.map_or_else(|| self.out.clone(), |shard| shard.folder(&self.out))
    }
}

/// The folder of the recipe at `path`.
pub fn recipe_folder(path: &Path) -> PathBuf {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}
