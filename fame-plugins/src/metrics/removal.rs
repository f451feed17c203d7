//! Pixels in parts, by rank or by place, and the network's answers while the parts go one after the
//! other.

use fame_core::{Result, Tensor, ask::Question};

use super::fill::replace;

/// For each pixel the part of the picture that it belongs to, from 0: the pixels in `order` cut
/// into `parts` runs of equal length (the lengths differ by one where the number of pixels leaves a
/// rest). More parts than pixels leave some parts empty.
pub(super) fn by_rank(order: &[usize], parts: usize) -> Vec<usize> {
    let mut of_pixel = vec![0; order.len()];
    for part in 0..parts {
        let (from, to) = (part * order.len() / parts, (part + 1) * order.len() / parts);
        order[from..to].iter().for_each(|pixel| of_pixel[*pixel] = part);
    }
    of_pixel
}

/// For each pixel of a picture of `height` × `width` the square that it belongs to, from 0 in
/// reading order, and the number of squares: tiles of `side` × `side`, less at the right and lower
/// border.
pub(super) fn squares(height: usize, width: usize, side: usize) -> (Vec<usize>, usize) {
    let (rows, columns) = (height.div_ceil(side), width.div_ceil(side));
    let of = |pixel: usize| (pixel / width / side) * columns + (pixel % width) / side;
    ((0..height * width).map(of).collect(), rows * columns)
}

/// The sum of `values` over each of `parts` parts; `of_pixel` as [`by_rank`] and [`squares`] make
/// it.
pub(super) fn sums(values: &[f32], of_pixel: &[usize], parts: usize) -> Vec<f64> {
    let mut sums = vec![0.0; parts];
    values.iter().zip(of_pixel).for_each(|(v, part)| sums[*part] += f64::from(*v));
    sums
}

/// The parts in the order of their sums, the highest first; equals in their own order. Returns for
/// each pixel the place of its part in that order.
pub(super) fn by_sum(sums: &[f64], of_pixel: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sums.len()).collect();
    order.sort_by(|a, b| sums[*b].total_cmp(&sums[*a]));
    let mut place = vec![0; sums.len()];
    order.iter().enumerate().for_each(|(at, part)| place[*part] = at);
    of_pixel.iter().map(|part| place[*part]).collect()
}

/// The network's answers with the first 0, 1, …, `parts` parts replaced by those of `filling`.
///
/// # Errors
/// As [`Question::ask_all`].
pub(super) fn one_after_the_other(
    question: &Question<'_>,
    of_pixel: &[usize],
    parts: usize,
    filling: &Tensor,
) -> Result<Vec<f64>> {
    let answers = question.ask_all(parts + 1, |gone, copy| {
        replace(copy, filling, |pixel| of_pixel[pixel] < gone);
    })?;
    Ok(answers.into_iter().map(f64::from).collect())
}

/// The mean over k = 0, …, L of what `answers[k]` is below the first: the area over the
/// perturbation curve (AOPC), in the answer's unit.
pub(super) fn aopc(answers: &[f64]) -> f64 {
    answers.iter().map(|a| answers[0] - a).sum::<f64>() / answers.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_cut_into_runs_and_squares() {
        assert_eq!(by_rank(&[3, 1, 0, 2], 2), [1, 0, 1, 0]);
        assert_eq!(by_rank(&[0, 1, 2], 2), [0, 1, 1]);
        assert_eq!(squares(2, 3, 2), (vec![0, 0, 1, 0, 0, 1], 2));
        assert_eq!(sums(&[1.0, 2.0, 4.0], &[0, 1, 0], 2), [5.0, 2.0]);
        // Part 1 is highest, parts 0 and 2 are equal.
        assert_eq!(by_sum(&[1.0, 3.0, 1.0], &[0, 0, 1, 2]), [1, 1, 0, 2]);
    }

    #[test]
    fn the_area_over_the_curve_counts_its_start() {
        // (0 + 1 + 2) / 3.
        assert!((aopc(&[3.0, 2.0, 1.0]) - 1.0).abs() < 1e-12);
    }
}
