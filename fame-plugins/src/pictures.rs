//! Pictures: from files to `[3, H, W]` and back to PNG.
//!
//! What a file is called does not matter: its first bytes say whether it is PNG, JPEG, WebP,
//! TIFF, BMP or GIF. Any file, however broken or large, ends in a picture or in one [`Error`] whose
//! code starts with `fame::picture::`.

use std::{io::Cursor, path::Path};

use fame_core::{
    Error, Picture, Result, Tensor,
    data::{Facts, Value, facts, memory_budget, require_memory, write_whole},
    registry::quietly,
};
use fast_image_resize::{
    FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::F32,
};
use image::{
    AnimationDecoder as _, DynamicImage, GenericImageView as _, ImageBuffer, ImageDecoder,
    ImageError, ImageFormat, ImageReader, Limits, RgbImage, metadata::Orientation,
};

/// Extensions of files that [`load`] can decode, lower case, sorted.
pub const EXTENSIONS: [&str; 8] = ["bmp", "gif", "jpeg", "jpg", "png", "tif", "tiff", "webp"];

/// Extensions of pictures that no decoder here reads, lower case, sorted: a folder that holds some
/// says so.
pub const UNREAD_EXTENSIONS: [&str; 22] = [
    "arw", "avif", "cr2", "cr3", "dng", "exr", "heic", "heif", "ico", "j2k", "jp2", "jpe", "jxl",
    "nef", "orf", "pbm", "pgm", "pnm", "ppm", "psd", "svg", "tga",
];

