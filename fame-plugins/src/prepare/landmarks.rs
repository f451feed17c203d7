//! From a face's box to the five points of the template.

use fame_core::{Error, LayerChoice, Model, Result, Taps, Tensor};

use super::{Face, Filter, Point, Similarity, Template, extent, resample, similarity::apply};

/// Which of the 68 points (order of the 300-W annotation, from 0) are averaged to one of five. Eyes
/// without their outer and inner corners: the mean of the lids is where the pupil is.
const FIVE_OF_68: [&[usize]; 5] =
    [&[37, 38, 40, 41], &[43, 44, 46, 47], &[30], &[48, 60], &[54, 64]];

/// All points that the `landmarks` model finds in `face`, in pixels of the picture `[3, H, W]` from
/// its outer corner.
///
/// The model sees a square around the middle of the box, its side the box's height, as the model's
/// makers cut it. (With sides of 0.9 to 1.2 heights the cosines between portraits of one person
/// stay within 0.04 of this; at 1.3 they begin to fall.) Where the square leaves the picture, the
/// picture's edge is continued: with a fifth of the square cut off, points stay within 1.4 % of its
/// side of where they were in the whole picture; with black outside 2.2 %, with the square clipped
/// to the picture and stretched 16 %. The square is resized to the size in the manifest. The
/// model's output, layer `points` or the first output, holds x0, y0, x1, y1, … in 0..1 of the
/// square.
///
/// # Errors
/// An output of another kind, or what the backend says.
pub fn landmarks_of(model: &Model, pixels: &Tensor, face: &Face) -> Result<Vec<Point>> {
    let input = &model.manifest.input;
    let named = model.manifest.layers.contains_key("points");
    let choice = if named { LayerChoice::Named("points".into()) } else { LayerChoice::Output };
    let layer = model.layer(&choice)?.name.clone();
    let (square, [left, top], side) = cut_square(pixels, face)?;
    let resized = resample(&square, input.width, input.height, Filter::Bilinear, true)?;
    let batch = Tensor::stack([&input.to_input(&resized)?])?;
    let output = model.network.forward(&batch, &Taps::of([layer.as_str()]))?.output(&layer)?;
    // An odd number of values is not a list of points: what is left over becomes not-a-number, and
    // so an error.
    let points: Vec<Point> = output
        .data()
        .chunks(2)
        .map(|p| [p[0], *p.get(1).unwrap_or(&f32::NAN)].map(f64::from))
        .collect();
    if points.is_empty() || points.iter().flatten().any(|v| !v.is_finite()) {
        return Err(Error::new(
            "fame::prepare::landmarks",
            format!(
                "`{}` gave no points: its output `{layer}` has shape {:?} or values that are not finite.",
                model.manifest.name,
                output.shape()
            ),
        ));
    }
    Ok(points.into_iter().map(|[x, y]| [left + side * x, top + side * y]).collect())
}

/// The five points of the template among `points`: five are taken as they are, 68 are averaged; two
/// are the eyes, and the other three are where the template has them beside these.
///
/// # Errors
/// Any other number.
pub fn five_points(points: &[Point]) -> Result<[Point; 5]> {
    let mean = |of: &&[usize]| {
        let n = of.len() as f64;
        [
            of.iter().map(|i| points[*i][0]).sum::<f64>() / n,
            of.iter().map(|i| points[*i][1]).sum::<f64>() / n,
        ]
    };
    match points.len() {
        2 => {
            let template = Template::default().points(112, 112);
            let there = Similarity::fit(&template[..2], points)?.affine;
            Ok(std::array::from_fn(|i| if i < 2 { points[i] } else { apply(&there, template[i]) }))
        }
        5 => Ok(std::array::from_fn(|i| points[i])),
        68 => Ok(std::array::from_fn(|i| mean(&FIVE_OF_68[i]))),
        n => Err(Error::new("fame::prepare::landmarks", format!("a face is aligned by 2, 5 or 68 points, and here are {n}."))
            .with_help("Five points are left eye, right eye, nose, left and right corner of the mouth, as seen in the picture.")),
    }
}

/// The square around `face`: pixels `[3, side, side]`, its left and top in the picture, and its
/// side.
fn cut_square(pixels: &Tensor, face: &Face) -> Result<(Tensor, Point, f64)> {
    let (height, width) = extent(pixels)?;
    let [x, y] = face.centre();
    // A box far larger than the picture is a broken detector's; it must not ask for memory without
    // bound.
    let side = face.height().round().clamp(1.0, 2.0 * height.max(width) as f64);
    let (left, top) = ((x - side / 2.0).round(), (y - side / 2.0).round());
    let inside = |i: usize, start: f64, limit: usize| {
        (start + i as f64).clamp(0.0, limit as f64 - 1.0) as usize
    };
    let side_pixels = side as usize;
    let columns: Vec<usize> = (0..side_pixels).map(|i| inside(i, left, width)).collect();
    let mut data = Vec::with_capacity(3 * side_pixels * side_pixels);
    for channel in 0..3 {
        let plane = pixels.row(channel);
        for i in 0..side_pixels {
            let row = &plane[inside(i, top, height) * width..][..width];
            data.extend(columns.iter().map(|c| row[*c]));
        }
    }
    Ok((Tensor::new([3, side_pixels, side_pixels], data)?, [left, top], side))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::testing::picture;

    #[test]
    fn sixty_eight_points_become_five() {
        let points: Vec<Point> = (0..68).map(|i| [f64::from(i), 100.0 - f64::from(i)]).collect();
        assert_eq!(
            five_points(&points).unwrap(),
            [[39.0, 61.0], [45.0, 55.0], [30.0, 70.0], [54.0, 46.0], [59.0, 41.0]]
        );
        assert_eq!(five_points(&points[..5]).unwrap()[4], [4.0, 96.0]);
        // Eyes alone: the template's own give the template, turned and doubled ones the same turn.
        let template = Template::default().points(112, 112);
        let turned = template.map(|[x, y]| [7.0 - 2.0 * y, 3.0 + 2.0 * x]);
        let completed = five_points(&turned[..2]).unwrap();
        assert!(
            completed
                .iter()
                .zip(&turned)
                .all(|(a, b)| (a[0] - b[0]).abs() < 1e-9 && (a[1] - b[1]).abs() < 1e-9),
            "{completed:?}"
        );
        assert!(five_points(&points[..6]).unwrap_err().message.contains("here are 6"));
    }

    #[test]
    fn the_square_has_the_boxs_height_and_continues_the_edge() {
        let from = picture(4, 4, |_, y, x| (4 * y + x) as f32 / 16.0).pixels;
        // Middle (1, 2), height 4, so columns −1..3 and rows 0..4.
        let (square, corner, side) =
            cut_square(&from, &Face { score: 1.0, bounds: [0.0, 0.0, 2.0, 4.0] }).unwrap();
        assert_eq!((square.shape(), corner, side), (&[3, 4, 4][..], [-1.0, 0.0], 4.0));
        assert_eq!(square.row(0)[..4], [0.0, 0.0, 1.0 / 16.0, 2.0 / 16.0]);
    }

    #[test]
    fn a_box_without_bound_asks_for_bounded_memory() {
        let from = picture(4, 4, |_, _, _| 0.5).pixels;
        let (square, ..) =
            cut_square(&from, &Face { score: 1.0, bounds: [-1e12, -1e12, 1e12, 1e12] }).unwrap();
        assert_eq!(square.shape(), [3, 8, 8]);
    }
}
