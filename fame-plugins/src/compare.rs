//! Two runs side by side: how alike their maps are, and whether their measurements differ.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use fame_core::{
    Column, Error, Parameter, Result, Scores, Table,
    data::file_name,
    holm,
    report::Numbers,
    run::{ItemStatus, item_lines},
    sign_flip_p,
};
use serde_json::Value;

use crate::{as_typed, explainers::face::average_ranks, numpy::Array};

/// What one item of a run left: the files of its finished maps by explainer and map, and its
/// measurements.
struct Item {
    maps: BTreeMap<(String, String), std::path::PathBuf>,
    measured: BTreeMap<Quantity, f64>,
}

/// Explainer, map, metric and quantity of a measurement, and what it depends on.
type Quantity = ([String; 4], At);

/// What a measurement depends on, in the order of names and numbers: `P=2` before `P=10`.
#[derive(Clone, Debug)]
struct At(Parameter);

impl At {
    /// What `item.json` says of a measurement.
    fn of(value: &Value) -> Self {
        let point = || {
            let (axis, unit) = (value["axis"].as_str()?, value["unit"].as_str()?);
            Some(Parameter::at(axis, unit, value["value"].as_f64()?))
        };
        Self(point().unwrap_or_else(|| Parameter::case(text(value))))
    }

    /// Its name, and its number where it has one.
    fn key(&self) -> (&str, f64) {
        match &self.0 {
            Parameter::None => ("", 0.0),
            Parameter::Case(name) => (name, 0.0),
            Parameter::Point { axis, value, .. } => (axis, *value),
        }
    }
}

impl Ord for At {
    fn cmp(&self, other: &Self) -> Ordering {
        let ((name, number), (of_other, other)) = (self.key(), other.key());
        name.cmp(of_other).then(number.total_cmp(&other))
    }
}

