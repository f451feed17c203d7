//! Sizes and times on the command line.

use std::time::Duration;

/// Units of memory by their endings, in lower case. Those of a thousand are taken as they are
/// written; `8g` means what system programs mean by it.
const UNITS: [(&str, u64); 14] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("t", 1 << 40),
    ("b", 1),
    ("", 1),
];

/// The bytes that `text` means: `1073741824`, `512MiB`, `1.5GiB`, `8GB`.
///
/// # Errors
/// When it means none.
pub(crate) fn memory(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_lowercase();
    let unit = UNITS.into_iter().find_map(|(ending, bytes)| {
        let number: f64 = lower.strip_suffix(ending)?.trim().parse().ok()?;
        (number.is_finite() && number > 0.0).then_some(number * bytes as f64)
    });
    match unit {
        Some(bytes) if bytes >= 1.0 => Ok(bytes as u64),
        _ => Err("write bytes, or a number with a unit: 512MiB, 8GiB.".to_owned()),
    }
}

/// The time that `text` means, in seconds: `90`, `0.5`.
///
/// # Errors
/// When it means none, or no time at all.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.trim().parse().ok();
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| !time.is_zero()).ok_or_else(|| "write seconds above 0: 90, 0.5.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in
            [("1024", 1024), ("512MiB", 512 << 20), ("1.5 gib", 3 << 29), ("8GB", 8_000_000_000)]
        {
            assert_eq!(memory(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "GiB", "-1", "0", "8XB", "nan", "inf"] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_read_in_seconds() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "x", "1e300"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
