use image::{ImageBuffer, Luma, LumaA, Rgb, Rgba};

use super::*;

/// One step of 8 bits, half of it: what rounding to bytes may cost.
const HALF_A_BYTE: f32 = 0.5 / 255.0 + 1e-6;
/// JPEG is lossy: a smooth picture at quality 95 comes back within a few of 255.
const JPEG_LOSS: f32 = 8.0 / 255.0;
/// The encoder of GIF chooses 256 colours, and a ramp has more.
const PALETTE_LOSS: f32 = 24.0 / 255.0;

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.into().write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

fn ramp(w: u32, h: u32) -> RgbImage {
    RgbImage::from_fn(w, h, |x, y| Rgb([(x * 255 / w) as u8, (y * 255 / h) as u8, 60]))
}

fn code(bytes: &[u8]) -> String {
    decode(bytes, "x.png").unwrap_err().code
}

#[test]
fn channels_become_planes_in_rgb_order() {
    let p = decode(
        &encoded(
            RgbImage::from_raw(2, 1, vec![255, 0, 51, 0, 102, 255]).unwrap(),
            ImageFormat::Png,
        ),
        "a.png",
    )
    .unwrap();
    assert_eq!(p.pixels.shape(), [3, 1, 2]);
    assert_eq!(p.pixels.data(), [1.0, 0.0, 0.0, 0.4, 0.2, 1.0]);
    assert_eq!(p.source, "a.png");
    assert_eq!(p.facts["decoded"].get("format").unwrap().as_str(), Some("Png"));
}

#[test]
fn content_decides_not_the_name() {
    for (format, tolerance) in [
        (ImageFormat::Png, 0.0),
        (ImageFormat::WebP, 0.0),
        (ImageFormat::Tiff, 0.0),
        (ImageFormat::Bmp, 0.0),
        (ImageFormat::Jpeg, JPEG_LOSS),
        // A palette of 256 colours for the whole picture.
        (ImageFormat::Gif, PALETTE_LOSS),
    ] {
        let p = decode(&encoded(ramp(40, 30), format), "misnamed.txt").unwrap();
        let (w, h, at) = (p.width(), p.height(), 15 * 40 + 20);
        assert_eq!((w, h), (40, 30));
        for (c, want) in ramp(40, 30).get_pixel(20, 15).0.into_iter().enumerate() {
            assert!(
                (p.pixels.data()[c * 1200 + at] - f32::from(want) / 255.0).abs() <= tolerance,
                "{format:?}"
            );
        }
    }
}

#[test]
fn gray_sixteen_bits_and_alpha_are_converted() {
    let gray: ImageBuffer<Luma<u16>, _> = ImageBuffer::from_pixel(1, 1, Luma([0x8000u16]));
    let p = decode(&encoded(gray, ImageFormat::Png), "g").unwrap();
    // The exact quotient, not the one of the upper byte.
    assert_eq!(p.pixels.data(), [32768.0 / 65535.0; 3]);
    let see_through = ImageBuffer::from_pixel(1, 1, Rgba([255u8, 102, 0, 51]));
    let p = decode(&encoded(see_through, ImageFormat::Png), "a").unwrap();
    assert!((p.pixels.data()[0] - 0.2).abs() < 1e-6 && (p.pixels.data()[1] - 0.08).abs() < 1e-6);
    assert_eq!(p.facts["decoded"].get("alpha").unwrap().as_str(), Some("over black"));
    assert!(p.warnings[0].contains("`a` has transparent pixels, which were laid over black"));
    let opaque = ImageBuffer::from_pixel(1, 1, Rgba([255u8, 102, 0, 255]));
    let p = decode(&encoded(opaque, ImageFormat::Png), "o").unwrap();
    assert!(p.warnings.is_empty() && p.facts["decoded"].get("alpha").is_none());
    let hidden: ImageBuffer<LumaA<u16>, _> = ImageBuffer::from_pixel(1, 1, LumaA([65535u16, 0]));
    assert_eq!(decode(&encoded(hidden, ImageFormat::Png), "h").unwrap().pixels.data(), [0.0; 3]);
}

#[test]
fn an_animation_gives_its_first_picture_and_says_so() {
    let mut bytes = Vec::new();
    let frame =
        |shade: u8| image::Frame::new(ImageBuffer::from_pixel(4, 4, Rgba([shade, 0, 0, 255])));
    let mut encoder = image::codecs::gif::GifEncoder::new(&mut bytes);
    encoder.encode_frames([frame(255), frame(0)]).unwrap();
    drop(encoder);
    let p = decode(&bytes, "moving.gif").unwrap();
    assert!(p.pixels.data()[0] > 0.99, "{:?}", p.pixels.data());
    assert!(p.warnings[0].contains("only its first picture"), "{:?}", p.warnings);
}

#[test]
fn exif_orientation_turns_the_picture_upright() {
    let jpeg = encoded(ramp(40, 24), ImageFormat::Jpeg);
    // Tag 0x0112 (orientation), short, one value: 6, "turn a quarter clockwise".
    let exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let mut turned = jpeg[..2].to_vec();
    turned.extend([0xFF, 0xE1]);
    turned.extend((exif.len() as u16 + 2).to_be_bytes());
    turned.extend(exif);
    turned.extend(&jpeg[2..]);
    let p = decode(&turned, "t.jpg").unwrap();
    assert_eq!((p.width(), p.height()), (24, 40));
    // The red ramp, left to right before, now runs from top to bottom.
    assert!(p.pixels.data()[0] < JPEG_LOSS && p.pixels.data()[39 * 24] > 0.9);
    assert_eq!(p.facts["decoded"].get("turned_upright"), Some(&Value::Bool(true)));
}

