//! From layer maps to a picture's map: rectifying and normalising.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Preset;

/// How layer maps are normalised. Either way values end in 0..=1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Normalisation {
    /// ReLU, divide by the maximum, enlarge, mean over layers, divide by the maximum: zero stays
    /// zero (the FAME paper's words). Default of preset Paper.
    MaxNorm,
    /// As pytorch-grad-cam does: ReLU, (m − min) / (1e-7 + max(m − min)), enlarge, mean over
    /// layers, the same again. Where every cell is above zero the floor is taken away, twice.
    /// Default of preset Authors.
    PytorchGradCam,
}

/// What pytorch-grad-cam adds to a maximum before dividing by it.
const EPSILON: f32 = 1e-7;

impl Normalisation {
    /// The preset's choice.
    pub(super) fn of(preset: Preset) -> Self {
        match preset {
            Preset::Paper | Preset::Fast => Self::MaxNorm,
            Preset::Authors => Self::PytorchGradCam,
        }
    }

    /// Stretches values ≥ 0. False when there is nothing left to see: all values are zero, or the
    /// same and the floor is taken away.
    pub(super) fn normalise(self, map: &mut [f32]) -> bool {
        let (min, max) = range(map);
        match self {
            Self::MaxNorm if max > 0.0 => map.iter_mut().for_each(|v| *v /= max),
            Self::MaxNorm => {}
            Self::PytorchGradCam => min_max(map, EPSILON),
        }
        max > 0.0 && (self == Self::MaxNorm || max > min)
    }
}

/// Smallest and largest value.
pub(super) fn range(map: &[f32]) -> (f32, f32) {
    map.iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)))
}

/// `(m − min) / (epsilon + max(m − min))`, in place.
pub(super) fn min_max(map: &mut [f32], epsilon: f32) {
    let (min, max) = range(map);
    let scale = epsilon + (max - min);
    for v in map.iter_mut() {
        *v = (*v - min) / scale;
    }
}

/// Negative values become zero.
pub(super) fn relu(map: &mut [f32]) {
    for v in map.iter_mut() {
        *v = v.max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_agree_where_the_floor_is_zero() {
        let map = [0.0, 2.0, 4.0];
        let (mut a, mut b) = (map, map);
        assert!(
            Normalisation::MaxNorm.normalise(&mut a)
                && Normalisation::PytorchGradCam.normalise(&mut b)
        );
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6));
        let mut floor = [2.0, 4.0];
        assert!(Normalisation::PytorchGradCam.normalise(&mut floor));
        assert_eq!(floor[0], 0.0);
    }

    #[test]
    fn nothing_to_see_is_said() {
        assert!(!Normalisation::MaxNorm.normalise(&mut [0.0, 0.0]));
        assert!(!Normalisation::PytorchGradCam.normalise(&mut [3.0, 3.0]));
        assert!(
            Normalisation::MaxNorm.normalise(&mut [3.0, 3.0]),
            "a map that is the same everywhere has a maximum"
        );
    }
}
