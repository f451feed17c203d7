//! Noisy linear imputation: a removed pixel becomes the weighted mean of its neighbours, all
//! removed pixels at once (Rong et al., ICML 2022).
//!
//! For every removed pixel u with its 8 neighbours n inside the picture, weights w = 1/6 beside and
//! 1/12 diagonally, W_u the sum of the weights that exist:
//! `W_u·x_u − Σ_{n removed} w·x_n = Σ_{n kept} w·x_n`, one system for each channel. Written so, the
//! matrix is symmetric and, while one kept pixel touches each hole, positive definite: conjugate
//! gradients with the diagonal as preconditioner solve it. Afterwards noise of σ = 0.01 is added to
//! what was imputed.

use fame_core::{Random, Tensor};

/// Standard deviation of the noise, in pixels of 0..=1.
const NOISE: f32 = 0.01;
/// The residual, relative to the right-hand side, at which a system counts as solved: far below
/// single precision, so that a ramp comes out as one.
const SOLVED: f64 = 1e-10;
/// Weight of the neighbours beside and above; diagonal ones have half of it.
const BESIDE: f64 = 1.0 / 6.0;

/// Replaces the pixels of `picture` `[C, H, W]` where `away` is true. `random` makes the noise;
/// `None` leaves it out. When nothing is kept, the picture's mean colour stands everywhere: no
/// neighbour says anything else.
pub(super) fn impute(picture: &Tensor, away: &[bool], random: Option<&mut Random>) -> Tensor {
    let mut imputed = picture.clone();
    let width = picture.shape().last().copied().unwrap_or(1);
    if away.iter().all(|a| *a) {
        for channel in 0..imputed.rows() {
            let plane = imputed.row_mut(channel);
            let mean = plane.iter().map(|v| f64::from(*v)).sum::<f64>() / plane.len() as f64;
            plane.fill(mean as f32);
        }
    } else {
        let holes = Holes::new(away, width);
        for channel in 0..imputed.rows() {
            holes.fill(imputed.row_mut(channel));
        }
    }
    if let Some(random) = random {
        let removed: Vec<usize> = (0..away.len()).filter(|i| away[*i]).collect();
        let mut noise = vec![0.0; removed.len()];
        for channel in 0..imputed.rows() {
            random.fill_normal(&mut noise);
            let plane = imputed.row_mut(channel);
            removed.iter().zip(&noise).for_each(|(i, n)| plane[*i] += NOISE * n);
        }
    }
    imputed
}

/// The removed pixels as the unknowns of a linear system.
struct Holes {
    /// Pixel number of each unknown.
    pixels: Vec<usize>,
    /// For each unknown its neighbours: weight, pixel, and the unknown it is, if it is one.
    neighbours: Vec<Vec<(f64, usize, Option<usize>)>>,
    /// W_u.
    diagonal: Vec<f64>,
}

impl Holes {
    fn new(away: &[bool], width: usize) -> Self {
        let height = away.len() / width;
        let pixels: Vec<usize> = (0..away.len()).filter(|i| away[*i]).collect();
        let mut unknown = vec![None; away.len()];
        pixels.iter().enumerate().for_each(|(n, p)| unknown[*p] = Some(n));
        let around = |p: &usize| {
            let (y, x) = (p / width, p % width);
            let mut found = Vec::with_capacity(8);
            for ny in y.saturating_sub(1)..=(y + 1).min(height - 1) {
                for nx in x.saturating_sub(1)..=(x + 1).min(width - 1) {
                    let n = ny * width + nx;
                    if n != *p {
                        let weight = if ny == y || nx == x { BESIDE } else { BESIDE / 2.0 };
                        found.push((weight, n, unknown[n]));
                    }
                }
            }
            found
        };
        let neighbours: Vec<Vec<_>> = pixels.iter().map(around).collect();
        let diagonal = neighbours.iter().map(|n| n.iter().map(|(w, ..)| w).sum()).collect();
        Self { pixels, neighbours, diagonal }
    }

    /// out = A·x.
    fn times(&self, x: &[f64], out: &mut [f64]) {
        for (n, o) in out.iter_mut().enumerate() {
            let others: f64 =
                self.neighbours[n].iter().filter_map(|(w, _, u)| u.map(|u| w * x[u])).sum();
            *o = self.diagonal[n] * x[n] - others;
        }
    }

