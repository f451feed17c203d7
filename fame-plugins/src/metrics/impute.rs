//! Noisy linear imputation: a removed pixel becomes the weighted mean of its neighbours, all
//! removed pixels at once (Rong et al., ICML 2022).
//!
//! For every removed pixel u with its 8 neighbours n inside the picture, weights w = 1/6 beside and
//! 1/12 diagonally, W_u the sum of the weights that exist:
//! `W_u·x_u − Σ_{n removed} w·x_n = Σ_{n kept} w·x_n`, one system for each channel. Written so, the
//! matrix is symmetric and, while one kept pixel touches each hole, positive definite: conjugate
//! gradients with the diagonal as preconditioner solve it. Afterwards noise of σ = 0.01 is added to
//! what was imputed.

use std::ops::Range;

use fame_core::{Random, Tensor};

/// Standard deviation of the noise, in pixels of 0..=1.
const NOISE: f32 = 0.01;
/// The residual, relative to the right-hand side, at which a system counts as solved: far below
/// single precision, so that a ramp comes out as one.
const SOLVED: f64 = 1e-10;
/// Weight of the neighbours beside, above and below.
const BESIDE: f64 = 1.0 / 6.0;
/// Weight of diagonal neighbours.
const ACROSS: f64 = BESIDE / 2.0;

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

/// The removed pixels as the unknowns of a linear system. Its vectors are planes: a value for each
/// pixel, 0 where the pixel is kept, and a pixel of 0 around them all. So every row of the matrix is
/// the same sum, and several are computed at once.
struct Holes {
    /// Pixels of the picture, without the border.
    width: usize,
    height: usize,
    /// How many are removed.
    count: usize,
    /// 1 where a pixel is removed.
    away: Vec<f64>,
    /// W_u where a pixel is removed, 1 elsewhere.
    diagonal: Vec<f64>,
}

impl Holes {
    fn new(away: &[bool], width: usize) -> Self {
        let count = away.iter().filter(|away| **away).count();
        let (height, none) = (away.len() / width, Vec::new());
        let mut holes = Self { width, height, count, away: none.clone(), diagonal: none };
        holes.away = holes.plane(|pixel| if away[pixel] { 1.0 } else { 0.0 });
        let weights = holes.sums(&holes.plane(|_| 1.0));
        holes.diagonal = weights.into_iter().map(|w| if w > 0.0 { w } else { 1.0 }).collect();
        holes
    }

    /// A plane with the value of each pixel.
    fn plane(&self, value: impl Fn(usize) -> f64) -> Vec<f64> {
        let stride = self.width + 2;
        let mut plane = vec![0.0; stride * (self.height + 2)];
        for y in 0..self.height {
            for x in 0..self.width {
                plane[(y + 1) * stride + x + 1] = value(y * self.width + x);
            }
        }
        plane
    }

    /// Where the pixels of line `y` lie in a plane, shifted by `by` lines and pixels less one.
    fn line(&self, y: usize, by: [usize; 2]) -> Range<usize> {
        let first = (y + by[0]) * (self.width + 2) + by[1];
        first..first + self.width
    }

