//! An item's measurements: of each explanation alone, and of all beside one another.

use std::collections::BTreeMap;

use super::super::Event;
use super::{super::parts::Part, Items, Measured, OpenItem};
use crate::{
    Error, Explanation, Result,
    contract::{ExplainContext, Measurement, Metric, Silent},
    registry::Built,
};

impl Items<'_> {
    /// Measures what `part` does not hold yet, keeps it, and hands on the explanation.
    pub(super) fn measure(
        &self,
        with: &ExplainContext<'_>,
        name: &str,
        item: &mut OpenItem,
        mut part: Part,
    ) -> Result<Explanation> {
        for warning in &part.explanation.warnings {
            let text = format!("{name}: {warning}");
            self.observer.event(&Event::ItemWarning { id: &item.item.id, text: &text });
        }
        part.explanation.witnesses.clear();
        let maker = self.plan.explain.iter().find(|(known, _)| known == name);
        let (_, maker) = maker.ok_or_else(|| Error::bug(format!("no explainer `{name}`.")))?;
        let mut is_new = item.computed.last().is_some_and(|last| last == name);
        let mut measured: BTreeMap<String, Vec<Measurement>> = BTreeMap::new();
        for ((metric_name, metric), key) in self.named_metrics().zip(&self.keys.metrics) {
            let rows = match part.measured.remove(key).or_else(|| measured.get(key).cloned()) {
                Some(rows) => rows,
                None => {
                    self.deadline.check()?;
                    is_new = true;
                    item.computed.push(format!("{name}/{metric_name}"));
                    metric
                        .plugin
                        .measure_again(with, &item.sample, &part.explanation, maker.plugin.as_ref())
                        .map_err(|e| e.at(format!("metric {metric_name}")))?
                }
            };
            item.note(name, &metric_name, rows.iter().cloned());
            measured.insert(key.clone(), rows);
        }
        // What is left was measured for another recipe: it goes, so that the same recipe leaves the
        // same files.
        is_new |= !part.measured.is_empty();
        part.measured = measured;
        if is_new {
            self.options.stop.write(|_| self.parts.write(&item.item.id, name, &part))?;
        }
        Ok(part.explanation)
    }

    /// Measures an item's explanations beside one another.
    pub(super) fn compare(&self, item: &mut OpenItem) -> Result<()> {
        let with = ExplainContext { model: &self.model, seed: self.plan.seed, progress: &Silent };
        for (metric_name, metric) in self.named_metrics() {
            let compared = metric
                .plugin
                .compare(&with, &item.sample, &item.explanations)
                .map_err(|e| e.at(format!("metric {metric_name}")))?;
            for (explainer, rows) in compared {
                item.note(&explainer, &metric_name, rows);
            }
        }
        Ok(())
    }

    fn named_metrics(&self) -> impl Iterator<Item = (String, &Built<dyn Metric>)> {
        self.plan.metric_names().into_iter().zip(&self.plan.metrics)
    }
}

impl OpenItem {
    /// Adds `rows`, which `metric` measured of what `explainer` said.
    fn note(&mut self, explainer: &str, metric: &str, rows: impl IntoIterator<Item = Measurement>) {
        self.measurements.extend(rows.into_iter().map(|measurement| Measured {
            explainer: explainer.to_owned(),
            metric: metric.to_owned(),
            measurement,
        }));
    }
}
