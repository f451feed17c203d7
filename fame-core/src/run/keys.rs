//! Keys: hashes of everything that determines what a run writes, so that nothing is done twice.
//!
//! There are three sorts, each the hash of a text that names what it depends on:
//!
//! | key | of | depends on |
//! | --- | --- | --- |
//! | item | a finished folder | all of the below, every explainer, metric and writer |
//! | explanation | a part | this version of fame and of the layout of `item.json`; the models: all their files by hash, and what their manifests say of input, layers and labels; plugins by the hash of their library; backend with the version of its engine; data, preparation, check, seed; the one explainer; the item's files |
//! | metric | measurements in a part | the metric's parameters, without those that only its tables read |
//!
//! A part stands for its parameters as resolved, defaults and the manifest's share filled in, and
//! for the contents of the files that it reads ([`Built::reads`]). So comments, spaces and the
//! order of fields make no difference. A key never depends on a path of this machine, a clock, the
//! times of files, the output folder, or on which other items are in the run: so the same work is
//! found again from anywhere.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use super::{ModelShelf, record};
use crate::{
    Error, Plan, Result,
    contract::{Files, ItemRef, Metric},
    data::{Begun, FileHashes, Value},
    registry::Built,
};

/// The fields of the plan's record that every explanation depends on.
const OF_EVERY_EXPLANATION: [&str; 8] =
    ["model", "plugins", "backend", "preset", "data", "prepare", "check", "seed"];

/// The run's share of every key: the plan as resolved, the models, this version of fame.
pub(super) struct Keys {
    /// The share of a whole item's key.
    item: Begun,
    /// The share of each explainer's explanations in their keys, in the recipe's order.
    explanations: Vec<Begun>,
    /// The key of each metric's measurements of one explanation, in the recipe's order.
    pub(super) metrics: Vec<String>,
    /// What is known of files already.
    hashes: FileHashes,
}

impl Keys {
    /// The keys of `plan` with the models that `shelf` has loaded; it is closed now, because no key
    /// would know of a later one.
    ///
    /// # Errors
    /// When a file that a part reads cannot be read; when a part of the plan's record cannot be
    /// written as JSON: a bug.
    pub(super) fn new(plan: &Plan, shelf: &ModelShelf<'_>) -> Result<Self> {
        let resolved = plan.record();
        let fields = |names: &[&str]| {
            texts(names.iter().map(|name| resolved.get(name).cloned().unwrap_or_default()))
        };
        let (version, layout) = (env!("CARGO_PKG_VERSION"), record::LAYOUT);
        let models = texts(shelf.close().into_iter())?.join(" / ");
        let base = format!("fame {version} / record {layout} / {models}");
        let hashes = FileHashes::default();
        let part = |record: Value, reads: &[PathBuf]| {
            let texts = texts([record].into_iter())?;
            Ok(contents(texts, reads, &hashes)?.join(" / "))
        };
        let explain = plan.explain.iter().map(|(_, b)| part(b.record(), &b.reads));
        let explainers = explain.collect::<Result<Vec<_>>>()?;
        let metrics = plan.metrics.iter().map(|b| part(measured_by(b), &b.reads));
        let metrics = metrics.collect::<Result<Vec<_>>>()?;
        let mut before = fields(&OF_EVERY_EXPLANATION)?;
        // Only where there are some: without them, keys are those of earlier runs.
        before.extend(texts(resolved.get("operators").cloned().into_iter())?);
        let before = contents(before, &read_by_all(plan), &hashes)?.join(" / ");
        let written: Vec<PathBuf> = plan.write.iter().flat_map(|b| b.reads.clone()).collect();
        let after = contents(fields(&["explain", "write"])?, &written, &hashes)?;
        let after = [after, explainers.clone(), metrics.clone()].concat().join(" / ");
        let begun = |explainer: &String| Begun::of(&format!("{base} / {before} / {explainer} / "));
        Ok(Self {
            item: Begun::of(&format!("{base} / {before} / {after} / ")),
            explanations: explainers.iter().map(begun).collect(),
            metrics,
            hashes,
        })
    }

    /// The share of `item` in its keys: reads and hashes its files.
    ///
    /// # Errors
    /// When one of them cannot be had or read.
    pub(super) fn inputs(&self, plan: &Plan, files: &dyn Files, item: &ItemRef) -> Result<Inputs> {
        let mut sample = format!("{} / {}", item.id, item.note);
        for file in &item.files {
            sample.push_str(&self.hashes.sha256(&files.locate(file)?)?);
        }
        let hashed = |files: Vec<PathBuf>| {
            files.iter().try_fold(String::new(), |mut text, file| {
                let name = name_in(&plan.folder, file);
                let _ = write!(text, " / {} {}", name.display(), self.hashes.sha256(file)?);
                Ok(text)
            })
        };
        let explainers = plan
            .explain
            .iter()
            .map(|(_, explainer)| explainer.plugin.files(item).and_then(hashed))
            .collect::<Result<_>>()?;
        Ok(Inputs { sample, explainers })
    }

    /// The key of an item: a finished folder with this key is kept.
    pub(super) fn item(&self, inputs: &Inputs) -> String {
        self.item.then(&format!("{}{}", inputs.sample, inputs.explainers.concat()))
    }

    /// The key of the `n`-th explainer's explanation of an item.
    pub(super) fn explanation(&self, n: usize, inputs: &Inputs) -> String {
        self.explanations[n].then(&format!("{}{}", inputs.sample, inputs.explainers[n]))
    }
}

/// The files that are read by parts which every explanation depends on.
fn read_by_all(plan: &Plan) -> Vec<PathBuf> {
    let prepare = plan.prepare.iter().flat_map(|step| &step.reads);
    let check = plan.check.iter().flat_map(|check| &check.reads);
    let engine = plan.backend.reads.iter().chain(&plan.data.reads);
    engine.chain(prepare).chain(check).cloned().collect()
}

/// `texts`, and after them the hashes of `files`, whose names stand in parameters already.
fn contents(mut texts: Vec<String>, files: &[PathBuf], hashes: &FileHashes) -> Result<Vec<String>> {
    for file in files {
        texts.push(hashes.sha256(file)?);
    }
    Ok(texts)
}

/// The name of a file in the recipe's folder, as far as it lies there.
fn name_in<'a>(folder: &Path, file: &'a Path) -> &'a Path {
    file.strip_prefix(folder).unwrap_or(file)
}

/// The values as JSON texts: two are equal where the values are.
fn texts(values: impl Iterator<Item = Value>) -> Result<Vec<String>> {
    values.map(|v| serde_json::to_string(&v).map_err(|e| Error::bug(e.to_string()))).collect()
}

/// What determines a metric's measurements: its parameters without those that only its tables read.
fn measured_by(metric: &Built<dyn Metric>) -> Value {
    let mut record = metric.record();
    if let Value::Map(named) = &mut record
        && let Some(Value::Map(parameters)) = named.get_mut(&metric.name)
    {
        parameters.retain(|name, _| !metric.plugin.only_for_tables().contains(&name.as_str()));
    }
    record
}

/// The item's share of its keys: what lies in the files that are read for it.
pub(super) struct Inputs {
    /// Its id, its note, and the hashes of its files.
    sample: String,
    /// Names and hashes of the files that each explainer reads for it.
    explainers: Vec<String>,
}
