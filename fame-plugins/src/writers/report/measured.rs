//! What was measured of an item: curves along an axis, and one table of the rest.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::Value;

use super::{
    curve::curve,
    folder::{ItemFolder, text},
    show,
};

/// The fewest points that are a curve.
const CURVE: usize = 3;

/// A line: its name and points.
type Line = (String, Vec<(f64, f64)>);

/// The measurements of an item, ordered for readers.
#[derive(Default)]
pub(super) struct Measured {
    /// By metric and quantity: the axis, and a line for each map.
    curves: BTreeMap<String, (String, Vec<Line>)>,
    /// Names of the table's columns: metric, quantity and parameter.
    columns: Vec<String>,
    /// Values by map and column.
    cells: BTreeMap<String, BTreeMap<String, f64>>,
}

impl Measured {
    /// The measurements in `item`'s record.
    pub(super) fn of(item: &ItemFolder<'_>) -> Self {
        let mut all = Self::default();
        for ([explainer, map, metric, quantity], points) in item.measured() {
            let (of, what) =
                (format!("{explainer}: {}", show::words(map)), format!("{metric}: {quantity}"));
            let on_axis: Vec<(f64, f64)> =
                points.iter().filter_map(|(p, v)| Some((p["value"].as_f64()?, *v))).collect();
            if on_axis.len() >= CURVE {
                let axis = points[0].0;
                let x = format!("{} ({})", text(&axis["axis"]), text(&axis["unit"]));
                all.curves.entry(what).or_insert_with(|| (x, Vec::new())).1.push((of, on_axis));
                continue;
            }
            for (parameter, value) in points {
                let column = format!("{what} {}", at(parameter)).trim_end().to_owned();
                if !all.columns.contains(&column) {
                    all.columns.push(column.clone());
                }
                all.cells.entry(of.clone()).or_default().insert(column, value);
            }
        }
        all
    }

    pub(super) fn is_empty(&self) -> bool {
        self.curves.is_empty() && self.cells.is_empty()
    }

    pub(super) fn show(&self) -> Markup {
        html! {
            div.curves { @for (title, (x, lines)) in &self.curves { (curve(title, x, lines)) } }
            @if !self.cells.is_empty() {
                div.wide tabindex="0" role="region" aria-label="What was measured" { table.sortable {
                    thead { tr { th scope="col" { "map" } @for name in &self.columns { th scope="col" { (name) } } } }
                    tbody { @for (map, values) in &self.cells { tr {
                        th scope="row" { (map) }
                        @for column in &self.columns {
                            td { (values.get(column).map_or_else(String::new, |v| show::number(*v))) }
                        }
                    } } }
                } }
            }
        }
    }
}

/// What a measurement depends on: nothing, a case, or a point on an axis.
fn at(parameter: &Value) -> String {
    match &parameter["value"] {
        Value::Null => text(parameter).to_owned(),
        value => format!("{}={}", text(&parameter["axis"]), show::fact(value)),
    }
}
