//! Running a plan: load, prepare, explain, measure, write, record.
//!
//! ```text
//! out/run.json      what was asked and with what, timings, peak memory; status also when it failed
//! out/items.jsonl   one line per item: how it ended, its time, the hash of its record
//! out/run.lock      held while a run writes there
//! out/items/<id>/   maps, pictures, item.json: written under a temporary name and renamed, whole or not at all
//! out/parts/<id>/   each explanation with its measurements, for the next run with another recipe; may be deleted
//! out/metrics.csv   one row per item, explainer, map and metric
//! out/tables/       what they come to, as CSV, Markdown and LaTeX, with curves as SVG; and SHA256SUMS of these
//! out/shards/<i-of-n>/  the same of one share of the items, until they are merged
//! ```
//!
//! An item's key is a hash of everything that determines its files. A run that finds an item with
//! the right key keeps it, so a run that was killed continues where it stopped. Each explanation of
//! an item and each measurement of it has a key of its own too, so a changed recipe explains and
//! measures again only what the change touches. `item.json` holds no clock times and no paths of
//! this machine, so the continued run's items are byte-identical to an unbroken one's; clocks are
//! in `run.json` and `items.jsonl`.

mod check;
mod deadline;
mod events;
mod folder;
mod item;
mod keys;
mod limit;
mod merge;
mod models;
mod options;
mod parts;
mod preview;
mod record;
mod rehearsal;
mod shard;
mod stop;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex},
    time::Instant,
};

pub use events::{Event, Observer};
pub use merge::{ShardState, merge, remove_shards, shards};
pub use models::ModelShelf;
pub use options::{RunOptions, recipe_folder};
pub use preview::{Preview, preview};
pub use record::{
    Difference, ItemLine, ItemLines, ItemRecord, ItemStatus, MeasuredRow, RunStatus, Summary,
    Verified, item_lines, made_again, recipe_of, verify,
};
pub use rehearsal::{Rehearsal, rehearse, rehearse_metrics};
pub use shard::Shard;
pub use stop::{StopHandle, Stopped};

use crate::{
    Error, ErrorKind, Model, Plan, Result, Sample,
    contract::{Files as _, ItemRef, Models as _},
    data::{Facts, Value},
    store::{FetchEvent, ModelStore},
};
use check::Checker;
use deadline::Deadline;
use folder::{OutputFolder, foreign_file};
use item::{Items, sample::Loader};
use keys::Keys;
use models::RunFiles;
use parts::Parts;
use record::{Replaced, RunRecord, is_foreign};

/// Reads the lists of the plan's dataset if that needs no network: the number of items, and what
/// the dataset notes about them. `None` when the dataset names pictures that would have to be
/// fetched.
///
/// # Errors
/// Every malformed row, with file and line.
pub fn check_data(plan: &Plan, store: &ModelStore) -> Result<Option<(usize, Vec<String>)>> {
    let data = plan.data.plugin.as_ref();
    if data.files().iter().any(|file| file.starts_with("picture:")) {
        return Ok(None);
    }
    let items = data.index(&RunFiles { folder: &plan.folder, store, on_fetch: &|_| () })?;
    let notes = data.contents(&items).into_iter().chain(data.notes(&items)).collect();
    Ok(Some((items.len(), notes)))
}

/// Makes the output folder `out` if it is not there, and marks it as one of ours: for whoever puts
/// something beside a run's files there before its shards begin, such as their logs.
///
/// # Errors
/// When it holds files and bears no mark of ours, or cannot be written.
pub fn claim(out: &Path) -> Result<()> {
    OutputFolder::mark(out)
}

/// Fetches all that a run of `plan` would fetch, so that machines without a network can run it from
/// a cache that they share with this one. Gives the ids of the items, in the order of the dataset.
///
/// # Errors
/// When a model or a picture cannot be had, or the dataset's list is malformed.
pub fn fetch(plan: &Plan, store: &ModelStore, observer: &dyn Observer) -> Result<Vec<String>> {
    let on_fetch = |event: &FetchEvent| observer.event(&Event::Fetch(event));
    let files = RunFiles { folder: &plan.folder, store, on_fetch: &on_fetch };
    let shelf = ModelShelf::new(store, plan.backend.plugin.as_ref(), &on_fetch);
    shelf.fetch(&plan.manifest)?;
    for name in plan.prepare.iter().flat_map(|step| step.plugin.models()) {
        shelf.fetch(&store.manifest(&name)?)?;
    }
    let data = plan.data.plugin.as_ref();
    for file in data.files() {
        files.locate(&file)?;
    }
    let items = data.index(&files)?;
    let of_items = items.iter().flat_map(|item| &item.files);
    of_items.filter(|f| f.starts_with("picture:")).try_for_each(|f| files.locate(f).map(|_| ()))?;
    Ok(items.into_iter().map(|item| item.id).collect())
}

