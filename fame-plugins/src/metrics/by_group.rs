//! `ByGroup`: another metric, compared between groups of items.

use fame_core::{
    Explanation, Result, Sample, Scores, Table,
    contract::{ExplainContext, Explainer, Measurement, Metric, MetricRow},
    data::safe_id,
    registry::{Assembly, BuildContext, Built, Plugin},
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::datasets::GROUP;

/// Another metric, with one more table: everything that it scores by groups of items, as a list says
/// them in a column (`Pairs(groups: ["sex"])`; the default is a column `group`): the mean in each
/// group, its difference from a reference group and its ratio to it, with 95 % bootstrap intervals that
/// resample within groups. `ByGroup(of: Decisions())` tells where a verifier errs more often,
/// `ByGroup(of: Regions())` where a method looks in one group and not in another.
///
/// A difference says nothing about its cause: groups may differ in the quality of their pictures.
/// Intervals are for each comparison alone, and among many some will miss. Items without a group are left
/// out of that table. The other tables are the metric's own.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ByGroup {
    /// The metric.
    pub of: Spec,
    /// The group that the others are compared with. Default: the one with most items.
    #[serde(default)]
    pub reference: Option<String>,
}

impl Plugin<dyn Metric> for ByGroup {
    const NAME: &'static str = "ByGroup";
    const SUMMARY: &'static str =
        "Another metric by groups of items: differences and ratios with intervals";
    const EXAMPLE: &'static str = "ByGroup(of: Regions())";

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Metric>> {
        let of = assembly.build::<dyn Metric>("of", &self.of, with)?;
        Some(Box::new(ByGroupMetric { of, reference: self.reference }))
    }
}

fame_core::register!(Metric: ByGroup);

struct ByGroupMetric {
    of: Built<dyn Metric>,
    reference: Option<String>,
}

impl Metric for ByGroupMetric {
    fn needs(&self) -> &'static str {
        self.of.plugin.needs()
    }

    fn measure(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        self.of.plugin.measure(with, sample, explanation)
    }

    fn measure_again(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
        explainer: &dyn Explainer,
    ) -> Result<Vec<Measurement>> {
        self.of.plugin.measure_again(with, sample, explanation, explainer)
    }

    fn compare(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanations: &[(String, Explanation)],
    ) -> Result<Vec<(String, Vec<Measurement>)>> {
        self.of.plugin.compare(with, sample, explanations)
    }

    fn named_explainers(&self) -> Vec<String> {
        self.of.plugin.named_explainers()
    }

    fn only_for_tables(&self) -> &'static [&'static str] {
        &["reference"]
    }

    fn scores(&self, rows: &[MetricRow]) -> Result<Scores> {
        self.of.plugin.scores(rows)
    }

    fn summarise(&self, name: &str, rows: &[MetricRow]) -> Result<Vec<Table>> {
        let mut tables = self.of.plugin.summarise(name, rows)?;
        let scores = self.of.plugin.scores(rows)?;
        let group = |item: &str| {
            let row = rows.iter().find(|row| row.item == item)?;
            row.marks.get(&GROUP)
        };
        tables.push(scores.by_group(
            &format!("{}_groups", safe_id(&name.to_lowercase())),
            format!("{name}: {} by group", self.of.name),
            group,
            self.reference.as_deref(),
        ));
        Ok(tables)
    }
}

#[cfg(test)]
mod tests {
    use fame_core::{Marks, Parameter, testkit};

    use super::*;

    #[test]
    fn what_is_measured_is_the_other_metrics_and_its_rows_are_compared() {
        let metric = testkit::build::<dyn Metric>(r#"ByGroup(of: Sparseness(), reference: "b")"#);
        let metric = metric.unwrap().plugin;
        let row = |n: usize| MetricRow {
            item: format!("{n:02}"),
            explainer: "cam".into(),
            map: "probe".into(),
            quantity: "gini".into(),
            parameter: Parameter::None,
            value: if n < 6 { 0.9 } else { 0.3 },
            marks: Marks::default().with(&GROUP, (if n < 6 { "a" } else { "b" }).to_owned()),
        };
        let rows: Vec<MetricRow> = (0..16).map(row).collect();
        let tables = metric.summarise("ByGroup", &rows).unwrap();
        assert_eq!(tables[0].name, "bygroup");
        let groups = &tables[1];
        assert_eq!(groups.name, "bygroup_groups");
        assert_eq!(groups.rows[0][1..5], ["gini", "high is good", "a", "6"]);
        assert_eq!(groups.rows[0][6], "0.6000 [0.6000, 0.6000]");
        assert_eq!(groups.rows[0][7], "3.0000 [3.0000, 3.0000]");
        assert_eq!(metric.scores(&rows).unwrap().explainers(), ["cam"]);
    }
}
