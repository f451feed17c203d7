//! The record of a run, `run.json`: what was asked, with what, and what came out.
//!
//! ```text
//! fame_version, recipe, plan    what was asked: the recipe's text, its overrides, all resolved
//! item_timeout_seconds          the time that an item had, where there was a limit
//! assumed                       what nobody said and was assumed, such as the input of a network without a manifest
//! selection                     which items were asked for, where not all of them were; `beside`: how many
//!                               others are in the record, because an earlier run has finished
//!                               them; `beside_failed`: how many, because they failed there
//! machine, model, data          with what: system, the model file's hash, the dataset's remarks
//! status                        running, complete, incomplete, failed or stopped
//! error                         why a failed run ended, or who stopped it
//! timings_seconds               by stage, and in all
//! peak_memory_bytes             the most that this process has held, where the system says
//! to_do, counts                 the number of items, and how many of them are done, kept and failed
//! index, metrics, tables        size and SHA-256 of `items.jsonl`, and of `metrics.csv` and of the list of
//!                               the tables where there are any
//! gathered                      by file what writers brought together: size, SHA-256 and writer
//! warnings                      what proves nothing, and what was left out of tables and of what
//!                               writers bring together
//! shard                         which share of the items it was, and the recipe's path, if it was one
//! ```
//!
//! How each item ended stands in `items.jsonl` (see [`index`]), so that this file stays short
//! however many there are. It is written at the beginning, when the model is loaded and at the end,
//! each time whole or not at all: a run that was killed leaves the status `running`, and no lock.
//! On a full disk the status of the record that is there is changed in its place.

mod gathered;
mod index;
mod item;
mod machine;
mod metrics;
mod read;
mod replaced;
mod summary;
mod tables;
mod verify;

use std::{
    collections::BTreeMap,
    io::{Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

pub(super) use gathered::is_foreign;
pub use gathered::made_again;
pub(super) use index::{FILE as INDEX, counts, is_there as index_is_there};
pub use index::{ItemLine, ItemLines, item_lines};
pub(super) use item::{
    LAYOUT, files_of, foreign_file, has_record, item_json, kept, line, parameter_of,
    parameter_value, stranger,
};
pub(super) use metrics::{FILE as METRICS_FILE, is_foreign as metrics_are_foreign, left_out};
pub use read::{ItemRecord, MeasuredRow};
pub(super) use replaced::Replaced;
pub use summary::{ItemStatus, RunStatus, Summary};
pub(super) use tables::foreign_table;
pub use verify::{Difference, Verified, verify};

use super::{RunOptions, Stopped};
use crate::{
    Error, Model, Plan, Result,
    contract::ItemRef,
    data::{Facts, Value, facts},
    data::{read_ordinary, sha256_file, sha256_hex, write_json},
};
use index::Index;
use item::read_item;
use machine::{machine, peak_memory};

/// The name of the record.
pub(super) const FILE: &str = "run.json";
/// The field of the model that was explained.
const MODEL: &str = "model";

/// The field with the digest of `metrics.csv`.
const METRICS: &str = "metrics";

/// The field of the items that were asked for, where not all of them were.
const SELECTION: &str = "selection";

/// The record of the run in `out`.
///
/// # Errors
/// When there is none; `fame::run::damaged` when it cannot be read as one.
pub(super) fn read_record(out: &Path) -> Result<Value> {
    let bytes = read_ordinary(&out.join(FILE))?;
    let record: Value = serde_json::from_slice(&bytes).map_err(|e| damaged(out, &e.to_string()))?;
    match record.get("fame_version") {
        Some(_) => Ok(record),
        None => Err(damaged(out, "it does not say which version wrote it")),
    }
}

/// The text of the recipe whose run `out` holds; `None` where it holds none that can be read.
pub fn recipe_of(out: &Path) -> Option<String> {
    let record = read_record(out).ok()?;
    Some(record.get("recipe")?.get("text")?.as_str()?.to_owned())
}

/// The error of a folder of ours whose record is no record.
pub(super) fn damaged(out: &Path, why: &str) -> Error {
    let path = out.join(FILE);
    let message = format!("the record of a run, `{}`, is damaged: {why}.", path.display());
    Error::new("fame::run::damaged", message).with_help(
        "The finished items in `items` are whole. Move run.json away and run the recipe again: it keeps them and writes a new record.",
    )
}

/// An item that has ended.
#[derive(Debug)]
pub(super) struct Ended<'a> {
    pub(super) id: &'a str,
    pub(super) status: ItemStatus,
    pub(super) time: Duration,
    /// Names of the explanations and measurements that were made now and not restored.
    pub(super) computed: Vec<String>,
    /// The key of its files and the hash of its `item.json`, where it has them.
    pub(super) made: Option<Made>,
    pub(super) error: Option<&'a Error>,
}

/// What identifies a finished item's files.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) key: String,
    /// SHA-256 of its `item.json`.
    pub(super) sha256: String,
}

