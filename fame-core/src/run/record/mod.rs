//! The record of a run, `run.json`: what was asked, with what, and what came out.
//!
//! ```text
//! fame_version, recipe, plan    what was asked: the recipe's text, its overrides, all resolved
//! machine, model, data          with what: system, the model file's hash, the dataset's remarks
//! status                        running, complete, incomplete, failed or stopped
//! error                         why a failed run ended, or who stopped it
//! timings_seconds               by stage, and in all
//! peak_memory_bytes             the most that this process has held, where the system says
//! items                         each item's record without its measurements, status and seconds
//! metrics                       size and SHA-256 of `metrics.csv`, where there is one
//! shard                         which share of the items it was, and the recipe's path, if it was one
//! ```
//!
//! It is written at the beginning, when the model is loaded and at the end, each time whole or not
//! at all: a run that was killed leaves the status `running`, and no lock. On a full disk the status
//! of the record that is there is changed in its place.

mod item;
mod machine;
mod metrics;
mod summary;
mod tables;
mod verify;

use std::{
    collections::BTreeMap,
    io::{Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

pub(super) use item::{
    LAYOUT, foreign_file, is_done, item_json, line, parameter_of, parameter_value,
};
pub use summary::{ItemStatus, RunStatus, Summary};
pub(super) use tables::foreign_table;
pub use verify::{Difference, Verified, verify};

use super::{RunOptions, Stopped};
use crate::{
    Error, Model, Plan, Result,
    contract::ItemRef,
    data::{Facts, Value, facts},
    data::{sha256_file, sha256_hex, write_json},
};
use item::read_item;
use machine::{machine, peak_memory};

/// The name of the record.
pub(super) const FILE: &str = "run.json";

/// The line of an item in the record.
#[derive(Debug)]
struct ItemLine {
    id: String,
    status: ItemStatus,
    seconds: f64,
    computed: Vec<String>,
    error: Option<Error>,
}

/// The record of a run while it grows.
#[derive(Debug)]
pub(super) struct RunRecord {
    out: PathBuf,
    head: Facts,
    clocks: Facts,
    items: Vec<ItemLine>,
    /// The name of the recipe's check among the facts of an explanation.
    check: Option<String>,
    /// Findings of checks that failed, by item and explainer: the items themselves are not written.
    differing: BTreeMap<String, Facts>,
    /// Every item's place in the data: items end in another order than they begin in.
    order: BTreeMap<String, usize>,
    began: Instant,
    is_begun: bool,
    is_over: bool,
    /// Whether it is a share of a run: what needs all items is left to whoever merges.
    is_shard: bool,
}

impl RunRecord {
    /// The record of `plan`; nothing is written yet.
    pub(super) fn new(plan: &Plan, options: &RunOptions) -> Self {
        let recipe = facts([
            ("file", plan.text.name().into()),
            ("text", plan.text.original().into()),
            ("sha256", sha256_hex(plan.text.original().as_bytes()).into()),
            ("overrides", plan.text.overrides().to_vec().into()),
        ]);
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let mut head = facts([
            ("fame_version", env!("CARGO_PKG_VERSION").into()),
            ("recipe", Value::Map(recipe)),
            ("plan", plan.record()),
            ("machine", machine()),
            ("started_unix_seconds", Value::Integer(started as i64)),
        ]);
        if let Some(shard) = options.shard {
            // Whoever merges the shards needs the recipe again, and may stand in another folder.
            let recipe = std::path::absolute(plan.text.name()).unwrap_or_default();
            let about = facts([
                ("index", shard.index().into()),
                ("count", shard.count().into()),
                ("recipe_path", recipe.to_string_lossy().into_owned().into()),
            ]);
            head.insert("shard".into(), Value::Map(about));
        }
        Self {
            out: options.folder(),
            head,
            clocks: Facts::new(),
            items: Vec::new(),
            check: super::check::name(plan),
            differing: BTreeMap::new(),
            order: BTreeMap::new(),
            began: Instant::now(),
            is_begun: false,
            is_over: false,
            is_shard: options.shard.is_some(),
        }
    }

    /// Writes the record for the first time: a run that is killed leaves the status `running`.
    ///
    /// # Errors
    /// When `run.json` cannot be written.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.is_begun = true;
        self.save("running", None)
    }

    /// Whether the last word was written.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Notes the model that was loaded, with the hashes of its file and of `data_files`, which hold
    /// weights beside it.
    pub(super) fn model(&mut self, model: &Model, data_files: Facts) -> Result<()> {
        let m = &model.manifest;
        let mut about = facts([
            ("name", m.name.as_str().into()),
            (
                "file",
                model.file.file_name().unwrap_or_default().to_string_lossy().into_owned().into(),
            ),
            ("sha256", model.sha256.as_str().into()),
            ("licence", m.licence.as_str().into()),
            ("input", Value::of(&m.input)),
            ("notes", [model.doubts(), model.network.notes().to_vec()].concat().into()),
            (
                "outputs",
                model
                    .outputs()
                    .map(|(name, form)| format!("{name}: {form}"))
                    .collect::<Vec<_>>()
                    .into(),
            ),
        ]);
        if !data_files.is_empty() {
            about.insert("data_files".into(), Value::Map(data_files));
        }
        self.head.insert("model".into(), Value::Map(about));
        self.save("running", None)
    }

    /// Notes the number of items and the dataset's remarks on its list as a whole.
    pub(super) fn data(&mut self, items: usize, notes: &[String]) {
        let about = facts([("items", items.into()), ("notes", notes.to_vec().into())]);
        self.head.insert("data".into(), Value::Map(about));
    }

    /// Notes the seconds of each stage so far.
    pub(super) fn clocks(&mut self, clocks: Facts) {
        self.clocks = clocks;
    }

    /// Notes the items of this run in the order of the data, which is that of the record.
    pub(super) fn order(&mut self, items: &[ItemRef]) {
        self.head.insert("to_do".into(), items.len().into());
        self.order = items.iter().enumerate().map(|(n, i)| (i.id.clone(), n)).collect();
    }

    /// Notes how an item ended; `computed` names the explanations and measurements that were made
    /// now and not restored.
    pub(super) fn item(
        &mut self,
        id: &str,
        status: ItemStatus,
        time: Duration,
        computed: Vec<String>,
        error: Option<&Error>,
    ) {
        self.items.push(ItemLine {
            id: id.to_owned(),
            status,
            seconds: time.as_secs_f64(),
            computed,
            error: error.cloned(),
        });
    }

    /// Notes the findings of a forward check that failed: its explanation is not written.
    pub(super) fn check_failed(&mut self, id: &str, explainer: &str, found: Facts) {
        self.differing
            .entry(id.to_owned())
            .or_default()
            .insert(explainer.to_owned(), Value::Map(found));
    }

    /// Writes the record of a run that went through, and all tables.
    ///
    /// # Errors
    /// When a file cannot be written, or a plot cannot be drawn.
    pub(super) fn finish(&mut self, plan: &Plan) -> Result<Summary> {
        self.sort();
        let count = |s| self.items.iter().filter(|i| i.status == s).count();
        let (done, kept, failed) =
            (count(ItemStatus::Done), count(ItemStatus::Kept), count(ItemStatus::Failed));
        let status = if failed == 0 { RunStatus::Complete } else { RunStatus::Incomplete };
        let there = self.items.iter().filter(|i| i.status != ItemStatus::Failed);
        let ids: Vec<&str> = there.map(|i| i.id.as_str()).collect();
        let mut tables = Vec::new();
        if !self.is_shard {
            tables = metrics::write(&self.out, &ids, plan)?;
            if !plan.metrics.is_empty() {
                let digest = digest(&self.out.join(metrics::FILE))?;
                self.head.insert("metrics".into(), digest);
            }
        }
        self.save(if failed == 0 { "complete" } else { "incomplete" }, None)?;
        self.is_over = true;
        Ok(Summary {
            status,
            done,
            kept,
            failed,
            seconds: self.began.elapsed().as_secs_f64(),
            out: self.out.clone(),
            tables,
        })
    }

    /// Writes the record of a run that `error` ended, unless an earlier run's is there and this one
    /// has not begun: a mistyped `--only` must not cost a complete run its record. Returns the
    /// error, which also says when no record could be written.
    pub(super) fn fail(&mut self, error: Error) -> Error {
        self.is_over = true;
        if !self.is_begun && self.out.join(FILE).exists() {
            return error;
        }
        self.sort();
        let Err(unwritten) = self.save("failed", Some(&error)) else { return error };
        change_status(&self.out.join(FILE), "failed");
        Error { message: format!("{error} (Nor could the record: {unwritten})"), ..error }
    }

    /// Writes the record of a run that was stopped for `reason`, and says in what state it is.
    pub(super) fn stop(&mut self, reason: &str) -> Stopped {
        self.is_over = true;
        self.sort();
        let error = Error::new("fame::run::stopped", format!("the run was stopped {reason}."));
        if self.is_begun && self.save("stopped", Some(&error)).is_err() {
            change_status(&self.out.join(FILE), "stopped");
        }
        let failed = self.items.iter().filter(|i| i.status == ItemStatus::Failed).count();
        Stopped {
            finished: self.items.len() - failed,
            failed,
            items: self.order.len(),
            out: self.out.clone(),
        }
    }

    /// Brings the items into the order of the data.
    fn sort(&mut self) {
        let Self { items, order, .. } = self;
        items.sort_by_key(|i| order.get(&i.id).copied());
    }

    /// Writes `run.json` as it is by now.
    fn save(&self, status: &str, error: Option<&Error>) -> Result<()> {
        let mut all = self.head.clone();
        all.insert("status".into(), status.into());
        if let Some(e) = error {
            all.insert("error".into(), error_value(e));
        }
        let mut timings = self.clocks.clone();
        timings.insert("total".into(), self.began.elapsed().as_secs_f64().into());
        all.insert("timings_seconds".into(), Value::Map(timings));
        all.insert("peak_memory_bytes".into(), peak_memory().into());
        if status != "running" {
            let items: Vec<Value> = self.items.iter().map(|i| self.item_value(i)).collect();
            if let Some(name) = &self.check {
                all.extend(super::check::tally(name, &items).map(|tally| (name.clone(), tally)));
            }
            all.insert("items".into(), Value::List(items));
        }
        write_json(&self.out.join(FILE), &Value::Map(all))
    }

    /// An item's entry: its `item.json` without the measurements, how it ended, and its time.
    fn item_value(&self, line: &ItemLine) -> Value {
        let mut about = match read_item(&self.out.join("items").join(&line.id)) {
            Some(Value::Map(m)) if line.status != ItemStatus::Failed => m,
            _ => facts([("id", line.id.as_str().into())]),
        };
        about.remove("measurements");
        about.insert("status".into(), line.status.word().into());
        about.insert(
            "seconds".into(),
            if line.status == ItemStatus::Kept { Value::Null } else { line.seconds.into() },
        );
        about.insert("computed".into(), line.computed.clone().into());
        if let Some(e) = &line.error {
            about.insert("error".into(), error_value(e));
        }
        if let (Some(check), Some(found)) = (&self.check, self.differing.get(&line.id))
            && line.status == ItemStatus::Failed
        {
            let explained = found.iter().map(|(name, finding)| {
                (name.clone(), Value::Map([(check.clone(), finding.clone())].into()))
            });
            about.insert("explanations".into(), Value::Map(explained.collect()));
        }
        Value::Map(about)
    }
}

/// Writes `status`, a word of at most seven letters, over `running` in the record at `path`: where a
/// full disk takes no new record, the old one must not go on saying that the run does.
fn change_status(path: &Path, status: &str) {
    let running = b"\"status\": \"running\"";
    let Ok(text) = std::fs::read(path) else { return };
    let is_status = |window: &[u8]| window == running;
    let Some(at) = text.windows(running.len()).rposition(is_status) else { return };
    let word = format!("\"status\": {:<9}", format!("\"{status}\""));
    // What cannot be helped here was told in the error that led here.
    let _ = std::fs::File::options().write(true).open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(at as u64))?;
        file.write_all(word.as_bytes())
    });
}

/// Size and SHA-256 of the file at `path`.
pub(super) fn digest(path: &Path) -> Result<Value> {
    let bytes = std::fs::metadata(path).map_err(|e| Error::io("read", path, &e))?.len();
    let digest =
        facts([("bytes", Value::Integer(bytes as i64)), ("sha256", sha256_file(path)?.into())]);
    Ok(Value::Map(digest))
}

/// An error as the record has it.
fn error_value(e: &Error) -> Value {
    Value::Map(facts([
        ("code", e.code.as_str().into()),
        ("message", e.message.as_str().into()),
        ("help", e.help.clone().into()),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_still_takes_another_word_for_the_status() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let about = facts([
            ("recipe", "\"status\": \"running\"".into()),
            ("status", "running".into()),
            ("timings", 3usize.into()),
        ]);
        for status in ["failed", "stopped"] {
            write_json(&path, &Value::Map(about.clone())).unwrap();
            change_status(&path, status);
            let now: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let mut wanted = about.clone();
            wanted.insert("status".into(), status.into());
            assert_eq!(now, Value::Map(wanted));
        }
    }
}
