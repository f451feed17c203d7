//! Running a plan: load, prepare, explain, measure, write, record.
//!
//! ```text
//! out/run.json      what was asked and with what, items, timings, peak memory; status also when it failed
//! out/items/<id>/   maps, pictures, item.json: written under a temporary name and renamed, whole or not at all
//! out/parts/<id>/   each explanation with its measurements, for the next run with another recipe; may be deleted
//! out/metrics.csv   one row per item, explainer, map and metric
//! out/tables/       what they come to, as CSV, Markdown and LaTeX, with curves as SVG
//! ```
//!
//! An item's key is a hash of everything that determines its files. A run that finds an item with
//! the right key keeps it, so a run that was killed continues where it stopped. Each explanation of
//! an item and each measurement of it has a key of its own too, so a changed recipe explains and
//! measures again only what the change touches. `item.json` holds no clock times and no paths of
//! this machine, so the continued run's items are byte-identical to an unbroken one's; clocks are
//! in `run.json`.

mod check;
mod events;
mod folder;
mod item;
mod keys;
mod models;
mod options;
mod parts;
mod preview;
mod record;

use std::{sync::Arc, time::Instant};

pub use events::{Event, Observer};
pub use models::ModelShelf;
pub use options::{RunOptions, recipe_folder};
pub use preview::{Preview, preview};
pub use record::{ItemStatus, RunStatus, Summary};

use crate::{
    Error, Model, Plan, Result,
    contract::{Files as _, ItemRef, Models as _},
    data::{Facts, sweep_drafts},
    store::{FetchEvent, ModelStore},
};
use check::Checker;
use folder::OutputFolder;
use item::Items;
use keys::Keys;
use models::RunFiles;
use parts::Parts;
use record::RunRecord;

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
    let notes = data.notes(&items);
    Ok(Some((items.len(), notes)))
}

/// The model of `plan`, loaded and shown to its explainers; `None` where its file would have to be
/// fetched first.
///
/// # Errors
/// What [`run`] would say of the model before its first item.
pub fn check_model(plan: &Plan, store: &ModelStore) -> Result<Option<Arc<Model>>> {
    if !store.has(&plan.manifest) {
        return Ok(None);
    }
    plan.backend.plugin.check()?;
    let shelf = ModelShelf::new(store, plan.backend.plugin.as_ref(), &|_| ())
        .with_operators(plan.operators.clone());
    let file = shelf.fetch(&plan.manifest)?;
    let model = shelf.load(plan.manifest.clone(), file)?;
    for (name, explainer) in &plan.explain {
        explainer.plugin.check(&model).map_err(|e| e.at(format!("explainer `{name}`")))?;
    }
    Ok(Some(model))
}

/// Runs `plan`.
///
/// # Errors
/// What keeps the whole run from finishing: a model that cannot be fetched or loaded, a folder that
/// cannot be written. The run's record is written then too, with status `failed`, unless the items
/// themselves could not be named and an earlier run's record is there: that run is untouched. An
/// item that fails does not end the run: see [`Summary::failed`].
pub fn run(
    plan: &Plan,
    store: &ModelStore,
    options: &RunOptions,
    observer: &dyn Observer,
) -> Result<Summary> {
    let _folder = OutputFolder::take(&options.out)?;
    let mut record = RunRecord::new(plan, options);
    let result = Runner { plan, store, options, observer, clocks: Facts::new() }.run(&mut record);
    // What goes wrong while the tables are made, or brought together with the record by a writer,
    // is a failed run as well.
    let finished = result.and_then(|items| {
        let summary = record.finish(plan)?;
        item::gather(plan, &options.out, &items)?;
        Ok(summary)
    });
    finished.or_else(|e| {
        // A mistyped `--only` must not cost a complete run its record.
        if record.is_begun() || !options.out.join("run.json").exists() {
            record.fail(&e)?;
        }
        Err(e)
    })
}

/// The longest name of a folder on the usual file systems, in bytes; an item's id becomes one.
const LONGEST_ID: usize = 255;

/// A run from its first fetch to its last item.
struct Runner<'a> {
    plan: &'a Plan,
    store: &'a ModelStore,
    options: &'a RunOptions,
    observer: &'a dyn Observer,
    clocks: Facts,
}

