//! Prepare steps: from a decoded picture to the pixels a network is fed, one file each.
//!
//! The steps are `Resize`, `ResizeShorter`, `Letterbox`, `CenterCrop` and `AlignFace`. What they
//! share has files of its own: `resample` (filters), `similarity` (least-squares transforms),
//! `warp` (sampling through a transform), `faces` (decoding a detector), `landmarks` (68 points to
//! five), `search` (which face is meant) and `template` (where the five points go).
//!
//! # Coordinates
//!
//! Every point in these files, as in [`Picture::geometry`] and in annotations, is measured from the
//! **outer corner** of the first pixel: the first pixel's centre is (0.5, 0.5) and a picture spans
//! 0..=W by 0..=H. OpenCV, and with it the published face templates, measures from the **centre**
//! of the first pixel, so a published point (x, y) is (x + ½, y + ½) here. Resizing is then a plain
//! scale: x' = x·W'/W, without any half pixels.

mod align_face;
mod center_crop;
mod faces;
mod landmarks;
mod letterbox;
mod points;
mod resample;
mod resize;
mod resize_shorter;
mod search;
mod similarity;
mod template;
mod warp;

pub use align_face::{AlignFace, align};
pub use center_crop::CenterCrop;
pub use faces::{Choose, Face, Found, find_faces};
pub use landmarks::{five_points, landmarks_of};
pub use letterbox::Letterbox;
pub use points::Points;
pub use resample::{Filter, resample};
pub use resize::Resize;
pub use resize_shorter::ResizeShorter;
pub use similarity::Similarity;
pub use template::Template;
pub use warp::warp;

use fame_core::{
    Affine, Error, Picture, Result, Tensor,
    data::{Value, require_memory},
};

/// A point `[x, y]`, from the outer corner of the first pixel.
pub type Point = [f64; 2];

/// The name of the annotation that holds a face's points.
pub const LANDMARKS: &str = "landmarks";

/// The name of the annotation that holds all points that a landmark model found in the face that
/// was aligned: the 68 of the 300-W scheme, from which the five were made.
pub const FACE_OUTLINE: &str = "face outline";

/// Beyond this many pixels a picture is refused, before memory is asked for it: a recipe that
/// scales the short side of a 1 × 30000 strip to 256 would otherwise ask for 24 GB.
const MOST_PIXELS: usize = 1 << 27;

/// Whether a picture of this size may be made.
fn check_size(width: usize, height: usize) -> Result<()> {
    match width.checked_mul(height) {
        // Three planes of f32, and those they are made of.
        Some(pixels @ 1..=MOST_PIXELS) => require_memory(
            format!("a prepared picture of {width}×{height} pixels"),
            pixels as u64 * 2 * 3 * 4,
        ),
        _ => Err(Error::new(
            "fame::prepare::size",
            format!("the prepared picture would be {width}×{height} pixels; it must have at least one pixel and at most {MOST_PIXELS}."),
        )
        .with_help("Choose another size in the recipe's `prepare` steps, or crop the picture first.")),
    }
}

/// Scales the whole picture to `width` × `height` and takes its geometry along.
fn scale(
    mut picture: Picture,
    width: usize,
    height: usize,
    filter: Filter,
    antialias: bool,
) -> Result<Picture> {
    let (from_width, from_height) = (picture.width(), picture.height());
    picture.pixels = resample(&picture.pixels, width, height, filter, antialias)?;
    let (sx, sy) = (width as f64 / from_width as f64, height as f64 / from_height as f64);
    picture.geometry = picture.geometry.then(&Affine::scale_shift(sx, sy, 0.0, 0.0));
    Ok(picture)
}

/// Writes a fact about `step`; a step that was already there (two resizes) gets a number.
fn note(picture: &mut Picture, step: &str, fact: Value) {
    let mut name = step.to_owned();
    let mut count = 1;
    while picture.facts.contains_key(&name) {
        count += 1;
        name = format!("{step} {count}");
    }
    picture.facts.insert(name, fact);
}

/// The `[3, H, W]` of pixels: height and width.
fn extent(pixels: &Tensor) -> Result<(usize, usize)> {
    match *pixels.shape() {
        [3, h, w] if h > 0 && w > 0 => Ok((h, w)),
        ref other => Err(Error::bug(format!("a picture must be [3, H, W], not {other:?}."))),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use fame_core::{Model, Picture, Result, Tensor, contract::Models};

    /// Hands out nothing: for steps that need no models.
    pub(crate) struct NoModels;

    impl Models for NoModels {
        fn model(&self, name: &str) -> Result<std::sync::Arc<Model>> {
            panic!("nobody should ask for `{name}`")
        }
    }

    /// A picture whose value at (channel c, row y, column x) is `f(c, y, x)`.
    pub(crate) fn picture(
        height: usize,
        width: usize,
        f: impl Fn(usize, usize, usize) -> f32,
    ) -> Picture {
        let data = (0..3 * height * width)
            .map(|i| f(i / (height * width), i / width % height, i % width))
            .collect();
        Picture::new(Tensor::new([3, height, width], data).unwrap(), "test").unwrap()
    }
}
