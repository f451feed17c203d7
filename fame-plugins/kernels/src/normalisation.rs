//! Layer normalisation, and normalisation by the root mean square, with their gradients: one pass
//! over the memory, in which every value is read while its neighbours are still in the first cache.
//!
//! ```text
//! x̂ = (x − mean) / √(variance + eps)         y = x̂ · scale + shift
//! h = g · scale        dx = (h − mean(h) − x̂ · mean(h · x̂)) / √(variance + eps)
//! ```
//!
//! By the root mean square: the same with a mean of x, and of h, that is taken for 0. The variance
//! is summed of differences to the mean, not of squares, so nothing cancels where values lie far
//! from zero.

#![allow(clippy::inline_always, reason = "inlined into functions that enable the instructions")]

use super::reduce::sum;
use super::vector::{Level, Simd, Task};

/// A normalisation over one axis of values that lie as `[outer][extent][inner]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    /// How many values are normalised together.
    pub extent: usize,
    /// How far apart they lie: 1 where the axis is the last.
    pub inner: usize,
    /// Added to the variance.
    pub eps: f32,
    /// Whether the mean is taken off; without, the mean square is in the place of the variance.
    pub centred: bool,
}

impl Normalisation {
    /// Writes the normalised values of `x` to `y`, which is as long. `affine` has a factor and a
    /// summand for each of the values that are normalised together.
    pub fn run(&self, level: Level, x: &[f32], affine: Option<[&[f32]; 2]>, y: &mut [f32]) {
        self.check(x, y.len());
        let fits = |values: [&[f32]; 2]| values.iter().all(|v| v.len() == self.extent);
        assert!(affine.is_none_or(fits), "a vector's length");
        level.run(Forward { of: *self, x, affine, y });
    }

    /// Makes of the cotangents of the result, in place, those of `x`.
    pub fn pull(&self, level: Level, cotangents: &mut [f32], x: &[f32], scale: Option<&[f32]>) {
        self.check(x, cotangents.len());
        assert!(scale.is_none_or(|scale| scale.len() == self.extent), "a vector's length");
        level.run(Backward { of: *self, x, scale, g: cotangents });
    }

    fn check(&self, x: &[f32], other: usize) {
        assert!(x.len() == other, "lengths");
        assert!(self.block() > 0 && x.len().is_multiple_of(self.block()), "a whole number of rows");
    }

    /// Values that belong together: `inner` groups of `extent`.
    fn block(&self) -> usize {
        self.extent * self.inner
    }

    /// The mean of a row, and one over its standard deviation.
    #[inline(always)]
    fn statistics(&self, x: &[f32]) -> [f32; 2] {
        let count = self.extent as f32;
        let mean = if self.centred { sum(x, x, |x, _| x) / count } else { 0.0 };
        let squares = sum(x, x, |x, _| (x - mean) * (x - mean));
        [mean, (squares / count + self.eps).sqrt().recip()]
    }
}

struct Forward<'a> {
    of: Normalisation,
    x: &'a [f32],
    affine: Option<[&'a [f32]; 2]>,
    y: &'a mut [f32],
}

impl Task for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let of = self.of;
        let blocks = self.x.chunks_exact(of.block()).zip(self.y.chunks_exact_mut(of.block()));
        for (x, y) in blocks {
            if of.inner > 1 {
                for first in (0..of.inner).step_by(COLUMNS) {
                    Columns::new(&of, x, first).normalise(self.affine, y);
                }
                continue;
            }
            let [mean, root] = of.statistics(x);
            let Some([scale, shift]) = self.affine else {
                y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - mean) * root);
                continue;
            };
            let values = x.iter().zip(scale.iter().zip(shift));
            y.iter_mut().zip(values).for_each(|(y, (x, (scale, shift)))| {
                *y = (x - mean) * root * scale + shift;
            });
        }
    }
}

struct Backward<'a> {
    of: Normalisation,
    x: &'a [f32],
    scale: Option<&'a [f32]>,
    g: &'a mut [f32],
}

impl Task for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let of = self.of;
        let blocks = self.x.chunks_exact(of.block()).zip(self.g.chunks_exact_mut(of.block()));
        for (x, g) in blocks {
            if of.inner > 1 {
                for first in (0..of.inner).step_by(COLUMNS) {
                    Columns::new(&of, x, first).pull(self.scale, g);
                }
                continue;
            }
            if let Some(scale) = self.scale {
                g.iter_mut().zip(scale).for_each(|(g, scale)| *g *= scale);
            }
            let [mean, root] = of.statistics(x);
            let count = of.extent as f32;
            let along = root * root * sum(g, x, |g, x| g * (x - mean)) / count;
            let level = if of.centred { sum(g, g, |g, _| g) / count } else { 0.0 };
            g.iter_mut().zip(x).for_each(|(g, x)| *g = root * (*g - level - (x - mean) * along));
        }
    }
}