/// Runs `plan`.
///
/// # Errors
/// What keeps the whole run from finishing: a model that cannot be fetched or loaded, a folder that
/// cannot be written. The run's record is written then too, with status `failed`, unless an earlier
/// run's record is there and nothing was begun yet, as where items cannot be named, the model not be
/// loaded, or the recipe asks for what is not there: that run is untouched. An item that fails does
/// not end the run: see [`Summary::failed`]. [`ErrorKind::Stopped`] where
/// [`RunOptions::stop`] was used.
///
/// [`ErrorKind::Stopped`]: crate::ErrorKind::Stopped
pub fn run(
    plan: &Plan,
    store: &ModelStore,
    options: &RunOptions,
    observer: &dyn Observer,
) -> Result<Summary> {
    if options.shard.is_some() {
        OutputFolder::mark(&options.out)?;
    }
    let folder = OutputFolder::take(&options.folder())?;
    let stop = &options.stop;
    let mut record = RunRecord::new(plan, options);
    if options.shard.is_none() {
        record.of_shards(merge::lines_of_shards(&options.out));
    }
    // Read now: the run puts its own record in that one's place.
    let replaced = record.replaces();
    let libraries = replaced_by_libraries(plan);
    let doubts = plan.doubts();
    libraries.iter().chain(&doubts).for_each(|line| observer.event(&Event::Warning(line)));
    stop.begin(record)?;
    let clocks = Facts::new();
    let runner = Runner { plan, store, options, observer, folder, replaced, clocks };
    // What goes wrong while the tables are made, or brought together with the record by a writer,
    // is a failed run as well.
    let result = runner.run().and_then(|(folder, items)| {
        stop.write(|record| {
            let summary = record.finish(plan)?;
            let mut warnings = record.warnings().to_vec();
            if options.shard.is_none() {
                warnings = item::gather(plan, folder.path(), &items, record)?;
            }
            Ok((summary, warnings))
        })
    });
    // Told only now: whoever listens may want to stop the run, which waits for the write.
    let result = result.map(|(summary, warnings)| {
        let new = warnings.iter().filter(|warning| !doubts.contains(warning));
        new.for_each(|warning| observer.event(&Event::Warning(warning)));
        summary
    });
    // Of a run that was stopped the record says so already.
    result.or_else(|e| stop.write(|record| Err(record.fail(e))))
}

/// A warning for each library of `plan` that a linked crate gave way to: a result may not be of the
/// plugins that this program was built with, and nobody notice.
fn replaced_by_libraries(plan: &Plan) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let warning = |library: &Value| {
        let Value::List(replaced) = library.get("replaces")? else { return None };
        let replaced: Vec<String> = replaced.iter().map(text).collect();
        let file = library.get("file").map(text).unwrap_or_default();
        Some(format!(
            "the library `{file}` takes the place of {}, which is linked into this program.",
            replaced.join(" and of ")
        ))
    };
    plan.plugins.iter().filter_map(warning).collect()
}

/// The longest name of a folder on the usual file systems, in bytes; an item's id becomes one.
const LONGEST_ID: usize = 255;

/// The items of a run.
struct Chosen {
    /// Those to explain.
    items: Vec<ItemRef>,
    /// All of the run's share in the data's order, where only some were asked for.
    all: Option<Vec<ItemRef>>,
}

/// A run from its first fetch to its last item.
struct Runner<'a> {
    plan: &'a Plan,
    store: &'a ModelStore,
    options: &'a RunOptions,
    observer: &'a dyn Observer,
    folder: OutputFolder,
    /// What lies there of another question.
    replaced: Option<Replaced>,
    clocks: Facts,
}

