//! Resizing as Pillow does it, in single precision.

use fame_core::{Error, Result, Tensor};
use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer, images::TypedImage, pixels::F32,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{check_size, extent};

/// How a resized pixel is put together from the pixels around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Filter {
    /// A triangle of radius 1.
    #[default]
    Bilinear,
    /// Keys' cubic with a = −0.5, radius 2, as Pillow's (OpenCV and PyTorch without antialiasing
    /// take −0.75). It overshoots at edges; the result is clamped to 0..=1.
    Bicubic,
    /// The pixel that lies there.
    Nearest,
    /// A windowed sinc of radius 3. It overshoots; the result is clamped to 0..=1.
    Lanczos,
}

/// Resizes an RGB picture `[3, H, W]` with values in 0..=1 to `[3, height, width]`, values in
/// 0..=1.
///
/// With `antialias` the filter is stretched by the shrink factor, so that every pixel counts, as
/// Pillow and torchvision do it; without, only the filter's own radius around the sampled place
/// counts, as OpenCV does it. When enlarging there is no difference.
///
/// Rows first, then columns, and what overshoots is clamped after each, as in Pillow's byte
/// pictures (clamping once, at the end, is up to 13/255 away from it on photographs with `Bicubic`,
/// 22/255 with `Lanczos`). Pillow also rounds to bytes after each pass; this does not, and so
/// differs from it by up to 1.2/255, on photographs 0.3/255 on average.
///
/// # Errors
/// `fame::prepare::size` when the result would be empty or enormous.
pub fn resample(
    pixels: &Tensor,
    width: usize,
    height: usize,
    filter: Filter,
    antialias: bool,
) -> Result<Tensor> {
    let (from_height, from_width) = extent(pixels)?;
    check_size(width, height)?;
    check_size(width, from_height)?;
    let kernel = match filter {
        Filter::Bilinear => FilterType::Bilinear,
        Filter::Bicubic => FilterType::CatmullRom,
        Filter::Lanczos | Filter::Nearest => FilterType::Lanczos3,
    };
    let algorithm = match (filter, antialias) {
        (Filter::Nearest, _) => ResizeAlg::Nearest,
        (_, true) => ResizeAlg::Convolution(kernel),
        (_, false) => ResizeAlg::Interpolation(kernel),
    };
    let options = ResizeOptions::new().resize_alg(algorithm);
    let failed = |e: &dyn std::fmt::Display| {
        Error::bug(format!("resizing {from_width}×{from_height} to {width}×{height} failed: {e}."))
    };
    let mut resizer = Resizer::new();
    let mut pass =
        |from: Vec<F32>, [from_width, from_height]: [usize; 2], [width, height]: [usize; 2]| {
            let from = TypedImage::from_pixels(from_width as u32, from_height as u32, from)
                .map_err(|e| failed(&e))?;
            let mut to = TypedImage::<F32>::new(width as u32, height as u32);
            resizer.resize_typed(&from, &mut to, &options).map_err(|e| failed(&e))?;
            Ok::<_, Error>(
                to.pixels().iter().map(|p| F32::new(p.0.clamp(0.0, 1.0))).collect::<Vec<_>>(),
            )
        };
    let mut data = Vec::with_capacity(3 * width * height);
    for channel in 0..3 {
        let plane = pixels.row(channel).iter().map(|v| F32::new(*v)).collect();
        let rows = pass(plane, [from_width, from_height], [width, from_height])?;
        let both = pass(rows, [width, from_height], [width, height])?;
        data.extend(both.iter().map(|p| p.0));
    }
    Tensor::new([3, height, width], data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::testing::picture;

    /// One resize by Pillow; `golden/resample.py` says how it was made.
    #[derive(Deserialize)]
    struct Case {
        filter: Filter,
        width: usize,
        height: usize,
        single: Vec<f32>,
        byte: Vec<u8>,
    }

    /// The same picture as in `golden/resample.py`.
    fn synthetic() -> Tensor {
        let byte = |c, y: usize, x: usize| match c {
            0 => 5 * x + 2 * y,
            1 => 255 * ((x / 3 + y / 4) % 2),
            _ => (127.5 + 127.4 * (0.9 * x as f64).sin() * (0.4 * y as f64).cos()).floor() as usize,
        };
        picture(29, 37, |c, y, x| byte(c, y, x) as f32 / 255.0).pixels
    }

    #[test]
    fn resizing_agrees_with_pillow() {
        // Single precision sums in another order, and the golden file's sixth digit.
        const SINGLE: f32 = 3e-6;
        // Pillow rounds to bytes after each pass: half a byte from the second, and half a byte from
        // the first times what the magnitudes of the second pass's weights add up to, which is no
        // more than 1.5 (Lanczos).
        const BYTE: f32 = 1.25 / 255.0 + SINGLE;
        let cases: Vec<Case> = serde_json::from_str(include_str!("golden/resample.json")).unwrap();
        assert_eq!(cases.len(), 8);
        for case in cases {
            let out = resample(&synthetic(), case.width, case.height, case.filter, true).unwrap();
            let worst = |golden: &mut dyn Iterator<Item = f32>| {
                out.data().iter().zip(golden).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
            };
            let single = worst(&mut case.single.iter().copied());
            let byte = worst(&mut case.byte.iter().map(|b| f32::from(*b) / 255.0));
            assert!(single < SINGLE, "{:?} {}×{}: {single}", case.filter, case.width, case.height);
            assert!(
                byte < BYTE,
                "{:?} {}×{}: {}",
                case.filter,
                case.width,
                case.height,
                byte * 255.0
            );
        }
    }

    #[test]
    fn antialiasing_counts_every_pixel() {
        // Every fourth column is white: shrunk four times it is gray with antialiasing, and without
        // it depends on where the samples fall.
        let stripes = picture(16, 16, |_, _, x| f32::from(u8::from(x % 4 == 1))).pixels;
        let smooth = resample(&stripes, 4, 16, Filter::Bilinear, true).unwrap();
        let sharp = resample(&stripes, 4, 16, Filter::Bilinear, false).unwrap();
        assert!(
            smooth.row(0)[1..3].iter().all(|v| (v - 0.25).abs() < 0.07),
            "{:?}",
            &smooth.row(0)[..4]
        );
        assert!((sharp.row(0)[1] - 0.5).abs() < 1e-6, "halfway between a white and a black column");
    }

    #[test]
    fn overshoot_is_clamped_and_sizes_are_checked() {
        let edge = picture(8, 8, |_, _, x| f32::from(u8::from(x > 3))).pixels;
        for filter in [Filter::Bicubic, Filter::Lanczos] {
            let out = resample(&edge, 32, 32, filter, true).unwrap();
            assert!(out.data().iter().all(|v| (0.0..=1.0).contains(v)));
        }
        assert_eq!(
            resample(&edge, 0, 3, Filter::Bilinear, true).unwrap_err().code,
            "fame::prepare::size"
        );
        assert_eq!(
            resample(&edge, 8, 8, Filter::Lanczos, true).unwrap(),
            edge,
            "the same size is the same picture"
        );
    }
}