/// How many neighbouring columns are worked on at once, where the axis is not the last.
const COLUMNS: usize = 64;

/// Neighbouring columns of a block, and the statistics of each.
struct Columns<'a> {
    of: &'a Normalisation,
    x: &'a [f32],
    first: usize,
    width: usize,
    mean: [f32; COLUMNS],
    root: [f32; COLUMNS],
}

impl<'a> Columns<'a> {
    #[inline(always)]
    fn new(of: &'a Normalisation, x: &'a [f32], first: usize) -> Self {
        let width = (of.inner - first).min(COLUMNS);
        let mut columns = Self { of, x, first, width, mean: [0.0; COLUMNS], root: [0.0; COLUMNS] };
        let count = of.extent as f32;
        if of.centred {
            let mut sums = [0.0; COLUMNS];
            for row in 0..of.extent {
                sums.iter_mut().zip(columns.row(row)).for_each(|(sum, x)| *sum += x);
            }
            columns.mean = sums.map(|sum| sum / count);
        }
        let mut squares = [0.0; COLUMNS];
        for row in 0..of.extent {
            let values = squares.iter_mut().zip(columns.row(row)).zip(&columns.mean);
            values.for_each(|((sum, x), mean)| *sum += (x - mean) * (x - mean));
        }
        columns.root = squares.map(|sum: f32| (sum / count + of.eps).sqrt().recip());
        columns
    }

    /// Where the columns' values of one row lie in the block.
    #[inline(always)]
    fn at(&self, row: usize) -> std::ops::Range<usize> {
        let first = row * self.of.inner + self.first;
        first..first + self.width
    }

    #[inline(always)]
    fn row(&self, row: usize) -> &[f32] {
        &self.x[self.at(row)]
    }

    #[inline(always)]
    fn normalise(&self, affine: Option<[&[f32]; 2]>, y: &mut [f32]) {
        for row in 0..self.of.extent {
            let [scale, shift] = affine.map_or([1.0, 0.0], |of| of.map(|values| values[row]));
            let values = self.row(row).iter().zip(&self.mean).zip(&self.root);
            y[self.at(row)].iter_mut().zip(values).for_each(|(y, ((x, mean), root))| {
                *y = (x - mean) * root * scale + shift;
            });
        }
    }

