//! Non-negative matrix factorisation: a layer as a sum of few parts that only add.

use super::eigen::leading;

/// A matrix X of `rows × columns`, row-major.
pub(super) struct Matrix {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) data: Vec<f64>,
}

impl Matrix {
    fn transposed(&self) -> Self {
        let data = (0..self.columns)
            .flat_map(|c| (0..self.rows).map(move |r| self.data[r * self.columns + c]))
            .collect();
        Self { rows: self.columns, columns: self.rows, data }
    }

    /// X·v.
    fn times(&self, v: &[f64]) -> Vec<f64> {
        self.data.chunks_exact(self.columns.max(1)).map(|row| dot(row, v)).collect()
    }

    /// X·Xᵀ.
    fn of_rows(&self) -> Vec<Vec<f64>> {
        self.data.chunks_exact(self.columns.max(1)).map(|row| self.times(row)).collect()
    }
}

/// X ≈ Σ_k w_k · h_kᵀ, nothing below zero.
pub(super) struct Factors {
    /// `w_k`, each of as many values as X has rows.
    pub(super) down: Vec<Vec<f64>>,
    /// `h_k`, each of as many values as X has columns.
    pub(super) across: Vec<Vec<f64>>,
    /// Rounds of the descent.
    pub(super) rounds: usize,
    /// Whether they ended because nothing moved any more.
    pub(super) settled: bool,
    /// ‖X − Σ_k w_k·h_kᵀ‖ / ‖X‖; 0 for X = 0.
    pub(super) residual: f64,
}

/// At most this many rounds, scikit-learn's default.
const MOST_ROUNDS: usize = 200;
/// Rounds end when the gradients that could still lower the distance are this share of the first
/// round's, scikit-learn's default.
const SETTLED: f64 = 1e-4;

/// Factors of `x`, nothing of which is below zero, into `count` parts that bring ‖X − W·H‖² down to
/// a local minimum: NNDSVD (Boutsidis & Gallopoulos, Pattern Recognition 41, 2008) is where it
/// starts, and each part in turn is set to its best for the others as they are (Cichocki & Phan,
/// IEICE E92-A, 2009). The same x has the same factors.
pub(super) fn factorise(x: &Matrix, count: usize) -> Factors {
    let turned = x.transposed();
    let (mut down, mut across) = start(x, &turned, count);
    let (mut rounds, mut settled, mut first) = (0, false, 0.0);
    while !settled && rounds < MOST_ROUNDS {
        let left = improve(&mut down, &across, x) + improve(&mut across, &down, &turned);
        if rounds == 0 {
            first = left;
        }
        settled = left <= SETTLED * first;
        rounds += 1;
    }
    let residual = residual(x, &down, &across);
    Factors { down, across, rounds, settled, residual }
}

/// One round over the vectors of one factor of `x`, each as long as x has rows. What is returned is
/// the sum of the gradients' sizes on the way, where they point to something allowed.
fn improve(factor: &mut [Vec<f64>], other: &[Vec<f64>], x: &Matrix) -> f64 {
    let mut left = 0.0;
    for part in 0..factor.len() {
        let wanted = x.times(&other[part]);
        let overlaps: Vec<f64> = other.iter().map(|o| dot(o, &other[part])).collect();
        for (i, wanted) in wanted.iter().enumerate() {
            let there: f64 = factor.iter().zip(&overlaps).map(|(f, o)| f[i] * o).sum();
            let (slope, value) = (there - wanted, &mut factor[part][i]);
            left += if *value == 0.0 { slope.min(0.0) } else { slope }.abs();
            if overlaps[part] > 0.0 {
                *value = (*value - slope / overlaps[part]).max(0.0);
            }
        }
    }
    left
}

/// NNDSVD: each singular pair (u, v) as its positive or its negative part, whichever is larger.
fn start(x: &Matrix, turned: &Matrix, count: usize) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    // Of the smaller of X·Xᵀ and Xᵀ·X, whose eigenvectors are one side of the pairs.
    let flat = x.rows <= x.columns;
    let (small, large) = if flat { (x, turned) } else { (turned, x) };
    let (mut mine, mut theirs) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for (n, (square, u)) in leading(small.of_rows(), count).into_iter().enumerate() {
        let strength = square.sqrt();
        let v: Vec<f64> = large.times(&u).into_iter().map(|v| v / strength).collect();
        // The first pair of a matrix without negative values has one sign, but for rounding.
        let parts: [(Vec<f64>, Vec<f64>); 2] = if n == 0 {
            let sizes = |v: &[f64]| v.iter().map(|v| v.abs()).collect::<Vec<_>>();
            [(sizes(&u), sizes(&v)), (vec![], vec![])]
        } else {
            [1.0f64, -1.0].map(|sign| {
                let part = |v: &[f64]| v.iter().map(|v| (sign * v).max(0.0)).collect::<Vec<_>>();
                (part(&u), part(&v))
            })
        };
        let [one, other] = parts.map(|(u, v)| (length(&u), length(&v), u, v));
        let (a, b, u, v) = if one.0 * one.1 >= other.0 * other.1 { one } else { other };
        let scale = (strength * a * b).sqrt();
        mine.push(u.iter().map(|u| scale * u / a).collect());
        theirs.push(v.iter().map(|v| scale * v / b).collect());
    }
    // Parts beyond the rank stay empty.
    mine.resize_with(count, || vec![0.0; small.rows]);
    theirs.resize_with(count, || vec![0.0; large.rows]);
    if flat { (mine, theirs) } else { (theirs, mine) }
}