#[test]
fn a_truncated_file_is_an_error_in_every_format() {
    for format in [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Tiff,
        ImageFormat::Bmp,
        ImageFormat::Gif,
    ] {
        let whole = encoded(ramp(64, 64), format);
        for kept in [20, whole.len() / 2, whole.len() - 20] {
            let e = decode(&whole[..kept], "cut.png").unwrap_err();
            assert_eq!(e.code, "fame::picture::broken", "{format:?} {kept}");
            assert!(e.message.contains("`cut.png`") && e.help.is_some());
        }
    }
}

#[test]
fn a_thumbnail_does_not_end_a_jpeg() {
    let jpeg = encoded(ramp(8, 8), ImageFormat::Jpeg);
    assert!(jpeg_has_an_end(&jpeg));
    let mut with_thumbnail = jpeg[..2].to_vec();
    with_thumbnail.extend([0xFF, 0xE1, 0, 6, 0xFF, 0xD8, 0xFF, 0xD9]);
    with_thumbnail.extend(&jpeg[2..jpeg.len() - 2]);
    assert!(!jpeg_has_an_end(&with_thumbnail));
    assert!(!jpeg_has_an_end(&[0xFF]) && !jpeg_has_an_end(&[0xFF, 0xD8, 0xFF, 0xDA, 0xFF, 0xFF]));
}

#[test]
fn what_is_no_picture_says_so() {
    assert_eq!(code(b""), "fame::picture::empty");
    assert_eq!(code(b"just some text, called .png"), "fame::picture::unknown_format");
    assert_eq!(code(b"\x89PNG\r\n\x1a\n"), "fame::picture::broken");
    let e = decode(b"gimp xcf v011", "a.png").unwrap_err();
    assert!(e.message.contains("`a.png`") && e.message.contains("TIFF, BMP or GIF"), "{e}");
    let e = decode(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "a.png").unwrap_err();
    assert!(e.message.contains("Avif"), "{e}");
}

#[test]
fn a_huge_header_is_refused_before_its_pixels_are_allocated() {
    // 20000×20000, 8-bit RGB: the header chunk with its checksum; the pixels do not exist.
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x4e\x20\0\0\x4e\x20\x08\x02\0\0\0".to_vec();
    png.extend(crc32(&png[12..29]).to_be_bytes());
    png.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
    let e = decode(&png, "huge.png").unwrap_err();
    assert_eq!(e.code, "fame::picture::too_large");
    assert!(e.message.contains("20000×20000") && e.message.contains("100 megapixels"), "{e}");
}

#[test]
fn a_profile_that_unpacks_to_more_than_extras_may_take_is_left_out() {
    use image::{ImageEncoder as _, codecs::png::PngEncoder};

    for (unpacked, is_kept) in [(1 << 10, true), (MAX_EXTRAS as usize + (1 << 20), false)] {
        let mut bytes = Vec::new();
        let mut encoder = PngEncoder::new(&mut bytes);
        encoder.set_icc_profile(vec![0; unpacked]).unwrap();
        ramp(24, 16).write_with_encoder(encoder).unwrap();
        assert!(bytes.len() < 1 << 20, "{} bytes", bytes.len());
        let mut opened = decoder(&bytes, ImageFormat::Png, "x.png").unwrap();
        assert_eq!(opened.icc_profile().unwrap().is_some(), is_kept);
        assert_eq!(decode(&bytes, "x.png").unwrap().pixels.shape(), [3, 16, 24]);
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, b| {
        (0..8).fold(
            crc ^ u32::from(*b),
            |c, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 },
        )
    })
}

#[test]
fn a_place_that_holds_no_file_is_named_once_for_all_machines() {
    let dir = tempfile::tempdir().unwrap();
    let e = load(dir.path(), "faces").unwrap_err();
    assert_eq!(
        (e.code.as_str(), e.message.as_str()),
        ("fame::picture::not_a_file", "`faces` is a folder, but a picture file is wanted.")
    );
    assert!(e.help.unwrap().contains(&*dir.path().to_string_lossy()));
    let e = load(&dir.path().join("none.png"), "none.png").unwrap_err();
    assert_eq!(e.code, "fame::picture::unreadable");
    assert!(!e.message.contains(&*dir.path().to_string_lossy()));
}

#[test]
fn a_saved_picture_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let pixels = Tensor::new([3, 1, 2], vec![0.5, -1.0, 0.25, 2.0, 1.0, f32::NAN]).unwrap();
    save_png(&dir.path().join("p.png"), &to_rgb8(&pixels).unwrap()).unwrap();
    let back = load(&dir.path().join("p.png"), "p.png").unwrap().pixels;
    for (a, b) in back.data().iter().zip([0.5, 0.0, 0.25, 1.0, 1.0, 0.0]) {
        assert!((a - b).abs() <= HALF_A_BYTE);
    }
    assert!(to_rgb8(&Tensor::zeros([1, 2, 2])).is_err());
}

proptest::proptest! {
    /// A file with a few wrong bytes, cut anywhere, is a picture or an error, never a panic.
    #[test]
    fn damaged_files_never_panic(
        which in 0usize..6,
        damage in proptest::collection::vec((0usize..4000, proptest::prelude::any::<u8>()), 0..6),
        cut in 0usize..4000,
    ) {
        let format = [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::WebP,
            ImageFormat::Tiff,
            ImageFormat::Bmp,
            ImageFormat::Gif,
        ][which];
        let mut bytes = encoded(ramp(24, 16), format);
        for (at, value) in damage {
            let n = bytes.len();
            bytes[at % n] = value;
        }
        bytes.truncate(bytes.len().saturating_sub(cut.saturating_sub(2000)));
        if let Err(e) = decode(&bytes, "damaged") {
            assert!(e.code.starts_with("fame::picture::"), "{e:?}");
        }
    }
}
