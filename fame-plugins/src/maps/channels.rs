//! `Channels`: one channel from all, by their maximum, mean or sum.

use fame_core::{
    AttributionMap, Result, Tensor,
    contract::MapStep,
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The reduction of several channels to one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Reduce {
    /// The largest, as in the first saliency maps.
    #[default]
    Max,
    /// The mean.
    Mean,
    /// The sum: what the pixel as a whole contributes.
    Sum,
}

/// One channel from all. Values are taken as they are, signed: put `Abs()` in front where channels
/// must not cancel.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Channels {
    /// `Max`, `Mean` or `Sum`.
    pub reduce: Reduce,
}

impl Plugin<dyn MapStep> for Channels {
    const NAME: &'static str = "Channels";
    const SUMMARY: &'static str = "One channel from all: their maximum, mean or sum";
    const EXAMPLE: &'static str = "Channels(reduce: Sum)";
    const REFERENCE: &'static str =
        "Max: Simonyan et al., Deep Inside Convolutional Networks, 2013, arXiv 1312.6034";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn MapStep>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Map: Channels);

impl MapStep for Channels {
    fn apply(&self, map: AttributionMap) -> Result<AttributionMap> {
        let [channels, h, w] = super::gaussian_blur::shape3(&map)?;
        let start = if self.reduce == Reduce::Max { f32::NEG_INFINITY } else { 0.0 };
        let mut one = vec![start; h * w];
        for c in 0..channels {
            for (o, v) in one.iter_mut().zip(map.values.row(c)) {
                // `f32::max` would drop a NaN; an explanation must not.
                *o = if self.reduce == Reduce::Max && !v.is_nan() && !o.is_nan() {
                    o.max(*v)
                } else {
                    *o + v
                };
            }
        }
        if self.reduce == Reduce::Mean {
            for v in &mut one {
                *v /= channels as f32;
            }
        }
        Ok(AttributionMap { values: Tensor::new([1, h, w], one)?, channels: vec!["Y".into()] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_reduced_pixel_by_pixel() {
        let run = |reduce, values: [f32; 4]| {
            let map = AttributionMap {
                values: Tensor::new([2, 1, 2], values.to_vec()).unwrap(),
                channels: vec![],
            };
            Channels { reduce }.apply(map).unwrap().values.into_data()
        };
        let values = [-1.0, 2.0, -3.0, 4.0];
        assert_eq!(run(Reduce::Max, values), [-1.0, 4.0]);
        assert_eq!(run(Reduce::Mean, values), [-2.0, 3.0]);
        assert_eq!(run(Reduce::Sum, values), [-4.0, 6.0]);
        assert!(run(Reduce::Max, [f32::NAN, 0.0, 1.0, 0.0])[0].is_nan());
    }
}
