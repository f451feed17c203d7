//! From layer maps to a picture's map: rectifying, normalising, enlarging.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Preset;

/// How layer maps are normalised. Either way values end in 0..=1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Finish {
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

impl Finish {
    /// The preset's choice.
    pub(super) fn of(preset: Preset) -> Self {
        match preset {
            Preset::Paper => Self::MaxNorm,
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

/// Where the samples of a resized grid lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Corners {
    /// Pixel centres at half steps: OpenCV's `INTER_LINEAR`, PyTorch's `align_corners=False`.
    HalfPixel,
    /// The corner samples of both grids coincide: PyTorch's `align_corners=True`.
    Aligned,
}

/// Bilinear interpolation of `plane` from `(height, width)` to another size, without antialiasing;
/// the border is continued.
pub(super) fn bilinear(
    plane: &[f32],
    (height, width): (usize, usize),
    (to_height, to_width): (usize, usize),
    corners: Corners,
) -> Vec<f32> {
    let (rows, columns) = (taps(height, to_height, corners), taps(width, to_width, corners));
    let mut out = Vec::with_capacity(to_height * to_width);
    for &(top, bottom, down) in &rows {
        let (upper, lower) =
            (&plane[top * width..(top + 1) * width], &plane[bottom * width..(bottom + 1) * width]);
        for &(left, right, across) in &columns {
            let along = |row: &[f32]| row[left] + (row[right] - row[left]) * across;
            let (u, l) = (along(upper), along(lower));
            out.push(u + (l - u) * down);
        }
    }
    out
}

/// For each new sample the two old ones around it, and how far it is on the way from the first to
/// the second.
fn taps(from: usize, to: usize, corners: Corners) -> Vec<(usize, usize, f32)> {
    let last = from - 1;
    let place = |i: usize| match corners {
        Corners::HalfPixel => (i as f64 + 0.5) * from as f64 / to as f64 - 0.5,
        Corners::Aligned if to > 1 => i as f64 * last as f64 / (to - 1) as f64,
        Corners::Aligned => 0.0,
    };
    (0..to)
        .map(|i| {
            let at = place(i).clamp(0.0, last as f64);
            let low = (at.floor() as usize).min(last);
            (low, (low + 1).min(last), (at - low as f64) as f32)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_pixel_and_aligned_corners_differ_as_they_should() {
        let line = [0.0, 1.0];
        assert_eq!(bilinear(&line, (1, 2), (1, 4), Corners::HalfPixel), [0.0, 0.25, 0.75, 1.0]);
        let aligned = bilinear(&line, (1, 2), (1, 4), Corners::Aligned);
        assert!(
            aligned.iter().zip([0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0]).all(|(a, b)| (a - b).abs() < 1e-6)
        );
        assert_eq!(bilinear(&[3.0], (1, 1), (2, 2), Corners::Aligned), [3.0; 4]);
        assert_eq!(
            bilinear(&[1., 2., 3., 4.], (2, 2), (2, 2), Corners::HalfPixel),
            [1., 2., 3., 4.]
        );
    }

    #[test]
    fn finishes_agree_where_the_floor_is_zero() {
        let map = [0.0, 2.0, 4.0];
        let (mut a, mut b) = (map, map);
        assert!(Finish::MaxNorm.normalise(&mut a) && Finish::PytorchGradCam.normalise(&mut b));
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6));
        let mut floor = [2.0, 4.0];
        assert!(Finish::PytorchGradCam.normalise(&mut floor));
        assert_eq!(floor[0], 0.0);
    }

    #[test]
    fn nothing_to_see_is_said() {
        assert!(!Finish::MaxNorm.normalise(&mut [0.0, 0.0]));
        assert!(!Finish::PytorchGradCam.normalise(&mut [3.0, 3.0]));
        assert!(
            Finish::MaxNorm.normalise(&mut [3.0, 3.0]),
            "a map that is the same everywhere has a maximum"
        );
    }
}
