//! The outcome of a run in a few numbers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Table;

/// The end of an item: done, kept or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemStatus {
    /// Computed and written now.
    Done,
    /// Found whole from an earlier run of the same work.
    Kept,
    /// Not written; the record says why.
    Failed,
}

impl ItemStatus {
    /// The word in `items.jsonl`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Kept => "kept",
            Self::Failed => "failed",
        }
    }
}

/// The end of a run that was not broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStatus {
    /// Every item is there.
    Complete,
    /// The run went through, but some items failed.
    Incomplete,
}

/// The result of a run: counts, time, tables.
#[derive(Clone, Debug)]
pub struct Summary {
    /// How it ended.
    pub status: RunStatus,
    /// Items computed now.
    pub done: usize,
    /// Items kept from an earlier run.
    pub kept: usize,
    /// Items that failed.
    pub failed: usize,
    /// The output folder.
    pub out: PathBuf,
    /// Wall-clock time.
    pub seconds: f64,
    /// The tables over the measurements of all items.
    pub tables: Vec<Table>,
}
