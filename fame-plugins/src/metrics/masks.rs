//! Which pixels are the top P percent of a map.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the top of a map is cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Masks {
    /// Exactly P percent of the pixels, by rank; among equals the first in reading order comes
    /// first. Methods with many zeros are then treated as all others.
    #[default]
    Rank,
    /// The pixels above the (100 − P)th percentile, as the authors' code: with ties fewer, and at P
    /// = 100 all but the lowest.
    Percentile,
}

/// Pixel numbers from the highest value to the lowest, equal ones in reading order.
pub(super) fn ranked(values: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    order
}

/// Whether each pixel is in the top `percent` (0..=100) of `values`. `ranked` is their [`ranked`]
/// order.
pub(super) fn top(values: &[f32], ranked: &[usize], percent: f64, masks: Masks) -> Vec<bool> {
    let mut is_top = vec![false; values.len()];
    match masks {
        Masks::Rank => {
            let count = (percent / 100.0 * values.len() as f64).round() as usize;
            ranked.iter().take(count).for_each(|i| is_top[*i] = true);
        }
        Masks::Percentile => {
            let cut = percentile(values, ranked, 100.0 - percent);
            is_top.iter_mut().zip(values).for_each(|(t, v)| *t = f64::from(*v) > cut);
        }
    }
    is_top
}

/// The `q`-th percentile (0..=100) with linear interpolation, as numpy's.
fn percentile(values: &[f32], ranked: &[usize], q: f64) -> f64 {
    let last = values.len() - 1;
    let at = q / 100.0 * last as f64;
    let ascending = |i: usize| f64::from(values[ranked[last - i]]);
    let (low, high) = (ascending(at.floor() as usize), ascending(at.ceil() as usize));
    low + (high - low) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(values: &[f32], percent: f64, masks: Masks) -> Vec<bool> {
        top(values, &ranked(values), percent, masks)
    }

    #[test]
    fn both_agree_without_ties() {
        let values: Vec<f32> = (0..100u32).map(|i| (i * 37 % 101) as f32).collect();
        for percent in (0..100).step_by(10).map(f64::from) {
            assert_eq!(
                by(&values, percent, Masks::Rank),
                by(&values, percent, Masks::Percentile),
                "{percent}"
            );
        }
        // At 100 the authors' keep the lowest pixel.
        let all = |masks| by(&values, 100.0, masks).iter().filter(|t| **t).count();
        assert_eq!((all(Masks::Rank), all(Masks::Percentile)), (100, 99));
    }

    #[test]
    fn ties_are_cut_by_rank_and_not_by_percentile() {
        let values = [0.0, 0.0, 0.0, 1.0];
        assert_eq!(by(&values, 50.0, Masks::Rank), [true, false, false, true]);
        assert_eq!(by(&values, 50.0, Masks::Percentile), [false, false, false, true]);
        assert_eq!(percentile(&[1.0, 2.0, 4.0], &[2, 1, 0], 75.0), 3.0);
    }
}
