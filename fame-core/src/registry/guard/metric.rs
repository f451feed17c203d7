//! Guard of [`Metric`].

use super::{Guard, Guarded, Who};
use crate::{
    Explanation, Result, Sample, Scores, Table,
    contract::{ExplainContext, Explainer, Measurement, Metric, MetricRow},
};

impl Guard for dyn Metric {
    fn guarded(who: Who, inner: Box<Self>) -> Result<Box<Self>> {
        let inner = Guarded::new(who, inner);
        let only_for_tables = inner.call("only_for_tables", Metric::only_for_tables)?;
        let named_explainers = inner.call("named_explainers", Metric::named_explainers)?;
        let needs = inner.call("needs", Metric::needs)?;
        Ok(Box::new(GuardedMetric { inner, only_for_tables, named_explainers, needs }))
    }
}

struct GuardedMetric {
    inner: Guarded<dyn Metric>,
    /// Has no way to fail: asked once.
    only_for_tables: &'static [&'static str],
    /// Likewise.
    named_explainers: Vec<String>,
    /// Likewise.
    needs: &'static str,
}

impl GuardedMetric {
    fn finite(&self, method: &str, measured: &[Measurement]) -> Result<()> {
        let odd = measured.iter().find(|m| !m.value.is_finite());
        odd.map_or(Ok(()), |m| {
            Err(self
                .inner
                .wrong(method, format!("{} for `{}` of map `{}`", m.value, m.name, m.map)))
        })
    }
}

impl Metric for GuardedMetric {
    fn measure(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let measured = self.inner.call("measure", |m| m.measure(with, sample, explanation))??;
        self.finite("measure", &measured)?;
        Ok(measured)
    }

    fn measure_again(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
        explainer: &dyn Explainer,
    ) -> Result<Vec<Measurement>> {
        // A metric that does not explain again is asked by `measure`, and most do not.
        let again = |m: &dyn Metric| m.measure_again(with, sample, explanation, explainer);
        let measured = self.inner.call("measure", again)??;
        self.finite("measure", &measured)?;
        Ok(measured)
    }

    fn compare(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanations: &[(String, Explanation)],
    ) -> Result<Vec<(String, Vec<Measurement>)>> {
        let compared = self.inner.call("compare", |m| m.compare(with, sample, explanations))??;
        for (explainer, measured) in &compared {
            if !explanations.iter().any(|(name, _)| name == explainer) {
                return Err(self.inner.wrong(
                    "compare",
                    format!("measurements of an explainer `{explainer}`, which there is not"),
                ));
            }
            self.finite("compare", measured)?;
        }
        Ok(compared)
    }

    fn named_explainers(&self) -> Vec<String> {
        self.named_explainers.clone()
    }

    fn only_for_tables(&self) -> &'static [&'static str] {
        self.only_for_tables
    }

    fn needs(&self) -> &'static str {
        self.needs
    }

    fn scores(&self, rows: &[MetricRow]) -> Result<Scores> {
        self.inner.call("scores", |m| m.scores(rows))?
    }

    fn summarise(&self, name: &str, rows: &[MetricRow]) -> Result<Vec<Table>> {
        let tables = self.inner.call("summarise", |m| m.summarise(name, rows))??;
        for table in &tables {
            super::file_name("a table", &table.name)
                .map_err(|what| self.inner.wrong("summarise", what))?;
        }
        Ok(tables)
    }
}
