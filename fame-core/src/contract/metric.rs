//! Metrics: numbers that say how good a map is.

use std::collections::BTreeMap;

use crate::{Explanation, Result, Sample, Table, contract::ExplainContext, interval};

/// Measures the maps of one sample, and says what the measurements of many samples come to.
///
/// The two halves meet in the rows of `metrics.csv` and nowhere else: a summary sees what every item left behind, so it is the same whether the items were computed
/// at once, over several sittings, or on several machines.
pub trait Metric: Send + Sync {
    /// Measures every map of `explanation`. `with` gives it the network to query.
    fn measure(&self, with: &ExplainContext<'_>, sample: &Sample, explanation: &Explanation) -> Result<Vec<Measurement>>;

    /// Tables over all rows this metric left. Default: one table, the mean of each quantity for each explainer with a bootstrap 95 % interval over items.
    ///
    /// # Errors
    /// When the rows do not hold what a table needs; the run then records a warning, and the rows stay.
    fn summarise(&self, name: &str, rows: &[MetricRow]) -> Result<Vec<Table>> {
        Ok(vec![means(name, rows)])
    }
}

/// One number about one map.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// Name of the map measured.
    pub map: String,
    /// Name of the quantity: `loss_after_removal`.
    pub name: String,
    /// What it depends on, such as `top=0.2`; empty when nothing.
    pub parameter: String,
    /// The number, in the unit the metric documents.
    pub value: f64,
}

/// One line of `metrics.csv`: a measurement with everything a summary groups by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricRow {
    /// The item's id.
    pub item: String,
    /// The recipe's name of the explainer.
    pub explainer: String,
    /// Name of the map measured.
    pub map: String,
    /// Name of the quantity.
    pub quantity: String,
    /// What it depends on; empty when nothing.
    pub parameter: String,
    /// The number.
    pub value: f64,
    /// For a pair: whether both show the same identity, if known.
    pub genuine: Option<bool>,
    /// The part of the list the sample belongs to, such as a fold.
    pub fold: Option<String>,
}

/// Mean and interval of every quantity: explainers are rows in the recipe's order, quantities columns in the order they were measured. Maps of one item are averaged first,
/// so that every item weighs the same.
pub fn means(name: &str, rows: &[MetricRow]) -> Table {
    let label = |r: &MetricRow| if r.parameter.is_empty() { r.quantity.clone() } else { format!("{} {}", r.quantity, r.parameter) };
    let (mut explainers, mut columns): (Vec<&str>, Vec<String>) = (Vec::new(), Vec::new());
    let mut items: BTreeMap<(&str, String), BTreeMap<&str, Vec<f64>>> = BTreeMap::new();
    for row in rows {
        if !explainers.contains(&row.explainer.as_str()) {
            explainers.push(&row.explainer);
        }
        let label = label(row);
        if !columns.contains(&label) {
            columns.push(label.clone());
        }
        items.entry((&row.explainer, label)).or_default().entry(&row.item).or_default().push(row.value);
    }
    let cell = |explainer: &str, column: &String| match items.get(&(explainer, column.clone())) {
        None => String::new(),
        Some(items) => {
            let values: Vec<f64> = items.values().map(|v| v.iter().sum::<f64>() / v.len() as f64).collect();
            interval(values.len(), |drawn| drawn.iter().map(|i| values[*i]).sum::<f64>() / drawn.len() as f64).to_string()
        }
    };
    let count = |explainer: &str| {
        let of = items.iter().filter(|((e, _), _)| *e == explainer);
        of.map(|(_, items)| items.len()).max().unwrap_or(0).to_string()
    };
    let lines = explainers.iter().map(|e| [(*e).to_owned(), count(e)].into_iter().chain(columns.iter().map(|c| cell(e, c))).collect());
    Table {
        name: crate::contract::safe_id(&name.to_lowercase()),
        title: format!("{name}: mean over items with 95 % interval"),
        columns: ["explainer".to_owned(), "items".to_owned()].into_iter().chain(columns.clone()).collect(),
        rows: lines.collect(),
        notes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_weighs_the_same() {
        let row = |item: &str, map: &str, value| MetricRow {
            item: item.into(),
            explainer: "fame".into(),
            map: map.into(),
            quantity: "iou".into(),
            parameter: "at=0.5".into(),
            value,
            ..MetricRow::default()
        };
        // One item with two maps and one with a single map: (0.5 + 0) / 2.
        let table = means("Iou", &[row("a", "x", 1.0), row("a", "y", 0.0), row("b", "x", 0.0)]);
        assert_eq!(table.columns, ["explainer", "items", "iou at=0.5"]);
        assert!(table.rows[0][2].starts_with("0.2500 [0.0000, 0.5000]"), "{table:?}");
        assert_eq!((table.name.as_str(), table.rows[0][1].as_str()), ("iou", "2"));
    }
}
