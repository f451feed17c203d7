//! Sampling a picture through an affine map.

use fame_core::{Affine, Error, Result, Tensor};
use rayon::prelude::*;

use super::{check_size, extent};

/// The picture `[3, H, W]` moved by `map` into a frame `[3, height, width]`; what comes from
/// outside the picture is black.
///
/// Every pixel of the frame is traced back through the inverse of `map` and read between the four
/// nearest pixels (bilinear, not antialiased), as `cv2.warpAffine(picture, M, (width, height))`
/// with its defaults. `map` counts from outer corners, OpenCV's `M` from pixel centres: for `map` =
/// (a b c; d e f), `M` is (a b c + (a + b − 1)/2; d e f + (d + e − 1)/2). On bytes OpenCV reads at
/// multiples of 1/32 pixel and rounds the value, so its result is nearby, not equal.
///
/// # Errors
/// `fame::prepare::size` for an empty or enormous frame; `fame::prepare::degenerate_points` when
/// `map` cannot be inverted.
pub fn warp(pixels: &Tensor, map: &Affine, width: usize, height: usize) -> Result<Tensor> {
    let (from_height, from_width) = extent(pixels)?;
    check_size(width, height)?;
    let Some(Affine([a, b, c, d, e, f])) = map.inverse() else {
        return Err(Error::new(
            "fame::prepare::degenerate_points",
            "the alignment squashes the picture to a line.",
        ));
    };
    let mut frame = Tensor::zeros([3, height, width]);
    for channel in 0..3 {
        let plane = pixels.row(channel);
        frame.row_mut(channel).par_chunks_exact_mut(width).enumerate().for_each(|(row, line)| {
            let y = row as f64 + 0.5;
            for (column, value) in line.iter_mut().enumerate() {
                let x = column as f64 + 0.5;
                *value =
                    bilinear(plane, from_height, from_width, a * x + b * y + c, d * x + e * y + f);
            }
        });
    }
    Ok(frame)
}

/// The value at (x, y), from the outer corner; black outside.
fn bilinear(plane: &[f32], height: usize, width: usize, x: f64, y: f64) -> f32 {
    let (u, v) = (x - 0.5, y - 0.5);
    // Also false for what is not finite.
    if !(u > -1.0 && v > -1.0 && u < width as f64 && v < height as f64) {
        return 0.0;
    }
    let (left, top) = (u.floor(), v.floor());
    let (fx, fy) = ((u - left) as f32, (v - top) as f32);
    let (left, top) = (left as isize, top as isize);
    let at = |x: isize, y: isize| {
        if x < 0 || y < 0 || x >= width as isize || y >= height as isize {
            0.0
        } else {
            plane[y as usize * width + x as usize]
        }
    };
    let above = at(left, top) * (1.0 - fx) + at(left + 1, top) * fx;
    let below = at(left, top + 1) * (1.0 - fx) + at(left + 1, top + 1) * fx;
    above * (1.0 - fy) + below * fy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::testing::picture;

    #[test]
    fn the_identity_changes_nothing_and_a_whole_shift_only_moves() {
        let from = picture(4, 5, |c, y, x| (20 * c + 5 * y + x) as f32 / 100.0).pixels;
        assert_eq!(warp(&from, &Affine::IDENTITY, 5, 4).unwrap(), from);
        let moved = warp(&from, &Affine::scale_shift(1.0, 1.0, 2.0, 1.0), 5, 4).unwrap();
        assert_eq!(moved.row(0)[5..10], [0.0, 0.0, from.row(0)[0], from.row(0)[1], from.row(0)[2]]);
        assert_eq!(moved.row(2)[..5], [0.0; 5]);
    }

    #[test]
    fn a_half_pixel_shift_blends_with_the_black_outside() {
        let from = picture(1, 2, |_, _, _| 1.0).pixels;
        let moved = warp(&from, &Affine::scale_shift(1.0, 1.0, 0.5, 0.0), 4, 1).unwrap();
        assert_eq!(moved.row(1), [0.5, 1.0, 0.5, 0.0]);
    }

    #[test]
    fn outer_corners_go_to_outer_corners_when_scaling() {
        // Halving: each new pixel's centre lies on the corner between four old ones, so it is their
        // mean.
        let from = picture(4, 4, |_, y, x| (4 * y + x) as f32 / 16.0).pixels;
        let half = warp(&from, &Affine::scale_shift(0.5, 0.5, 0.0, 0.0), 2, 2).unwrap();
        assert_eq!(half.row(0), [2.5 / 16.0, 4.5 / 16.0, 10.5 / 16.0, 12.5 / 16.0]);
    }

    #[test]
    fn a_quarter_turn_moves_every_pixel_to_its_place() {
        // (x, y) → (H − y, x): the first row becomes the last column.
        let from = picture(2, 3, |_, y, x| (3 * y + x) as f32 / 10.0).pixels;
        let turned = warp(&from, &Affine([0.0, -1.0, 2.0, 1.0, 0.0, 0.0]), 2, 3).unwrap();
        assert_eq!(turned.row(0), [0.3, 0.0, 0.4, 0.1, 0.5, 0.2]);
    }

    #[test]
    fn a_map_without_inverse_is_refused() {
        assert!(
            warp(
                &picture(2, 2, |_, _, _| 0.0).pixels,
                &Affine::scale_shift(0.0, 1.0, 0.0, 0.0),
                2,
                2
            )
            .is_err()
        );
        assert!(warp(&picture(2, 2, |_, _, _| 0.0).pixels, &Affine::IDENTITY, 0, 2).is_err());
    }
}
