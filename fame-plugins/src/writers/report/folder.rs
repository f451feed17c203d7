//! A run's folder as the page reads it: `run.json`, `items.jsonl`, and each item's `item.json`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use fame_core::{
    Error, Result,
    data::{Facts, Value as Fact, read_ordinary},
    run::{ItemLine as IndexLine, item_lines},
};
use serde::Deserialize as _;
use serde_json::Value;

use super::Report;
use crate::writers::{
    colour::Palette,
    thumbnail::{Answer, answer, told},
};

/// The record of a run, with its folder.
pub(super) struct RunFolder {
    out: PathBuf,
    /// `run.json`.
    pub(super) record: Value,
}

/// One line of the index: an item and how it ended.
pub(super) struct ItemLine {
    pub(super) id: String,
    /// `done`, `kept` or `failed`.
    pub(super) status: String,
    pub(super) seconds: Option<f64>,
    /// Code, message and help, if it failed.
    pub(super) error: Option<Value>,
}

/// An item with its folder and `item.json`; of one that failed the record is empty.
pub(super) struct ItemFolder<'a> {
    pub(super) line: &'a ItemLine,
    pub(super) folder: PathBuf,
    pub(super) record: Value,
}

/// An explainer of the recipe.
pub(super) struct Method {
    /// The recipe's name of it.
    pub(super) name: String,
    /// The plugin's name.
    pub(super) plugin: String,
    pub(super) parameters: Value,
}

/// One map of an item, as the record has it.
pub(super) struct MapRecord<'a> {
    pub(super) explainer: &'a str,
    pub(super) name: &'a str,
    pub(super) role: &'a str,
    pub(super) claim: &'a str,
    /// Rows and columns of the map, which are those of the prepared picture.
    pub(super) size: (f64, f64),
    pub(super) about: &'a Value,
}

/// A file of JSON; null when it is not there or broken.
fn read(path: &Path) -> Value {
    read_ordinary(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

/// The text of `value`, or nothing.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The values of a list, none of anything else.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Names and values of a map, none of anything else.
pub(super) fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

/// A part of the plan, `{"Name": {parameters}}`, as its name and parameters.
fn part(value: &Value) -> (String, Value) {
    let first = entries(value).next();
    first.map_or_else(Default::default, |(name, value)| (name.to_owned(), value.clone()))
}

impl RunFolder {
    /// Reads the record of the run in `out`.
    ///
    /// # Errors
    /// `fame::report::no_run` when there is none.
    pub(super) fn open(out: &Path) -> Result<Self> {
        let record = read(&out.join("run.json"));
        if record["fame_version"].is_string() {
            return Ok(Self { out: out.to_owned(), record });
        }
        let place = out.join("run.json");
        if place.exists() {
            let message = format!("the record of a run, `{}`, is damaged.", place.display());
            return Err(Error::new("fame::report::damaged", message).with_help(
                "The finished items in `items` are whole. Move run.json away and run the recipe again: it keeps them, and writes a new record and report.",
            ));
        }
        let message = format!("`{}` holds no run: there is no run.json.", out.display());
        Err(Error::new("fame::report::no_run", message)
            .with_help("Name the output folder of a run, as `fame-cli run RECIPE --out OUT` does."))
    }

    /// The parameters that the recipe gave the page; defaults where it asked for none.
    pub(super) fn parameters(&self) -> Report {
        let parts = list(&self.record["plan"]["write"]).iter().map(part);
        let found = parts
            .filter(|(name, _)| name == "Report")
            .find_map(|(_, p)| Report::deserialize(p).ok());
        found.unwrap_or_default()
    }

    /// The colours that the run's pictures of maps have: those of the first writer that names any.
    pub(super) fn colormap(&self) -> Option<&str> {
        let mut writers = list(&self.record["plan"]["write"]).iter().flat_map(entries);
        let colours = |name: &&str| Palette::named(name).is_some();
        writers.find_map(|(_, of)| of["colormap"].as_str().filter(colours))
    }

    /// The items in the data's order. Of a run that was broken off also those whose folders are
    /// there and that its index does not name, by name.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub(super) fn items(&self) -> Result<Vec<ItemLine>> {
        let mut lines: Vec<ItemLine> = item_lines(&self.out)?.map(ItemLine::of).collect();
        let is_over = text(&self.record["status"]) != "running";
        if is_over && !lines.is_empty() {
            return Ok(lines);
        }
        let folders = std::fs::read_dir(self.out.join("items")).into_iter().flatten().flatten();
        let named: BTreeSet<&str> = lines.iter().map(|line| line.id.as_str()).collect();
        let mut ids: Vec<String> = folders
            .filter(|entry| entry.path().join("item.json").is_file())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|id| !named.contains(id.as_str()))
            .collect();
        ids.sort();
        let line = |id| ItemLine { id, status: "done".to_owned(), seconds: None, error: None };
        lines.extend(ids.into_iter().map(line));
        Ok(lines)
    }

    /// An item's record.
    pub(super) fn item<'a>(&self, line: &'a ItemLine) -> ItemFolder<'a> {
        let folder = self.out.join("items").join(&line.id);
        let is_there = line.status != "failed" && is_plain(&line.id);
        let record = if is_there { read(&folder.join("item.json")) } else { Value::Null };
        ItemFolder { line, folder, record }
    }

    /// The explainers in the recipe's order.
    pub(super) fn methods(&self) -> Vec<Method> {
        let explain = list(&self.record["plan"]["explain"]).iter();
        let method = |of: &Value| {
            let (plugin, parameters) = part(&of["explainer"]);
            Method { name: text(&of["name"]).to_owned(), plugin, parameters }
        };
        explain.map(method).collect()
    }
}

