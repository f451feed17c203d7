//! The items of a run, a batch at a time: load and prepare, explain, measure, write.
//!
//! ```text
//! ItemRef ─▶ open ─▶ OpenItem ─▶ explain (by each explainer, whole batch) ─▶ close ─▶ items/<id>/
//!             │                    │ restored from a part, or new                │
//!             └▶ kept: the folder  └▶ measure: what no part holds                └▶ compare, write
//! ```
//!
//! An item that fails anywhere leaves the batch; the others go on.

mod beside;
mod explain;
mod measure;
pub(super) mod sample;
mod write;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use sample::Loader;
pub(super) use write::gather;

use super::{
    Event, ItemStatus, ModelShelf, Observer, RunOptions,
    check::Checker,
    deadline::Deadline,
    folder::refuse_link,
    keys::{Inputs, Keys},
    models::RunFiles,
    parts::Parts,
    record::{Ended, Made, foreign_file, has_record, kept},
};
use crate::{
    Error, Explanation, Model, Plan, Result, Sample,
    contract::{FinishedItem, ItemRef, Measurement},
};

/// The loop over the items, with all that they share.
pub(super) struct Items<'a> {
    pub(super) plan: &'a Plan,
    pub(super) options: &'a RunOptions,
    /// The folder that the run writes.
    pub(super) folder: PathBuf,
    pub(super) observer: &'a dyn Observer,
    pub(super) files: &'a RunFiles<'a>,
    pub(super) shelf: &'a ModelShelf<'a>,
    pub(super) model: Arc<Model>,
    pub(super) check: Option<Checker<'a>>,
    pub(super) keys: Keys,
    pub(super) parts: Parts,
    pub(super) deadline: Deadline,
    /// Items of the batch at work whose time ran out beside others; `None`: there are no others.
    pub(super) late: Mutex<Option<Vec<ItemRef>>>,
}

/// An item between its loading and its writing.
struct OpenItem {
    item: ItemRef,
    inputs: Inputs,
    clock: Instant,
    sample: Sample,
    /// Explanations so far, by the recipe's names of the explainers.
    explanations: Vec<(String, Explanation)>,
    measurements: Vec<Measured>,
    /// Names of what was computed now, and not restored: `mine`, `mine/Deletion`.
    computed: Vec<String>,
}

/// An item at the beginning of its batch.
enum Opened {
    /// It is to be explained.
    Open(Box<OpenItem>),
    /// Its folder is there already, whole and of its key.
    Kept(Made),
}

/// A measurement with the explainer it judges and the metric it came from.
pub(super) struct Measured {
    /// The recipe's name of the explainer.
    pub(super) explainer: String,
    /// The metric's name; see [`Plan::metric_names`].
    pub(super) metric: String,
    pub(super) measurement: Measurement,
}

/// The error of an item whose folder holds a file `name` that is not ours.
pub(super) fn foreign(folder: &Path, name: &str) -> Error {
    let folder = folder.display();
    let message = format!("`{folder}` holds `{name}`, which no run of fame wrote.");
    Error::new("fame::run::foreign_file", message)
        .with_help("Nothing was touched. Move the file away, or name another folder: --out FOLDER.")
}

