//! `Positive`: what is above zero.

use fame_core::{
    AttributionMap, Result,
    contract::MapStep,
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The part of the map above zero, max(m, 0): of an attribution with a sign, what speaks for the
/// subject. Put it behind `Channels(…)`, so that a pixel's channels cancel before its sign is read.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Positive {}

impl Plugin<dyn MapStep> for Positive {
    const NAME: &'static str = "Positive";
    const SUMMARY: &'static str = "What is above zero; the rest becomes zero";
    const EXAMPLE: &'static str = "Positive()";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn MapStep>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Map: Positive);

impl MapStep for Positive {
    fn apply(&self, mut map: AttributionMap) -> Result<AttributionMap> {
        // A NaN stays one: `f32::max` would make a zero of it.
        let kept = |v: f32| if v.is_nan() { v } else { v.max(0.0) };
        map.values.data_mut().iter_mut().for_each(|v| *v = kept(*v));
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use fame_core::Tensor;

    use super::*;

    #[test]
    fn what_is_below_zero_is_nothing_and_a_nan_stays_one() {
        let map = AttributionMap {
            values: Tensor::new([1, 1, 4], vec![2.0, -3.0, 0.0, f32::NAN]).unwrap(),
            channels: vec!["Y".into()],
        };
        let kept = Positive {}.apply(map).unwrap().values.into_data();
        assert_eq!(kept[..3], [2.0, 0.0, 0.0]);
        assert!(kept[3].is_nan());
    }
}