/// Whether a file is called like one of `extensions`, in whatever case.
pub fn has_extension(name: &str, extensions: &[&str]) -> bool {
    let extension = Path::new(name).extension();
    extension.is_some_and(|e| extensions.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

/// Largest picture that is decoded, in pixels: 100 megapixels, 1.2 GB as a tensor.
pub const MAX_PIXELS: u64 = 100_000_000;

/// Largest file that is read, in bytes. An uncompressed PNG of [`MAX_PIXELS`] with 16 bits and
/// alpha fits.
const MAX_BYTES: u64 = 1 << 30;

/// The most bytes that the texts and profiles of a PNG may take when they are unpacked: two
/// megabytes of a file can be a gigabyte of colour profile, which nobody here looks at.
const MAX_EXTRAS: u64 = 1 << 26;

/// Decodes the picture at `path` into RGB `[3, H, W]` in 0..=1.
///
/// `shown` is what the recipe wrote; it becomes [`Picture::source`] and stands in messages, so that
/// records do not differ between machines. Gray becomes three equal channels, 8 and 16 bits are
/// divided by 255 and 65535, transparent pixels are laid over black (what they hide would otherwise
/// reach the network), and the picture is turned upright as its EXIF orientation asks. Of a GIF or
/// TIFF of several pictures the first is taken. [`Picture::facts`] gets `decoded`: format, size and
/// what of this was done; transparency and further frames of a GIF are warnings too.
///
/// # Errors
/// `fame::picture::unreadable`, `::not_a_file`, `::empty`, `::unknown_format`, `::too_large` or
/// `::broken`.
pub fn load(path: &Path, shown: &str) -> Result<Picture> {
    load_turned(path, shown, true)
}

/// As [`load`], but as the pixels are stored, whatever EXIF asks: for lists whose boxes count
/// stored pixels. `torchvision` and the FAME authors read pictures so.
///
/// # Errors
/// As [`load`].
pub fn load_as_stored(path: &Path, shown: &str) -> Result<Picture> {
    load_turned(path, shown, false)
}

/// Decodes `bytes` as [`load`] does; `shown` says where they come from.
pub fn decode(bytes: &[u8], shown: &str) -> Result<Picture> {
    decode_turned(bytes, shown, true)
}

fn load_turned(path: &Path, shown: &str, upright: bool) -> Result<Picture> {
    read(path, shown).and_then(|bytes| decode_turned(&bytes, shown, upright)).map_err(|mut e| {
        // The message stays the same on every machine; the help may say where this machine keeps
        // the file.
        if path.to_string_lossy() != shown {
            let place = format!("The file is `{}`.", path.display());
            e.help = Some(e.help.map_or(place.clone(), |h| format!("{h} {place}")));
        }
        e
    })
}

fn decode_turned(bytes: &[u8], shown: &str, upright: bool) -> Result<Picture> {
    if bytes.is_empty() {
        return Err(Error::new("fame::picture::empty", format!("`{shown}` is empty (0 bytes)."))
            .with_help("A copy or download was probably cut off; get the file again."));
    }
    let format = match image::guess_format(bytes) {
        Ok(f) if f.reading_enabled() => f,
        Ok(other) => {
            return Err(unknown(format!(
                "`{shown}` is a picture of type {other:?}, which fame does not read."
            )));
        }
        Err(_) => {
            return Err(unknown(format!(
                "`{shown}` is not a picture: it does not begin like PNG, JPEG, WebP, TIFF, BMP or GIF, whatever its name says."
            )));
        }
    };
    // The decoder would fill what a truncated JPEG lacks with gray, and an explanation of gray
    // would follow.
    if format == ImageFormat::Jpeg && !jpeg_has_an_end(bytes) {
        return Err(broken(shown, format, "it ends early"));
    }
    // Decoders are other people's code reading hostile input: a panic in one is one broken file,
    // not the end of a run.
    let decoded = quietly(|| pixels(bytes, format, shown, upright));
    let (image, orientation) =
        decoded.unwrap_or_else(|_| Err(broken(shown, format, "its decoder gave up")))?;
    let about = about(&image, format, orientation);
    let mut warnings = Vec::new();
    if about.contains_key("alpha") {
        warnings.push(format!(
            "`{shown}` has transparent pixels, which were laid over black: the network sees them darker."
        ));
    }
    if format == ImageFormat::Gif && has_further_frames(bytes) {
        warnings.push(format!("`{shown}` is animated, and only its first picture was taken."));
    }
    let mut picture = Picture::new(planes(image)?, shown)?;
    picture.facts.insert("decoded".to_owned(), Value::Map(about));
    picture.warnings = warnings;
    Ok(picture)
}

/// Whether a decoded picture was turned, as its EXIF data asked.
pub(crate) fn is_turned(picture: &Picture) -> bool {
    let decoded = picture.facts.get("decoded");
    decoded.and_then(|about| about.get("turned_upright")) == Some(&Value::Bool(true))
}

/// Whether a GIF goes on after its first frame.
fn has_further_frames(bytes: &[u8]) -> bool {
    let count = || {
        let decoder = image::codecs::gif::GifDecoder::new(Cursor::new(bytes)).ok()?;
        Some(decoder.into_frames().take(2).flatten().count())
    };
    quietly(count).ok().flatten().is_some_and(|frames| frames > 1)
}

/// `[3, H, W]` as 8-bit RGB: clamped to 0..=1, times 255, rounded. NaN becomes 0.
///
/// # Errors
/// When the tensor is not `[3, H, W]`: a bug of the caller.
pub fn to_rgb8(pixels: &Tensor) -> Result<RgbImage> {
    let &[3, h, w] = pixels.shape() else {
        return Err(Error::bug(format!(
            "only [3, H, W] can become a picture, not {:?}.",
            pixels.shape()
        )));
    };
    let planes = [0, 1, 2].map(|channel| pixels.row(channel));
    Ok(painted((w as u32, h as u32), |x, y| {
        let i = y as usize * w + x as usize;
        [to_byte(planes[0][i]), to_byte(planes[1][i]), to_byte(planes[2][i])]
    }))
}

/// A picture of that width and height, whose pixel in column x of row y is `colour(x, y)`.
pub(crate) fn painted(
    (width, height): (u32, u32),
    mut colour: impl FnMut(u32, u32) -> [u8; 3],
) -> RgbImage {
    let mut picture = RgbImage::new(width, height);
    let (mut x, mut y) = (0, 0);
    for pixel in picture.chunks_exact_mut(3) {
        pixel.copy_from_slice(&colour(x, y));
        x += 1;
        if x == width {
            (x, y) = (0, y + 1);
        }
    }
    picture
}

/// `picture` in another size, width first: each of its new pixels is put together by `kernel` from all
/// that it covers. `P` is what the resampler calls the picture's pixels.
///
/// # Errors
/// A bug of the caller: a size of 0.
pub(crate) fn resized<P: PixelTrait, C: image::Pixel<Subpixel = u8>>(
    picture: &ImageBuffer<C, Vec<u8>>,
    [width, height]: [u32; 2],
    kernel: FilterType,
) -> Result<ImageBuffer<C, Vec<u8>>> {
    let mut to = ImageBuffer::new(width, height);
    let from = TypedImageRef::<P>::from_buffer(picture.width(), picture.height(), picture);
    let view = TypedImage::<P>::from_buffer(width, height, &mut to);
    let (from, mut view) = from.and_then(|from| Ok((from, view?))).map_err(|e| unscaled(&e))?;
    Resizer::new().resize_typed(&from, &mut view, &covering(kernel)).map_err(|e| unscaled(&e))?;
    Ok(to)
}

/// A plane of `from` values, width first, as one of `to`, in between bilinear.
///
/// # Errors
/// A bug of the caller: a size of 0, or other values than pixels.
pub(crate) fn resized_plane(values: &[f32], from: [u32; 2], to: [u32; 2]) -> Result<Vec<f32>> {
    let values: Vec<F32> = values.iter().copied().map(F32::new).collect();
    let from = TypedImageRef::new(from[0], from[1], &values).map_err(|e| unscaled(&e))?;
    let mut view = TypedImage::new(to[0], to[1]);
    let options = covering(FilterType::Bilinear);
    Resizer::new().resize_typed(&from, &mut view, &options).map_err(|e| unscaled(&e))?;
    Ok(view.pixels().iter().map(|pixel| pixel.0).collect())
}

fn covering(kernel: FilterType) -> ResizeOptions {
    ResizeOptions::new().resize_alg(ResizeAlg::Convolution(kernel))
}

fn unscaled(error: &dyn std::fmt::Display) -> Error {
    Error::bug(format!("a picture cannot be brought to another size: {error}."))
}

/// A value of 0..=1 as a byte: clamped, times 255, rounded. NaN becomes 0.
#[inline]
pub fn to_byte(value: f32) -> u8 {
    // Rounded by hand, as `round` is a call where the processor is not known. In f64 the sum is
    // exact.
    (f64::from(value.clamp(0.0, 1.0) * 255.0) + 0.5) as u8
}

/// Encodes `picture` as PNG. The same pixels always give the same bytes.
pub fn encode_png(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    picture.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).map_err(|e| {
        Error::new(
            "fame::picture::encode",
            format!(
                "a picture of {}×{} pixels cannot be written as PNG: {e}.",
                picture.width(),
                picture.height()
            ),
        )
    })?;
    Ok(bytes)
}

/// Writes `picture` to `path` as PNG, whole or not at all.
pub fn save_png(path: &Path, picture: &RgbImage) -> Result<()> {
    write_whole(path, &encode_png(picture)?)
}

fn unknown(message: String) -> Error {
    Error::new("fame::picture::unknown_format", message).with_help("Convert it to PNG or JPEG.")
}

fn broken(shown: &str, format: ImageFormat, why: &str) -> Error {
    Error::new(
        "fame::picture::broken",
        format!("`{shown}` begins like {format:?} but cannot be decoded: {why}."),
    )
    .with_help("Get the file again, or open it in a picture editor and save it anew.")
}

fn too_large(message: String) -> Error {
    Error::new("fame::picture::too_large", message)
        .with_help("Scale the picture down first: networks see a few hundred pixels.")
}

fn read(path: &Path, shown: &str) -> Result<Vec<u8>> {
    let unreadable = |e: std::io::Error| {
        Error::new("fame::picture::unreadable", format!("`{shown}` cannot be read: {e}."))
            .with_help("Is the file there, and may you read it?")
    };
    let about = std::fs::metadata(path).map_err(unreadable)?;
    // Reading a pipe or a device might never end.
    if !about.is_file() {
        let what = if about.is_dir() { "a folder" } else { "not an ordinary file" };
        return Err(Error::new(
            "fame::picture::not_a_file",
            format!("`{shown}` is {what}, but a picture file is wanted."),
        )
        .with_help("Use Folder(path: …) for all pictures of a folder."));
    }
    if about.len() > MAX_BYTES {
        return Err(too_large(format!(
            "`{shown}` has {} bytes; at most {MAX_BYTES} are read.",
            about.len()
        )));
    }
    std::fs::read(path).map_err(unreadable)
}

/// The decoder of a picture, with limits of what it may allocate.
fn decoder<'b>(
    bytes: &'b [u8],
    format: ImageFormat,
    shown: &str,
) -> Result<impl ImageDecoder + use<'b>> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_BYTES.min(memory_budget()));
    // What stands in front of a PNG's pixels is unpacked before its decoder says how large it is.
    if let Some((w, h)) = png_size(bytes).filter(|_| format == ImageFormat::Png) {
        check_size(shown, (w, h), 1)?;
        let pixels = u64::from(w) * u64::from(h) * size_of::<[u16; 4]>() as u64;
        limits.max_alloc = Some((pixels + MAX_EXTRAS.min(memory_budget())).min(MAX_BYTES));
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    reader.into_decoder().map_err(|e| failed(shown, format, &e))
}

