//! `item.json`: one item, the same bytes on every run.
//!
//! ```text
//! id, key           what it is, and what it was made of (see `keys`)
//! label, …, facts   what the dataset says of the sample; `label_name` where the model has names
//! pictures          by role: source, geometry back to it, what the prepare steps did, warnings
//! explanations      by the recipe's names: facts, warnings, and each map with its own facts
//! measurements      one row per explainer, map, metric, quantity and parameter
//! files             what the writers wrote: name, size in bytes and SHA-256 of each
//! ```
//!
//! It holds no clock time and no path of this machine: those are in `run.json`.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use super::{super::item::Measured, Made};
use crate::{
    Explanation, NamedMap, Parameter, Sample,
    contract::ItemRef,
    data::{Facts, Value, facts, read_ordinary, sha256_hex},
};

/// The version of the layout of `item.json`, raised whenever that changes: items of another layout
/// are made again, because a run's tables are read out of them.
pub(in crate::run) const LAYOUT: u32 = 4;

/// The content of the `item.json` in `folder`, if it is there and whole.
pub(super) fn read_item(folder: &Path) -> Option<Value> {
    serde_json::from_slice(&read_ordinary(&folder.join("item.json")).ok()?).ok()
}

/// Whether the record of the item in `folder` can be read.
pub(in crate::run) fn has_record(folder: &Path) -> bool {
    read_item(folder).is_some()
}

/// A file in an item's `folder` that no run wrote, if there is one: `item.json` lists what a run
/// wrote. Where that is missing or damaged nothing is known of the others; see [`stranger`].
pub(in crate::run) fn foreign_file(folder: &Path) -> Option<String> {
    let item = read_item(folder)?;
    let Some(Value::Map(files)) = item.get("files") else { return None };
    stranger(folder, files.keys())
}

