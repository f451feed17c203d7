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
mod models;
mod parts;
mod record;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

pub use check::ForwardCheck;
pub use models::ModelShelf;
pub use record::{ItemStatus, RunStatus, Summary};

use crate::{
    Error, Explanation, Model, Plan, Result, Sample,
    contract::{
        ExplainContext, FinishedItem, ItemRef, Measurement, Models as _, PrepareContext, Progress,
    },
    data::{Draft, sha256_file, sha256_hex, sweep_drafts, write_json},
    data::{Facts, Value, facts},
    registry::guard::caught,
    store::{self, ModelStore},
};
use parts::{Part, Parts};
use record::RunRecord;

/// What the command line says about a run, beside the recipe.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Output folder.
    pub out: PathBuf,
    /// Recompute items that are there already.
    pub force: bool,
    /// Stop after this many items.
    pub limit: Option<usize>,
    /// Only these items.
    pub only: Vec<String>,
}

/// Told what happens during a run.
pub trait Observer: Sync {
    /// Something happened.
    fn event(&self, event: &Event<'_>);
}

/// What happens during a run.
pub enum Event<'a> {
    /// A model or picture is being fetched.
    Fetch(&'a store::Progress),
    /// A stage of the run begins.
    Stage(&'a str),
    /// The run has this many items.
    Items(usize),
    /// Steps done, of all steps of the current batch, by the named explainer.
    Steps {
        /// The recipe's name of the explainer.
        explainer: &'a str,
        /// Steps done.
        done: usize,
        /// Steps in all.
        total: usize,
    },
    /// An item ended.
    Item {
        /// Its id.
        id: &'a str,
        /// How.
        status: ItemStatus,
        /// One line of what came out, or the error.
        line: &'a str,
    },
    /// Something a reader must know.
    Warning(&'a str),
}

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
    let items = data.index(&models::Places { folder: &plan.folder, store, on_fetch: &|_| () })?;
    let notes = data.notes(&items);
    Ok(Some((items.len(), notes)))
}

/// Runs `plan`.
///
/// # Errors
/// What keeps the whole run from finishing: a model that cannot be fetched or loaded, a folder that
/// cannot be written. The run's record is written then too, with status `failed`. An item that
/// fails does not end the run: see [`Summary::failed`].
pub fn run(
    plan: &Plan,
    store: &ModelStore,
    options: &RunOptions,
    observer: &dyn Observer,
) -> Result<Summary> {
    std::fs::create_dir_all(&options.out).map_err(|e| Error::io("create", &options.out, &e))?;
    let mut record = RunRecord::begin(plan, options)?;
    let result = Runner { plan, store, options, observer, clocks: Facts::new() }.run(&mut record);
    match result {
        Ok(()) => record.finish(plan),
        Err(e) => {
            record.fail(&e)?;
            Err(e)
        }
    }
}

struct Runner<'a> {
    plan: &'a Plan,
    store: &'a ModelStore,
    options: &'a RunOptions,
    observer: &'a dyn Observer,
    clocks: Facts,
}

impl Runner<'_> {
    fn run(mut self, record: &mut RunRecord) -> Result<()> {
        self.observer.event(&Event::Stage("fetch"));
        let clock = Instant::now();
        let on_fetch = |p: &store::Progress| self.observer.event(&Event::Fetch(p));
        let places =
            models::Places { folder: &self.plan.folder, store: self.store, on_fetch: &on_fetch };
        for file in self.plan.data.plugin.files() {
            crate::contract::Files::locate(&places, &file)?;
        }
        // Before any model is fetched: a broken list is the cheapest thing to find.
        let all = self.plan.data.plugin.index(&places)?;
        let notes = self.plan.data.plugin.notes(&all);
        notes.iter().for_each(|note| self.observer.event(&Event::Warning(note)));
        record.data(all.len(), &notes);
        let items = self.select(all)?;
        let shelf = ModelShelf::new(self.store, self.plan.backend.plugin.as_ref(), &on_fetch);
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
        let check = self.plan.check.as_ref().map(|check| check.plugin.load(&model)).transpose()?;
        self.lap(record, "load", clock);
        record.model(&model)?;

        record.order(&items);
        self.observer.event(&Event::Items(items.len()));
        self.observer.event(&Event::Stage("explain"));
        let clock = Instant::now();
        sweep_drafts(&self.options.out.join("items"));
        let parts = Parts::new(&self.options.out, self.plan.parts)?;
        let keys = Keys::new(self.plan, &shelf)?;
        let work =
            Work { runner: &self, places: &places, shelf: &shelf, model, check, keys, parts };
        for batch in items.chunks(work.model.network.preferred_rows().max(1)) {
            work.batch(batch, record)?;
        }
        work.gather(&items)?;
        drop(work);
        self.lap(record, "explain", clock);
        Ok(())
    }

