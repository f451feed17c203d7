//! `metrics.csv` and `tables/`: what the measurements of all items come to.

use std::{fmt::Write as _, path::Path};

use super::item::read_item;
use crate::{
    Error, Plan, Result, Table,
    contract::MetricRow,
    data::Value,
    data::{safe_id, write_whole},
    report::escape::csv_cell,
};

/// The head of `metrics.csv`.
const COLUMNS: &str = "item,explainer,map,metric,quantity,parameter,value,genuine,fold\n";

/// Writes `metrics.csv` of the items called `ids`, in that order, and the tables that they come to;
/// nothing when no metric was asked for.
pub(super) fn write(out: &Path, ids: &[&str], plan: &Plan) -> Result<Vec<Table>> {
    let folder = out.join("tables");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|e| Error::io("remove", &folder, &e))?;
    }
    let names = plan.metric_names();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut of_metric: Vec<Vec<MetricRow>> = vec![Vec::new(); names.len()];
    let mut text = String::from(COLUMNS);
    for id in ids {
        for (metric, row) in rows_of(&out.join("items").join(id), id) {
            let _ = writeln!(text, "{}", csv_line(&metric, &row));
            if let Some(n) = names.iter().position(|n| *n == metric) {
                of_metric[n].push(row);
            }
        }
    }
    write_whole(&out.join("metrics.csv"), text.as_bytes())?;
    let mut tables = Vec::new();
    for ((name, rows), metric) in names.iter().zip(&of_metric).zip(&plan.metrics) {
        let summarised = metric.plugin.summarise(name, rows);
        tables.extend(summarised.unwrap_or_else(|e| vec![no_table(name, &e)]));
    }
    std::fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, &e))?;
    tables.iter().try_for_each(|table| write_table(&folder, table))?;
    Ok(tables)
}

fn csv_line(metric: &str, row: &MetricRow) -> String {
    let MetricRow { item, explainer, map, quantity, parameter, value, .. } = row;
    let genuine = row.genuine.map_or_else(String::new, |g| g.to_string());
    let fold = row.fold.as_deref().unwrap_or_default();
    let value = value.to_string();
    let cells: [&str; 9] =
        [item, explainer, map, metric, quantity, parameter, &value, &genuine, fold];
    cells.map(csv_cell).join(",")
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

fn write_table(folder: &Path, table: &Table) -> Result<()> {
    let forms = [("csv", table.csv()), ("md", table.markdown()), ("tex", table.latex())];
    for (ending, text) in forms.into_iter().take(if table.is_list { 1 } else { 3 }) {
        write_whole(&folder.join(format!("{}.{ending}", table.name)), text.as_bytes())?;
    }
    table.plots.iter().try_for_each(|plot| {
        write_whole(&folder.join(format!("{}.svg", plot.name)), plot.svg()?.as_bytes())
    })
}

/// What was measured of the item in `folder`, each with its metric's name.
fn rows_of(folder: &Path, id: &str) -> Vec<(String, MetricRow)> {
    let Some(item) = read_item(folder) else { return Vec::new() };
    let genuine = match item.get("genuine") {
        Some(Value::Bool(genuine)) => Some(*genuine),
        _ => None,
    };
    let fold = item
        .get("facts")
        .and_then(|f| f.get(crate::FOLD))
        .and_then(Value::as_str)
        .map(str::to_owned);
    let Some(Value::List(rows)) = item.get("measurements") else { return Vec::new() };
    let row = |row: &Value| {
        let field =
            |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let of = MetricRow {
            item: id.to_owned(),
            explainer: field("explainer"),
            map: field("map"),
            quantity: field("quantity"),
            parameter: field("parameter"),
            value: row.get("value").and_then(Value::as_f64)?,
            genuine,
            fold: fold.clone(),
        };
        Some((field("metric"), of))
    };
    rows.iter().filter_map(row).collect()
}