/// The names of the files of the item in `folder`, by its record.
pub(in crate::run) fn files_of(folder: &Path) -> Vec<String> {
    match read_item(folder).as_ref().and_then(|item| item.get("files")) {
        Some(Value::Map(files)) => files.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// A file in an item's `folder` that is none of `ours` and not its record, if there is one. Where a
/// folder has lost its record, the files that the item has now are ours.
pub(in crate::run) fn stranger<'a>(
    folder: &Path,
    ours: impl Iterator<Item = &'a String> + Clone,
) -> Option<String> {
    let names = std::fs::read_dir(folder).ok()?.flatten();
    let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_ours = |name: &String| {
        let inside = format!("{name}/");
        name == "item.json" || ours.clone().any(|file| file == name || file.starts_with(&inside))
    };
    names.find(|name| !is_ours(name))
}

/// What identifies the finished item with this `key` in `folder`, if it is there with all its files
/// in their sizes: a power cut leaves names without content, and a user may have removed some.
pub(in crate::run) fn kept(folder: &Path, key: &str) -> Option<Made> {
    /// What is looked at; the rest is passed over, for there may be very many items.
    #[derive(Deserialize)]
    struct Head {
        key: String,
        files: BTreeMap<String, Size>,
    }

    #[derive(Deserialize)]
    struct Size {
        bytes: u64,
    }

    let text = read_ordinary(&folder.join("item.json")).ok()?;
    let item: Head = serde_json::from_slice(&text).ok()?;
    let is_whole = |(name, size): (&String, &Size)| {
        let there = std::fs::metadata(folder.join(name)).ok().filter(std::fs::Metadata::is_file);
        there.is_some_and(|about| about.len() == size.bytes)
    };
    let is_done = item.key == key && item.files.iter().all(is_whole);
    is_done.then(|| Made { key: item.key, sha256: sha256_hex(&text) })
}

/// The content of `item.json`: all about a finished item that depends on neither clock nor machine.
pub(in crate::run) fn item_json(
    item: &ItemRef,
    key: &str,
    sample: &Sample,
    label_name: Option<&str>,
    explanations: &[(String, Explanation)],
    measurements: &[Measured],
    files: &Facts,
) -> Value {
    let pictures = sample.pictures.iter().map(|(role, p)| {
        let mut about = facts([
            ("source", p.source.as_str().into()),
            ("geometry", p.geometry.0.to_vec().into()),
            ("prepared", Value::Map(p.facts.clone())),
        ]);
        if let Some(original) = &p.original {
            let (height, width) = original.size;
            about.insert("original_size".to_owned(), vec![height, width].into());
        }
        if !p.warnings.is_empty() {
            about.insert("warnings".to_owned(), p.warnings.clone().into());
        }
        (role.clone(), Value::Map(about))
    });
    let explained = explanations.iter().map(|(name, e)| {
        let maps = e.maps.iter().map(|m| {
            let mut about = m.facts.clone();
            about.insert("name".into(), m.name().into());
            about.insert("role".into(), m.id.role.as_str().into());
            about.insert("claim".into(), m.id.claim.word().into());
            let told = [("finish", &m.id.finish), ("stage", &m.id.stage)];
            about.extend(
                told.into_iter()
                    .filter_map(|(name, word)| Some((name.to_owned(), word.as_deref()?.into()))),
            );
            about.insert("map_shape".into(), m.finished.shape().to_vec().into());
            Value::Map(about)
        });
        let mut about = e.facts.clone();
        about.insert("maps".into(), Value::List(maps.collect()));
        about.insert("warnings".into(), e.warnings.clone().into());
        (name.clone(), Value::Map(about))
    });
    let rows = measurements.iter().map(|Measured { explainer, metric, measurement: m }| {
        Value::Map(facts([
            ("explainer", explainer.as_str().into()),
            ("map", m.map.as_str().into()),
            ("metric", metric.as_str().into()),
            ("quantity", m.name.as_str().into()),
            ("parameter", parameter_value(&m.parameter)),
            ("value", m.value.into()),
        ]))
    });
    Value::Map(facts([
        ("id", item.id.as_str().into()),
        ("key", key.into()),
        ("label", sample.label.into()),
        ("label_name", label_name.into()),
        ("marks", sample.marks.clone().into()),
        ("facts", Value::Map(sample.facts.clone())),
        ("pictures", Value::Map(pictures.collect())),
        ("explanations", Value::Map(explained.collect())),
        ("measurements", Value::List(rows.collect())),
        ("files", Value::Map(files.clone())),
    ]))
}

/// What a measurement depends on, for [`parameter_of`]: a case is its name, a point a map.
pub(in crate::run) fn parameter_value(parameter: &Parameter) -> Value {
    match parameter {
        Parameter::None => Value::Null,
        Parameter::Case(name) => name.as_str().into(),
        Parameter::Point { axis, unit, value } => Value::Map(facts([
            ("axis", axis.as_str().into()),
            ("unit", unit.as_str().into()),
            ("value", (*value).into()),
        ])),
    }
}

/// What [`parameter_value`] made.
pub(in crate::run) fn parameter_of(value: &Value) -> Option<Parameter> {
    Some(match value {
        Value::Null => Parameter::None,
        Value::Text(name) => Parameter::Case(name.clone()),
        point => Parameter::at(
            point.get("axis")?.as_str()?,
            point.get("unit")?.as_str()?,
            point.get("value")?.as_f64()?,
        ),
    })
}

/// One line for the terminal: what each explanation says of itself, or the names of its first maps.
pub(in crate::run) fn line(explanations: &[(String, Explanation)]) -> String {
    let one = |(name, e): &(String, Explanation)| {
        if !e.summary.is_empty() {
            return format!("{name}: {}", e.summary);
        }
        let maps: Vec<String> = e.maps.iter().take(2).map(NamedMap::name).collect();
        let more =
            if e.maps.len() > 2 { format!(", … {} maps", e.maps.len()) } else { String::new() };
        format!("{name}: {}{more}", maps.join(", "))
    };
    explanations.iter().map(one).collect::<Vec<_>>().join("; ")
}
