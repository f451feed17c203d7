//! `metrics.csv` and `tables/`: what the measurements of all items come to.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    io::{self, Read as _, Write},
    path::Path,
};

use super::{ItemRecord, item::parameter_of, tables};
use crate::{
    Error, Marks, Parameter, Plan, Result, Table,
    contract::MetricRow,
    data::Value,
    data::{open_ordinary, safe_id, write_whole_by},
    report::{escape::csv_cell, joined, reliability, summary},
};

/// The name of the table of all measurements.
pub(in crate::run) const FILE: &str = "metrics.csv";

/// The columns of `metrics.csv` that every run has.
const COLUMNS: [&str; 7] = ["item", "explainer", "map", "metric", "quantity", "parameter", "value"];

/// Whether `metrics.csv` in `out` is none that a run has written: those begin with the same columns.
pub(in crate::run) fn is_foreign(out: &Path) -> bool {
    let first = COLUMNS.join(",");
    let mut found = Vec::new();
    let read = open_ordinary(&out.join(FILE))
        .map(|file| file.take(first.len() as u64).read_to_end(&mut found).is_ok());
    read.is_ok_and(|is_read| is_read && found != first.as_bytes())
}

/// Writes `metrics.csv` of the items called `ids`, in that order, and the tables that they come to;
/// nothing when no metric was asked for. Also returns a warning for each item that is left out,
/// because its record cannot be read, and for each metric that has measured nothing.
pub(super) fn write(
    out: &Path,
    ids: impl Iterator<Item = String>,
    plan: &Plan,
) -> Result<(Vec<Table>, Vec<String>)> {
    let names = plan.metric_names();
    if names.is_empty() {
        return tables::remove(out).map(|()| (Vec::new(), Vec::new()));
    }
    let mut rows = Rows::default();
    let mut warnings = Vec::new();
    for id in ids {
        match ItemRecord::read(&out.join("items").join(&id)) {
            Ok(record) => rows.add(id, record),
            Err(e) => warnings.push(left_out(&id, &e)),
        }
    }
    write_whole_by(out, &out.join(FILE), |file| rows.csv(file))?;
    let (mut all, mut scored) = (Vec::new(), Vec::new());
    for (name, metric) in names.iter().zip(&plan.metrics) {
        // One metric's rows at a time: spelled out they are ten times as large.
        let of_metric = rows.of_metric(name);
        if of_metric.is_empty() && !rows.items.is_empty() {
            let why = if rows.without_number.contains(name) {
                format!("`{name}` gave no number in any item.")
            } else {
                nothing(name, metric.plugin.needs())
            };
            all.push(no_table(name, &why));
            warnings.push(why);
            continue;
        }
        // What cannot be scored has its reason in place of its tables.
        scored.extend(metric.plugin.scores(&of_metric).ok().map(|scores| (name.as_str(), scores)));
        let summarised = metric.plugin.summarise(name, &of_metric);
        let reason = |e: Error| vec![no_table(name, &format!("No table: {e}"))];
        all.extend(summarised.unwrap_or_else(reason));
    }
    all.extend(summary(&scored));
    all.extend(reliability(&scored));
    let mut all: Vec<Table> = all.into_iter().map(Table::without_empty_columns).collect();
    all.extend(joined(&all));
    tables::write(out, &all)?;
    Ok((all, warnings))
}

/// The warning about an item that no table and nothing that writers bring together has.
pub(in crate::run) fn left_out(id: &str, error: &Error) -> String {
    format!("item {id} is left out of tables and of what writers bring together: {error}")
}

/// The measurements of all items. There may be millions, of few names: each name is kept once.
#[derive(Default)]
#[allow(clippy::struct_field_names, reason = "rows of a table have no other name")]
struct Rows {
    items: Vec<(String, Marks)>,
    names: Names,
    /// Each parameter by its text in a record; its number is that of the text.
    parameters: BTreeMap<u32, Parameter>,
    rows: Vec<Row>,
    /// Metrics that have measured something and got no number, as of a map that is constant.
    without_number: BTreeSet<String>,
}

/// One measurement: numbers of names, and the value.
struct Row {
    item: u32,
    explainer: u32,
    map: u32,
    metric: u32,
    quantity: u32,
    parameter: u32,
    value: f64,
}

/// Texts by number.
#[derive(Default)]
struct Names {
    numbers: BTreeMap<String, u32>,
    texts: Vec<String>,
}

impl Names {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len() as u32;
        self.numbers.insert(text.to_owned(), number);
        self.texts.push(text.to_owned());
        number
    }

    fn text(&self, number: u32) -> &str {
        self.texts.get(number as usize).map_or("", String::as_str)
    }
}

impl Rows {
    /// Adds what was measured of the item called `id`, by its record.
    fn add(&mut self, id: String, record: ItemRecord) {
        let item = self.items.len() as u32;
        for row in &record.measurements {
            let Some(value) = row.value else {
                self.without_number.insert(row.metric.clone());
                continue;
            };
            let told = serde_json::to_string(&row.parameter).unwrap_or_default();
            // No name of anything begins so.
            let parameter = self.names.number(&format!("\0{told}"));
            if let Entry::Vacant(unknown) = self.parameters.entry(parameter) {
                let Some(of) = parameter_of(&row.parameter) else { continue };
                unknown.insert(of);
            }
            let [explainer, map, metric, quantity] =
                [&row.explainer, &row.map, &row.metric, &row.quantity]
                    .map(|name| self.names.number(name));
            self.rows.push(Row { item, explainer, map, metric, quantity, parameter, value });
        }
        self.items.push((id, Marks::from(&Value::Map(record.marks))));
    }

