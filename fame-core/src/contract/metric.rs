//! Metrics: numbers that say how good a map is.

use crate::{
    Better, Column, Explanation, Marks, Parameter, Result, Sample, Scores, Table,
    contract::{ExplainContext, Explainer},
};

/// Measures the maps of one sample, and says what the measurements of many samples come to.
///
/// The two halves meet in the rows of `metrics.csv` and nowhere else: a summary sees what every
/// item left behind, so it is the same whether the items were computed at once, over several
/// sittings, or on several machines.
pub trait Metric: Send + Sync {
    /// Measures every map of `explanation`. `with` gives it the network to query.
    fn measure(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>>;

    /// Measures as [`Metric::measure`] does, and may also ask the explainer that made
    /// `explanation`: for metrics that explain altered copies of `sample` again. This is what a run
    /// calls. Default: [`Metric::measure`].
    ///
    /// # Errors
    /// As [`Metric::measure`], and what the explainer says of the copies.
    fn measure_again(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
        explainer: &dyn Explainer,
    ) -> Result<Vec<Measurement>> {
        let _ = explainer;
        self.measure(with, sample, explanation)
    }

    /// Measures explanations of one sample against one another: for each explainer concerned its
    /// name and what was found. Default: nothing.
    ///
    /// # Errors
    /// As [`Metric::measure`].
    fn compare(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanations: &[(String, Explanation)],
    ) -> Result<Vec<(String, Vec<Measurement>)>> {
        let _ = (with, sample, explanations);
        Ok(Vec::new())
    }

    /// What a sample and its maps must have for anything to be measured, such as `pairs of
    /// pictures`, to stand behind "it needs": told where nothing was. Default: nothing is known.
    fn needs(&self) -> &'static str {
        ""
    }

    /// The explainers that its parameters name, such as those it compares others with: a recipe
    /// without one of them is refused before it runs. Default: none.
    fn named_explainers(&self) -> Vec<String> {
        Vec::new()
    }

    /// Parameters that [`Metric::summarise`] alone reads: a run that differs in nothing else
    /// measures nothing again. Default: none.
    fn only_for_tables(&self) -> &'static [&'static str] {
        &[]
    }

    /// The numbers that explainers can be ranked by, each with the way in which it is good, item by
    /// item: what the summary of a run and comparisons of groups are made of. Columns that are good
    /// neither way are not ranked. Default: every quantity, good neither way.
    ///
    /// # Errors
    /// As [`Metric::summarise`].
    fn scores(&self, rows: &[MetricRow]) -> Result<Scores> {
        Ok(scores(rows, |_| None))
    }

    /// Tables over all rows this metric left. Default: one table, the mean of each quantity for
    /// each explainer with a bootstrap 95 % interval over items.
    ///
    /// # Errors
    /// When the rows do not hold what a table needs; the run then records a warning, and the rows
    /// stay.
    fn summarise(&self, name: &str, rows: &[MetricRow]) -> Result<Vec<Table>> {
        Ok(means(name, rows, |_| None, &[]))
    }
}

/// One number about one map.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// Name of the map measured.
    pub map: String,
    /// Name of the quantity: `score_after_removal`.
    pub name: String,
    /// What it depends on, such as the point of a curve.
    pub parameter: Parameter,
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
    /// What it depends on.
    pub parameter: Parameter,
    /// The number.
    pub value: f64,
    /// What the dataset knows about the sample.
    pub marks: Marks,
}

/// The rows as scores: quantities are columns, in the order they were measured; `better` says which
/// way each is good, if it is.
pub fn scores(rows: &[MetricRow], better: impl Fn(&str) -> Option<Better>) -> Scores {
    let mut scores = Scores::default();
    for r in rows {
        let column = Column {
            quantity: r.quantity.clone(),
            parameter: r.parameter.clone(),
            better: better(&r.quantity),
        };
        scores.add(&r.explainer, &column, &r.item, r.value);
    }
    scores
}

/// Mean and interval of every quantity: explainers are rows in the recipe's order, quantities
/// columns in the order they were measured. Maps of one item are averaged first, so that every item
/// weighs the same. Then, for each of `floors` (a random map, say), every explainer against it.
pub fn means(
    name: &str,
    rows: &[MetricRow],
    better: impl Fn(&str) -> Option<Better>,
    floors: &[String],
) -> Vec<Table> {
    let scores = scores(rows, better);
    let file = crate::data::safe_id(&name.to_lowercase());
    let mut table = scores.means(&file, format!("{name}: mean over items with 95 % interval"), 4);
    let missing = floors.iter().filter(|f| !scores.explainers().contains(f));
    table.notes.extend(missing.map(|f| format!("`against: {f:?}`: there is no such explainer.")));
    [table]
        .into_iter()
        .chain(floors.iter().filter_map(|floor| scores.against(&file, floor, 4)))
        .collect()
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
            parameter: Parameter::at("at", "threshold", 0.5),
            value,
            ..MetricRow::default()
        };
        // One item with two maps and one with a single map: (0.5 + 0) / 2.
        let table = means(
            "Iou",
            &[row("a", "x", 1.0), row("a", "y", 0.0), row("b", "x", 0.0)],
            |_| None,
            &[],
        )
        .remove(0);
        assert_eq!(table.columns, ["explainer", "items", "iou at=0.5"]);
        assert!(table.rows[0][2].starts_with("0.2500 [0.0000, 0.5000]"), "{table:?}");
        assert_eq!((table.name.as_str(), table.rows[0][1].as_str()), ("iou", "2"));
    }
}
