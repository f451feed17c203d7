//! A map in a file: `.npy` or a gray picture.

use std::{io::Read as _, path::Path};

use crate::{numpy::Array, pictures};
use fame_core::{Error, Result, Tensor, data::open_ordinary};

/// Largest file that is read, in bytes: a map of 100 megapixels in 64-bit floats fits.
const MAX_BYTES: u64 = 1 << 30;

/// A map as it was stored.
pub(super) struct StoredMap {
    /// `[C, H, W]`.
    pub(super) values: Tensor,
    /// What the file holds and what was made of it, for the record.
    pub(super) kind: String,
    /// What else the numbers could mean.
    pub(super) warning: Option<String>,
}

impl StoredMap {
    /// A warning about values that no metric with thresholds in 0..=1 can be meant for.
    pub(super) fn above_one(&self) -> Option<String> {
        let highest = self.values.data().iter().copied().fold(0.0, f32::max);
        (highest > 1.0).then(|| {
            format!(
                "reaches {highest}, but maps are in 0..=1 where thresholds look at them: say `range`, or normalise it in `map`."
            )
        })
    }
}

/// Reads the map in the file `path`, which must have this height and width. `range` are the stored
/// numbers that mean 0 and 1.
///
/// # Errors
/// `fame::precomputed::file` when it holds no map of this size, or numbers of unknown meaning.
pub(super) fn read(
    path: &Path,
    size: (usize, usize),
    range: Option<(f64, f64)>,
) -> Result<StoredMap> {
    let file = open_ordinary(path)?;
    let mut bytes = Vec::new();
    let length = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    if length.map_err(|e| Error::io("read", path, &e))? as u64 > MAX_BYTES {
        return Err(bad(path, format!("is larger than {MAX_BYTES} bytes")));
    }
    if bytes.starts_with(b"\x93NUMPY") {
        numpy(path, &bytes, size, range)
    } else if image::guess_format(&bytes).is_ok() {
        picture(path, &bytes, size, range)
    } else {
        Err(bad(path, "is neither a .npy file nor a picture"))
    }
}

fn bad(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::new("fame::precomputed::file", format!("`{}` {why}.", path.display()))
}

/// Refuses a map that is not as large as the picture.
fn check_size(path: &Path, (h, w): (usize, usize), (height, width): (usize, usize)) -> Result<()> {
    if (h, w) == (height, width) {
        return Ok(());
    }
    Err(bad(path, format!("holds a map of {w} × {h} pixels (width × height), but the prepared picture has {width} × {height}"))
        .with_help("A precomputed map scores the pixels the network sees: prepare the pictures as the other program did."))
}

/// A picture whose three channels agree, black for 0 and white for 1.
fn picture(
    path: &Path,
    bytes: &[u8],
    size: (usize, usize),
    range: Option<(f64, f64)>,
) -> Result<StoredMap> {
    if range.is_some() {
        return Err(bad(path, "is a picture, whose black is 0 and white is 1")
            .with_help("Leave `range` out."));
    }
    let shown = path.display().to_string();
    let picture = pictures::decode(bytes, &shown)?;
    check_size(path, (picture.height(), picture.width()), size)?;
    let [red, green, blue] = [0, 1, 2].map(|c| picture.pixels.row(c));
    if red != green || red != blue {
        return Err(bad(path, "is a coloured picture").with_help(
            "A colour is no score: save the map itself, in shades of gray or as .npy.",
        ));
    }
    let values = Tensor::new([1, size.0, size.1], red.to_vec())?;
    Ok(StoredMap { values, kind: "picture".into(), warning: picture.warnings.first().cloned() })
}

fn numpy(
    path: &Path,
    bytes: &[u8],
    size: (usize, usize),
    range: Option<(f64, f64)>,
) -> Result<StoredMap> {
    let Array { shape, values, kind } = Array::read(bytes).map_err(|why| bad(path, why))?;
    let full = match shape.as_slice() {
        [h, w] => [1, *h, *w],
        [c, h, w] if *c > 0 => [*c, *h, *w],
        _ => {
            return Err(bad(path, format!("has shape {shape:?}; a map is [H, W] or [C, H, W]")));
        }
    };
    check_size(path, (full[1], full[2]), size)?;
    let (from, to, warning) = meaning(path, kind, &values, range)?;
    let scaled = values.iter().map(|v| ((v - from) / (to - from)) as f32).collect();
    let as_it_is = (from, to) == (0.0, 1.0);
    let done = if as_it_is { String::new() } else { format!(", {from}..{to} taken for 0..1") };
    let values = Tensor::new(full, scaled)?;
    Ok(StoredMap { values, kind: format!("{kind}{done}"), warning })
}

/// The number that stands for 1 in a whole type, where programs agree about that.
fn one(kind: &str) -> Option<f64> {
    match kind {
        "uint8" => Some(255.0),
        "uint16" => Some(65535.0),
        "bool" => Some(1.0),
        _ => None,
    }
}

/// The stored numbers that mean 0 and 1, and what else could be meant.
fn meaning(
    path: &Path,
    kind: &str,
    values: &[f64],
    range: Option<(f64, f64)>,
) -> Result<(f64, f64, Option<String>)> {
    if let Some((from, to)) = range {
        return Ok((from, to, None));
    }
    if kind.starts_with("float") {
        return Ok((0.0, 1.0, None));
    }
    let highest = values.iter().copied().fold(0.0, f64::max);
    let only_two = values.iter().all(|v| [0.0, 1.0].contains(v));
    match one(kind) {
        Some(one) if only_two && highest > 0.0 && one > 1.0 => {
            let warning = format!(
                "holds nothing but 0 and 1 as {kind}: 1 was taken for 1, not for 1/{one}. `range` says so without this warning."
            );
            Ok((0.0, 1.0, Some(warning)))
        }
        Some(one) => Ok((0.0, one, None)),
        None if only_two => Ok((0.0, 1.0, None)),
        None => Err(bad(
            path,
            format!("holds whole numbers up to {highest} ({kind}), which may mean anything"),
        )
        .with_help("Say which of them mean 0 and 1: `range: (0, 255)`.")),
    }
}