impl Items<'_> {
    /// Takes `items` from their files to their folders, in batches as large as the network prefers,
    /// and notes how each of them ended.
    ///
    /// # Errors
    /// What ends the whole run; an item that fails does not.
    pub(super) fn run(&self, items: &[ItemRef]) -> Result<()> {
        for batch in items.chunks(self.model.network.preferred_rows().max(1)) {
            let collects = (batch.len() > 1).then(Vec::new);
            self.collect_late(collects);
            self.batch(batch)?;
            // Which of a batch took so long only shows when each has the time for itself.
            for item in self.collect_late(None).unwrap_or_default() {
                self.batch(std::slice::from_ref(&item))?;
            }
        }
        Ok(())
    }

    /// Takes the late items so far; from now on they are collected, or fail.
    fn collect_late(&self, collects: Option<Vec<ItemRef>>) -> Option<Vec<ItemRef>> {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *late, collects)
    }

    /// Takes one batch through all stages: every explainer sees the whole batch at once, because a
    /// network runs many rows faster than the same rows one by one.
    fn batch(&self, items: &[ItemRef]) -> Result<()> {
        self.deadline.begin();
        let mut open = Vec::new();
        for item in items {
            let clock = Instant::now();
            match self.open(item, clock) {
                Ok(Opened::Open(item)) => open.push(*item),
                Ok(Opened::Kept(made)) => self.kept(item, clock, made)?,
                Err(e) => self.failed(item, clock, e)?,
            }
        }
        for n in 0..self.plan.explain.len() {
            open = self.explain(n, open)?;
        }
        for mut item in open {
            match self.deadline.check().and_then(|()| self.close(&mut item)) {
                Ok(line) => {
                    let (sample, explanations) = (&item.sample, item.explanations.as_slice());
                    let finished = FinishedItem { sample, explanations };
                    self.observer.event(&Event::Finished(&finished));
                    self.ended(&item.item, ItemStatus::Done, &line);
                }
                Err(e) => self.failed(&item.item, item.clock, e)?,
            }
        }
        Ok(())
    }

    /// Loads and prepares `item`, and tells what its pictures warn of.
    fn sample(&self, item: &ItemRef) -> Result<Sample> {
        let sample = self.loader().sample(item)?;
        for (role, picture) in &sample.pictures {
            for warning in &picture.warnings {
                let text = format!("{role}: {warning}");
                self.observer.event(&Event::ItemWarning { id: &item.id, text: &text });
            }
        }
        Ok(sample)
    }

    fn loader(&self) -> Loader<'_> {
        Loader { plan: self.plan, files: self.files, shelf: self.shelf, model: &self.model }
    }

    /// Loads and prepares `item`, unless its folder is there already, whole and of this key.
    fn open(&self, item: &ItemRef, clock: Instant) -> Result<Opened> {
        let inputs = self.keys.inputs(self.plan, self.files, item)?;
        let place = self.place(item);
        refuse_link(&place)?;
        if !self.options.force
            && let Some((made, is_as_written)) = self.there(item, &inputs)?
        {
            if is_as_written {
                return Ok(Opened::Kept(made));
            }
            let text = "its item.json was changed: it is made again.";
            self.observer.event(&Event::ItemWarning { id: &item.id, text });
        }
        if let Some(name) = foreign_file(&place) {
            return Err(foreign(&place, &name));
        }
        Ok(Opened::Open(Box::new(OpenItem {
            item: item.clone(),
            inputs,
            clock,
            sample: self.sample(item)?,
            explanations: Vec::new(),
            measurements: Vec::new(),
            computed: Vec::new(),
        })))
    }

    /// What identifies the finished item whose folder is there, whole and of this key, and whether
    /// its record is, as far as anything is known of it, the one that was written.
    fn there(&self, item: &ItemRef, inputs: &Inputs) -> Result<Option<(Made, bool)>> {
        let Some(made) = kept(&self.place(item), &self.keys.item(inputs)) else { return Ok(None) };
        let is_as_written =
            self.options.stop.write(|record| Ok(record.is_as_written(&item.id, &made)))?;
        Ok(Some((made, is_as_written)))
    }

    /// Compares and writes an item that every explainer has seen, and returns one line about it.
    fn close(&self, item: &mut OpenItem) -> Result<String> {
        item.require_a_map()?;
        self.compare(item)?;
        self.options.stop.write(|record| {
            let (line, made) = self.write(item)?;
            record.item(Ended {
                id: &item.item.id,
                status: ItemStatus::Done,
                time: item.clock.elapsed(),
                computed: std::mem::take(&mut item.computed),
                made: Some(made),
                error: None,
            })?;
            Ok(line)
        })
    }

    /// The place of an item's files.
    fn place(&self, item: &ItemRef) -> PathBuf {
        self.folder.join("items").join(&item.id)
    }

    /// Notes that `item` is there already.
    fn kept(&self, item: &ItemRef, clock: Instant, made: Made) -> Result<()> {
        self.options.stop.write(|record| {
            record.item(Ended {
                id: &item.id,
                status: ItemStatus::Kept,
                time: clock.elapsed(),
                computed: Vec::new(),
                made: Some(made),
                error: None,
            })
        })?;
        self.ended(item, ItemStatus::Kept, "kept from an earlier run");
        Ok(())
    }

    /// Tells the observer how `item` ended.
    fn ended(&self, item: &ItemRef, status: ItemStatus, line: &str) {
        self.observer.event(&Event::Item { id: &item.id, status, line });
    }

    /// Notes that `item` failed, and removes what an earlier run has left of it.
    ///
    /// # Errors
    /// `error` itself, if every other item would meet it as well.
    fn failed(&self, item: &ItemRef, clock: Instant, error: Error) -> Result<()> {
        if error.kind.ends_the_run() {
            return Err(error);
        }
        let mut error = error;
        if self.deadline.has_passed() {
            let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(late) = late.as_mut() {
                late.push(item.clone());
                return Ok(());
            }
            error = self.deadline.error();
        }
        let place = self.place(item);
        // A folder of an earlier recipe must not pass for this run's result; a file of somebody
        // else in it is not ours to remove, nor is one that no record says to be ours.
        let goes = has_record(&place) && foreign_file(&place).is_none();
        if goes {
            let text = "what an earlier run had made of it is removed: nothing tells whether it \
                        still holds.";
            self.observer.event(&Event::ItemWarning { id: &item.id, text });
        }
        self.options.stop.write(|record| {
            if goes {
                let _ = std::fs::remove_dir_all(&place);
            }
            record.item(Ended {
                id: &item.id,
                status: ItemStatus::Failed,
                time: clock.elapsed(),
                computed: Vec::new(),
                made: None,
                error: Some(&error),
            })
        })?;
        let line = match &error.help {
            Some(help) => format!("{error} ({help})"),
            None => error.to_string(),
        };
        self.ended(item, ItemStatus::Failed, &line);
        Ok(())
    }
}

impl OpenItem {
    /// Refuses an item for which no explainer has a map. Where one of several is silent, that is a
    /// finding: a method without evidence for a match has no e+ of two strangers.
    fn require_a_map(&self) -> Result<()> {
        if self.explanations.iter().any(|(_, e)| !e.maps.is_empty()) {
            return Ok(());
        }
        let Some((name, silent)) = self.explanations.first() else { return Ok(()) };
        let why = silent.warnings.join(" ");
        Err(Error::new("fame::map::none", format!("no map came out. {why}"))
            .at(format!("explainer `{name}`")))
    }
}
