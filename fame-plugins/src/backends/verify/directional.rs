//! Directional derivatives by central differences, and how far they can be believed.
//!
//! The differences are of f32 values: onnxruntime has no f64 kernels for what networks of pictures
//! are made of (Conv, ConvTranspose, GlobalAveragePool, AveragePool, Resize, Erf; seen in 1.32).

use fame_core::{Random, Result, Tensor};

use super::inputs::SEED;

/// How far ⟨gradient, direction⟩ may be from the slope, relative to the gradient's length.
/// Differences of f32 values are rounded, and networks of ReLUs have kinks that every step crosses
/// (seen: 2.2e-2 on a face network with 33 PReLUs); a wrong rule is off by the size of the slope
/// itself.
pub const SLOPE_TOLERANCE: f64 = 5e-2;

/// A gradient is wrong if it is off along this many directions, or along all that can be measured:
/// a step may cross a kink along one, a wrong rule shows along most.
const DIRECTIONS_OFF: usize = 2;

/// Where the two nearest slopes of neighbouring steps differ by more than this, rounding hides the
/// slope, and nothing can be said.
const UNDECIDED: f64 = 0.1;

/// Steps relative to the size of what is moved. A large one crosses kinks, a small one is rounded
/// away, and a wrong gradient is wrong at each.
const STEPS: [f64; 4] = [4e-3, 5e-4, 6e-5, 1e-5];

/// What rounding can make of a difference of two values, relative to their size: sixteen units in
/// the last place of f32, as deep networks gather them.
const ROUNDING: f64 = 16.0 * f32::EPSILON as f64;

/// Random directions beside the gradient's own.
const DIRECTIONS: usize = 3;

/// What the slopes around one point say about a gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// It is the slope, as far as can be measured; the largest distance.
    Right(f64),
    /// It is not: the largest distance, relative to the gradient's length.
    Wrong(f64),
    /// No direction could be measured.
    Undecided,
}

/// Compares `gradient` at `at` with slopes of `value`, which takes a batch of one row.
pub(super) fn judge(
    at: &Tensor,
    gradient: &Tensor,
    value: &dyn Fn(&Tensor) -> Result<f64>,
) -> Result<Verdict> {
    // Zeros stay: moved ones would leave the kink that a maximum over several of them has there.
    let free: Vec<f32> = at.data().iter().map(|v| f32::from(*v != 0.0)).collect();
    let length = norm(gradient.data());
    let own = gradient.data().to_vec();
    let drawn = (0..DIRECTIONS).map(|n| {
        let mut random = Random::stream(SEED, 100 + n);
        (0..at.len()).map(|_| if random.uniform() < 0.5 { -1.0 } else { 1.0 }).collect()
    });
    let (mut off_by, mut passed) = (vec![], vec![]);
    for direction in std::iter::once(own).chain(drawn) {
        let direction: Vec<f32> = direction.iter().zip(&free).map(|(d, f)| d * f).collect();
        match along(at, gradient, length, &direction, value)? {
            Some((off, _)) if off <= SLOPE_TOLERANCE => passed.push(off),
            Some((off, true)) => off_by.push(off),
            _ => {}
        }
    }
    let largest = |all: &[f64]| all.iter().copied().fold(0.0, f64::max);
    Ok(if !off_by.is_empty() && (off_by.len() >= DIRECTIONS_OFF || passed.is_empty()) {
        Verdict::Wrong(largest(&off_by))
    } else if passed.is_empty() {
        Verdict::Undecided
    } else {
        Verdict::Right(largest(&passed).max(largest(&off_by)))
    })
}