fn failed(shown: &str, format: ImageFormat, error: &ImageError) -> Error {
    match error {
        ImageError::Limits(e) => too_large(format!("`{shown}` would need too much memory: {e}.")),
        e => broken(shown, format, e.to_string().trim_end_matches('.')),
    }
}

/// Decodes and, if `upright`, turns as EXIF asks. The size in the header is checked before any
/// pixel is allocated.
fn pixels(
    bytes: &[u8],
    format: ImageFormat,
    shown: &str,
    upright: bool,
) -> Result<(DynamicImage, Orientation)> {
    let mut decoder = decoder(bytes, format, shown)?;
    let of_pixel = decoder.color_type().bytes_per_pixel();
    if decoder.dimensions().0 == 0 || decoder.dimensions().1 == 0 {
        return Err(broken(shown, format, "it has no pixels"));
    }
    check_size(shown, decoder.dimensions(), u64::from(of_pixel))?;
    // Broken metadata does not make the pixels unreadable.
    let wanted = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let orientation = if upright { wanted } else { Orientation::NoTransforms };
    let decoded = DynamicImage::from_decoder(decoder);
    let mut image = decoded.map_err(|e| failed(shown, format, &e))?;
    image.apply_orientation(orientation);
    Ok((image, orientation))
}

/// Refuses a picture that is too large, or would take more than the budget: as it is decoded, with
/// so many bytes `of_pixel`, and as a tensor of three planes of f32.
fn check_size(shown: &str, (w, h): (u32, u32), of_pixel: u64) -> Result<()> {
    let pixels = u64::from(w) * u64::from(h);
    if pixels > MAX_PIXELS {
        return Err(too_large(format!(
            "`{shown}` is {w}×{h} pixels; at most {} megapixels are decoded.",
            MAX_PIXELS / 1_000_000
        )));
    }
    let what = format!("the picture `{shown}` of {w}×{h} pixels");
    require_memory(what, pixels.saturating_mul(of_pixel + 3 * 4))
}