/// The record of a run while it grows.
#[derive(Debug)]
pub(super) struct RunRecord {
    out: PathBuf,
    head: Facts,
    clocks: Facts,
    /// How the items ended; there as soon as the run has begun.
    index: Option<Index>,
    /// Lines of shards, by item: what they did is theirs in the record of the merged run.
    of_shards: BTreeMap<String, ItemLine>,
    /// What earlier runs have noted of their items: key and hash of each `item.json`.
    earlier: BTreeMap<String, Made>,
    /// The lines of items that failed in an earlier run of the same question, where this one may
    /// leave items out: what is not tried again stays failed.
    failed_earlier: BTreeMap<String, ItemLine>,
    /// The name of the recipe's check among the facts of an explanation.
    check: Option<String>,
    /// Findings of checks that failed, by item and explainer: the items themselves are not written.
    differing: BTreeMap<String, Facts>,
    /// Every item's place in the data: items end in another order than they begin in.
    order: BTreeMap<String, usize>,
    began: Instant,
    is_begun: bool,
    is_over: bool,
    /// What of the plan proves nothing, and what was left out of tables and of what writers bring
    /// together, and why.
    warnings: Vec<String>,
    /// Whether it is a share of a run: what needs all items is left to whoever merges.
    is_shard: bool,
    /// The items that this process has done, and those that it has kept.
    done: usize,
    kept: usize,
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
        if let Some(limit) = options.item_timeout {
            head.insert("item_timeout_seconds".into(), limit.as_secs_f64().into());
        }
        if !options.assumed.is_empty() {
            head.insert("assumed".into(), options.assumed.clone().into());
        }
        if options.limit.is_some() || !options.only.is_empty() {
            let selection = facts([
                ("limit", options.limit.map_or(Value::Null, Value::from)),
                ("only", options.only.clone().into()),
            ]);
            head.insert(SELECTION.into(), Value::Map(selection));
        }
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
            index: None,
            of_shards: BTreeMap::new(),
            earlier: BTreeMap::new(),
            failed_earlier: BTreeMap::new(),
            check: super::check::name(plan),
            differing: BTreeMap::new(),
            order: BTreeMap::new(),
            began: Instant::now(),
            warnings: plan.doubts(),
            is_begun: false,
            is_over: false,
            is_shard: options.shard.is_some(),
            done: 0,
            kept: 0,
        }
    }

    /// Reads what an earlier run has finished in the output folder and what failed there, and
    /// writes nothing; to be called before [`begin`](Self::begin), which begins the index anew.
    pub(super) fn read_earlier(&mut self) -> Result<()> {
        // A failed item has no key: of another question it says nothing about this one.
        let keeps_failed = self.head.contains_key(SELECTION) && self.replaces().is_none();
        // What shards have noted is newer.
        for line in item_lines(&self.out)?.chain(self.of_shards.values().cloned()) {
            self.failed_earlier.remove(&line.id);
            if let (Some(key), Some(sha256)) = (&line.key, &line.sha256) {
                let made = Made { key: key.clone(), sha256: sha256.clone() };
                self.earlier.insert(line.id, made);
            } else if line.status == ItemStatus::Failed && keeps_failed {
                self.failed_earlier.insert(line.id.clone(), line);
            }
        }
        Ok(())
    }

    /// Whether the item `id` failed in an earlier run of the same question.
    pub(super) fn has_failed(&self, id: &str) -> bool {
        self.failed_earlier.contains_key(id)
    }

    /// Writes the record for the first time: a run that is killed leaves the status `running`.
    ///
    /// # Errors
    /// When `run.json` or the index cannot be written.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.is_begun = true;
        // It stays there until this run's writers have made theirs.
        let gathered = gathered::earlier(&self.out);
        if !gathered.is_empty() {
            self.head.insert(gathered::FIELD.into(), Value::Map(gathered));
        }
        // Nor is it known before the end whether the table of measurements is made again.
        if let Some(metrics) = read_record(&self.out).ok().as_ref().and_then(|r| r.get(METRICS)) {
            self.head.insert(METRICS.into(), metrics.clone());
        }
        self.save("running", None)?;
        self.index = Some(Index::begin(&self.out)?);
        Ok(())
    }

    /// Takes what shards have noted of their items: what of it is kept now, they have done.
    pub(super) fn of_shards(&mut self, lines: BTreeMap<String, ItemLine>) {
        self.of_shards = lines;
    }

    /// Whether the `item.json` of the item `id` is, as far as anything is known of it, the one that
    /// was written: it may have been changed since.
    pub(super) fn is_as_written(&self, id: &str, made: &Made) -> bool {
        let written = self.earlier.get(id).filter(|written| written.key == made.key);
        written.is_none_or(|written| written.sha256 == made.sha256)
    }

    /// What lies in the output folder of another question than this run's: it is going to be
    /// replaced, which must be said.
    pub(super) fn replaces(&self) -> Option<Replaced> {
        Replaced::of(&read_record(&self.out).ok()?, &self.head)
    }

    /// How many of `items` an earlier run has finished; to be asked when they are read.
    pub(super) fn finished_before(&self, items: &[ItemRef]) -> usize {
        items.iter().filter(|item| self.earlier.contains_key(&item.id)).count()
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
        self.head.insert(MODEL.into(), Value::Map(about));
        if self.is_begun { self.save("running", None) } else { Ok(()) }
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

    /// Notes the items that were not asked for now and are finished, or `failed` in an earlier run,
    /// among the `whole` of the items that the record is of.
    ///
    /// # Errors
    /// When `run.json` or the index cannot be written.
    pub(super) fn beside(
        &mut self,
        whole: &[ItemRef],
        kept: Vec<(String, Made)>,
        failed: &[String],
    ) -> Result<()> {
        self.order(whole);
        if let Some(Value::Map(selection)) = self.head.get_mut(SELECTION) {
            selection.insert("beside".into(), kept.len().into());
            if !failed.is_empty() {
                selection.insert("beside_failed".into(), failed.len().into());
            }
        }
        for id in failed {
            let Some(earlier) = self.failed_earlier.remove(id) else { continue };
            // Nothing of it was computed now, and no time was spent on it.
            self.note(&ItemLine { seconds: None, computed: Vec::new(), ..earlier })?;
        }
        for (id, made) in kept {
            self.item(Ended {
                id: &id,
                status: ItemStatus::Kept,
                time: Duration::ZERO,
                computed: Vec::new(),
                made: Some(made),
                error: None,
            })?;
        }
        self.save("running", None)
    }

    /// Notes how an item ended.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub(super) fn item(&mut self, ended: Ended<'_>) -> Result<()> {
        let Ended { id, status, time, computed, made, error } = ended;
        let made = made.map(|made| (made.key, made.sha256));
        let (key, sha256) = made.unzip();
        let mut line = ItemLine {
            id: id.to_owned(),
            status,
            seconds: (status != ItemStatus::Kept).then_some(time.as_secs_f64()),
            computed,
            key,
            sha256,
            error: error.map(error_value),
            explanations: None,
        };
        if let Some(of_shard) = self.of_shards.remove(id)
            && status == ItemStatus::Kept
            && of_shard.key == line.key
        {
            let ItemLine { status, seconds, computed, .. } = of_shard;
            line = ItemLine { status, seconds, computed, ..line };
        }
        if status == ItemStatus::Failed
            && let Some((check, found)) = self.check.as_ref().zip(self.differing.remove(id))
        {
            let of_check = |(name, finding)| (name, Value::Map([(check.clone(), finding)].into()));
            line.explanations = Some(Value::Map(found.into_iter().map(of_check).collect()));
        }
        self.note(&line)?;
        match status {
            ItemStatus::Done => self.done += 1,
            ItemStatus::Kept => self.kept += 1,
            ItemStatus::Failed => {}
        }
        Ok(())
    }

    /// Puts the line of an item at its place in the index.
    fn note(&mut self, line: &ItemLine) -> Result<()> {
        let n = self.order.get(&line.id).copied().unwrap_or(self.order.len());
        let index = self.index.as_mut();
        index.ok_or_else(|| Error::bug("an item ended before the run began."))?.add(n, line)
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
        self.settle()?;
        let failed = self.counted(ItemStatus::Failed);
        let status = if failed == 0 { RunStatus::Complete } else { RunStatus::Incomplete };
        let mut tables = Vec::new();
        if !self.is_shard {
            let there = item_lines(&self.out)?.filter(|line| line.status != ItemStatus::Failed);
            let warnings;
            (tables, warnings) = metrics::write(&self.out, there.map(|line| line.id), plan)?;
            self.warnings.extend(warnings);
            if plan.metrics.is_empty() {
                self.remove_metrics()?;
            } else {
                let digest = digest(&self.out.join(metrics::FILE))?;
                self.head.insert(METRICS.into(), digest);
            }
            let list = self.out.join(tables::FOLDER).join(tables::LIST);
            if list.is_file() {
                self.head.insert("tables".into(), digest(&list)?);
            }
        }
        // For good: what writers bring together now says what a later reader of the record finds.
        self.clocks.insert("total".into(), self.began.elapsed().as_secs_f64().into());
        self.head.insert("peak_memory_bytes".into(), peak_memory().into());
        self.save(if failed == 0 { "complete" } else { "incomplete" }, None)?;
        self.is_over = true;
        Ok(Summary {
            status,
            done: self.done,
            kept: self.kept,
            failed,
            seconds: self.began.elapsed().as_secs_f64(),
            out: self.out.clone(),
            tables,
        })
    }

    /// Removes the table of measurements of an earlier recipe, which would be taken for this one's.
    /// What somebody has changed stays, with a warning.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn remove_metrics(&mut self) -> Result<()> {
        let Some(written) = self.head.remove(METRICS) else { return Ok(()) };
        let place = self.out.join(metrics::FILE);
        match digest(&place) {
            Ok(now) if now == written => {
                std::fs::remove_file(&place).map_err(|e| Error::io("remove", &place, &e))?;
            }
            Ok(_) => self.warn(gathered::changed_since(&place)),
            // It is gone already.
            Err(_) => {}
        }
        Ok(())
    }

    /// What of the plan proves nothing, and what was left out of the tables so far, and of what
    /// writers brought together.
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Notes something that is left out, once.
    pub(super) fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Notes the file or folder `name`, which `writer` has brought together in the output folder.
    /// Returns the file that the record names.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn gathered(&mut self, writer: &str, name: &str) -> Result<String> {
        let (file, entry) = gathered::entry(&self.out, writer, name)?;
        let mut all = self.all_gathered();
        all.insert(file.clone(), entry);
        self.head.insert(gathered::FIELD.into(), Value::Map(all));
        Ok(file)
    }

    /// Removes what writers of earlier runs brought together and no writer has made now: all but
    /// what `is_kept` says of its file and its writer. What somebody has changed stays, with a
    /// warning.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub(super) fn remove_stale(&mut self, is_kept: impl Fn(&str, &str) -> bool) -> Result<()> {
        let mut all = self.all_gathered();
        for (file, entry) in self.all_gathered() {
            if is_kept(&file, gathered::writer(&entry)) {
                continue;
            }
            if let Some(warning) = gathered::remove(&self.out, &file, &entry)? {
                self.warn(warning);
            }
            all.remove(&file);
            self.head.insert(gathered::FIELD.into(), Value::Map(all.clone()));
        }
        if all.is_empty() {
            self.head.remove(gathered::FIELD);
        }
        Ok(())
    }

    /// What writers have brought together in the output folder, as far as it is known.
    pub(super) fn all_gathered(&self) -> Facts {
        match self.head.get(gathered::FIELD) {
            Some(Value::Map(all)) => all.clone(),
            _ => Facts::new(),
        }
    }

    /// Writes the record of a run that went through once more, with what was brought together.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn save_gathered(&self) -> Result<()> {
        let is_complete = self.counted(ItemStatus::Failed) == 0;
        self.save(if is_complete { "complete" } else { "incomplete" }, None)
    }

    /// Writes the record of a run that `error` ended, unless an earlier run's is there and this one
    /// has not begun: a mistyped `--only` must not cost a complete run its record. Returns the
    /// error, which also says when no record could be written.
    pub(super) fn fail(&mut self, error: Error) -> Error {
        self.is_over = true;
        if !self.is_begun && self.out.join(FILE).exists() {
            return error;
        }
        // Lines that stay in the order they came are whole all the same.
        let _ = self.settle();
        let Err(unwritten) = self.save("failed", Some(&error)) else { return error };
        change_status(&self.out.join(FILE), "failed");
        Error { message: format!("{error} (Nor could the record: {unwritten})"), ..error }
    }

    /// Writes the record of a run that was stopped for `reason`, and says in what state it is.
    pub(super) fn stop(&mut self, reason: &str) -> Stopped {
        self.is_over = true;
        let _ = self.settle();
        let error = Error::new("fame::run::stopped", format!("the run was stopped {reason}."));
        if self.is_begun && self.save("stopped", Some(&error)).is_err() {
            change_status(&self.out.join(FILE), "stopped");
        }
        Stopped {
            finished: self.counted(ItemStatus::Done) + self.counted(ItemStatus::Kept),
            failed: self.counted(ItemStatus::Failed),
            items: self.order.len(),
            out: self.out.clone(),
        }
    }

    /// Brings the index into the order of the data.
    fn settle(&mut self) -> Result<()> {
        self.index.as_mut().map_or(Ok(()), Index::finish)
    }

    /// The items that ended so, by the index.
    fn counted(&self, status: ItemStatus) -> usize {
        self.index.as_ref().map_or(0, |index| index.counted(status))
    }

    /// Writes `run.json` as it is by now.
    fn save(&self, status: &str, error: Option<&Error>) -> Result<()> {
        let mut all = self.head.clone();
        all.insert("status".into(), status.into());
        if let Some(e) = error {
            all.insert("error".into(), error_value(e));
        }
        if !self.warnings.is_empty() {
            all.insert("warnings".into(), self.warnings.clone().into());
        }
        let mut timings = self.clocks.clone();
        timings.entry("total".into()).or_insert_with(|| self.began.elapsed().as_secs_f64().into());
        all.insert("timings_seconds".into(), Value::Map(timings));
        all.entry("peak_memory_bytes".into()).or_insert_with(|| peak_memory().into());
        if status != "running" {
            let count = |status: ItemStatus| (status.word(), self.counted(status).into());
            let counts = [ItemStatus::Done, ItemStatus::Kept, ItemStatus::Failed].map(count);
            all.insert("counts".into(), Value::Map(facts(counts)));
            if self.index.is_some() {
                all.insert("index".into(), digest(&self.out.join(INDEX))?);
            }
            if let Some(name) = &self.check {
                let found = item_lines(&self.out)?.filter_map(|line| self.explained(line));
                all.extend(super::check::tally(name, found).map(|tally| (name.clone(), tally)));
            }
        }
        write_json(&self.out.join(FILE), &Value::Map(all))
    }

    /// What was explained of an item: as its record says, or, where a check failed it, its line.
    fn explained(&self, line: ItemLine) -> Option<Value> {
        if line.status == ItemStatus::Failed {
            return line.explanations;
        }
        match read_item(&self.out.join("items").join(&line.id)) {
            Some(Value::Map(mut item)) => item.remove("explanations"),
            _ => None,
        }
    }
}

/// Writes `status`, a word of at most seven letters, over `running` in the record at `path`: where
/// a full disk takes no new record, the old one must not go on saying that the run does.
fn change_status(path: &Path, status: &str) {
    let running = b"\"status\": \"running\"";
    let Ok(text) = read_ordinary(path) else { return };
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