    fn lap(&mut self, record: &mut RunRecord, stage: &str, clock: Instant) {
        self.clocks.insert(stage.to_owned(), clock.elapsed().as_secs_f64().into());
        record.clocks(self.clocks.clone());
    }

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
        if items.is_empty() {
            return Err(Error::new("fame::run::no_items", "the data has no items to explain."));
        }
        Ok(items)
    }
}

/// What determines results, apart from the item: the plan as resolved, the models, this version of
/// fame.
struct Keys {
    /// Everything of a whole item.
    item: String,
    /// Of any explanation.
    explanation: String,
    /// Of each explainer, in the recipe's order.
    explainers: Vec<String>,
    /// Of each metric, in the recipe's order.
    metrics: Vec<String>,
}

impl Keys {
    fn new(plan: &Plan, shelf: &ModelShelf<'_>) -> Result<Self> {
        let text =
            |value: &Value| serde_json::to_string(value).map_err(|e| Error::bug(e.to_string()));
        let texts = |values: Vec<Value>| values.iter().map(text).collect::<Result<Vec<_>>>();
        let of = |name: &str| plan.record().get(name).cloned().unwrap_or_default();
        let (version, layout) = (env!("CARGO_PKG_VERSION"), record::LAYOUT);
        let base = format!("fame {version} / record {layout} / {}", shelf.hashes().join(" "));
        let explainers = texts(plan.explain.iter().map(|(_, b)| b.record()).collect())?;
        let metrics = texts(plan.metrics.iter().map(measured_by).collect())?;
        let before = texts(
            ["model", "plugins", "backend", "preset", "data", "prepare", "check", "seed"]
                .map(of)
                .to_vec(),
        )?
        .join(" / ");
        let after = texts(["explain", "write"].map(of).to_vec())?.join(" / ");
        Ok(Self {
            item: format!("{base} / {before} / {after} / {}", metrics.join(" / ")),
            explanation: format!("{base} / {before}"),
            explainers,
            metrics,
        })
    }
}

/// What determines a metric's measurements: its parameters without those that only its tables read.
fn measured_by(metric: &crate::registry::Built<dyn crate::contract::Metric>) -> Value {
    let mut record = metric.record();
    if let Value::Map(named) = &mut record
        && let Some(Value::Map(parameters)) = named.get_mut(&metric.name)
    {
        parameters.retain(|name, _| !metric.plugin.only_for_tables().contains(&name.as_str()));
    }
    record
}

/// What the loop over items needs.
struct Work<'a> {
    runner: &'a Runner<'a>,
    places: &'a models::Places<'a>,
    shelf: &'a ModelShelf<'a>,
    model: Arc<Model>,
    check: Option<check::Second<'a>>,
    keys: Keys,
    parts: Parts,
}

/// Reports an explainer's steps to the observer.
struct Steps<'a> {
    explainer: &'a str,
    observer: &'a dyn Observer,
}

impl Progress for Steps<'_> {
    fn advance(&self, done: usize, total: usize) {
        // Plugins call this: no panic of an observer may pass through them, and progress is not
        // worth an item.
        if let Err(panic) =
            caught(|| self.observer.event(&Event::Steps { explainer: self.explainer, done, total }))
        {
            eprintln!("warning: {}", panic.error("fame", "while it showed progress"));
        }
    }
}

/// A measurement, by whom of whom.
struct Measured {
    /// The recipe's name of the explainer.
    explainer: String,
    /// The metric's name; see [`Plan::metric_names`].
    metric: String,
    measurement: Measurement,
}

/// What determines an item beside the plan.
struct About {
    /// Its name, its note, and what is in its files.
    sample: String,
    /// What is in the files that each explainer reads for it.
    explainers: Vec<String>,
}

/// An item on its way.
struct Current {
    item: ItemRef,
    about: About,
    clock: Instant,
    sample: Sample,
    explanations: Vec<(String, Explanation)>,
    measurements: Vec<Measured>,
    /// What was computed now, and not restored: `fame`, `fame/Road`.
    computed: Vec<String>,
}

