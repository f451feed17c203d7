//! Names that are safe in paths, and the seeds made from them.

use super::sha256_hex;

/// The item id made of `text`: everything but letters, digits, `.`, `_` and `-` becomes `_`, and it
/// never starts with a dot.
pub fn safe_id(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let id: String = text.chars().map(keep).collect();
    if id.is_empty() || id.starts_with('.') { format!("_{id}") } else { id }
}

/// The seed of an item: it depends on the run's seed and the item's id only, never on order or
/// thread.
pub fn seed_of(run: u64, id: &str) -> u64 {
    let digest = sha256_hex(format!("{run}/{id}").as_bytes());
    u64::from_str_radix(&digest[..16], 16).unwrap_or(run)
}
