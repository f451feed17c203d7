//! `MinMaxNormalize`: the smallest value becomes 0, the largest (nearly) 1.

use fame_core::{
    AttributionMap, Error, Result,
    contract::MapStep,
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// (m − min) / (max − min + ε): values in 0..=1 (the authors' normalisation, ε = 1e-8). It removes
/// a floor that all pixels share, and stretches noise in a nearly flat map. A constant map is an
/// error.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MinMaxNormalize {
    /// Added to the denominator; at least 0.
    pub epsilon: f32,
}

impl Default for MinMaxNormalize {
    fn default() -> Self {
        Self { epsilon: 1e-8 }
    }
}

impl Plugin<dyn MapStep> for MinMaxNormalize {
    const NAME: &'static str = "MinMaxNormalize";
    const SUMMARY: &'static str = "Stretches values to 0..=1";
    const EXAMPLE: &'static str = "MinMaxNormalize(epsilon: 1e-8)";
    const REFERENCE: &'static str = "The FAME authors' code";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check(
            "epsilon",
            self.epsilon.is_finite() && self.epsilon >= 0.0,
            "must be at least 0",
        );
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn MapStep>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Map: MinMaxNormalize);

impl MapStep for MinMaxNormalize {
    fn apply(&self, mut map: AttributionMap) -> Result<AttributionMap> {
        let (min, max) = map
            .values
            .data()
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
        if !map.values.is_finite() || min >= max {
            return Err(Error::empty_map(
                "the map is the same everywhere or not finite, so there is nothing to stretch.",
            ));
        }
        let scale = max - min + self.epsilon;
        map.values.data_mut().iter_mut().for_each(|v| *v = (*v - min) / scale);
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use fame_core::Tensor;

    use super::*;

    #[test]
    fn both_ends_are_reached() {
        let step = MinMaxNormalize { epsilon: 0.0 };
        let map = |v: &[f32]| AttributionMap {
            values: Tensor::new([1, 1, v.len()], v.to_vec()).unwrap(),
            channels: vec!["Y".into()],
        };
        assert_eq!(step.apply(map(&[2.0, 4.0, 3.0])).unwrap().values.data(), [0.0, 1.0, 0.5]);
        assert!(step.apply(map(&[2.0, 2.0])).is_err());
    }
}