/// Whether `id` is the name of a folder, and no path: `run.json` may come from anywhere.
fn is_plain(id: &str) -> bool {
    let mut parts = Path::new(id).components();
    matches!(parts.next(), Some(std::path::Component::Normal(_))) && parts.next().is_none()
}

impl ItemLine {
    fn of(line: IndexLine) -> Self {
        Self {
            id: line.id,
            status: line.status.word().to_owned(),
            seconds: line.seconds,
            error: line.error.and_then(|error| serde_json::to_value(error).ok()),
        }
    }
}

/// A name in front of a number, of its own direction.
fn isolated(name: &str) -> String {
    format!("\u{2068}{name}\u{2069}")
}

impl MapRecord<'_> {
    /// What the network answered for the clean picture, if the map explains an answer.
    pub(super) fn answer(&self) -> Option<Answer> {
        answer(&self.facts(), isolated)
    }

    /// Its facts of one word or number each: curves and lists of classes are no part of an answer.
    fn facts(&self) -> Facts {
        let plain = entries(self.about).filter(|(_, v)| !v.is_array() && !v.is_object());
        let fact = |(name, v): (&str, &Value)| Some((name.to_owned(), Fact::deserialize(v).ok()?));
        plain.filter_map(fact).collect()
    }
}

impl ItemFolder<'_> {
    /// The maps, explainers in alphabetical order.
    pub(super) fn maps(&self) -> Vec<MapRecord<'_>> {
        entries(&self.record["explanations"])
            .flat_map(|(explainer, e)| list(&e["maps"]).iter().map(move |m| (explainer, m)))
            .map(|(explainer, about)| {
                let shape = list(&about["map_shape"]);
                let extent = |from_end: usize| {
                    let at = shape.len().checked_sub(from_end);
                    at.and_then(|at| shape[at].as_f64()).unwrap_or(1.0)
                };
                MapRecord {
                    explainer,
                    name: text(&about["name"]),
                    role: text(&about["role"]),
                    claim: text(&about["claim"]),
                    size: (extent(2), extent(1)),
                    about,
                }
            })
            .collect()
    }

    /// The roles of its pictures by name, as in the record: a pair's gallery stands before its
    /// probe, whichever is explained. Of more than two those that are explained come first: the
    /// pictures of a gallery stand behind the one that is searched for.
    pub(super) fn roles(&self) -> Vec<&str> {
        let explained: BTreeSet<&str> = self.maps().iter().map(|map| map.role).collect();
        let mut roles: Vec<&str> =
            entries(&self.record["pictures"]).map(|(role, _)| role).collect();
        if roles.len() > 2 {
            roles.sort_by_key(|role| !explained.contains(role));
        }
        roles
    }

    /// What a reader must know: of the pictures, and of each explainer.
    pub(super) fn warnings(&self) -> Vec<String> {
        let said = |of: &str, warnings: &Value| -> Vec<String> {
            list(warnings).iter().map(|w| format!("{of}: {}", text(w))).collect()
        };
        let of_pictures = entries(&self.record["pictures"]);
        let of_methods = entries(&self.record["explanations"]);
        of_pictures.chain(of_methods).flat_map(|(of, about)| said(of, &about["warnings"])).collect()
    }

    /// What the network answered for the clean pictures, as the terminal says it.
    pub(super) fn answers(&self) -> Vec<Answer> {
        let facts: Vec<Facts> = self.maps().iter().map(MapRecord::facts).collect();
        told(&facts, isolated)
    }

    /// The first fact called `name` of any map.
    pub(super) fn first_fact(&self, name: &str) -> Option<&Value> {
        let explanations = self.record["explanations"].as_object()?;
        let mut maps = explanations.values().flat_map(|e| list(&e["maps"]));
        maps.find_map(|map| map.get(name).filter(|value| !value.is_null()))
    }

    /// What was measured: by explainer, map, metric and quantity, the points in their order.
    pub(super) fn measured(&self) -> BTreeMap<[&str; 4], Vec<(&Value, f64)>> {
        let mut of: BTreeMap<[&str; 4], Vec<(&Value, f64)>> = BTreeMap::new();
        for row in list(&self.record["measurements"]) {
            let key = ["explainer", "map", "metric", "quantity"].map(|name| text(&row[name]));
            if let Some(value) = row["value"].as_f64() {
                of.entry(key).or_default().push((&row["parameter"], value));
            }
        }
        of
    }
}