impl PartialOrd for At {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for At {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for At {}

/// Reads the items of the run in `out`, by id.
fn items(out: &Path) -> Result<BTreeMap<String, Item>> {
    let record = json(&out.join("run.json"));
    if !record["fame_version"].is_string() {
        let message = format!("`{}` holds no run: its run.json cannot be read.", out.display());
        return Err(Error::new("fame::compare::no_run", message).with_help(
            "Name the output folder of a run, as `fame-cli run RECIPE --out OUT` does.",
        ));
    }
    // What an earlier run has left in the folder is no part of this one.
    let mut lines = item_lines(out)?.peekable();
    let has_index = lines.peek().is_some();
    let made = lines.filter(|line| line.status != ItemStatus::Failed).map(|line| line.id);
    let made: BTreeSet<String> = made.collect();
    let folders = fs::read_dir(out.join("items")).into_iter().flatten().flatten();
    let mut items = BTreeMap::new();
    for folder in folders.map(|entry| entry.path()) {
        let id = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if has_index && !made.contains(&id) {
            continue;
        }
        let record = json(&folder.join("item.json"));
        let Some(explanations) = record["explanations"].as_object() else { continue };
        let mut maps = BTreeMap::new();
        for (explainer, about) in explanations {
            for map in about["maps"].as_array().into_iter().flatten() {
                let name = text(&map["name"]);
                let stem = format!("{explainer}.{name}");
                // Runs of before names were cut have the whole name.
                let files = [file_name(&stem, ".npy"), format!("{stem}.npy")];
                let mut files = files.iter().map(|file| folder.join(file));
                if let Some(file) = files.find(|file| file.is_file()) {
                    maps.insert((explainer.clone(), name), file);
                }
            }
        }
        items.insert(id, Item { maps, measured: measured(&record) });
    }
    Ok(items)
}

fn json(path: &Path) -> Value {
    fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn measured(record: &Value) -> BTreeMap<Quantity, f64> {
    let rows = record["measurements"].as_array().into_iter().flatten();
    let row = |row: &Value| {
        let key = ["explainer", "map", "metric", "quantity"].map(|name| text(&row[name]));
        Some(((key, At::of(&row["parameter"])), row["value"].as_f64()?))
    };
    rows.filter_map(row).collect()
}

/// Compares the run in `other` with that in `first`: a table of the parameters that differ, as a
/// recipe writes them, one of how alike the maps of one name are, and one of how measurements
/// differ, item by item, where both have some.
///
/// Maps of different sizes are not compared, and counted in a note. The correlations are Spearman's
/// (ties averaged) and Pearson's over the pixels of the finished maps; differences are tested by
/// sign flips, Holm-adjusted over the table.
///
/// # Errors
/// `fame::compare::no_run` when a folder holds no run, `fame::compare::nothing_shared` when the two
/// have no map and no measurement in common.
pub fn compare(first: &Path, other: &Path) -> Result<Vec<Table>> {
    let (one, two) = (items(first)?, items(other)?);
    let shared: Vec<(&String, &Item, &Item)> =
        one.iter().filter_map(|(id, item)| Some((id, item, two.get(id)?))).collect();
    let maps = alike(&shared)?;
    let differences = differences(&shared);
    let mut tables: Vec<Table> = maps.into_iter().chain(differences).collect();
    if tables.is_empty() {
        let names = |items: &BTreeMap<String, Item>| -> String {
            let all: BTreeSet<&String> =
                items.values().flat_map(|item| item.maps.keys().map(|(name, _)| name)).collect();
            let all: Vec<&str> = all.into_iter().map(String::as_str).collect();
            match all.as_slice() {
                [] => "no items with maps".to_owned(),
                all => {
                    let s = if items.len() == 1 { "" } else { "s" };
                    format!("{} item{s} with maps of {}", items.len(), all.join(", "))
                }
            }
        };
        let message = format!(
            "`{}` ({}) and `{}` ({}) have nothing in common to compare.",
            first.display(),
            names(&one),
            other.display(),
            names(&two)
        );
        return Err(Error::new("fame::compare::nothing_shared", message)
            .with_help("Maps are compared by the item's id and the explainer's name in the recipe; both runs need the writer Npy()."));
    }
    tables[0].notes.extend(left_out(&one, &two));
    let [one, two] = [first, other].map(|out| json(&out.join("run.json"))["plan"].take());
    if let Some(parameters) = as_typed::differences(&one, &two) {
        tables.insert(0, parameters);
    }
    Ok(tables)
}

/// What only one of two runs has, which no table compares.
fn left_out(one: &BTreeMap<String, Item>, two: &BTreeMap<String, Item>) -> Vec<String> {
    let mut notes = Vec::new();
    for (there, elsewhere, which) in [(one, two, "first"), (two, one, "other")] {
        let alone = there.keys().filter(|id| !elsewhere.contains_key(*id)).count();
        if alone > 0 {
            let items = if alone == 1 { "item is" } else { "items are" };
            notes.push(format!("{alone} {items} in the {which} run only, and left out."));
        }
        let mut explainers = BTreeSet::new();
        for (id, item) in there {
            let Some(counterpart) = elsewhere.get(id) else { continue };
            let lacks = |key: &&(String, String)| !counterpart.maps.contains_key(*key);
            explainers.extend(item.maps.keys().filter(lacks).map(|(explainer, _)| explainer));
        }
        if !explainers.is_empty() {
            let names: Vec<&str> = explainers.into_iter().map(String::as_str).collect();
            let names = names.join(", ");
            notes.push(format!("Maps of {names} that only the {which} run has are left out."));
        }
    }
    notes
}

/// How alike the maps are, by explainer.
fn alike(shared: &[(&String, &Item, &Item)]) -> Result<Option<Table>> {
    let column = |quantity: &str| Column {
        quantity: quantity.to_owned(),
        parameter: Parameter::None,
        better: None,
    };
    let (spearman, pearson, same) = (column("spearman"), column("pearson"), column("identical"));
    let mut scores = Scores::default();
    let (mut of_other_size, mut even) = (0, 0);
    for (id, one, two) in shared {
        for (key, file) in &one.maps {
            let Some(counterpart) = two.maps.get(key) else { continue };
            let (a, b) = (map(file)?, map(counterpart)?);
            if a.shape != b.shape {
                of_other_size += 1;
                continue;
            }
            let explainer = &key.0;
            scores.add(explainer, &same, id, f64::from(u8::from(a.values == b.values)));
            let ranks = [&a, &b].map(|map| {
                average_ranks(&map.values.iter().map(|v| *v as f32).collect::<Vec<_>>())
            });
            let (by_rank, by_value) =
                (correlation(&ranks[0], &ranks[1]), correlation(&a.values, &b.values));
            if by_rank.is_finite() && by_value.is_finite() {
                scores.add(explainer, &spearman, id, by_rank);
                scores.add(explainer, &pearson, id, by_value);
            } else {
                even += 1;
            }
        }
    }
    if scores.explainers().is_empty() && of_other_size == 0 {
        return Ok(None);
    }
    let mut table = scores.means("maps", "Maps of one name, item by item".to_owned(), 4);
    table.notes.clear();
    for (count, why) in [
        (of_other_size, "have another size in the other run and are left out"),
        (even, "are the same everywhere in one of the runs: no correlation"),
    ] {
        if count > 0 {
            table.notes.push(format!("{count} maps {why}."));
        }
    }
    Ok(Some(table))
}

fn map(file: &Path) -> Result<Array> {
    let bytes = fs::read(file).map_err(|e| Error::io("read", file, &e))?;
    Array::read(&bytes)
        .map_err(|why| Error::new("fame::compare::map", format!("`{}` {why}.", file.display())))
}

/// Pearson's correlation; NaN where one of the two never varies.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let sum = |of: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(x, y)| of(*x, *y)).sum::<f64>();
    let (xx, yy) = (sum(&|x, _| (x - ma).powi(2)), sum(&|_, y| (y - mb).powi(2)));
    sum(&|x, y| (x - ma) * (y - mb)) / (xx * yy).sqrt()
}

/// The differences of measurements, other run less first, averaged over the maps of an item.
fn differences(shared: &[(&String, &Item, &Item)]) -> Option<Table> {
    /// Differences by item.
    type Items<'i> = BTreeMap<&'i str, Vec<f64>>;
    let mut found: BTreeMap<([String; 3], At), Items<'_>> = BTreeMap::new();
    for (id, one, two) in shared {
        for (key @ ([explainer, _, metric, quantity], at), value) in &one.measured {
            let Some(other) = two.measured.get(key) else { continue };
            let row = ([explainer, metric, quantity].map(String::clone), at.clone());
            found.entry(row).or_default().entry(id).or_default().push(other - value);
        }
    }
    if found.is_empty() {
        return None;
    }
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let differences: Vec<Vec<f64>> =
        found.values().map(|items| items.values().map(|of| mean(of)).collect()).collect();
    let adjusted = holm(&differences.iter().map(|d| sign_flip_p(d)).collect::<Vec<_>>());
    let rows = found.keys().zip(&differences).zip(&adjusted).map(|((key, d), p)| {
        let numbers = [d.len().to_string(), format!("{:+.4}", mean(d)), format!("{p:.4}")];
        let (names, At(parameter)) = key;
        names.iter().cloned().chain([parameter.to_string()]).chain(numbers).collect::<Vec<_>>()
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let columns: Vec<String> =
        ["explainer", "metric", "quantity", "parameter", "items", "difference", "p"]
            .map(str::to_owned)
            .into();
    let table = Table {
        name: "measurements".to_owned(),
        title: format!(
            "Mean difference of measurements, the other run less the first, item by item (p: two-sided sign-flip test, Holm-adjusted over {} comparisons)",
            rows.len()
        ),
        numbers: Some(Numbers { columns: columns.clone(), rows: rows.clone() }),
        columns,
        rows,
        ..Table::default()
    };
    Some(table.without_empty_columns())
}

#[cfg(test)]
mod tests {
    use npyz::WriterBuilder as _;

    use super::*;

    /// A folder as a run leaves it, with one explainer and one measurement for each item.
    fn run(items: &[(&str, [f64; 4], f64)]) -> tempfile::TempDir {
        run_of("image", "fame.image.npy", items)
    }

    /// The same, with a map of this name in this file.
    fn run_of(name: &str, file: &str, items: &[(&str, [f64; 4], f64)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("run.json"), r#"{"fame_version": "0"}"#).unwrap();
        for (id, map, value) in items {
            let folder = dir.path().join("items").join(id);
            fs::create_dir_all(&folder).unwrap();
            let record = serde_json::json!({
                "explanations": { "fame": { "maps": [{ "name": name }] } },
                "measurements": [{ "explainer": "fame", "map": name, "metric": "Iou",
                    "quantity": "iou", "parameter": null, "value": value }],
            });
            fs::write(folder.join("item.json"), record.to_string()).unwrap();
            let mut bytes = Vec::new();
            let mut npy = npyz::WriteOptions::new()
                .default_dtype()
                .shape(&[2, 2])
                .writer(&mut bytes)
                .begin_nd()
                .unwrap();
            npy.extend(map.iter().copied()).unwrap();
            npy.finish().unwrap();
            fs::write(folder.join(file), bytes).unwrap();
        }
        dir
    }

    #[test]
    fn maps_are_correlated_and_measurements_tested() {
        let first = run(&[("a", [0.0, 0.1, 0.2, 1.0], 0.5), ("b", [1.0, 0.5, 0.2, 0.0], 0.4)]);
        // `a` is the same; the ranks of `b` are turned round; `c` has no counterpart.
        let other = run(&[
            ("a", [0.0, 0.1, 0.2, 1.0], 0.7),
            ("b", [0.0, 0.2, 0.5, 1.0], 0.6),
            ("c", [0.0; 4], 0.0),
        ]);
        let tables = compare(first.path(), other.path()).unwrap();
        assert_eq!(tables.len(), 2);
        let numbers = tables[0].numbers.as_ref().unwrap();
        let at = |name: &str| numbers.columns.iter().position(|c| c == name).unwrap();
        let number = |name: &str| numbers.rows[0][at(name)].parse::<f64>().unwrap();
        assert!((number("spearman") - 0.0).abs() < 1e-6, "(1 - 1) / 2: {numbers:?}");
        assert!((number("identical") - 0.5).abs() < 1e-6);
        assert_eq!(tables[1].rows[0][..3], ["fame", "Iou", "iou"]);
        assert!(tables[1].rows[0].contains(&"+0.2000".to_owned()), "{:?}", tables[1].rows);
    }

    #[test]
    fn what_an_earlier_run_left_in_the_folder_is_not_compared() {
        let items = [("a", [0.0, 0.1, 0.2, 1.0], 0.5), ("b", [1.0, 0.5, 0.2, 0.0], 0.4)];
        let (first, other) = (run(&items), run(&items));
        let lines = [r#"{"id": "a", "status": "done"}"#, r#"{"id": "b", "status": "failed"}"#];
        fs::write(other.path().join("items.jsonl"), lines.join("\n")).unwrap();
        let tables = compare(first.path(), other.path()).unwrap();
        let numbers = tables[0].numbers.as_ref().unwrap();
        let at = numbers.columns.iter().position(|column| column == "items").unwrap();
        assert_eq!(numbers.rows[0][at], "1", "{numbers:?}");
    }

    /// Of names between the longest that is written now and the longest that a file can have.
    #[test]
    fn maps_of_before_names_were_cut_are_found() {
        let name = format!("class_{}", "x".repeat(220));
        let stem = format!("fame.{name}");
        let (whole, cut) = (format!("{stem}.npy"), file_name(&stem, ".npy"));
        assert_ne!(whole, cut);
        let items = [("a", [0.0, 0.1, 0.2, 1.0], 0.5)];
        let runs = [&whole, &cut].map(|file| run_of(&name, file, &items));
        let tables = compare(runs[0].path(), runs[1].path()).unwrap();
        let maps = tables.iter().find(|table| table.name == "maps").expect("a table of the maps");
        let numbers = maps.numbers.as_ref().unwrap();
        let at = numbers.columns.iter().position(|column| column == "identical").unwrap();
        assert_eq!(numbers.rows[0][at].parse::<f64>().unwrap(), 1.0, "{numbers:?}");
    }

    #[test]
    fn points_are_written_as_in_other_tables_and_stand_in_the_order_of_their_numbers() {
        let items = [("a", [0.0, 0.1, 0.2, 1.0], 0.5)];
        let [first, other] = [run(&items), run(&items)];
        let at = |parameter: Value, value: f64| {
            serde_json::json!({ "explainer": "fame", "map": "image", "metric": "Road",
                "quantity": "drop", "parameter": parameter, "value": value })
        };
        let unit = "percent of the pixels";
        let point = |value: f64| serde_json::json!({ "axis": "P", "unit": unit, "value": value });
        for (dir, value) in [(&first, 0.5), (&other, 0.75)] {
            let points = [10.0, 2.0, 0.5, 100.0].map(|n| at(point(n), value));
            let cases = ["last_3", "first"].map(|case| at(case.into(), value));
            let measurements = [&points[..], &cases[..], &[at(Value::Null, value)]].concat();
            let record = serde_json::json!({
                "explanations": { "fame": { "maps": [{ "name": "image" }] } },
                "measurements": measurements,
            });
            fs::write(dir.path().join("items/a/item.json"), record.to_string()).unwrap();
        }
        let tables = compare(first.path(), other.path()).unwrap();
        let table = tables.iter().find(|table| table.name == "measurements").unwrap();
        let column = table.columns.iter().position(|name| name == "parameter").unwrap();
        let told: Vec<&str> = table.rows.iter().map(|row| row[column].as_str()).collect();
        assert_eq!(told, ["", "P=0.5", "P=2", "P=10", "P=100", "first", "last_3"]);
    }

    #[test]
    fn parameters_that_differ_come_first() {
        let [first, other] =
            [run(&[("a", [0.0, 0.1, 0.2, 1.0], 0.5)]), run(&[("a", [0.1; 4], 0.5)])];
        for (dir, steps) in [(&first, 16), (&other, 32)] {
            let lots = serde_json::json!({ "Lots": { "iterations": steps, "step": 0.1 } });
            let fame = serde_json::json!({ "Fame": { "perturbation": lots } });
            let plan = serde_json::json!({ "explain": [{ "name": "fame", "explainer": fame }] });
            let record = serde_json::json!({ "fame_version": "0", "plan": plan });
            fs::write(dir.path().join("run.json"), record.to_string()).unwrap();
        }
        let tables = compare(first.path(), other.path()).unwrap();
        assert_eq!(tables[0].rows, [["explain.fame.perturbation.iterations", "16", "32"]]);
        assert_eq!(tables[1].name, "maps");
    }

    #[test]
    fn what_only_one_run_has_is_told() {
        let map = [0.0, 0.1, 0.2, 1.0];
        let first = run(&[("a", map, 0.5), ("b", map, 0.5), ("c", map, 0.5)]);
        let other = run(&[("a", map, 0.5), ("d", map, 0.5)]);
        let of_other = other.path().join("items/d");
        fs::rename(&of_other, other.path().join("items/c")).unwrap();
        fs::remove_file(other.path().join("items/c/fame.image.npy")).unwrap();
        let tables = compare(first.path(), other.path()).unwrap();
        let told = [
            "1 item is in the first run only, and left out.",
            "Maps of fame that only the first run has are left out.",
        ];
        assert_eq!(tables[0].notes, told);
    }

    #[test]
    fn what_cannot_be_compared_is_said() {
        let first = run(&[("a", [0.0, 0.1, 0.2, 1.0], 0.5)]);
        let other = run(&[("b", [0.0, 0.1, 0.2, 1.0], 0.5)]);
        let error = compare(first.path(), other.path()).unwrap_err();
        assert_eq!(error.code, "fame::compare::nothing_shared");
        let nothing = tempfile::tempdir().unwrap();
        let error = compare(first.path(), nothing.path()).unwrap_err();
        assert_eq!(error.code, "fame::compare::no_run");
        // A map that never varies has no correlation, and is counted.
        let flat = run(&[("a", [0.5; 4], 0.5)]);
        let tables = compare(first.path(), flat.path()).unwrap();
        assert!(tables[0].notes[0].contains("1 maps are the same everywhere"), "{tables:?}");
    }
}
