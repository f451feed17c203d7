//! `Power`: from amplitude to energy.

use fame_core::{
    AttributionMap, Result,
    contract::MapStep,
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// sign(v)·|v|^exponent for each value. What a walk moved is an amplitude; its square is its
/// energy. A walk moves every pixel of a detector's wide surroundings a little, and a sum over them
/// counts more than the few that moved much: exponents above 1 let the strong ones speak, those
/// below 1 the weak ones.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Power {
    /// Above 0.
    pub exponent: f32,
}

impl Default for Power {
    fn default() -> Self {
        Self { exponent: 2.0 }
    }
}

impl Plugin<dyn MapStep> for Power {
    const NAME: &'static str = "Power";
    const SUMMARY: &'static str = "Values to a power, signs kept: the energy of what moved instead of its amplitude";
    const EXAMPLE: &'static str = "Power(exponent: 2)";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("exponent", self.exponent.is_finite() && self.exponent > 0.0, "must be above 0");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn MapStep>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Map: Power);

impl MapStep for Power {
    fn apply(&self, mut map: AttributionMap) -> Result<AttributionMap> {
        // Scaled by the largest value first, so that small fields do not vanish; the order of
        // pixels does not depend on it.
        let largest = map.values.max_abs();
        if largest > 0.0 {
            map.values.data_mut().iter_mut().for_each(|v| *v = v.signum() * (v.abs() / largest).powf(self.exponent) * largest);
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use fame_core::Tensor;

    use super::*;

    fn raised(exponent: f32, values: Vec<f32>) -> Vec<f32> {
        let map = AttributionMap { values: Tensor::new([1, 1, values.len()], values).unwrap(), channels: vec!["Y".into()] };
        Power { exponent }.apply(map).unwrap().values.into_data()
    }

    #[test]
    fn the_largest_value_stays_and_the_others_fall() {
        assert_eq!(raised(2.0, vec![4.0, -2.0, 0.0]), [4.0, -1.0, 0.0]);
        assert_eq!(raised(1.0, vec![0.5, -0.25]), [0.5, -0.25]);
        assert_eq!(raised(2.0, vec![0.0, 0.0]), [0.0, 0.0]);
        // A field of 1e-30 squared would be nothing in single precision.
        assert_eq!(raised(2.0, vec![1e-30, 5e-31]), [1e-30, 2.5e-31]);
        assert!(raised(2.0, vec![f32::NAN, 1.0])[0].is_nan(), "a NaN is left for the runner to refuse");
    }
}
