//! `Abs`: how much each channel moved, channels kept apart.

use fame_core::{
    AttributionMap, Result,
    contract::MapStep,
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// |x̄ − x| channel by channel, ≥ 0: in place of `Gray()` it leaves a map per colour channel (the paper's footnote 3).
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Abs {}

impl Plugin<dyn MapStep> for Abs {
    const NAME: &'static str = "Abs";
    const SUMMARY: &'static str = "Absolute value, channels kept apart";
    const EXAMPLE: &'static str = "Abs()";
    const REFERENCE: &'static str = "Zhang & Günther, FAME (2026), footnote 3";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn MapStep>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Map: Abs);

impl MapStep for Abs {
    fn apply(&self, mut map: AttributionMap) -> Result<AttributionMap> {
        map.values.data_mut().iter_mut().for_each(|v| *v = v.abs());
        Ok(map)
    }
}