impl Work<'_> {
    fn folder(&self, item: &ItemRef) -> PathBuf {
        self.runner.options.out.join("items").join(&item.id)
    }

    /// What determines an item, by the contents of its files.
    fn about(&self, item: &ItemRef) -> Result<About> {
        let mut sample = format!("{} / {}", item.id, item.note);
        for file in &item.files {
            let path = crate::contract::Files::locate(self.places, file)?;
            sample.push_str(&sha256_file(&path)?);
        }
        let read = |files: Vec<PathBuf>| {
            files.iter().try_fold(String::new(), |mut text, file| {
                let name = file.strip_prefix(&self.runner.plan.folder).unwrap_or(file);
                let _ = write!(text, " / {} {}", name.display(), sha256_file(file)?);
                Ok(text)
            })
        };
        let explainers = self
            .runner
            .plan
            .explain
            .iter()
            .map(|(_, e)| e.plugin.files(item).and_then(read))
            .collect::<Result<_>>()?;
        Ok(About { sample, explainers })
    }

    fn item_key(&self, about: &About) -> String {
        sha256_hex(
            format!("{} / {}{}", self.keys.item, about.sample, about.explainers.concat())
                .as_bytes(),
        )
    }

    /// Lets every writer bring together what it wrote about the items that are there.
    fn gather(&self, items: &[ItemRef]) -> Result<()> {
        let there: Vec<PathBuf> =
            items.iter().map(|item| self.folder(item)).filter(|folder| folder.is_dir()).collect();
        let out = &self.runner.options.out;
        self.runner.plan.write.iter().try_for_each(|w| {
            w.plugin.gather(out, &there).map_err(|e| e.at(format!("writer {}", w.name)))
        })
    }

    fn batch(&self, items: &[ItemRef], record: &mut RunRecord) -> Result<()> {
        let mut current = Vec::new();
        for item in items {
            let clock = Instant::now();
            match self.about(item) {
                Ok(about)
                    if !self.runner.options.force
                        && record::is_done(&self.folder(item), &self.item_key(&about)) =>
                {
                    self.ended(item, ItemStatus::Kept, "kept from an earlier run");
                    record.item(&item.id, ItemStatus::Kept, clock.elapsed(), Vec::new(), None);
                }
                Ok(about) => match self.sample(item) {
                    Ok(sample) => {
                        let (explanations, measurements, computed) =
                            (Vec::new(), Vec::new(), Vec::new());
                        current.push(Current {
                            item: item.clone(),
                            about,
                            clock,
                            sample,
                            explanations,
                            measurements,
                            computed,
                        });
                    }
                    Err(e) => self.failed(item, clock, &e, record),
                },
                Err(e) => self.failed(item, clock, &e, record),
            }
        }
        for n in 0..self.runner.plan.explain.len() {
            current = self.explain(n, current, record)?;
        }
        for mut c in current {
            match something(&c).and_then(|()| self.compare(&mut c)).and_then(|()| self.write(&c)) {
                Ok(line) => {
                    self.ended(&c.item, ItemStatus::Done, &line);
                    record.item(&c.item.id, ItemStatus::Done, c.clock.elapsed(), c.computed, None);
                }
                Err(e) => self.failed(&c.item, c.clock, &e, record),
            }
        }
        Ok(())
    }

    fn ended(&self, item: &ItemRef, status: ItemStatus, line: &str) {
        self.runner.observer.event(&Event::Item { id: &item.id, status, line });
    }

    fn failed(&self, item: &ItemRef, clock: Instant, error: &Error, record: &mut RunRecord) {
        // A folder of an earlier recipe must not pass for this run's result.
        let _ = std::fs::remove_dir_all(self.folder(item));
        let line = match &error.help {
            Some(help) => format!("{error} ({help})"),
            None => error.to_string(),
        };
        self.ended(item, ItemStatus::Failed, &line);
        record.item(&item.id, ItemStatus::Failed, clock.elapsed(), Vec::new(), Some(error));
    }

    /// Decodes and prepares one sample.
    fn sample(&self, item: &ItemRef) -> Result<Sample> {
        let plan = self.runner.plan;
        let input = &self.model.manifest.input;
        let mut sample = plan.data.plugin.load(item, self.places)?;
        let mut prepared = Vec::with_capacity(sample.pictures.len());
        for (role, mut picture) in sample.pictures {
            let with = PrepareContext {
                models: self.shelf,
                input_size: (input.height, input.width),
                role: &role,
            };
            for step in &plan.prepare {
                let source = picture.source.clone();
                picture = step
                    .plugin
                    .apply(picture, &with)
                    .map_err(|e| e.at(format!("{role} `{source}`")))?;
            }
            if (picture.height(), picture.width()) != (input.height, input.width) {
                let steps = if plan.prepare.is_empty() {
                    "there are no prepare steps"
                } else {
                    "the prepare steps do not lead there"
                };
                return Err(Error::new(
                    "fame::prepare::wrong_size",
                    format!(
                        "{role} `{}` is {}×{} pixels, but model `{}` takes {}×{}: {steps}.",
                        picture.source,
                        picture.width(),
                        picture.height(),
                        plan.manifest.name,
                        input.width,
                        input.height
                    ),
                )
                .with_help(
                    "Add prepare steps to the recipe, such as ResizeShorter(size: …) and CenterCrop(size: …), or AlignFace() for faces.",
                ));
            }
            prepared.push((role, picture));
        }
        sample.pictures = prepared;
        Ok(sample)
    }

    /// Explains with the n-th explainer what no part explains yet, and measures what no part holds.
    fn explain(
        &self,
        n: usize,
        current: Vec<Current>,
        record: &mut RunRecord,
    ) -> Result<Vec<Current>> {
        let (name, explainer) = &self.runner.plan.explain[n];
        let key = |c: &Current| {
            let about = format!("{}{}", c.about.sample, c.about.explainers[n]);
            sha256_hex(
                format!("{} / {} / {about}", self.keys.explanation, self.keys.explainers[n])
                    .as_bytes(),
            )
        };
        let restored = |c: &Current| {
            if self.runner.options.force {
                None
            } else {
                self.parts.read(&c.item.id, name, &key(c))
            }
        };
        let mut known: Vec<Option<Part>> = current.iter().map(restored).collect();
        let progress = Steps { explainer: name, observer: self.runner.observer };
        let with =
            ExplainContext { model: &self.model, seed: self.runner.plan.seed, progress: &progress };
        let samples: Vec<Sample> = current
            .iter()
            .zip(&known)
            .filter(|(_, k)| k.is_none())
            .map(|(c, _)| c.sample.clone())
            .collect();
        let results =
            if samples.is_empty() { Vec::new() } else { explainer.plugin.explain(&with, &samples) };
        if results.len() != samples.len() {
            return Err(Error::bug(format!(
                "explainer `{name}` returned {} results for {} samples.",
                results.len(),
                samples.len()
            )));
        }
        let mut results = results.into_iter();
        let mut still = Vec::new();
        for (mut c, known) in current.into_iter().zip(known.drain(..)) {
            let part = match known {
                Some(part) => Ok(part),
                None => {
                    c.computed.push(name.clone());
                    let new =
                        results.next().unwrap_or_else(|| Err(Error::bug("a result was lost.")));
                    let checked =
                        new.and_then(check_maps).and_then(|e| self.checked(name, &c, e, record));
                    checked.map(|explanation| Part {
                        key: key(&c),
                        explanation,
                        measured: [].into(),
                    })
                }
            };
            match part
                .map_err(|e| e.at(format!("explainer `{name}`")))
                .and_then(|part| self.measured(&with, name, &mut c, part))
            {
                Ok(explanation) => {
                    c.explanations.push((name.clone(), explanation));
                    still.push(c);
                }
                Err(e) => self.failed(&c.item, c.clock, &e, record),
            }
        }
        Ok(still)
    }

    /// What the recipe's check says of a new explanation.
    fn checked(
        &self,
        name: &str,
        c: &Current,
        explanation: Explanation,
        record: &mut RunRecord,
    ) -> Result<Explanation> {
        let Some(second) = &self.check else { return Ok(explanation) };
        second.check(&self.model, &c.sample, explanation).map_err(|(error, facts)| {
            record.check_failed(&c.item.id, name, facts);
            error
        })
    }

    /// Measures what `part` does not hold yet, keeps it, and hands on the explanation.
    fn measured(
        &self,
        with: &ExplainContext<'_>,
        name: &str,
        c: &mut Current,
        mut part: Part,
    ) -> Result<Explanation> {
        for warning in &part.explanation.warnings {
            self.runner
                .observer
                .event(&Event::Warning(&format!("{}: {name}: {warning}", c.item.id)));
        }
        part.explanation.witnesses.clear();
        let mut is_new = c.computed.last().is_some_and(|last| last == name);
        let metrics = self
            .runner
            .plan
            .metric_names()
            .into_iter()
            .zip(&self.runner.plan.metrics)
            .zip(&self.keys.metrics);
        let mut measured = BTreeMap::new();
        for ((called, metric), key) in metrics {
            let rows = match part.measured.remove(key).or_else(|| measured.get(key).cloned()) {
                Some(rows) => rows,
                None => {
                    is_new = true;
                    c.computed.push(format!("{name}/{called}"));
                    metric
                        .plugin
                        .measure(with, &c.sample, &part.explanation)
                        .map_err(|e| e.at(format!("metric {called}")))?
                }
            };
            let of = |measurement: &Measurement| Measured {
                explainer: name.to_owned(),
                metric: called.clone(),
                measurement: measurement.clone(),
            };
            c.measurements.extend(rows.iter().map(of));
            measured.insert(key.clone(), rows);
        }
        // What is left was measured for another recipe: it goes, so that the same recipe leaves the
        // same files.
        is_new |= !part.measured.is_empty();
        part.measured = measured;
        if is_new {
            self.parts.write(&c.item.id, name, &part)?;
        }
        Ok(part.explanation)
    }

    /// What metrics say of an item's explanations beside one another.
    fn compare(&self, c: &mut Current) -> Result<()> {
        let with = ExplainContext {
            model: &self.model,
            seed: self.runner.plan.seed,
            progress: &crate::contract::Silent,
        };
        for (called, metric) in
            self.runner.plan.metric_names().into_iter().zip(&self.runner.plan.metrics)
        {
            for (explainer, rows) in metric
                .plugin
                .compare(&with, &c.sample, &c.explanations)
                .map_err(|e| e.at(format!("metric {called}")))?
            {
                let of = |measurement| Measured {
                    explainer: explainer.clone(),
                    metric: called.clone(),
                    measurement,
                };
                c.measurements.extend(rows.into_iter().map(of));
            }
        }
        Ok(())
    }

    /// Writes the item and returns one line about it.
    fn write(&self, c: &Current) -> Result<String> {
        let draft = Draft::new(&self.folder(&c.item))?;
        let mut written = Vec::new();
        let finished = FinishedItem { sample: &c.sample, explanations: &c.explanations };
        for writer in &self.runner.plan.write {
            written.extend(
                writer
                    .plugin
                    .write(&finished, draft.path())
                    .map_err(|e| e.at(format!("writer {}", writer.name)))?,
            );
        }
        written.sort();
        let json = record::item_json(
            &c.item,
            &self.item_key(&c.about),
            &c.sample,
            &c.explanations,
            &c.measurements,
            &written,
        );
        write_json(&draft.path().join("item.json"), &json)?;
        draft.publish()?;
        Ok(record::line(&c.explanations))
    }
}

