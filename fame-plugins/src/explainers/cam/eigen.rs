//! Eigenvectors of symmetric matrices, by power iteration.

/// An eigenvalue with what belongs to it.
pub(super) struct Largest {
    /// The eigenvalue.
    pub(super) size: f64,
    /// Its vector, of length 1.
    pub(super) direction: Vec<f64>,
    /// The rounds it took.
    pub(super) rounds: usize,
}

/// At most this many rounds of the power iteration.
const MOST_ROUNDS: usize = 3000;
/// Rounds end when no cell moves by more than this share of the vector's length.
const SETTLED: f64 = 1e-10;
/// A matrix that is no inner product (KPCA-CAM's sigmoid) may have so many negative eigenvalues of
/// larger size in front.
const MOST_NEGATIVE: usize = 16;

/// The largest eigenvalue of a symmetric matrix; `None` for a matrix without a positive one.
pub(super) fn largest(mut matrix: Vec<Vec<f64>>) -> Option<Largest> {
    let mut rounds = 0;
    for _ in 0..=MOST_NEGATIVE {
        // The start: the row that is longest.
        let energy = |row: &Vec<f64>| row.iter().map(|v| v * v).sum::<f64>();
        let start = matrix.iter().max_by(|a, b| energy(a).total_cmp(&energy(b)))?;
        let mut u = unit(start.clone())?;
        let (mut size, mut settled) = (0.0, false);
        let begun = rounds;
        while !settled && rounds < begun + MOST_ROUNDS {
            let times = |row: &Vec<f64>| row.iter().zip(&u).map(|(m, u)| m * u).sum::<f64>();
            let next: Vec<f64> = matrix.iter().map(times).collect();
            size = next.iter().zip(&u).map(|(n, u)| n * u).sum();
            let sign = if size < 0.0 { -1.0 } else { 1.0 };
            let next = unit(next.into_iter().map(|v| v * sign).collect())?;
            settled = u.iter().zip(&next).all(|(a, b)| (a - b).abs() <= SETTLED);
            u = next;
            rounds += 1;
        }
        if size > 0.0 {
            return Some(Largest { size, direction: u, rounds });
        }
        // Its part is taken out, and the next largest comes to the front.
        take_out(&mut matrix, size, &u);
    }
    None
}

/// Of length 1; `None` for zeros.
fn unit(mut v: Vec<f64>) -> Option<Vec<f64>> {
    let length = v.iter().map(|v| v * v).sum::<f64>().sqrt();
    v.iter_mut().for_each(|v| *v /= length);
    (length > 0.0).then_some(v)
}

/// The `count` largest eigenvalues of a symmetric matrix without negative ones, the largest first,
/// with their vectors of length 1. There are fewer where the matrix has fewer above rounding.
pub(super) fn leading(mut matrix: Vec<Vec<f64>>, count: usize) -> Vec<(f64, Vec<f64>)> {
    let trace = |matrix: &[Vec<f64>]| matrix.iter().enumerate().map(|(n, row)| row[n]).sum::<f64>();
    let (whole, mut found) = (trace(&matrix), Vec::with_capacity(count));
    while found.len() < count && trace(&matrix) > ROUNDING * whole {
        let Some(Largest { size, direction, .. }) = largest(matrix.clone()) else { break };
        take_out(&mut matrix, size, &direction);
        found.push((size, direction));
    }
    found
}

/// What is left of a matrix's trace below this share of it is rounding.
const ROUNDING: f64 = 1e-12;

/// Takes the part of an eigenvector out of its matrix.
fn take_out(matrix: &mut [Vec<f64>], size: f64, direction: &[f64]) {
    for (row, a) in matrix.iter_mut().zip(direction) {
        row.iter_mut().zip(direction).for_each(|(v, b)| *v -= size * a * b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenvalues_come_in_order_and_stop_at_the_rank() {
        // 9·u·uᵀ + 4·v·vᵀ with u = (1, 2, 2)/3 and v = (2, 1, −2)/3: its third eigenvalue is 0.
        let (u, v) = ([1.0, 2.0, 2.0], [2.0, 1.0, -2.0]);
        let entry = |i: usize, j: usize| u[i] * u[j] + 4.0 * v[i] * v[j] / 9.0;
        let matrix = (0..3).map(|i| (0..3).map(|j| entry(i, j)).collect()).collect();
        let found = leading(matrix, 3);
        let sizes: Vec<f64> = found.iter().map(|(size, _)| *size).collect();
        assert!(sizes.len() == 2 && (sizes[0] - 9.0).abs() < 1e-9 && (sizes[1] - 4.0).abs() < 1e-9);
        let along: f64 = found[1].1.iter().zip(v).map(|(f, v)| f * v / 3.0).sum();
        assert!((along.abs() - 1.0).abs() < 1e-9, "{along}");
    }

    #[test]
    fn a_negative_eigenvalue_of_larger_size_is_passed_by() {
        let found = largest(vec![vec![-5.0, 0.0], vec![0.0, 2.0]]).unwrap();
        assert!((found.size - 2.0).abs() < 1e-9 && found.direction[1].abs() > 1.0 - 1e-9);
        assert!(largest(vec![vec![-1.0, 0.0], vec![0.0, 0.0]]).is_none());
    }
}
