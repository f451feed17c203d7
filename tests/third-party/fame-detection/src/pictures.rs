//! Pictures: from PNG, JPEG and WebP files to `[3, H, W]`.
//!
//! Any file, however broken or large, ends in a picture or in one error. What a file is called does
//! not matter.

use std::{
    io::Cursor,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use fame_core::{Error, Picture, Result, Tensor};
use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits, metadata::Orientation as Exif};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Largest picture that is decoded, in pixels: 1.2 GB as a tensor.
const MAX_PIXELS: u64 = 100_000_000;
/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// Which way up a picture is laid, where its file (EXIF) asks for it to be turned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Orientation {
    /// As the file asks, as people see it.
    #[default]
    Upright,
    /// As its pixels are stored: for boxes that were drawn on these.
    Stored,
}

/// Decodes the file at `path` into RGB `[3, H, W]`, values in 0..=1; transparent pixels are laid
/// over black. `shown` is what messages and the record call it.
///
/// # Errors
/// `fame_detection::picture`: one sentence saying what is wrong with the file.
pub(crate) fn load(path: &Path, shown: &str, orientation: Orientation) -> Result<Picture> {
    let bytes = read(path, shown)?;
    let Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP)) = image::guess_format(&bytes) else {
        return Err(refused(format!("`{shown}` is not a PNG, JPEG or WebP picture, whatever its name says.")));
    };
    let broken = |why: &str| refused(format!("`{shown}` begins like {format:?} but cannot be decoded: {}.", why.trim_end_matches('.')));
    // The decoder would fill what a truncated JPEG lacks with gray, and an explanation of gray
    // would follow.
    if format == ImageFormat::Jpeg && !bytes.windows(2).rev().take(MOST_TRAILING).any(|m| m == [0xFF, 0xD9]) {
        return Err(broken("it ends early"));
    }
    // Decoders are other people's code reading hostile input: a panic in one is one broken file.
    let decoded = catch_unwind(AssertUnwindSafe(|| decode(&bytes, format, orientation)));
    let image = decoded.map_err(|_| broken("its decoder gave up"))?.map_err(|why| broken(&why))?;
    Picture::new(planes(&image)?, shown)
}

/// An end-of-image marker further than this from a JPEG's end belongs to a thumbnail.
const MOST_TRAILING: usize = 1 << 16;

fn refused(message: String) -> Error {
    Error::new("fame_detection::picture", message).with_help("Get the file again, or open it in a picture editor and save it anew.")
}

fn read(path: &Path, shown: &str) -> Result<Vec<u8>> {
    let unreadable = |e: std::io::Error| refused(format!("picture `{shown}` cannot be read: {e}."));
    let about = std::fs::metadata(path).map_err(unreadable)?;
    // Reading a pipe or a device might never end.
    if !about.is_file() || about.len() > MAX_BYTES {
        return Err(refused(format!("`{shown}` is not an ordinary file of at most {MAX_BYTES} bytes.")));
    }
    std::fs::read(path).map_err(unreadable)
}

/// The size in the header is checked before any pixel is allocated.
fn decode(bytes: &[u8], format: ImageFormat, orientation: Orientation) -> std::result::Result<DynamicImage, String> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    let (w, h) = decoder.dimensions();
    if u64::from(w) * u64::from(h) > MAX_PIXELS {
        return Err(format!("{w}×{h} pixels are more than {} megapixels", MAX_PIXELS / 1_000_000));
    }
    // Broken metadata does not make the pixels unreadable.
    let turned = decoder.orientation().unwrap_or(Exif::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    if orientation == Orientation::Upright {
        image.apply_orientation(turned);
    }
    Ok(image)
}

/// Interleaved samples of 8 or 16 bits as planes.
fn planes(image: &DynamicImage) -> Result<Tensor> {
    let (w, h) = (image.width() as usize, image.height() as usize);
    let mut data = vec![0.0; 3 * w * h];
    let mut put = |i: usize, pixel: [f32; 4]| (0..3).for_each(|c| data[c * w * h + i] = pixel[c] * pixel[3]);
    if image.color().bytes_per_pixel() / image.color().channel_count() == 1 {
        image.to_rgba8().pixels().enumerate().for_each(|(i, p)| put(i, p.0.map(|v| f32::from(v) / 255.0)));
    } else {
        image.to_rgba16().pixels().enumerate().for_each(|(i, p)| put(i, p.0.map(|v| f32::from(v) / 65535.0)));
    }
    Tensor::new([3, h, w], data)
}

#[cfg(test)]
pub(crate) mod testing {
    use image::{Rgb, RgbImage};

    /// Saves a picture of one colour; the name's extension says how.
    pub(crate) fn save(path: &std::path::Path, width: u32, height: u32) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(width, height, Rgb([255, 102, 0])).save(path).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::save, *};

    #[test]
    fn a_picture_is_decoded_whatever_it_is_called() {
        let dir = tempfile::tempdir().unwrap();
        save(&dir.path().join("a.png"), 3, 2);
        std::fs::rename(dir.path().join("a.png"), dir.path().join("a.jpg")).unwrap();
        let picture = load(&dir.path().join("a.jpg"), "shown.jpg", Orientation::Upright).unwrap();
        assert_eq!((picture.width(), picture.height(), picture.source.as_str()), (3, 2, "shown.jpg"));
        assert_eq!([picture.pixels.row(0)[0], picture.pixels.row(1)[0], picture.pixels.row(2)[0]], [1.0, 0.4, 0.0]);
    }

    #[test]
    fn broken_files_are_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jpg");
        save(&path, 40, 40);
        let whole = std::fs::read(&path).unwrap();
        let says = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            load(&path, "a.jpg", Orientation::Upright).map(|_| ()).unwrap_err().message
        };
        assert_eq!(says(&whole[..whole.len() - 20]), "`a.jpg` begins like Jpeg but cannot be decoded: it ends early.");
        assert_eq!(says(b"hello"), "`a.jpg` is not a PNG, JPEG or WebP picture, whatever its name says.");
        assert!(says(b"\x89PNG\r\n\x1a\n....").contains("cannot be decoded"));
        assert!(load(dir.path(), "dir", Orientation::Upright).unwrap_err().message.contains("not an ordinary file"));
        assert!(load(&dir.path().join("no.png"), "no.png", Orientation::Upright).unwrap_err().message.contains("cannot be read"));
    }
}
