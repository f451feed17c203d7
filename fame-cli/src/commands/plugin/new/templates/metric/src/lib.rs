//! `Scaffold`: how spread out a map is.

use fame_core::{
    Explanation, Parameter, Result, Sample,
    contract::{ExplainContext, Measurement, Metric},
    registry::{BuildContext, Assembly, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

// Makes the shared library loadable; in a program that links this crate it does nothing.
fame_core::export_plugin!();

/// The entropy of the map read as a distribution over its N pixels, pᵢ = |mᵢ| / Σ|m|:
/// `entropy` = −Σ pᵢ ln pᵢ / ln N, from 0 (one pixel has everything) to 1 (all alike). A
/// measure of concentration, not of truth: a map of one wrong pixel scores best.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scaffold {
    /// Whether `effective_pixels` = exp(−Σ pᵢ ln pᵢ) is measured too: as many pixels with
    /// equal values would have this entropy.
    pub effective_pixels: bool,
}

impl Plugin<dyn Metric> for Scaffold {
    const NAME: &'static str = "Scaffold";
    const SUMMARY: &'static str = "The entropy of a map: how spread out it is";
    const EXAMPLE: &'static str = "Scaffold(effective_pixels: true)";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Metric>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Metric: Scaffold);

impl Metric for Scaffold {
    // The default of `summarise` makes a table of means with 95 % intervals from the rows.
    fn measure(
        &self,
        _: &ExplainContext<'_>,
        _: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let mut all = Vec::new();
        for map in &explanation.maps {
            let (entropy, pixels) = entropy(map.finished.data());
            let mut add = |name: &str, value: f64| {
                all.push(Measurement {
                    map: map.name(),
                    name: name.into(),
                    parameter: Parameter::None,
                    value,
                });
            };
            add("entropy", if pixels > 1 { entropy / (pixels as f64).ln() } else { 0.0 });
            if self.effective_pixels {
                add("effective_pixels", entropy.exp());
            }
        }
        Ok(all)
    }
}

/// −Σ pᵢ ln pᵢ, and how many values there are.
fn entropy(map: &[f32]) -> (f64, usize) {
    let sum: f64 = map.iter().map(|m| f64::from(m.abs())).sum();
    let shares = map.iter().map(|m| f64::from(m.abs()) / sum).filter(|p| *p > 0.0);
    // Not below zero: the sum of one term, −1 · ln 1, is −0.
    (shares.map(|p| -p * p.ln()).sum::<f64>().max(0.0), map.len())
}
