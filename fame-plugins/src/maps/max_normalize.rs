//! `MaxNormalize`: the largest value becomes 1.

use fame_core::{
    AttributionMap, Error, Result,
    contract::MapStep,
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// m / max m: values in 0..=1 with 1 reached and zero kept zero (the paper's normalisation). All
/// channels share one maximum. A map without a value above zero is an error, never a black picture.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MaxNormalize {}

impl Plugin<dyn MapStep> for MaxNormalize {
    const NAME: &'static str = "MaxNormalize";
    const SUMMARY: &'static str = "Divides by the maximum: values in 0..=1, zero stays zero";
    const EXAMPLE: &'static str = "MaxNormalize()";
    const REFERENCE: &'static str = "Zhang & Günther, FAME (2026), Eq. 4";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn MapStep>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Map: MaxNormalize);

impl MapStep for MaxNormalize {
    fn apply(&self, mut map: AttributionMap) -> Result<AttributionMap> {
        let max = map.values.data().iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if !(map.values.is_finite() && max > 0.0) {
            return Err(Error::empty_map(
                "the map has no finite value above zero, so there is nothing to normalise.",
            ));
        }
        map.values.data_mut().iter_mut().for_each(|v| *v /= max);
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use fame_core::Tensor;

    use super::*;

    fn run(values: Vec<f32>) -> Result<Vec<f32>> {
        let map = AttributionMap {
            values: Tensor::new([1, 1, values.len()], values).unwrap(),
            channels: vec!["Y".into()],
        };
        MaxNormalize {}.apply(map).map(|m| m.values.into_data())
    }

    #[test]
    fn one_is_reached_and_nothing_is_hidden() {
        assert_eq!(run(vec![1.0, 4.0, 0.0]).unwrap(), [0.25, 1.0, 0.0]);
        assert!(run(vec![0.0, 0.0]).is_err() && run(vec![f32::NAN, 1.0]).is_err());
    }
}
