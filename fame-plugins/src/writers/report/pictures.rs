//! Pictures and maps of an item: what the writer leaves of them, and what the page embeds.

use std::{
    collections::BTreeMap,
    path::{Component, Path},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fame_core::{
    Error, NamedMap, Result, Tensor,
    contract::FinishedItem,
    data::{file_name, open_ordinary, write_whole},
};
use fast_image_resize::{
    FilterType,
    pixels::{U8, U8x3},
};
use image::{DynamicImage, GrayImage, RgbImage, codecs::jpeg::JpegEncoder};

use super::{
    budget::Budget,
    folder::{ItemFolder, MapRecord},
};
use crate::pictures::{load, resized, to_byte, to_rgb8};

/// The beginning of the names of an item's reduced pictures.
const OURS: &str = "report.";

/// Quality of embedded photographs, of 100: they stand beside maps, and are not measured.
const QUALITY: u8 = 82;

/// The largest `.npy` file that is read: a map of 100 megapixels.
const MAX_NPY: u64 = 400_000_000;

/// Writes the pictures and maps of `item` into `folder`, reduced to `side`, and returns the names
/// of the files.
pub(super) fn leave(item: &FinishedItem<'_>, folder: &Path, side: u32) -> Result<Vec<String>> {
    let mut written = Vec::new();
    let mut save = |stem: &str, ending: &str, bytes: Vec<u8>| {
        let name = file_name(&format!("{OURS}{stem}"), ending);
        write_whole(&super::super::place(folder, &name)?, &bytes)?;
        written.push(name);
        Ok::<(), Error>(())
    };
    for (role, picture) in &item.sample.pictures {
        save(role, ".prepared.jpg", photograph(&picture.pixels, side)?)?;
        if let Some(original) = &picture.original {
            save(role, ".original.jpg", photograph(&original.pixels, side)?)?;
        }
    }
    for (explainer, map) in super::super::maps(item) {
        let plane = Shown::Map(reduced(&gray(map)?, side)?);
        save(&format!("{explainer}.{}", map.name()), ".png", plane.encoded()?.1)?;
    }
    Ok(written)
}

fn photograph(pixels: &Tensor, side: u32) -> Result<Vec<u8>> {
    Ok(Shown::Photograph(to_rgb8(pixels)?).reduced(side)?.encoded()?.1)
}

/// A finished map in gray: values clamped to 0..=1, of channels the mean.
fn gray(map: &NamedMap) -> Result<GrayImage> {
    let channels = map.finished.shape().first().map_or(1.0, |c| *c as f32);
    let (h, w, values) = map.plane(|values| values.sum::<f32>() / channels)?;
    gray_of(h, w, values.iter().copied())
        .ok_or_else(|| Error::bug(format!("map `{}` lost pixels on its way.", map.name())))
}

fn gray_of(h: usize, w: usize, values: impl Iterator<Item = f32>) -> Option<GrayImage> {
    GrayImage::from_raw(w as u32, h as u32, values.map(to_byte).collect())
}

/// A picture of the page.
#[derive(Clone)]
enum Shown {
    /// As it is.
    Photograph(RgbImage),
    /// Values 0..=1 in gray, which the page colours.
    Map(GrayImage),
}

/// `map` with its longer side at most `side`.
fn reduced(map: &GrayImage, side: u32) -> Result<GrayImage> {
    match fitting(map.width(), map.height(), side) {
        Some((w, h)) => resized::<U8, _>(map, [w, h], FilterType::Bilinear),
        None => Ok(map.clone()),
    }
}

/// The size of a picture of w×h whose longer side is `side`; `None` where it fits already.
fn fitting(w: u32, h: u32, side: u32) -> Option<(u32, u32)> {
    let longer = w.max(h);
    let scaled = |extent: u32| {
        let scaled = f64::from(extent) * f64::from(side) / f64::from(longer);
        (scaled.round() as u32).max(1)
    };
    (longer > side).then(|| (scaled(w), scaled(h)))
}

impl Shown {
    fn reduced(&self, side: u32) -> Result<Self> {
        Ok(match self {
            Shown::Map(map) => Shown::Map(reduced(map, side)?),
            Shown::Photograph(picture) => match fitting(picture.width(), picture.height(), side) {
                Some((w, h)) => {
                    Shown::Photograph(resized::<U8x3, _>(picture, [w, h], FilterType::Bilinear)?)
                }
                None => self.clone(),
            },
        })
    }

    /// Media type and bytes: photographs as JPEG, maps as PNG without loss.
    fn encoded(&self) -> Result<(&'static str, Vec<u8>)> {
        let failed = |e: image::ImageError| {
            Error::new("fame::picture::encode", format!("a picture cannot be encoded: {e}."))
        };
        let mut bytes = Vec::new();
        match self {
            Shown::Photograph(picture) => {
                let mut encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
                encoder.encode_image(picture).map_err(failed)?;
                Ok(("image/jpeg", bytes))
            }
            Shown::Map(map) => {
                let mut cursor = std::io::Cursor::new(&mut bytes);
                let picture = DynamicImage::ImageLuma8(map.clone());
                picture.write_to(&mut cursor, image::ImageFormat::Png).map_err(failed)?;
                Ok(("image/png", bytes))
            }
        }
    }

    /// As an address that holds the picture itself.
    fn address(&self) -> Option<String> {
        let (kind, bytes) = self.encoded().ok()?;
        Some(format!("data:{kind};base64,{}", STANDARD.encode(bytes)))
    }
}

/// A drawing in SVG as an address that holds it itself: as a picture, it can run nothing.
pub(super) fn svg_address(svg: &str) -> String {
    format!("data:image/svg+xml;base64,{}", STANDARD.encode(svg))
}

/// The pictures of an item as the page embeds them.
#[derive(Default)]
pub(super) struct Embedded {
    /// Addresses that hold the pictures themselves.
    pub(super) addresses: Vec<String>,
    places: BTreeMap<String, usize>,
    /// The longest side that they were reduced to, in pixels.
    pub(super) side: u32,
    /// Whether the item has pictures that did not fit into its share of the page.
    pub(super) left_out: bool,
}

impl Embedded {
    /// The place of a role's prepared picture.
    pub(super) fn prepared(&self, role: &str) -> Option<usize> {
        self.places.get(&format!("prepared/{role}")).copied()
    }

    /// The place of a role's picture as it was before it was prepared.
    pub(super) fn original(&self, role: &str) -> Option<usize> {
        self.places.get(&format!("original/{role}")).copied()
    }

    /// The place of a map in gray.
    pub(super) fn map(&self, map: &MapRecord<'_>) -> Option<usize> {
        self.places.get(&format!("map/{}/{}", map.explainer, map.name)).copied()
    }

    /// The place of a map in the colours that another writer gave it, where there is no other.
    pub(super) fn coloured(&self, map: &MapRecord<'_>) -> Option<usize> {
        self.places.get(&format!("coloured/{}/{}", map.explainer, map.name)).copied()
    }
}

/// Reads the pictures of an item and reduces them until they fit into its share of the page.
pub(super) fn embed(item: &ItemFolder<'_>, budget: &Budget) -> Embedded {
    let shown = read(item);
    for side in budget.sides() {
        let addresses: Vec<String> =
            shown.iter().filter_map(|(_, picture)| picture.reduced(side).ok()?.address()).collect();
        let characters = addresses.iter().map(String::len).sum();
        if addresses.len() == shown.len() && budget.spends(characters, side) {
            let places = shown.into_iter().enumerate().map(|(n, (key, _))| (key, n)).collect();
            return Embedded { addresses, places, side, left_out: false };
        }
    }
    Embedded { left_out: !shown.is_empty(), ..Embedded::default() }
}

/// Every picture of an item that is there: what the page's own writer left, else what others did.
fn read(item: &ItemFolder<'_>) -> Vec<(String, Shown)> {
    let mut shown = Vec::new();
    let mut add = |key: String, picture: Option<Shown>| {
        let found = picture.is_some();
        shown.extend(picture.map(|picture| (key, picture)));
        found
    };
    let file = |name: String| Some(item.folder.join(&name)).filter(|_| stays_inside(&name));
    let picture = |name: String| file(name).and_then(|path| photograph_in(&path));
    for role in item.roles() {
        let stem = format!("{OURS}{role}");
        let own = picture(file_name(&stem, ".prepared.jpg"));
        add(format!("prepared/{role}"), own.or_else(|| picture(file_name(role, ".png"))));
        add(format!("original/{role}"), picture(file_name(&stem, ".original.jpg")));
    }
    for map in item.maps() {
        let name = format!("{}.{}", map.explainer, map.name);
        let own = file(file_name(&format!("{OURS}{name}"), ".png")).and_then(|path| gray_in(&path));
        let plane = own.or_else(|| file(file_name(&name, ".npy")).and_then(|path| npy_in(&path)));
        let has_plane = add(format!("map/{}/{}", map.explainer, map.name), plane.map(Shown::Map));
        if !has_plane {
            let mut others = ["overlay", "heatmap"].iter();
            let coloured =
                others.find_map(|kind| picture(file_name(&name, &format!(".{kind}.png"))));
            add(format!("coloured/{}/{}", map.explainer, map.name), coloured);
        }
    }
    shown
}

/// Whether a file called `name` lies in the folder that it is looked for in.
fn stays_inside(name: &str) -> bool {
    Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

fn photograph_in(path: &Path) -> Option<Shown> {
    let picture = path.is_file().then(|| load(path, "a picture of the run").ok()).flatten()?;
    to_rgb8(&picture.pixels).ok().map(Shown::Photograph)
}

fn gray_in(path: &Path) -> Option<GrayImage> {
    let Shown::Photograph(picture) = photograph_in(path)? else { return None };
    Some(DynamicImage::ImageRgb8(picture).into_luma8())
}

/// A map as numbers, `[H, W]` or `[C, H, W]`; of channels the mean.
fn npy_in(path: &Path) -> Option<GrayImage> {
    let file = open_ordinary(path).ok()?;
    let bytes = file.metadata().ok()?.len();
    if bytes > MAX_NPY {
        return None;
    }
    let npy = npyz::NpyFile::new(std::io::BufReader::new(file)).ok()?;
    let shape: Vec<usize> = npy.shape().iter().map(|extent| *extent as usize).collect();
    let volume = shape.iter().try_fold(1usize, |n, extent| n.checked_mul(*extent))?;
    // A header may promise more than the file holds.
    if volume as u64 > bytes / 4 || npy.order() != npyz::Order::C {
        return None;
    }
    let values = npy.into_vec::<f32>().ok()?;
    let (channels, h, w) = match *shape {
        [h, w] => (1, h, w),
        [c, h, w] if c > 0 => (c, h, w),
        _ => return None,
    };
    let mean =
        |i: usize| (0..channels).map(|c| values[c * h * w + i]).sum::<f32>() / channels as f32;
    gray_of(h, w, (0..h * w).map(mean))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_reduced_and_never_enlarged() {
        assert_eq!(fitting(512, 256, 128), Some((128, 64)));
        assert_eq!(fitting(1000, 1, 100), Some((100, 1)));
        assert_eq!(fitting(100, 40, 128), None);
    }

    #[test]
    fn a_name_cannot_lead_out_of_the_item() {
        assert!(stays_inside("report.fame.probe.png"));
        for name in ["../x.png", "/etc/x.png", "a/../../x.png"] {
            assert!(!stays_inside(name), "{name}");
        }
    }

    #[test]
    fn a_map_keeps_its_values() {
        let map = GrayImage::from_fn(3, 2, |x, y| image::Luma([(40 * x + y) as u8]));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.png");
        std::fs::write(&path, Shown::Map(map.clone()).encoded().unwrap().1).unwrap();
        assert_eq!(gray_in(&path).unwrap(), map);
    }

    #[test]
    fn a_header_that_promises_too_much_is_no_map() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.npy");
        let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        let head = "{'descr': '<f4', 'fortran_order': False, 'shape': (100000, 100000), }";
        bytes.extend(format!("{head:<117}\n").bytes());
        bytes.extend([0; 8]);
        std::fs::write(&path, bytes).unwrap();
        assert!(npy_in(&path).is_none());
    }
}
