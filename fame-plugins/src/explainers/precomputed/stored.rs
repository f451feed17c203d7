//! A map in a file: `.npy` or a gray picture.

use std::{io::Read as _, path::Path};

use fame_core::{Error, Result, Tensor, data::open_ordinary};
use npyz::NpyFile;

use crate::pictures;

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

/// The numbers of a `.npy` file and their type.
struct Numbers {
    values: Vec<f64>,
    /// numpy's name of the type.
    kind: &'static str,
    /// The number that stands for 1 in a whole type, where programs agree about that.
    one: Option<f64>,
    is_float: bool,
}

fn numpy(
    path: &Path,
    bytes: &[u8],
    size: (usize, usize),
    range: Option<(f64, f64)>,
) -> Result<StoredMap> {
    check_header(path, bytes)?;
    let npy = NpyFile::new(bytes).map_err(|e| bad(path, format!("is not a .npy file: {e}")))?;
    let shape: Vec<usize> = npy.shape().iter().map(|d| *d as usize).collect();
    let full = match shape.as_slice() {
        [h, w] => [1, *h, *w],
        [c, h, w] if *c > 0 => [*c, *h, *w],
        _ => {
            return Err(bad(path, format!("has shape {shape:?}; a map is [H, W] or [C, H, W]")));
        }
    };
    check_size(path, (full[1], full[2]), size)?;
    let fortran = npy.order() == npyz::Order::Fortran;
    let numbers = numbers(path, npy)?;
    let (from, to, warning) = meaning(path, &numbers, range)?;
    let scaled: Vec<f32> =
        numbers.values.iter().map(|v| ((v - from) / (to - from)) as f32).collect();
    let values = if fortran { row_major(&scaled, full) } else { scaled };
    let as_it_is = (from, to) == (0.0, 1.0);
    let done = if as_it_is { String::new() } else { format!(", {from}..{to} taken for 0..1") };
    Ok(StoredMap {
        values: Tensor::new(full, values)?,
        kind: format!("{}{done}", numbers.kind),
        warning,
    })
}

/// The stored numbers that mean 0 and 1, and what else could be meant.
fn meaning(
    path: &Path,
    numbers: &Numbers,
    range: Option<(f64, f64)>,
) -> Result<(f64, f64, Option<String>)> {
    if let Some((from, to)) = range {
        return Ok((from, to, None));
    }
    if numbers.is_float {
        return Ok((0.0, 1.0, None));
    }
    let highest = numbers.values.iter().copied().fold(0.0, f64::max);
    let only_two = numbers.values.iter().all(|v| [0.0, 1.0].contains(v));
    match numbers.one {
        Some(one) if only_two && highest > 0.0 && one > 1.0 => {
            let warning = format!(
                "holds nothing but 0 and 1 as {}: 1 was taken for 1, not for 1/{one}. `range` says so without this warning.",
                numbers.kind
            );
            Ok((0.0, 1.0, Some(warning)))
        }
        Some(one) => Ok((0.0, one, None)),
        None if only_two => Ok((0.0, 1.0, None)),
        None => Err(bad(
            path,
            format!(
                "holds whole numbers up to {highest} ({}), which may mean anything",
                numbers.kind
            ),
        )
        .with_help("Say which of them mean 0 and 1: `range: (0, 255)`.")),
    }
}

/// Refuses headers that no map has, before they are parsed: the parser takes exponential time for
/// brackets within brackets.
fn check_header(path: &Path, bytes: &[u8]) -> Result<()> {
    /// numpy writes 118 bytes for a map.
    const LONGEST: usize = 4096;
    let length = match *bytes {
        [_, _, _, _, _, _, 1, _, low, high, ..] => {
            Some(usize::from(u16::from_le_bytes([low, high])))
        }
        [_, _, _, _, _, _, 2 | 3, _, a, b, c, d, ..] => {
            usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()
        }
        _ => None,
    };
    let Some(length) = length.filter(|n| *n <= LONGEST) else {
        return Err(bad(path, "is not a .npy file: its header is damaged"));
    };
    // Of a version that is parsed, the header begins behind byte 10 or 12.
    if bytes.iter().skip(10).take(length + 2).any(|byte| *byte == b'[') {
        return Err(bad(path, "holds records; a map holds one number for each pixel"));
    }
    Ok(())
}

/// All values, whatever their type.
fn numbers(path: &Path, npy: NpyFile<&[u8]>) -> Result<Numbers> {
    fn all<T: npyz::Deserialize>(
        npy: NpyFile<&[u8]>,
        number: impl Fn(T) -> f64,
    ) -> std::io::Result<Vec<f64>> {
        Ok(npy.into_vec::<T>()?.into_iter().map(number).collect())
    }
    const BYTE: Option<f64> = Some(255.0);
    const SIXTEEN: Option<f64> = Some(65535.0);
    let descr = npy.dtype().descr();
    let (kind, one, is_float, values) = match descr.trim_matches('\'') {
        "<f4" | ">f4" => ("float32", None, true, all::<f32>(npy, f64::from)),
        "<f8" | ">f8" => ("float64", None, true, all::<f64>(npy, |v| v)),
        "|u1" => ("uint8", BYTE, false, all::<u8>(npy, f64::from)),
        "<u2" | ">u2" => ("uint16", SIXTEEN, false, all::<u16>(npy, f64::from)),
        "|b1" => ("bool", Some(1.0), false, all::<bool>(npy, |v| f64::from(u8::from(v)))),
        "|i1" => ("int8", None, false, all::<i8>(npy, f64::from)),
        "<i2" | ">i2" => ("int16", None, false, all::<i16>(npy, f64::from)),
        "<i4" | ">i4" => ("int32", None, false, all::<i32>(npy, f64::from)),
        "<u4" | ">u4" => ("uint32", None, false, all::<u32>(npy, f64::from)),
        "<i8" | ">i8" => ("int64", None, false, all::<i64>(npy, |v| v as f64)),
        "<u8" | ">u8" => ("uint64", None, false, all::<u64>(npy, |v| v as f64)),
        other => {
            let why = format!(
                "holds values of type {other}; float32, float64, bool and whole numbers can be read"
            );
            return Err(bad(path, why));
        }
    };
    let values = values.map_err(|e| bad(path, format!("cannot be read: {e}")))?;
    Ok(Numbers { values, kind, one, is_float })
}

/// Values of column-major `[C, H, W]` (or `[H, W]`) in row-major order.
fn row_major(values: &[f32], [channels, height, width]: [usize; 3]) -> Vec<f32> {
    let at = |c: usize, y: usize, x: usize| values[c + channels * (y + height * x)];
    (0..channels)
        .flat_map(|c| (0..height).flat_map(move |y| (0..width).map(move |x| at(c, y, x))))
        .collect()
}
