//! A rehearsal: what a run would find wrong, found without running it.
//!
//! The first item is loaded and prepared, and every explainer and metric is let at it with a
//! network that answers once for each of its pictures: that is as far as roles, classes, layers and
//! targets are settled. Whatever asks it again has nothing wrong with it, and is told to stop.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{ModelShelf, Preview, item::sample::Loader, models::RunFiles};
use crate::{
    Error, ErrorKind, Explanation, Model, Plan, Result, Sample, Tensor,
    contract::{ExplainContext, Network, Pass, Silent, Taps},
    data::{MapId, NamedMap},
    store::ModelStore,
    text::{Problem, Problems, scan},
};

/// What a rehearsal could look at, and what it found.
pub struct Rehearsal {
    /// The model, if its file is here.
    pub model: Option<Arc<Model>>,
    /// Why the first item was not looked at, if it was not.
    pub unseen: Option<String>,
    /// What a run would find.
    pub problems: Option<Box<Problems>>,
}

/// Looks at the model and at the first item of `plan` as a run would, as far as the files are here:
/// nothing is fetched, no output folder is touched.
///
/// # Errors
/// A model or a list that cannot be read at all.
pub fn rehearse(plan: &Plan, store: &ModelStore) -> Result<Rehearsal> {
    if !store.has(&plan.manifest) {
        return Ok(Rehearsal { model: None, unseen: None, problems: None });
    }
    plan.backend.plugin.check()?;
    let shelf = ModelShelf::new(store, plan.backend.plugin.as_ref(), &|_| ())
        .with_operators(plan.operators.clone());
    let file = shelf.fetch(&plan.manifest)?;
    let model = shelf.load(plan.manifest.clone(), file)?;
    let mut found = Findings { plan, all: Vec::new() };
    let mut fit = Vec::new();
    for (n, (name, explainer)) in plan.explain.iter().enumerate() {
        match explainer.plugin.check(&model) {
            Ok(()) => fit.push(n),
            Err(error) => found.add(Part::Explainer(n), &format!("explainer `{name}`"), error),
        }
    }
    let unseen = missing(plan, store);
    if unseen.is_none() {
        let files = RunFiles { folder: &plan.folder, store, on_fetch: &|_| () };
        let loader = Loader { plan, files: &files, shelf: &shelf, model: &model };
        let items = plan.data.plugin.index(&files)?;
        match items.first().map(|item| loader.sample(item)) {
            Some(Ok(sample)) => found.of_sample(&model, &sample, &fit),
            Some(Err(error)) => found.add(Part::Sample, "", error),
            None => {}
        }
    }
    let problems = found.problems();
    Ok(Rehearsal { model: Some(model), unseen, problems })
}

/// What explainers and metrics of `plan` say alike of every one of `samples`, if it is an error: the
/// recipe asks for something that is nowhere to be had.
pub(super) fn wrong_everywhere(
    plan: &Plan,
    model: &Arc<Model>,
    samples: &[Sample],
) -> Option<Error> {
    let all: Vec<usize> = (0..plan.explain.len()).collect();
    let mut each = samples.iter().map(|sample| {
        let mut found = Findings { plan, all: Vec::new() };
        found.of_sample(model, sample, &all);
        found.all
    });
    let (first, others) = (each.next()?, each.collect::<Vec<_>>());
    let is_everywhere = |error: &Error| {
        others.iter().all(|all| all.iter().any(|(e, _)| e.message == error.message))
    };
    let (error, parts) = first.into_iter().find(|(error, _)| is_everywhere(error))?;
    Some(parts.iter().fold(error, |error, (_, name)| error.at(name)))
}

