//! Guard of [`Metric`].

use super::{Guard, Guarded, Who};
use crate::{
    Explanation, Result, Sample, Table,
    contract::{ExplainContext, Measurement, Metric, MetricRow},
};

impl Guard for dyn Metric {
    fn guarded(who: Who, inner: Box<Self>) -> Result<Box<Self>> {
        Ok(Box::new(GuardedMetric(Guarded::new(who, inner))))
    }
}

struct GuardedMetric(Guarded<dyn Metric>);

impl Metric for GuardedMetric {
    fn measure(&self, with: &ExplainContext<'_>, sample: &Sample, explanation: &Explanation) -> Result<Vec<Measurement>> {
        let measured = self.0.call("measure", |m| m.measure(with, sample, explanation))??;
        if let Some(m) = measured.iter().find(|m| !m.value.is_finite()) {
            return Err(self.0.wrong("measure", format!("{} for `{}` of map `{}`", m.value, m.name, m.map)));
        }
        Ok(measured)
    }

    fn summarise(&self, name: &str, rows: &[MetricRow]) -> Result<Vec<Table>> {
        let tables = self.0.call("summarise", |m| m.summarise(name, rows))??;
        for table in &tables {
            super::file_name("a table", &table.name).map_err(|what| self.0.wrong("summarise", what))?;
        }
        Ok(tables)
    }
}