fn residual(x: &Matrix, down: &[Vec<f64>], across: &[Vec<f64>]) -> f64 {
    let all = length(&x.data);
    if all == 0.0 {
        return 0.0;
    }
    let missing = x.data.iter().enumerate().map(|(i, x_i)| {
        let (r, c) = (i / x.columns, i % x.columns);
        let made: f64 = down.iter().zip(across).map(|(w, h)| w[r] * h[c]).sum();
        (x_i - made).powi(2)
    });
    missing.sum::<f64>().sqrt() / all
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The length of a vector.
pub(super) fn length(v: &[f64]) -> f64 {
    dot(v, v).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both sides compute in double precision, along the same way; the start's singular vectors
    /// are known to 1e-10.
    const ALIKE: f64 = 1e-6;

    /// NMF(3, init="nndsvd").fit_transform of `X`, scikit-learn 1.9.1.
    const X: [f64; 40] = [
        5., 6., 5., 5., 4., 6., 4., 8., 9., 3., 7., 5., 5., 8., 1., 1., 0., 7., 7., 8., 9., 7., 4.,
        7., 1., 6., 1., 9., 5., 4., 2., 7., 4., 5., 0., 6., 6., 6., 8., 6.,
    ];
    const DOWN: [[f64; 5]; 3] = [
        [1.116_802_14, 0., 3.507_675_84, 2.456_062_79, 0.],
        [1.444_402_44, 4.337_777_2, 0.758_162_63, 0., 0.169_427_4],
        [1.731_435_89, 0.612_015, 0., 0.642_781_88, 3.925_569_97],
    ];
    const ACROSS_FIRST: [f64; 8] = [
        0.,
        1.992_128_93,
        1.284_920_97,
        2.411_174_66,
        2.044_896_65,
        1.491_258_02,
        0.847_345_28,
        2.246_869_68,
    ];

    fn alike(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < ALIKE)
    }

    #[test]
    fn factors_are_those_of_scikit_learn() {
        let x = Matrix { rows: 5, columns: 8, data: X.to_vec() };
        let found = factorise(&x, 3);
        assert!(found.down.iter().zip(&DOWN).all(|(f, w)| alike(f, w)), "{:?}", found.down);
        assert!(alike(&found.across[0], &ACROSS_FIRST), "{:?}", found.across[0]);
        assert!(found.rounds == 156 && found.settled, "{}", found.rounds);
        assert!((found.residual - 0.166_118_268).abs() < ALIKE, "{}", found.residual);
    }

    #[test]
    fn a_matrix_and_its_transpose_have_the_same_factors() {
        let x = Matrix { rows: 5, columns: 8, data: X.to_vec() };
        // Another side is improved first, so the ways differ: the descent ends near one minimum.
        let (found, turned) = (factorise(&x, 2), factorise(&x.transposed(), 2));
        for k in 0..2 {
            let (w, t) = (&found.down[k], &turned.across[k]);
            let cosine = dot(w, t) / (length(w) * length(t));
            assert!(cosine > 0.999, "{cosine}");
        }
    }

    #[test]
    fn sums_of_parts_are_taken_apart_and_parts_beyond_the_rank_are_empty() {
        // Two parts without a common cell or channel are their own factors.
        let x = Matrix {
            rows: 3,
            columns: 4,
            data: vec![2., 4., 0., 0., 1., 2., 0., 0., 0., 0., 3., 1.],
        };
        let found = factorise(&x, 3);
        assert!(found.residual < ALIKE, "{}", found.residual);
        assert!(alike(&found.across[0][2..], &[0., 0.]), "{:?}", found.across);
        assert!(alike(&found.across[1][..2], &[0., 0.]), "{:?}", found.across);
        assert!(found.across[2].iter().chain(&found.down[2]).all(|v| *v == 0.0));
        let nothing = factorise(&Matrix { rows: 2, columns: 2, data: vec![0.0; 4] }, 2);
        assert!(nothing.residual == 0.0 && nothing.across.iter().flatten().all(|v| *v == 0.0));
    }
}