/// What a run would find wrong with the metrics of `plan` at every sample of `preview`, told at its
/// place in the recipe: such a metric fits neither what is asked nor the pictures. At some of them
/// only it is a failed item each, as in a run.
pub fn rehearse_metrics(plan: &Plan, preview: &Preview) -> Option<Box<Problems>> {
    let mut found = Findings { plan, all: Vec::new() };
    for (n, name) in plan.metric_names().iter().enumerate() {
        let errors = preview.samples.iter().map(|sample| {
            found.measured(&preview.model, sample, n).filter(|e| e.kind != ErrorKind::Stopped)
        });
        if let Some(error) = errors.collect::<Option<Vec<Error>>>().and_then(|mut e| e.pop()) {
            found.add(Part::Metric(n), &format!("metric `{name}`"), error);
        }
    }
    found.problems()
}

/// Why the first item cannot be had without fetching something.
fn missing(plan: &Plan, store: &ModelStore) -> Option<String> {
    let files = plan.data.plugin.files();
    let named = files.iter().filter_map(|file| file.strip_prefix("picture:"));
    let picture = named.clone().find(|name| !store.has_picture(name));
    if let Some(name) = picture {
        return Some(format!("picture `{name}` is not here yet"));
    }
    let models = plan.prepare.iter().flat_map(|step| step.plugin.models());
    let model = models.into_iter().find(|name| !store.is_cached(name).unwrap_or(false));
    model.map(|name| format!("model `{name}`, which a prepare step needs, is not here yet"))
}

/// A part of the recipe that something can be wrong with.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Explainer(usize),
    Metric(usize),
    /// The data and its preparation.
    Sample,
}

/// What was found, each with the parts it is about.
struct Findings<'a> {
    plan: &'a Plan,
    all: Vec<(Error, Vec<(Part, String)>)>,
}

impl Findings<'_> {
    /// Notes an error of `part`, which is called `name`: once, whatever number of parts have it.
    fn add(&mut self, part: Part, name: &str, error: Error) {
        if error.kind == ErrorKind::Stopped {
            return;
        }
        let same = |(known, _): &&mut (Error, Vec<(Part, String)>)| known.message == error.message;
        match self.all.iter_mut().find(same) {
            Some((_, parts)) => parts.push((part, name.to_owned())),
            None => self.all.push((error, vec![(part, name.to_owned())])),
        }
    }

    /// Lets the explainers `fit` and the metrics at `sample`.
    fn of_sample(&mut self, model: &Arc<Model>, sample: &Sample, fit: &[usize]) {
        let seed = self.plan.seed;
        for n in fit {
            let (name, explainer) = &self.plan.explain[*n];
            let model = answering_once(model, sample);
            let with = ExplainContext { model: &model, seed, progress: &Silent };
            let results = explainer.plugin.explain(&with, std::slice::from_ref(sample));
            if let Some(Err(error)) = results.into_iter().next() {
                self.add(Part::Explainer(*n), &format!("explainer `{name}`"), error);
            }
        }
        for (n, name) in self.plan.metric_names().iter().enumerate() {
            if let Some(error) = self.measured(model, sample, n) {
                self.add(Part::Metric(n), &format!("metric `{name}`"), error);
            }
        }
    }

    /// What the `n`-th metric says of `sample`, if it is an error.
    fn measured(&self, model: &Arc<Model>, sample: &Sample, n: usize) -> Option<Error> {
        let explanation = any_maps(sample).ok()?;
        let model = answering_once(model, sample);
        let with = ExplainContext { model: &model, seed: self.plan.seed, progress: &Silent };
        self.plan.metrics[n].plugin.measure(&with, sample, &explanation).err()
    }

    /// What was found at its places in the recipe; `None` for nothing.
    fn problems(self) -> Option<Box<Problems>> {
        let text = &self.plan.text;
        let places = Places { text: text.merged() };
        let problem = |(error, parts): &(Error, Vec<(Part, String)>)| {
            let span = parts.first().and_then(|(part, _)| places.of(*part)).unwrap_or(0..1);
            let names: Vec<&str> =
                parts.iter().map(|(_, name)| name.as_str()).filter(|n| !n.is_empty()).collect();
            let whose =
                if names.is_empty() { String::new() } else { format!("{}: ", names.join(", ")) };
            let message = format!("{whose}{}", error.message);
            Problem::new(&error.code, message, span).with_help(error.help.clone())
        };
        let mut all: Vec<Problem> = self.all.iter().map(problem).collect();
        if all.is_empty() {
            return None;
        }
        all.sort_by_key(|p| (p.span.start, p.span.end));
        let n = all.len();
        let summary = format!(
            "recipe `{}` has {n} error{} that a run would find",
            text.name(),
            if n == 1 { "" } else { "s" }
        );
        Some(Box::new(Problems {
            summary,
            each: all.into_iter().map(|p| text.sourced(p)).collect(),
        }))
    }
}