    /// The rows that the metric called `name` has measured.
    fn of_metric(&self, name: &str) -> Vec<MetricRow> {
        let Some(metric) = self.names.numbers.get(name) else { return Vec::new() };
        self.rows.iter().filter(|row| row.metric == *metric).map(|row| self.whole(row)).collect()
    }

    /// A row with its names.
    fn whole(&self, row: &Row) -> MetricRow {
        let (item, marks) = &self.items[row.item as usize];
        let name = |number: u32| self.names.text(number).to_owned();
        MetricRow {
            item: item.clone(),
            explainer: name(row.explainer),
            map: name(row.map),
            quantity: name(row.quantity),
            parameter: self.parameters.get(&row.parameter).cloned().unwrap_or_default(),
            value: row.value,
            marks: marks.clone(),
        }
    }

    /// The rows as CSV: what was measured, then a column for each mark that any of the measured
    /// items has.
    fn csv(&self, file: &mut dyn Write) -> io::Result<()> {
        let measured = |n: u32| &self.items[n as usize];
        let mut of_items = self.rows.iter().map(|row| row.item).collect::<Vec<u32>>();
        of_items.dedup();
        let marks: BTreeSet<&str> =
            of_items.into_iter().flat_map(|n| measured(n).1.iter().map(|(name, _)| name)).collect();
        let mut line = |cells: &[&str]| {
            let cells: Vec<String> = cells.iter().map(|cell| csv_cell(cell)).collect();
            writeln!(file, "{}", cells.join(","))
        };
        line(&COLUMNS.into_iter().chain(marks.iter().copied()).collect::<Vec<&str>>())?;
        let texts: BTreeMap<u32, String> =
            self.parameters.iter().map(|(n, parameter)| (*n, parameter.to_string())).collect();
        for row in &self.rows {
            let (item, of_row) = measured(row.item);
            let of_row: BTreeMap<&str, &Value> = of_row.iter().collect();
            let name = |number: u32| self.names.text(number);
            let value = row.value.to_string();
            let parameter = texts.get(&row.parameter).map_or("", String::as_str);
            let mut cells = vec![
                item.as_str(),
                name(row.explainer),
                name(row.map),
                name(row.metric),
                name(row.quantity),
                parameter,
                &value,
            ];
            let told = marks.iter().map(|mark| of_row.get(mark).map(|value| cell(value)));
            let told: Vec<String> = told.map(Option::unwrap_or_default).collect();
            cells.extend(told.iter().map(String::as_str));
            line(&cells)?;
        }
        Ok(())
    }
}

/// A mark in a cell of a table.
fn cell(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        other => serde_json::to_string(other).unwrap_or_default(),
    }
}

/// The warning about a metric that had nothing to measure in any item, and what it needs.
fn nothing(name: &str, needs: &str) -> String {
    let needs = if needs.is_empty() {
        "no item has what it asks for".to_owned()
    } else {
        format!("it needs {needs}")
    };
    format!("metric `{name}` measured nothing: {needs}.")
}

/// In place of a table that a metric could not make.
fn no_table(name: &str, why: &str) -> Table {
    Table {
        name: safe_id(&name.to_lowercase()),
        title: name.to_owned(),
        notes: vec![why.to_owned()],
        ..Table::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Facts;
    use crate::{
        Mark, Sample,
        contract::{ItemRef, Measurement},
        data::{facts, write_json},
        run::{item::Measured, record::item_json},
    };

    /// The tables are made of what the records hold in fields; a fact of the same name is for
    /// people.
    #[test]
    fn rows_come_back_from_fields_and_never_from_facts() {
        let item = ItemRef { id: "item".into(), files: Vec::new(), note: String::new() };
        let marks = Marks::default()
            .with(&Mark::new("row"), 4usize)
            .with(&Mark::new("fold"), "2".to_owned());
        let sample = Sample {
            id: "item".into(),
            marks: marks.clone(),
            facts: facts([("fold", "9".into()), ("row", 9usize.into())]),
            ..Sample::default()
        };
        let parameters = [
            Parameter::None,
            Parameter::case("P=10"),
            Parameter::at("P", "percent of the pixels", 10.0),
        ];
        let measured = parameters.clone().map(|parameter| Measured {
            explainer: "cam".into(),
            metric: "Removal".into(),
            measurement: Measurement {
                map: "left".into(),
                name: "delete".into(),
                parameter,
                value: 0.5,
            },
        });
        let dir = tempfile::tempdir().unwrap();
        let json = item_json(&item, "key", &sample, None, &[], &measured, &Facts::new());
        write_json(&dir.path().join("item.json"), &json).unwrap();
        let mut all = Rows::default();
        all.add("item".into(), ItemRecord::read(dir.path()).unwrap());
        let rows = all.of_metric("Removal");
        assert!(rows.iter().all(|row| row.item == "item" && row.marks == marks));
        assert!(all.of_metric("cam").is_empty(), "an explainer is no metric");
        let mut csv = Vec::new();
        all.csv(&mut csv).unwrap();
        let csv = String::from_utf8(csv).unwrap();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines[0], "item,explainer,map,metric,quantity,parameter,value,fold,row");
        assert_eq!(lines[3], "item,cam,left,Removal,delete,P=10,0.5,2,4");
        let back: Vec<Parameter> = rows.into_iter().map(|row| row.parameter).collect();
        assert_eq!(back, parameters);
        assert_eq!([1, 2].map(|i| back[i].value()), [None, Some(10.0)]);
    }
}