impl Runner<'_> {
    /// Goes through the stages: fetch, load, explain. Each of them is timed. Returns the items that
    /// were asked for.
    fn run(mut self, record: &mut RunRecord) -> Result<Vec<ItemRef>> {
        self.observer.event(&Event::Stage("fetch"));
        let clock = Instant::now();
        let on_fetch = |event: &FetchEvent| self.observer.event(&Event::Fetch(event));
        let files = RunFiles { folder: &self.plan.folder, store: self.store, on_fetch: &on_fetch };
        let items = self.index(&files, record)?;
        record.begin()?;
        let shelf = ModelShelf::new(self.store, self.plan.backend.plugin.as_ref(), &on_fetch)
            .with_operators(self.plan.operators.clone());
        let file = shelf.fetch(&self.plan.manifest)?;
        let auxiliary: Vec<String> =
            self.plan.prepare.iter().flat_map(|s| s.plugin.models()).collect();
        for name in &auxiliary {
            shelf.fetch(&self.store.manifest(name)?)?;
        }
        self.lap(record, "fetch", clock);

        self.observer.event(&Event::Stage("load"));
        let clock = Instant::now();
        let model = shelf.load(self.plan.manifest.clone(), file)?;
        // Loaded now, not when the first face is aligned: their hashes are part of every item's
        // key.
        for name in &auxiliary {
            shelf.model(name)?;
        }
        for (name, explainer) in &self.plan.explain {
            explainer.plugin.check(&model).map_err(|e| e.at(format!("explainer `{name}`")))?;
        }
        let check = Checker::load(self.plan, &model)?;
        for doubt in model.doubts() {
            self.observer.event(&Event::Warning(&doubt));
        }
        self.lap(record, "load", clock);
        record.model(&model, shelf.data_files(&model.manifest.name))?;

        record.order(&items);
        self.observer.event(&Event::Items(items.len()));
        self.observer.event(&Event::Stage("explain"));
        let clock = Instant::now();
        sweep_drafts(&self.options.out);
        sweep_drafts(&self.options.out.join("items"));
        Items {
            plan: self.plan,
            options: self.options,
            observer: self.observer,
            files: &files,
            shelf: &shelf,
            model,
            check,
            keys: Keys::new(self.plan, &shelf)?,
            parts: Parts::new(&self.options.out, self.plan.parts)?,
        }
        .run(&items, record)?;
        self.lap(record, "explain", clock);
        Ok(items)
    }

    /// The items to explain, and the dataset's notes about them for record and observer.
    fn index(&self, files: &RunFiles<'_>, record: &mut RunRecord) -> Result<Vec<ItemRef>> {
        let data = self.plan.data.plugin.as_ref();
        for file in data.files() {
            files.locate(&file)?;
        }
        // Before any model is fetched: a broken list is the cheapest thing to find.
        let all = data.index(files)?;
        let notes = data.notes(&all);
        notes.iter().for_each(|note| self.observer.event(&Event::Warning(note)));
        record.data(all.len(), &notes);
        self.select(all)
    }

    /// Notes the time that a stage took, since `clock`.
    fn lap(&mut self, record: &mut RunRecord, stage: &str, clock: Instant) {
        self.clocks.insert(stage.to_owned(), clock.elapsed().as_secs_f64().into());
        record.clocks(self.clocks.clone());
    }

    /// The items that the options ask for.
    ///
    /// # Errors
    /// `fame::run::unknown_item` for an id that the data does not have; `fame::run::no_items` when
    /// none is left; `fame::run::long_id`.
    fn select(&self, mut items: Vec<ItemRef>) -> Result<Vec<ItemRef>> {
        let ids: Vec<&str> = items.iter().map(|i| i.id.as_str()).collect();
        for wanted in &self.options.only {
            if !ids.contains(&wanted.as_str()) {
                let mut e = Error::new(
                    "fame::run::unknown_item",
                    format!("the data has no item `{wanted}`."),
                );
                e.help = crate::text::suggestion(wanted, &ids[..ids.len().min(20)], "item");
                return Err(e);
            }
        }
        if !self.options.only.is_empty() {
            items.retain(|i| self.options.only.contains(&i.id));
        }
        items.truncate(self.options.limit.unwrap_or(usize::MAX));
        if let Some(long) = items.iter().find(|item| item.id.len() > LONGEST_ID) {
            let (start, bytes) = (&long.id[..40], long.id.len());
            let message = format!(
                "the id of the item `{start}…` has {bytes} bytes, and a folder's name has at most {LONGEST_ID}."
            );
            return Err(Error::new("fame::run::long_id", message)
                .with_help("Rename the file that it is named after, or its folder."));
        }
        if items.is_empty() {
            return Err(Error::new("fame::run::no_items", "the data has no items to explain."));
        }
        Ok(items)
    }
}