/// How far the gradient is from the slope along `direction`, and whether rounding leaves that slope
/// to be seen. `None` for a direction of length zero, or where all steps drown in rounding.
fn along(
    at: &Tensor,
    gradient: &Tensor,
    length: f64,
    direction: &[f32],
    value: &dyn Fn(&Tensor) -> Result<f64>,
) -> Result<Option<(f64, bool)>> {
    let root = (direction.len() as f64).sqrt();
    let (unit, size) = (norm(direction) / root, norm(at.data()) / root);
    if unit == 0.0 || !unit.is_finite() {
        return Ok(None);
    }
    let size = if size > 0.0 { size } else { 1.0 };
    let (mut slopes, mut best) = (vec![], f64::INFINITY);
    for step in STEPS.map(|step| step * size / unit) {
        let moved = |step: f64| {
            let mut moved = at.clone();
            let moves = moved.data_mut().iter_mut().zip(direction);
            moves.for_each(|(x, d)| *x = (f64::from(*x) + step * f64::from(*d)) as f32);
            moved
        };
        let (up, down) = (moved(step), moved(-step));
        // Against the move that f32 really made.
        let expected: f64 = up
            .data()
            .iter()
            .zip(down.data())
            .zip(gradient.data())
            .map(|((u, d), g)| (f64::from(*u) - f64::from(*d)) * f64::from(*g))
            .sum();
        let (above, below) = (value(&up)?, value(&down)?);
        let found = above - below;
        let scale = (2.0 * step * length * unit).max(found.abs()).max(f64::MIN_POSITIVE);
        // Such a step measures rounding, as everywhere behind a softmax that has decided.
        if ROUNDING * (above.abs() + below.abs()) > SLOPE_TOLERANCE * scale {
            continue;
        }
        best = best.min((found - expected).abs() / scale);
        slopes.push((found / (2.0 * step), scale / (2.0 * step)));
    }
    if slopes.is_empty() {
        return Ok(None);
    }
    let agree = slopes.windows(2).map(|pair| (pair[0].0 - pair[1].0).abs() / pair[1].1);
    let closest = agree.fold(f64::INFINITY, f64::min);
    Ok(Some((best, closest <= UNDECIDED)))
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Σ x³ around x: its gradient is 3 x².
    #[allow(clippy::unnecessary_wraps)] // as `judge` wants it
    fn cubes(x: &Tensor) -> Result<f64> {
        Ok(x.data().iter().map(|v| f64::from(*v).powi(3)).sum())
    }

    #[test]
    fn a_right_gradient_passes_and_a_wrong_one_does_not() {
        let values: Vec<f32> = (1..=50).map(|k| k as f32 / 25.0).collect();
        let x = Tensor::new([1, 50], values.clone()).unwrap();
        let right: Vec<f32> = values.iter().map(|v| 3.0 * v * v).collect();
        let judged = |gradient: Vec<f32>| {
            judge(&x, &Tensor::new([1, 50], gradient).unwrap(), &cubes).unwrap()
        };
        assert!(matches!(judged(right.clone()), Verdict::Right(off) if off < 1e-3));
        let mut half = right;
        half[25..].fill(0.0);
        assert!(matches!(judged(half), Verdict::Wrong(_)));
        // A gradient of zero where the value moves: only the random directions see it.
        assert!(matches!(judged(vec![0.0; 50]), Verdict::Wrong(_)));
    }

    #[test]
    fn steps_that_only_round_say_nothing_of_a_small_gradient() {
        // As a softmax that has decided: 1 in f32, whatever moves.
        let x = Tensor::filled([1, 4], 1.0);
        let decided = |x: &Tensor| Ok(f64::from(1.0 - 1e-7 * x.data()[0]));
        let gradient = Tensor::new([1, 4], vec![-2e-7, 0.0, 0.0, 0.0]).unwrap();
        assert_eq!(judge(&x, &gradient, &decided).unwrap(), Verdict::Undecided);
    }

    #[test]
    fn a_slope_that_rounding_hides_is_not_judged() {
        let x = Tensor::filled([1, 4], 1.0);
        // Too little for f32 to show on a value of a million.
        let flat = |x: &Tensor| Ok(f64::from(1e6 + 1e-6 * x.data()[0]));
        let noisy = |x: &Tensor| {
            let seed = x.data()[0].to_bits();
            Ok(flat(x)? + f64::from(seed % 7) * 0.1)
        };
        let gradient = Tensor::new([1, 4], vec![1e-6, 0.0, 0.0, 0.0]).unwrap();
        assert_eq!(judge(&x, &gradient, &noisy).unwrap(), Verdict::Undecided);
    }
}
