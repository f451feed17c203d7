//! Softmax over rows of neighbouring values, its logarithm, and the gradients of both.

#![allow(clippy::inline_always, reason = "inlined into functions that enable the instructions")]

use super::exponential::exp;
use super::reduce::{largest, sum};
use super::vector::{Level, Simd, Task};

/// Softmax, or its logarithm, over rows of so many neighbouring values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax {
    /// How many values make a row.
    pub width: usize,
    /// Whether the logarithm of it is taken.
    pub logarithm: bool,
}

impl Softmax {
    /// Writes `exp(x) / Σ exp(x)` of each row of `x` to `y`, which is as long.
    pub fn run(self, level: Level, x: &[f32], y: &mut [f32]) {
        self.check(x, y.len());
        level.run(Forward { of: self, x, y });
    }

    /// Makes of the cotangents of the result `y`, in place, those of the argument:
    /// `y · (g − Σ g·y)`, or for the logarithm `g − exp(y) · Σ g`.
    pub fn pull(self, level: Level, cotangents: &mut [f32], y: &[f32]) {
        self.check(y, cotangents.len());
        level.run(Backward { of: self, y, g: cotangents });
    }

    fn check(self, x: &[f32], other: usize) {
        assert!(x.len() == other, "lengths");
        assert!(self.width > 0 && x.len().is_multiple_of(self.width), "a whole number of rows");
    }
}

struct Forward<'a> {
    of: Softmax,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Task for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let width = self.of.width;
        for (x, y) in self.x.chunks_exact(width).zip(self.y.chunks_exact_mut(width)) {
            let most = largest(x);
            y.iter_mut().zip(x).for_each(|(y, x)| *y = exp::<S>(x - most));
            let total = sum(y, y, |y, _| y);
            if self.of.logarithm {
                let by = total.ln();
                y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - most) - by);
            } else {
                let by = total.recip();
                y.iter_mut().for_each(|y| *y *= by);
            }
        }
    }
}

struct Backward<'a> {
    of: Softmax,
    y: &'a [f32],
    g: &'a mut [f32],
}

impl Task for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let width = self.of.width;
        for (y, g) in self.y.chunks_exact(width).zip(self.g.chunks_exact_mut(width)) {
            if self.of.logarithm {
                let total = sum(g, g, |g, _| g);
                g.iter_mut().zip(y).for_each(|(g, y)| *g -= exp::<S>(*y) * total);
            } else {
                let total = sum(g, y, |g, y| g * y);
                g.iter_mut().zip(y).for_each(|(g, y)| *g = y * (*g - total));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a result: `exp`'s error, and a rounding for each sum of a few hundred values.
    const ERROR: f64 = 2e-6;

    fn noise(n: usize, from: usize) -> Vec<f32> {
        (from..from + n).map(|i| 8.0 * ((i as f32 * 12.9898).sin() * 43_758.547).fract()).collect()
    }

    /// The formulas in double precision: the result, and the cotangents of the argument.
    fn exact(of: Softmax, x: &[f32], g: &[f32]) -> [Vec<f64>; 2] {
        let (mut values, mut slopes) = (vec![], vec![]);
        for (x, g) in x.chunks(of.width).zip(g.chunks(of.width)) {
            let total: f64 = x.iter().map(|x| f64::from(*x).exp()).sum();
            let p: Vec<f64> = x.iter().map(|x| f64::from(*x).exp() / total).collect();
            let g: Vec<f64> = g.iter().map(|g| f64::from(*g)).collect();
            if of.logarithm {
                values.extend(p.iter().map(|p| p.ln()));
                let sum: f64 = g.iter().sum();
                slopes.extend(p.iter().zip(&g).map(|(p, g)| g - p * sum));
            } else {
                values.extend(&p);
                let sum: f64 = p.iter().zip(&g).map(|(p, g)| p * g).sum();
                slopes.extend(p.iter().zip(&g).map(|(p, g)| p * (g - sum)));
            }
        }
        [values, slopes]
    }

    #[test]
    fn results_and_gradients_are_the_formulas() {
        for (width, logarithm) in
            [1, 4, 16, 50, 197, 256].into_iter().flat_map(|n| [(n, false), (n, true)])
        {
            let of = Softmax { width, logarithm };
            let (x, g) = (noise(3 * width, 1), noise(3 * width, 5000));
            let [want, slope] = exact(of, &x, &g);
            for level in Level::available() {
                let (mut y, mut dx) = (vec![f32::NAN; x.len()], g.clone());
                of.run(level, &x, &mut y);
                of.pull(level, &mut dx, &y);
                for (got, want) in y.iter().zip(&want).chain(dx.iter().zip(&slope)) {
                    let bound =
                        ERROR * (1.0 + want.abs()) * if logarithm { width as f64 } else { 1.0 };
                    assert!(
                        (f64::from(*got) - want).abs() <= bound.max(8.0 * ERROR),
                        "{of:?}: {got} {want}"
                    );
                }
            }
        }
    }

    #[test]
    fn large_values_do_not_overflow_and_hidden_ones_get_nothing() {
        let x = [1000.0, 1000.0, -1000.0, f32::NEG_INFINITY];
        let mut y = [f32::NAN; 4];
        Softmax { width: 4, logarithm: false }.run(Level::best(), &x, &mut y);
        assert!((y[0] - 0.5).abs() < 1e-6 && (y[1] - 0.5).abs() < 1e-6, "{y:?}");
        assert_eq!([y[2], y[3]].map(f32::to_bits), [0; 2], "{y:?}");
    }
}
