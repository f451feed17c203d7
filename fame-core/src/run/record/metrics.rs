//! `metrics.csv` and `tables/`: what the measurements of all items come to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
};

use super::{
    item::{parameter_of, read_item},
    tables,
};
use crate::{
    Error, Marks, Plan, Result, Table,
    contract::MetricRow,
    data::Value,
    data::{safe_id, write_whole},
    report::{escape::csv_cell, joined},
};

/// The name of the table of all measurements.
pub(super) const FILE: &str = "metrics.csv";

/// The columns of `metrics.csv` that every run has.
const COLUMNS: [&str; 7] = ["item", "explainer", "map", "metric", "quantity", "parameter", "value"];

/// Writes `metrics.csv` of the items called `ids`, in that order, and the tables that they come to;
/// nothing when no metric was asked for.
pub(super) fn write(out: &Path, ids: &[&str], plan: &Plan) -> Result<Vec<Table>> {
    let names = plan.metric_names();
    if names.is_empty() {
        return tables::remove(out).map(|()| Vec::new());
    }
    let rows: Vec<(String, MetricRow)> =
        ids.iter().flat_map(|id| rows_of(&out.join("items").join(id), id)).collect();
    write_whole(&out.join(FILE), csv(&rows).as_bytes())?;
    let mut of_metric: Vec<Vec<MetricRow>> = vec![Vec::new(); names.len()];
    for (metric, row) in rows {
        if let Some(n) = names.iter().position(|n| *n == metric) {
            of_metric[n].push(row);
        }
    }
    let mut all = Vec::new();
    for ((name, rows), metric) in names.iter().zip(&of_metric).zip(&plan.metrics) {
        let summarised = metric.plugin.summarise(name, rows);
        all.extend(summarised.unwrap_or_else(|e| vec![no_table(name, &e)]));
    }
    let mut all: Vec<Table> = all.into_iter().map(Table::without_empty_columns).collect();
    all.extend(joined(&all));
    tables::write(out, &all)?;
    Ok(all)
}

/// The rows as CSV: what was measured, then a column for each mark that any of the items has.
fn csv(rows: &[(String, MetricRow)]) -> String {
    let marks: BTreeSet<&str> =
        rows.iter().flat_map(|(_, row)| row.marks.iter().map(|(name, _)| name)).collect();
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = String>| {
        let cells: Vec<String> = cells.map(|c| csv_cell(&c)).collect();
        let _ = writeln!(text, "{}", cells.join(","));
    };
    line(&mut COLUMNS.iter().chain(&marks).map(|name| (*name).to_owned()));
    for (metric, row) in rows {
        let MetricRow { item, explainer, map, quantity, parameter, value, marks: of_row } = row;
        let parameter = &parameter.to_string();
        let cells = [item, explainer, map, metric, quantity, parameter].map(String::clone);
        let of_row: BTreeMap<&str, &Value> = of_row.iter().collect();
        let mark = |name: &&str| of_row.get(name).map_or_else(String::new, |value| cell(value));
        line(&mut cells.into_iter().chain([value.to_string()]).chain(marks.iter().map(mark)));
    }
    text
}

/// A mark in a cell of a table.
fn cell(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        other => serde_json::to_string(other).unwrap_or_default(),
    }
}

/// In place of a table that a metric could not make.
fn no_table(name: &str, error: &Error) -> Table {
    Table {
        name: safe_id(&name.to_lowercase()),
        title: name.to_owned(),
        notes: vec![format!("No table: {error}")],
        ..Table::default()
    }
}

/// What was measured of the item in `folder`, each with its metric's name.
fn rows_of(folder: &Path, id: &str) -> Vec<(String, MetricRow)> {
    let Some(item) = read_item(folder) else { return Vec::new() };
    let marks = item.get("marks").map(Marks::from).unwrap_or_default();
    let Some(Value::List(rows)) = item.get("measurements") else { return Vec::new() };
    let row = |row: &Value| {
        let field =
            |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let of = MetricRow {
            item: id.to_owned(),
            explainer: field("explainer"),
            map: field("map"),
            quantity: field("quantity"),
            parameter: parameter_of(row.get("parameter")?)?,
            value: row.get("value").and_then(Value::as_f64)?,
            marks: marks.clone(),
        };
        Some((field("metric"), of))
    };
    rows.iter().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Facts;
    use crate::{
        Mark, Parameter, Sample,
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
        let json = item_json(&item, "key", &sample, &[], &measured, &Facts::new());
        write_json(&dir.path().join("item.json"), &json).unwrap();
        let rows = rows_of(dir.path(), "item");
        assert!(rows.iter().all(|(metric, row)| metric == "Removal" && row.marks == marks));
        let back: Vec<Parameter> = rows.into_iter().map(|(_, row)| row.parameter).collect();
        assert_eq!(back, parameters);
        assert_eq!([1, 2].map(|i| back[i].value()), [None, Some(10.0)]);
    }
}
