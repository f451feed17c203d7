//! Stopping a run from another thread, between two writes and never in the middle of one.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::record::RunRecord;
use crate::{Error, ErrorKind, Result};

/// A handle on a run by which another thread stops it, such as one that waits for signals. It is
/// part of [`RunOptions`](super::RunOptions); all its clones are the same handle.
///
/// Whatever a run writes into its output folder it writes while it holds this handle's lock, so
/// [`StopHandle::stop`] waits for the write in hand and nothing is written after it.
#[derive(Clone, Debug, Default)]
pub struct StopHandle(Arc<Mutex<Shared>>);

/// What the run and whoever stops it have in common.
#[derive(Debug, Default)]
struct Shared {
    /// The record of the run that is under way.
    record: Option<RunRecord>,
    /// Why it was stopped, if it was.
    reason: Option<String>,
}

/// The state in which a stopped run was left.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// The items that are in the output folder: done or kept.
    pub finished: usize,
    /// The items that had failed.
    pub failed: usize,
    /// The items of the run; 0 where it had not come so far as to count them.
    pub items: usize,
    /// The output folder.
    pub out: PathBuf,
}

impl StopHandle {
    /// Stops the run for `reason` ("by SIGTERM"): waits for the write in hand and writes a record
    /// with the status `stopped`. The run meets an error of the kind [`ErrorKind::Stopped`] when it
    /// wants to write the next time; whoever cannot wait until then ends the process. `None` where
    /// no run is under way, or it has written its last.
    pub fn stop(&self, reason: &str) -> Option<Stopped> {
        let mut shared = self.lock();
        shared.reason.get_or_insert_with(|| reason.to_owned());
        shared.record.as_mut().filter(|record| !record.is_over()).map(|record| record.stop(reason))
    }

    /// Begins a run with its record.
    ///
    /// # Errors
    /// When it was stopped before it began.
    pub(super) fn begin(&self, record: RunRecord) -> Result<()> {
        let mut shared = self.lock();
        shared.record = Some(record);
        shared.reason.as_deref().map_or(Ok(()), |reason| Err(stopped(reason)))
    }

    /// Lets `write` write into the output folder: nobody stops the run meanwhile. It must not call
    /// this again.
    ///
    /// # Errors
    /// When the run was stopped, and what `write` says.
    pub(super) fn write<T>(&self, write: impl FnOnce(&mut RunRecord) -> Result<T>) -> Result<T> {
        let mut shared = self.lock();
        if let Some(reason) = &shared.reason {
            return Err(stopped(reason));
        }
        let record = shared.record.as_mut();
        write(record.ok_or_else(|| Error::bug("a run writes that has not begun."))?)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error that a stopped run ends with.
fn stopped(reason: &str) -> Error {
    Error::new("fame::run::stopped", format!("the run was stopped {reason}."))
        .of_kind(ErrorKind::Stopped)
        .with_help("Give the same command again: what is finished is kept.")
}