impl Runner<'_> {
    /// Goes through the stages: fetch, load, explain. Each of them is timed. Returns the output
    /// folder, which stays taken, and the items that the record covers: those that were asked for,
    /// and what an earlier run has finished, or failed at, beside them.
    fn run(mut self) -> Result<(OutputFolder, Vec<ItemRef>)> {
        let stop = &self.options.stop;
        self.observer.event(&Event::Stage("fetch"));
        let clock = Instant::now();
        let on_fetch = |event: &FetchEvent| self.observer.event(&Event::Fetch(event));
        let files = RunFiles { folder: &self.plan.folder, store: self.store, on_fetch: &on_fetch };
        let Chosen { items, all } = self.index(&files)?;
        // Before anything of the earlier run is written over: whoever listens may stop here.
        let there = stop.write(|record| {
            record.read_earlier()?;
            Ok(record.finished_before(&items))
        })?;
        if let Some(replaced) = &self.replaced {
            self.observer.event(&Event::Warning(&replaced.warning(&self.options.out, there)));
        }
        // An earlier run's record stays until the model is there and fits: a mistake in a recipe
        // costs that run nothing.
        let is_first = !self.folder.has_record();
        if is_first {
            stop.write(RunRecord::begin)?;
        }
        let replaces = self.plan.write.iter().flat_map(|writer| writer.plugin.replaces());
        if let Some(name) = replaces.into_iter().find(|name| is_foreign(self.folder.path(), name)) {
            return Err(foreign_file(&self.folder.path().join(name)));
        }
        let deadline = Deadline::of(self.options.item_timeout);
        let shelf = ModelShelf::new(self.store, self.plan.backend.plugin.as_ref(), &on_fetch)
            .with_operators(self.plan.operators.clone())
            .with_deadline(deadline.clone());
        let file = shelf.fetch(&self.plan.manifest)?;
        let auxiliary: Vec<String> =
            self.plan.prepare.iter().flat_map(|s| s.plugin.models()).collect();
        for name in &auxiliary {
            shelf.fetch(&self.store.manifest(name)?)?;
        }
        self.lap("fetch", clock)?;

        self.observer.event(&Event::Stage("load"));
        let clock = Instant::now();
        let model = shelf.load(self.plan.manifest.clone(), file)?;
        // Loaded now, not when the first face is aligned: their hashes are part of every item's
        // key.
        for name in &auxiliary {
            shelf.model(name)?;
        }
        for (name, explainer) in &self.plan.explain {
            explainer.plugin.check(&model).map_err(|e| {
                let e = e.at(format!("explainer `{name}`"));
                // It asks something of the network that the network does not have.
                if e.kind == ErrorKind::Failure { e.of_kind(ErrorKind::WrongRequest) } else { e }
            })?;
        }
        let check = Checker::load(self.plan, &model)?;
        let changed = stop.write(|record| {
            record.order(&items);
            record.model(&model, shelf.data_files(&model.manifest.name))?;
            Ok(record.replaces())
        })?;
        // The same recipe, of another manifest or network.
        if let (None, Some(changed)) = (&self.replaced, changed)
            && !is_first
        {
            self.observer.event(&Event::Warning(&changed.warning(&self.options.out, there)));
            self.replaced = Some(changed);
        }
        if there > 0 && self.replaced.is_some() {
            let loader = Loader { plan: self.plan, files: &files, shelf: &shelf, model: &model };
            self.rehearse(&items, &loader, &model)?;
        }
        if !is_first {
            stop.write(RunRecord::begin)?;
        }
        for doubt in model.doubts() {
            self.observer.event(&Event::Warning(&doubt));
        }
        self.lap("load", clock)?;

        self.observer.event(&Event::Items(items.len()));
        self.observer.event(&Event::Stage("explain"));
        let clock = Instant::now();
        let out = self.folder.path().to_owned();
        let work = Items {
            plan: self.plan,
            options: self.options,
            folder: out.clone(),
            observer: self.observer,
            files: &files,
            shelf: &shelf,
            model,
            check,
            keys: Keys::new(self.plan, &shelf)?,
            parts: Parts::new(&out, self.plan.parts)?,
            deadline,
            late: Mutex::default(),
        };
        let covered = all.map(|all| work.with_earlier(&items, all)).transpose()?;
        work.run(&items)?;
        self.lap("explain", clock)?;
        Ok((self.folder, covered.unwrap_or(items)))
    }

    /// The items to explain, and the dataset's notes about them for record and observer.
    fn index(&self, files: &RunFiles<'_>) -> Result<Chosen> {
        let data = self.plan.data.plugin.as_ref();
        for file in data.files() {
            files.locate(&file)?;
        }
        // Before any model is fetched: a broken list is the cheapest thing to find.
        let all = data.index(files)?;
        let (contents, mut notes) = (data.contents(&all), data.notes(&all));
        contents.iter().for_each(|contents| self.observer.event(&Event::Note(contents)));
        notes.iter().for_each(|note| self.observer.event(&Event::Warning(note)));
        notes.splice(0..0, contents);
        self.options.stop.write(|record| {
            record.data(all.len(), &notes);
            Ok(())
        })?;
        let is_choice = self.options.limit.is_some() || !self.options.only.is_empty();
        let beside =
            is_choice.then(|| all.iter().filter(|item| self.is_mine(item)).cloned().collect());
        Ok(Chosen { items: self.select(all)?, all: beside })
    }

    /// Lets explainers and metrics at the first and the last of `items`, before what an earlier
    /// recipe has left of them is replaced: what fails at both would fail everywhere.
    ///
    /// # Errors
    /// What fails so, as a [wrong request](ErrorKind::WrongRequest).
    fn rehearse(&self, items: &[ItemRef], loader: &Loader<'_>, model: &Arc<Model>) -> Result<()> {
        let ends = [items.first(), items.last()].into_iter().flatten();
        let samples: Vec<Sample> = ends.filter_map(|item| loader.sample(item).ok()).collect();
        match rehearsal::wrong_everywhere(self.plan, model, &samples) {
            Some(error) => Err(error.of_kind(ErrorKind::WrongRequest)),
            None => Ok(()),
        }
    }

    /// Whether `item` is of this run's share.
    fn is_mine(&self, item: &ItemRef) -> bool {
        self.options.shard.is_none_or(|shard| shard.has(&item.id))
    }

    /// Notes the time that a stage took, since `clock`.
    fn lap(&mut self, stage: &str, clock: Instant) -> Result<()> {
        self.clocks.insert(stage.to_owned(), clock.elapsed().as_secs_f64().into());
        self.options.stop.write(|record| {
            record.clocks(self.clocks.clone());
            Ok(())
        })
    }

    /// The items that the options ask for.
    ///
    /// # Errors
    /// `fame::run::unknown_item` for an id that the data does not have; `fame::run::no_items` when
    /// none is left; `fame::run::long_id`.
    fn select(&self, mut items: Vec<ItemRef>) -> Result<Vec<ItemRef>> {
        let only: BTreeSet<&str> = self.options.only.iter().map(String::as_str).collect();
        if !only.is_empty() {
            let mut unknown = only.clone();
            items.iter().for_each(|item| _ = unknown.remove(item.id.as_str()));
            if let Some(wanted) = unknown.first() {
                let ids: Vec<&str> = items.iter().take(20).map(|i| i.id.as_str()).collect();
                let mut e = Error::new(
                    "fame::run::unknown_item",
                    format!("the data has no item `{wanted}`."),
                )
                .of_kind(ErrorKind::WrongRequest);
                e.help = crate::text::suggestion(wanted, &ids, "item");
                return Err(e);
            }
            items.retain(|i| only.contains(i.id.as_str()));
        }
        if self.options.limit == Some(0) {
            return Err(Error::new("fame::run::no_items", "a limit of 0 leaves no items.")
                .of_kind(ErrorKind::WrongRequest)
                .with_help("Give a limit of at least 1, or none for all items."));
        }
        if let Some(limit) = self.options.limit {
            items = limit::first_of_each(items, limit, |i| self.plan.data.plugin.kind(i));
        }
        if let Some(long) = items.iter().find(|item| item.id.len() > LONGEST_ID) {
            let (start, bytes): (String, _) = (long.id.chars().take(40).collect(), long.id.len());
            let message = format!(
                "the id of the item `{start}…` has {bytes} bytes, and a folder's name has at most {LONGEST_ID}."
            );
            return Err(Error::new("fame::run::long_id", message)
                .with_help("Rename the file that it is named after, or its folder."));
        }
        // A share of few items may be empty; the data may not.
        let is_empty = items.is_empty();
        items.retain(|item| self.is_mine(item));
        if is_empty {
            return Err(Error::new("fame::run::no_items", "the data has no items to explain."));
        }
        Ok(items)
    }
}
