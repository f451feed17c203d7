//! Metrics: numbers that say how good a map is.

use crate::{Explanation, Result, Sample, contract::ExplainContext};

/// Measures the maps of one sample.
///
/// A metric returns numbers per sample; means and intervals are taken over the rows of `metrics.csv`, so shards merge exactly.
pub trait Metric: Send + Sync {
    /// Measures every map of `explanation`. `with` gives it the network to query.
    fn measure(&self, with: &ExplainContext<'_>, sample: &Sample, explanation: &Explanation) -> Result<Vec<Measurement>>;
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
