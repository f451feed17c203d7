//! `Scaffold`: faint parts of a map made visible, or hidden.

use fame_core::{
    AttributionMap, Error, Result,
    contract::MapStep,
    registry::{BuildContext, Assembly, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

// Makes the shared library loadable; in a program that links this crate it does nothing.
fame_core::export_plugin!();

/// Gamma: m ← sign(m) · M · (|m| / M)^γ with M = max |m|. γ below 1 lifts faint values, above
/// 1 it leaves the strongest; zero and the largest value stay. Ranks stay too, so metrics that
/// use them do not change. A map without any value is an error, never a black picture.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scaffold {
    /// The exponent γ; above 0. 1 changes nothing.
    pub gamma: f32,
}

impl Default for Scaffold {
    fn default() -> Self {
        Self { gamma: 0.5 }
    }
}

impl Plugin<dyn MapStep> for Scaffold {
    const NAME: &'static str = "Scaffold";
    const SUMMARY: &'static str = "Lifts or hides the faint parts of a map";
    const EXAMPLE: &'static str = "Scaffold(gamma: 0.5)";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check(
            "gamma",
            self.gamma.is_finite() && self.gamma > 0.0,
            "must be a number above 0",
        );
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn MapStep>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Map: Scaffold);

impl MapStep for Scaffold {
    fn apply(&self, mut map: AttributionMap) -> Result<AttributionMap> {
        let largest = map.values.max_abs();
        // `max_abs` of a map with a NaN is NaN, which is not above 0.
        if !(largest.is_finite() && largest > 0.0) {
            let message = "the map has no finite value but zero, so there is nothing to show.";
            return Err(Error::empty_map(message));
        }
        for value in map.values.data_mut() {
            *value = value.signum() * largest * (value.abs() / largest).powf(self.gamma);
        }
        Ok(map)
    }
}
