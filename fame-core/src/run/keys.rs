//! Keys: hashes of everything that determines what a run writes, so that nothing is done twice.
//!
//! There are three sorts, each the hash of a text that names what it depends on:
//!
//! | key | of | depends on |
//! | --- | --- | --- |
//! | item | a finished folder | all of the below, every explainer, metric and writer |
//! | explanation | a part | this version of fame and of the layout of `item.json`, the models by their hashes, plugins, backend, data, preparation, check, seed; the one explainer; the item's files |
//! | metric | measurements in a part | the metric's parameters, without those that only its tables read |
//!
//! A key never depends on a path of this machine, a clock, the output folder, or on which other
//! items are in the run: so the same work is found again from anywhere.

use std::{fmt::Write as _, path::PathBuf};

use super::{ModelShelf, record};
use crate::{
    Error, Plan, Result,
    contract::{Files, ItemRef, Metric},
    data::{Value, sha256_file, sha256_hex},
    registry::Built,
};

/// The fields of the plan's record that every explanation depends on.
const OF_EVERY_EXPLANATION: [&str; 8] =
    ["model", "plugins", "backend", "preset", "data", "prepare", "check", "seed"];

/// The run's share of every key: the plan as resolved, the models, this version of fame.
pub(super) struct Keys {
    /// The share of a whole item's key.
    item: String,
    /// The share of any explanation's key.
    explanation: String,
    /// The share of each explainer, in the recipe's order.
    explainers: Vec<String>,
    /// The key of each metric's measurements of one explanation, in the recipe's order.
    pub(super) metrics: Vec<String>,
}

impl Keys {
    /// The keys of `plan` with the models that `shelf` has loaded.
    ///
    /// # Errors
    /// When a part of the plan's record cannot be written as JSON: a bug.
    pub(super) fn new(plan: &Plan, shelf: &ModelShelf<'_>) -> Result<Self> {
        let resolved = plan.record();
        let fields = |names: &[&str]| {
            texts(names.iter().map(|name| resolved.get(name).cloned().unwrap_or_default()))
        };
        let (version, layout) = (env!("CARGO_PKG_VERSION"), record::LAYOUT);
        let base = format!("fame {version} / record {layout} / {}", shelf.hashes().join(" "));
        let explainers = texts(plan.explain.iter().map(|(_, b)| b.record()))?;
        let metrics = texts(plan.metrics.iter().map(measured_by))?;
        let mut before = fields(&OF_EVERY_EXPLANATION)?;
        // Only where there are some: without them, keys are those of earlier runs.
        before.extend(texts(resolved.get("operators").cloned().into_iter())?);
        let before = before.join(" / ");
        let after = fields(&["explain", "write"])?.join(" / ");
        Ok(Self {
            item: format!("{base} / {before} / {after} / {}", metrics.join(" / ")),
            explanation: format!("{base} / {before}"),
            explainers,
            metrics,
        })
    }

    /// The key of an item: a finished folder with this key is kept.
    pub(super) fn item(&self, inputs: &Inputs) -> String {
        let inputs = format!("{}{}", inputs.sample, inputs.explainers.concat());
        sha256_hex(format!("{} / {inputs}", self.item).as_bytes())
    }

    /// The key of the `n`-th explainer's explanation of an item.
    pub(super) fn explanation(&self, n: usize, inputs: &Inputs) -> String {
        let inputs = format!("{}{}", inputs.sample, inputs.explainers[n]);
        let explainer = &self.explainers[n];
        sha256_hex(format!("{} / {explainer} / {inputs}", self.explanation).as_bytes())
    }
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

impl Inputs {
    /// Reads and hashes the files of `item`.
    ///
    /// # Errors
    /// When one of them cannot be had or read.
    pub(super) fn read(plan: &Plan, files: &dyn Files, item: &ItemRef) -> Result<Self> {
        let mut sample = format!("{} / {}", item.id, item.note);
        for file in &item.files {
            sample.push_str(&sha256_file(&files.locate(file)?)?);
        }
        let hashed = |files: Vec<PathBuf>| {
            files.iter().try_fold(String::new(), |mut text, file| {
                let name = file.strip_prefix(&plan.folder).unwrap_or(file);
                let _ = write!(text, " / {} {}", name.display(), sha256_file(file)?);
                Ok(text)
            })
        };
        let explainers = plan
            .explain
            .iter()
            .map(|(_, explainer)| explainer.plugin.files(item).and_then(hashed))
            .collect::<Result<_>>()?;
        Ok(Self { sample, explainers })
    }
}
