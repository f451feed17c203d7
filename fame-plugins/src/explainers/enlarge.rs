//! Enlarging a coarse grid to the size of the picture.

/// Where the samples of a resized grid lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Corners {
    /// Pixel centres at half steps: OpenCV's `INTER_LINEAR`, PyTorch's `align_corners=False`.
    HalfPixel,
    /// The corner samples of both grids coincide: PyTorch's `align_corners=True`.
    Aligned,
}

/// Bilinear interpolation of `plane` from `(height, width)` to another size, without antialiasing;
/// the border is continued.
pub(super) fn bilinear(
    plane: &[f32],
    (height, width): (usize, usize),
    (to_height, to_width): (usize, usize),
    corners: Corners,
) -> Vec<f32> {
    let (rows, columns) = (taps(height, to_height, corners), taps(width, to_width, corners));
    let mut out = Vec::with_capacity(to_height * to_width);
    for &(top, bottom, down) in &rows {
        let (upper, lower) =
            (&plane[top * width..(top + 1) * width], &plane[bottom * width..(bottom + 1) * width]);
        for &(left, right, across) in &columns {
            let along = |row: &[f32]| row[left] + (row[right] - row[left]) * across;
            let (u, l) = (along(upper), along(lower));
            out.push(u + (l - u) * down);
        }
    }
    out
}

/// For each new sample the two old ones around it, and how far it is on the way from the first to
/// the second.
fn taps(from: usize, to: usize, corners: Corners) -> Vec<(usize, usize, f32)> {
    let last = from - 1;
    let place = |i: usize| match corners {
        Corners::HalfPixel => (i as f64 + 0.5) * from as f64 / to as f64 - 0.5,
        Corners::Aligned if to > 1 => i as f64 * last as f64 / (to - 1) as f64,
        Corners::Aligned => 0.0,
    };
    (0..to)
        .map(|i| {
            let at = place(i).clamp(0.0, last as f64);
            let low = (at.floor() as usize).min(last);
            (low, (low + 1).min(last), (at - low as f64) as f32)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_pixel_and_aligned_corners_differ_as_they_should() {
        let line = [0.0, 1.0];
        assert_eq!(bilinear(&line, (1, 2), (1, 4), Corners::HalfPixel), [0.0, 0.25, 0.75, 1.0]);
        let aligned = bilinear(&line, (1, 2), (1, 4), Corners::Aligned);
        assert!(
            aligned.iter().zip([0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0]).all(|(a, b)| (a - b).abs() < 1e-6)
        );
        assert_eq!(bilinear(&[3.0], (1, 1), (2, 2), Corners::Aligned), [3.0; 4]);
        assert_eq!(
            bilinear(&[1., 2., 3., 4.], (2, 2), (2, 2), Corners::HalfPixel),
            [1., 2., 3., 4.]
        );
    }
}
