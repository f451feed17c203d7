//! `item.json`: one item, the same bytes on every run.
//!
//! ```text
//! id, key           what it is, and what it was made of (see `keys`)
//! label, …, facts   what the dataset says of the sample
//! pictures          by role: source, geometry back to it, what the prepare steps did
//! explanations      by the recipe's names: facts, warnings, and each map with its own facts
//! measurements      one row per explainer, map, metric, quantity and parameter
//! files             what the writers wrote, sorted
//! ```
//!
//! It holds no clock time and no path of this machine: those are in `run.json`.

use std::path::Path;

use super::super::item::Measured;
use crate::{
    Explanation, Sample,
    contract::ItemRef,
    data::{Value, facts},
};

/// The content of the `item.json` in `folder`, if it is there and whole.
pub(super) fn read_item(folder: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(folder.join("item.json")).ok()?;
    serde_json::from_str(&text).ok()
}

/// Whether `folder` holds the finished item with this `key`.
pub(in crate::run) fn is_done(folder: &Path, key: &str) -> bool {
    read_item(folder).is_some_and(|item| item.get("key").and_then(Value::as_str) == Some(key))
}

/// The content of `item.json`: all about a finished item that depends on neither clock nor machine.
pub(in crate::run) fn item_json(
    item: &ItemRef,
    key: &str,
    sample: &Sample,
    explanations: &[(String, Explanation)],
    measurements: &[Measured],
    files: &[String],
) -> Value {
    let pictures = sample.pictures.iter().map(|(role, p)| {
        let about = facts([
            ("source", p.source.as_str().into()),
            ("geometry", p.geometry.0.to_vec().into()),
            ("prepared", Value::Map(p.facts.clone())),
        ]);
        (role.clone(), Value::Map(about))
    });
    let explained = explanations.iter().map(|(name, e)| {
        let maps = e.maps.iter().map(|m| {
            let mut about = m.facts.clone();
            about.insert("name".into(), m.name.as_str().into());
            about.insert("role".into(), m.role.as_str().into());
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
            ("parameter", m.parameter.as_str().into()),
            ("value", m.value.into()),
        ]))
    });
    Value::Map(facts([
        ("id", item.id.as_str().into()),
        ("key", key.into()),
        ("label", sample.label.into()),
        ("marks", sample.marks.clone().into()),
        ("facts", Value::Map(sample.facts.clone())),
        ("pictures", Value::Map(pictures.collect())),
        ("explanations", Value::Map(explained.collect())),
        ("measurements", Value::List(rows.collect())),
        ("files", files.to_vec().into()),
    ]))
}

/// One line for the terminal: what each explanation says of itself, or the names of its first maps.
pub(in crate::run) fn line(explanations: &[(String, Explanation)]) -> String {
    let one = |(name, e): &(String, Explanation)| {
        if !e.summary.is_empty() {
            return format!("{name}: {}", e.summary);
        }
        let maps: Vec<&str> = e.maps.iter().take(2).map(|m| m.name.as_str()).collect();
        let more =
            if e.maps.len() > 2 { format!(", … {} maps", e.maps.len()) } else { String::new() };
        format!("{name}: {}{more}", maps.join(", "))
    };
    explanations.iter().map(one).collect::<Vec<_>>().join("; ")
}