    /// Solves for one channel and writes the solution into it.
    fn fill(&self, plane: &mut [f32]) {
        let known = |n: usize| {
            self.neighbours[n]
                .iter()
                .filter(|(.., u)| u.is_none())
                .map(|(w, p, _)| w * f64::from(plane[*p]))
                .sum::<f64>()
        };
        let b: Vec<f64> = (0..self.pixels.len()).map(known).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        // The mean of what is kept is nearer than zero.
        let kept = plane.len() - self.pixels.len();
        let removed: f64 = self.pixels.iter().map(|p| f64::from(plane[*p])).sum();
        let mean = (plane.iter().map(|v| f64::from(*v)).sum::<f64>() - removed) / kept as f64;
        let mut x = vec![mean; b.len()];
        let mut product = vec![0.0; b.len()];
        self.times(&x, &mut product);
        let mut residual: Vec<f64> = b.iter().zip(&product).map(|(b, p)| b - p).collect();
        let scaled =
            |r: &[f64]| r.iter().zip(&self.diagonal).map(|(r, d)| r / d).collect::<Vec<f64>>();
        let mut z = scaled(&residual);
        let mut direction = z.clone();
        let mut rz = dot(&residual, &z);
        let enough = SOLVED * dot(&b, &b).sqrt().max(1e-12);
        // In exact arithmetic there are no more steps than unknowns.
        for _ in 0..10 * b.len() {
            if dot(&residual, &residual).sqrt() <= enough {
                break;
            }
            self.times(&direction, &mut product);
            let step = rz / dot(&direction, &product);
            x.iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
            residual.iter_mut().zip(&product).for_each(|(r, p)| *r -= step * p);
            z = scaled(&residual);
            let next = dot(&residual, &z);
            let turn = next / rz;
            direction.iter_mut().zip(&z).for_each(|(d, z)| *d = z + turn * *d);
            rz = next;
        }
        self.pixels.iter().zip(&x).for_each(|(p, x)| plane[*p] = *x as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 12 × 10 pixels of v = 0.02·x + 0.03·y in every channel.
    fn ramp() -> Tensor {
        let plane: Vec<f32> =
            (0..120).map(|i| 0.02 * (i % 12) as f32 + 0.03 * (i / 12) as f32).collect();
        Tensor::new([3, 10, 12], plane.repeat(3)).unwrap()
    }

    /// Removed: a block in the interior and single pixels around it; the border stays.
    fn interior() -> Vec<bool> {
        (0..120)
            .map(|i| {
                ((3..9).contains(&(i % 12)) && (2..7).contains(&(i / 12)))
                    || i == 8 * 12 + 10
                    || i == 12 + 1
            })
            .collect()
    }

    #[test]
    fn a_ramp_is_reproduced_inside() {
        // Single precision of values below 1, times some.
        const ROUNDING: f32 = 1e-6;
        let imputed = impute(&ramp(), &interior(), None);
        let worst =
            imputed.data().iter().zip(ramp().data()).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(worst <= ROUNDING, "{worst}");
    }

    #[test]
    fn imputed_pixels_are_the_mean_of_their_neighbours_at_the_border_too() {
        let away: Vec<bool> = (0..120).map(|i| i % 12 < 5).collect();
        let imputed = impute(&ramp(), &away, None);
        let holes = Holes::new(&away, 12);
        for (n, p) in holes.pixels.iter().enumerate() {
            let mean: f64 = holes.neighbours[n]
                .iter()
                .map(|(w, q, _)| w * f64::from(imputed.data()[*q]))
                .sum::<f64>()
                / holes.diagonal[n];
            assert!((mean - f64::from(imputed.data()[*p])).abs() < 1e-6);
        }
        // A pixel in the corner has three neighbours: two beside and one across.
        assert!((holes.diagonal[0] - 5.0 / 12.0).abs() < 1e-12);
    }

    #[test]
    fn noise_is_seeded_and_only_on_what_was_removed_and_nothing_left_is_no_disaster() {
        let once = |seed| impute(&ramp(), &interior(), Some(&mut Random::new(seed)));
        assert_eq!(once(1), once(1));
        assert_ne!(once(1), once(2));
        assert!(
            once(1)
                .data()
                .iter()
                .zip(ramp().data())
                .enumerate()
                .all(|(i, (a, b))| interior()[i % 120] || a == b)
        );
        let none = impute(&ramp(), &[true; 120], None);
        assert!(
            (none.data()[0] - 0.245).abs() < 1e-6
                && none.data().iter().all(|v| *v == none.data()[0])
        );
    }
}