    #[inline(always)]
    fn pull(&self, scale: Option<&[f32]>, g: &mut [f32]) {
        let (mut level, mut along) = ([0.0; COLUMNS], [0.0; COLUMNS]);
        let count = self.of.extent as f32;
        for row in 0..self.of.extent {
            let scale = scale.map_or(1.0, |scale| scale[row]);
            let sums = level.iter_mut().zip(&mut along);
            let values = g[self.at(row)].iter_mut().zip(self.row(row)).zip(&self.mean);
            sums.zip(values).for_each(|((level, along), ((g, x), mean))| {
                *g *= scale;
                *level += *g;
                *along += *g * (x - mean);
            });
        }
        let centred = f32::from(u8::from(self.of.centred));
        level.iter_mut().for_each(|level| *level *= centred / count);
        along.iter_mut().zip(&self.root).for_each(|(along, root)| *along *= root * root / count);
        for row in 0..self.of.extent {
            let sums = level.iter().zip(&along).zip(self.mean.iter().zip(&self.root));
            let values = g[self.at(row)].iter_mut().zip(self.row(row));
            values.zip(sums).for_each(|((g, x), ((level, along), (mean, root)))| {
                *g = root * (*g - level - (x - mean) * along);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a result, relative to its largest: sums of a few hundred products in `f32`.
    const ERROR: f64 = 2e-6;

    fn noise(n: usize, from: usize) -> Vec<f32> {
        (from..from + n).map(|i| ((i as f32 * 12.9898).sin() * 43_758.547).fract()).collect()
    }

    /// The formulas in double precision: the result, and the cotangents of the argument.
    fn exact(of: &Normalisation, x: &[f32], [scale, shift, g]: [&[f32]; 3]) -> [Vec<f64>; 2] {
        let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        let count = of.extent as f64;
        for outer in 0..x.len() / of.block() {
            for column in 0..of.inner {
                let at = |row: usize| outer * of.block() + row * of.inner + column;
                let mean_of = |f: &dyn Fn(usize) -> f64| (0..of.extent).map(f).sum::<f64>() / count;
                let value = |row: usize| f64::from(x[at(row)]);
                let mean = if of.centred { mean_of(&value) } else { 0.0 };
                let variance = mean_of(&|row| (value(row) - mean).powi(2));
                let root = (variance + f64::from(of.eps)).sqrt().recip();
                let unit = |row: usize| (value(row) - mean) * root;
                let h = |row: usize| f64::from(g[at(row)]) * f64::from(scale[row]);
                let level = if of.centred { mean_of(&h) } else { 0.0 };
                let along = mean_of(&|row| h(row) * unit(row));
                for row in 0..of.extent {
                    y[at(row)] = unit(row) * f64::from(scale[row]) + f64::from(shift[row]);
                    dx[at(row)] = root * (h(row) - level - unit(row) * along);
                }
            }
        }
        [y, dx]
    }

    fn close(got: &[f32], want: &[f64], what: &str) {
        let most = want.iter().fold(0f64, |most, w| most.max(w.abs()));
        for (got, want) in got.iter().zip(want) {
            let apart = (f64::from(*got) - want).abs() / most;
            assert!(apart <= ERROR, "{what}: {got} for {want}, {apart:e}");
        }
    }

    #[test]
    fn results_and_gradients_are_the_formulas_over_any_axis() {
        // Extents with and without whole vectors and blocks; columns beyond one block.
        let shapes = [(5, 1), (16, 1), (67, 1), (192, 1), (7, 3), (12, 64), (9, 70)];
        for ((extent, inner), centred) in
            shapes.into_iter().flat_map(|shape| [(shape, true), (shape, false)])
        {
            let of = Normalisation { extent, inner, eps: 1e-5, centred };
            let x: Vec<f32> = noise(3 * of.block(), 1).into_iter().map(|x| x + 3.0).collect();
            let (scale, shift, g) =
                (noise(extent, 5000), noise(extent, 6000), noise(x.len(), 7000));
            let ones = vec![1.0; extent];
            let zeros = vec![0.0; extent];
            let [want, slope] = exact(&of, &x, [&scale, &shift, &g]);
            let [plain, plain_slope] = exact(&of, &x, [&ones, &zeros, &g]);
            for level in Level::available() {
                let what = format!("{of:?} {}", level.name());
                let mut y = vec![f32::NAN; x.len()];
                of.run(level, &x, Some([&scale, &shift]), &mut y);
                close(&y, &want, &what);
                of.run(level, &x, None, &mut y);
                close(&y, &plain, &what);
                let mut dx = g.clone();
                of.pull(level, &mut dx, &x, Some(&scale));
                close(&dx, &slope, &what);
                dx.clone_from(&g);
                of.pull(level, &mut dx, &x, None);
                close(&dx, &plain_slope, &what);
            }
        }
    }

    #[test]
    fn the_gradient_is_that_of_differences() {
        /// A step at which truncation and the rounding of `f32` are both small.
        const STEP: f32 = 1e-2;
        /// Of the slope, relative to one plus it.
        const APART: f64 = 2e-3;
        let of = Normalisation { extent: 24, inner: 1, eps: 1e-3, centred: true };
        let (x, g) = (noise(24, 1), noise(24, 100));
        let scalar = |x: &[f32]| -> f64 {
            let mut y = vec![0.0; 24];
            of.run(Level::best(), x, None, &mut y);
            y.iter().zip(&g).map(|(y, g)| f64::from(*y) * f64::from(*g)).sum()
        };
        let mut dx = g.clone();
        of.pull(Level::best(), &mut dx, &x, None);
        for (i, dx) in dx.into_iter().enumerate() {
            let [mut up, mut down] = [x.clone(), x.clone()];
            up[i] += STEP;
            down[i] -= STEP;
            let want = (scalar(&up) - scalar(&down)) / f64::from(up[i] - down[i]);
            assert!((f64::from(dx) - want).abs() <= APART * (1.0 + want.abs()), "{i}: {dx} {want}");
        }
    }

    #[test]
    fn values_far_from_zero_keep_their_variance() {
        let of = Normalisation { extent: 64, inner: 1, eps: 0.0, centred: true };
        let x: Vec<f32> = (0..64).map(|i| 4096.0 + i as f32).collect();
        let mut y = vec![0.0; 64];
        of.run(Level::best(), &x, None, &mut y);
        let squares: f64 = y.iter().map(|y| f64::from(*y).powi(2)).sum();
        assert!((squares / 64.0 - 1.0).abs() < 1e-5, "{squares}");
    }
}
