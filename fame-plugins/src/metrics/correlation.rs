//! Correlations of two lists of numbers.

use crate::explainers::face::average_ranks;

/// In double precision.
pub(super) fn doubles(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// Correlation; NaN when one of the two never varies.
pub(super) fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let (ma, mb) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let sum =
        |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(x, y)| f(x - ma, y - mb)).sum::<f64>();
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

/// Rank correlation, ties averaged; NaN when one of the two never varies.
pub(super) fn spearman(a: &[f32], b: &[f32]) -> f64 {
    pearson(&average_ranks(a), &average_ranks(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_textbooks() {
        // scipy.stats.spearmanr([1, 2, 2, 4], [3, 1, 2, 4]) = 0.31622776601683794.
        assert!(
            (spearman(&[1.0, 2.0, 2.0, 4.0], &[3.0, 1.0, 2.0, 4.0]) - 0.316_227_766_016_837_94)
                .abs()
                < 1e-12
        );
        assert!(
            (spearman(&[1.0, 5.0, 9.0], &[-1.0, -25.0, -81.0]) + 1.0).abs() < 1e-12,
            "a falling curve"
        );
        assert!(pearson(&[1.0, 1.0], &[0.0, 1.0]).is_nan());
    }
}