/// The places of a recipe's parts.
struct Places<'a> {
    text: &'a str,
}

impl Places<'_> {
    fn of(&self, part: Part) -> Option<Range<usize>> {
        match part {
            Part::Explainer(n) => self.entry("explain", n),
            Part::Metric(n) => self.entry("metrics", n),
            Part::Sample => self.field("prepare").or_else(|| self.field("data")),
        }
    }

    /// The value of a field, if the recipe has it.
    fn field(&self, name: &str) -> Option<Range<usize>> {
        let fields = scan::entries(self.text, 0).ok()?;
        fields.into_iter().find(|field| field.key == name).map(|field| field.value_span)
    }

    /// The n-th entry of a field.
    fn entry(&self, name: &str, n: usize) -> Option<Range<usize>> {
        let start = self.field(name)?.start;
        Some(scan::entries(self.text, start).ok()?.into_iter().nth(n)?.value_span)
    }
}

/// An explanation with one map for each picture, for metrics to be tried on: a ramp, for a metric may
/// refuse a map that is the same everywhere.
fn any_maps(sample: &Sample) -> Result<Explanation> {
    let alone = sample.pictures.len() == 1;
    let map = |(role, picture): &(String, crate::Picture)| {
        let (h, w) = (picture.height(), picture.width());
        let values = (0..h * w).map(|i| (i + 1) as f32 / (h * w) as f32);
        let finished = Tensor::new([h, w], values.collect())?;
        let raw = Tensor::new([1, h, w], finished.data().to_vec())?;
        Ok(NamedMap::new(MapId::new(role).alone(alone), raw, finished))
    };
    let maps = sample.pictures.iter().map(map).collect::<Result<_>>()?;
    Ok(Explanation { maps, ..Explanation::default() })
}

/// `model` with a network that answers for as many rows as `sample` has pictures.
fn answering_once(model: &Arc<Model>, sample: &Sample) -> Model {
    let left = AtomicUsize::new(sample.pictures.len());
    model.with_network(Box::new(Once { model: model.clone(), left }))
}

/// A network that answers once for each picture, in one batch or in several: what comes after that
/// is computing.
struct Once {
    model: Arc<Model>,
    /// Rows that are still answered. The batch that asks for the last of them is answered whole.
    left: AtomicUsize,
}

impl Once {
    fn ask(&self, rows: usize) -> Result<()> {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(rows), Ordering::Relaxed);
        if left == 0 {
            let error = Error::new("fame::run::rehearsed", "this was a rehearsal.");
            return Err(error.of_kind(ErrorKind::Stopped));
        }
        Ok(())
    }
}

impl Network for Once {
    crate::network_facts!(self => self.model.network);

    fn forward<'n>(&'n self, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>> {
        self.ask(batch.rows())?;
        self.model.network.forward(batch, taps)
    }

    fn forward_from<'n>(
        &'n self,
        layer: &str,
        value: &Tensor,
        batch: &Tensor,
        taps: &Taps,
    ) -> Result<Box<dyn Pass + 'n>> {
        self.ask(batch.rows())?;
        self.model.network.forward_from(layer, value, batch, taps)
    }

    fn is_rehearsal(&self) -> bool {
        true
    }
}