/// An item of which no explainer says anything has failed. Where one of several is silent, that is
/// a finding: a method without evidence for a match has no e+ of two strangers.
fn something(c: &Current) -> Result<()> {
    if c.explanations.iter().any(|(_, e)| !e.maps.is_empty()) {
        return Ok(());
    }
    let Some((name, silent)) = c.explanations.first() else { return Ok(()) };
    let why = silent.warnings.join(" ");
    Err(Error::new("fame::map::none", format!("no map came out. {why}"))
        .at(format!("explainer `{name}`")))
}

/// No explainer may hand out a picture that says nothing.
fn check_maps(mut explanation: Explanation) -> Result<Explanation> {
    if explanation.maps.is_empty() && explanation.warnings.is_empty() {
        explanation.warnings.push("no map came out.".to_owned());
    }
    for map in &explanation.maps {
        let values = map.finished.data();
        let constant = values.iter().all(|v| *v == values[0]);
        if values.is_empty() || constant || !map.finished.is_finite() {
            let what = if map.finished.is_finite() { "the same everywhere" } else { "not finite" };
            return Err(Error::empty_map(format!("map `{}` is {what}.", map.name())));
        }
    }
    Ok(explanation)
}

/// The folder of the recipe at `path`.
pub fn recipe_folder(path: &Path) -> PathBuf {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// Facts of this machine for the record.
pub(crate) fn machine() -> Value {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    Value::Map(facts([
        ("os", std::env::consts::OS.into()),
        ("arch", std::env::consts::ARCH.into()),
        ("cores", cores.into()),
    ]))
}
