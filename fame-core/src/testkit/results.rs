//! Metrics and writers.

use std::path::Path;

use super::fail;
use crate::{
    Error, Explanation, Model, Result, Sample,
    contract::{ExplainContext, FinishedItem, Measurement, Metric, MetricRow, Silent, Writer},
};

/// Measures `explanation` twice and summarises: the same numbers, all finite, of maps that exist,
/// quantities with names; the tables have as many cells as columns in every row. Returns the
/// measurements.
///
/// # Errors
/// One sentence about the first promise that is broken, or the metric's own error.
pub fn check_metric(
    metric: &dyn Metric,
    model: &Model,
    sample: &Sample,
    explanation: &Explanation,
) -> Result<Vec<Measurement>> {
    let with = ExplainContext { model, seed: 1, progress: &Silent };
    let measured = metric.measure(&with, sample, explanation)?;
    for m in &measured {
        if m.name.is_empty() || !m.value.is_finite() {
            return Err(fail(format!("quantity `{}` of map `{}` is {}.", m.name, m.map, m.value)));
        }
        if !explanation.maps.iter().any(|map| map.name() == m.map) {
            return Err(fail(format!(
                "`{}` was measured of a map `{}` that does not exist.",
                m.name, m.map
            )));
        }
    }
    if measured != metric.measure(&with, sample, explanation)? {
        return Err(fail("the same map was measured differently the second time."));
    }
    let rows: Vec<MetricRow> = ["one", "two"]
        .into_iter()
        .flat_map(|item| measured.iter().map(move |m| row(item, m)))
        .collect();
    for table in metric.summarise("Metric", &rows)? {
        if let Some(odd) = table.rows.iter().find(|r| r.len() != table.columns.len()) {
            return Err(fail(format!(
                "a row of table `{}` has {} cells for {} columns.",
                table.name,
                odd.len(),
                table.columns.len()
            )));
        }
    }
    Ok(measured)
}

fn row(item: &str, m: &Measurement) -> MetricRow {
    MetricRow {
        item: item.into(),
        explainer: "testkit".into(),
        map: m.map.clone(),
        quantity: m.name.clone(),
        parameter: m.parameter.clone(),
        value: m.value,
        ..MetricRow::default()
    }
}

/// Lets `writer` write an item with one explanation called `testkit`, twice: exactly the files it
/// names are there, as plain names in the folder it was given, and their bytes are the same both
/// times. Returns names and contents.
///
/// # Errors
/// One sentence about the first promise that is broken, or the writer's own error.
pub fn check_writer(
    writer: &dyn Writer,
    sample: &Sample,
    explanation: &Explanation,
) -> Result<Vec<(String, Vec<u8>)>> {
    let explanations = [("testkit".to_owned(), explanation.clone())];
    let item = FinishedItem { sample, explanations: &explanations };
    let (first, second) = (written(writer, &item)?, written(writer, &item)?);
    if first != second {
        return Err(fail("the same item was written differently the second time."));
    }
    Ok(first)
}

fn written(writer: &dyn Writer, item: &FinishedItem<'_>) -> Result<Vec<(String, Vec<u8>)>> {
    let folder = tempfile::tempdir()
        .map_err(|e| Error::io("create", Path::new("a temporary folder"), &e))?;
    let mut named = writer.write(item, folder.path())?;
    named.sort();
    let unreadable = |e: std::io::Error| Error::io("read", folder.path(), &e);
    let (mut there, mut folders) = (Vec::new(), vec![String::new()]);
    while let Some(within) = folders.pop() {
        for entry in std::fs::read_dir(folder.path().join(&within)).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = format!("{within}{}", entry.file_name().to_string_lossy());
            if entry.file_type().map_err(unreadable)?.is_dir() {
                folders.push(name + "/");
            } else {
                there.push(name);
            }
        }
    }
    there.sort();
    if named != there {
        return Err(fail(format!(
            "the writer names the files {named:?}, and {there:?} are there."
        )));
    }
    named
        .into_iter()
        .map(|name| {
            let path = folder.path().join(&name);
            let bytes = std::fs::read(&path).map_err(|e| Error::io("read", &path, &e))?;
            Ok((name, bytes))
        })
        .collect()
}