    /// Σ w·x_n over the neighbours of each pixel of line `y`.
    #[inline]
    fn around<'x>(&self, x: &'x [f64], y: usize) -> impl Fn(usize) -> f64 + 'x {
        let at = |lines: usize, pixels: usize| &x[self.line(y, [lines, pixels])];
        let above = [at(0, 0), at(0, 1), at(0, 2)];
        let beside = [at(1, 0), at(1, 2)];
        let below = [at(2, 0), at(2, 1), at(2, 2)];
        move |i| {
            let sum = ACROSS * above[0][i] + BESIDE * above[1][i] + ACROSS * above[2][i];
            let sum = sum + BESIDE * beside[0][i] + BESIDE * beside[1][i];
            sum + ACROSS * below[0][i] + BESIDE * below[1][i] + ACROSS * below[2][i]
        }
    }

    /// out = A·x.
    fn times(&self, x: &[f64], out: &mut [f64]) {
        for y in 0..self.height {
            let others = self.around(x, y);
            let line = self.line(y, [1, 1]);
            let (x, away) = (&x[line.clone()], &self.away[line.clone()]);
            let (diagonal, out) = (&self.diagonal[line.clone()], &mut out[line]);
            for i in 0..self.width {
                out[i] = away[i] * (diagonal[i] * x[i] - others(i));
            }
        }
    }

    /// Σ w·x_n over the neighbours of every removed pixel.
    fn sums(&self, x: &[f64]) -> Vec<f64> {
        let mut sums = vec![0.0; x.len()];
        for y in 0..self.height {
            let (around, line) = (self.around(x, y), self.line(y, [1, 1]));
            for (i, at) in line.enumerate() {
                sums[at] = self.away[at] * around(i);
            }
        }
        sums
    }

    /// Solves for one channel and writes the solution into it.
    fn fill(&self, plane: &mut [f32]) {
        let values = self.plane(|pixel| f64::from(plane[pixel]));
        let known = |(value, away): (&f64, &f64)| if *away > 0.0 { 0.0 } else { *value };
        let known: Vec<f64> = values.iter().zip(&self.away).map(known).collect();
        let b = self.sums(&known);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        // The mean of what is kept is nearer than zero.
        let kept = plane.len() - self.count;
        let mean = (values.iter().sum::<f64>() - dot(&values, &self.away)) / kept as f64;
        let mut x: Vec<f64> = self.away.iter().map(|away| away * mean).collect();
        let mut product = vec![0.0; x.len()];
        self.times(&x, &mut product);
        let mut residual: Vec<f64> = b.iter().zip(&product).map(|(b, p)| b - p).collect();
        let scale = |residual: &[f64], scaled: &mut [f64]| {
            let each = scaled.iter_mut().zip(residual).zip(&self.diagonal);
            each.for_each(|((z, r), d)| *z = r / d);
        };
        let mut z = vec![0.0; x.len()];
        scale(&residual, &mut z);
        let mut direction = z.clone();
        let mut rz = dot(&residual, &z);
        let enough = SOLVED * dot(&b, &b).sqrt().max(1e-12);
        // In exact arithmetic there are no more steps than unknowns.
        for _ in 0..10 * self.count {
            if dot(&residual, &residual).sqrt() <= enough {
                break;
            }
            self.times(&direction, &mut product);
            let step = rz / dot(&direction, &product);
            x.iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
            residual.iter_mut().zip(&product).for_each(|(r, p)| *r -= step * p);
            scale(&residual, &mut z);
            let next = dot(&residual, &z);
            let turn = next / rz;
            direction.iter_mut().zip(&z).for_each(|(d, z)| *d = z + turn * *d);
            rz = next;
        }
        for (y, values) in plane.chunks_exact_mut(self.width).enumerate() {
            for (value, at) in values.iter_mut().zip(self.line(y, [1, 1])) {
                if self.away[at] > 0.0 {
                    *value = x[at] as f32;
                }
            }
        }
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
        let value = |x: i32, y: i32| {
            let is_inside = (0..12).contains(&x) && (0..10).contains(&y);
            is_inside.then(|| f64::from(imputed.data()[(y * 12 + x) as usize]))
        };
        for (x, y) in (0..10).flat_map(|y| (0..5).map(move |x| (x, y))) {
            // Beside and above count twice as much as across; in a corner there are three in all.
            let around = [(-1, -1), (0, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (0, 1), (1, 1)];
            let there = around.iter().filter_map(|(dx, dy)| {
                let weight = if dx * dy == 0 { 2.0 } else { 1.0 };
                Some((weight, value(x + dx, y + dy)?))
            });
            let (weights, sum) = there.fold((0.0, 0.0), |(w, s), (g, v)| (w + g, s + g * v));
            assert!((sum / weights - value(x, y).unwrap()).abs() < 1e-6, "{x} {y}");
        }
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