/// The width and height in the header of a PNG, which is its first chunk.
fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| bytes.get(at..)?.first_chunk().map(|n| u32::from_be_bytes(*n));
    let is_header = bytes.get(12..16) == Some(b"IHDR".as_slice());
    number(16).zip(number(20)).filter(|_| is_header)
}

fn about(image: &DynamicImage, format: ImageFormat, orientation: Orientation) -> Facts {
    let mut about = facts([
        ("format", format!("{format:?}").into()),
        ("width", (image.width() as usize).into()),
        ("height", (image.height() as usize).into()),
        ("turned_upright", (orientation != Orientation::NoTransforms).into()),
    ]);
    if is_see_through(image) {
        about.insert("alpha".to_owned(), "over black".into());
    }
    about
}

/// Whether any pixel is not wholly opaque.
fn is_see_through(image: &DynamicImage) -> bool {
    image.color().has_alpha() && image.pixels().any(|(_, _, pixel)| pixel.0[3] < u8::MAX)
}

/// Interleaved samples of any depth as `[3, H, W]` in 0..=1.
fn planes(image: DynamicImage) -> Result<Tensor> {
    let size = [image.height() as usize, image.width() as usize];
    let color = image.color();
    match (color.has_alpha(), color.bytes_per_pixel() / color.channel_count()) {
        (false, 1) => spread(&image.into_rgb8(), 3, size, |v| f32::from(v) / 255.0),
        (true, 1) => spread(&image.into_rgba8(), 4, size, |v| f32::from(v) / 255.0),
        (false, _) => spread(&image.into_rgb16(), 3, size, |v| f32::from(v) / 65535.0),
        (true, _) => spread(&image.into_rgba16(), 4, size, |v| f32::from(v) / 65535.0),
    }
}

fn spread<T: Copy>(
    samples: &[T],
    channels: usize,
    [h, w]: [usize; 2],
    unit: impl Fn(T) -> f32,
) -> Result<Tensor> {
    let plane = h * w;
    let mut data = vec![0.0; 3 * plane];
    for (i, pixel) in samples.chunks_exact(channels).enumerate() {
        let alpha = pixel.get(3).map_or(1.0, |a| unit(*a));
        for c in 0..3 {
            data[c * plane + i] = unit(pixel[c]) * alpha;
        }
    }
    Tensor::new([3, h, w], data)
}

/// Whether the end-of-image marker follows the first scan of a JPEG. Markers inside headers (a
/// thumbnail has its own end) do not count.
fn jpeg_has_an_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(found) = bytes
        .get(at..)
        .and_then(|rest| rest.windows(2).position(|m| m[0] == 0xFF && !matches!(m[1], 0x00 | 0xFF)))
    {
        at += found;
        match bytes[at + 1] {
            0xD9 => return true,
            // Restart and temporary markers stand alone; in a scan, what follows is searched for
            // the next marker.
            0x01 | 0xD0..=0xD8 => at += 2,
            // Any other segment says how long it is.
            _ => match bytes.get(at + 2..at + 4) {
                Some(length) => {
                    at += 2 + usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
                }
                None => return false,
            },
        }
    }
    false
}

#[cfg(test)]
mod tests;
