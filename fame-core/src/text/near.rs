//! The name that was meant: near names for whatever nobody knows.

use std::{fmt::Display, path::Path};

/// The names near to `wrong`, nearest first: at most a third of the letters differ (rustc's rule),
/// or `wrong` is a long enough part of the name; case aside.
///
/// ```
/// # use fame_core::text::near_names;
/// let known = ["alpha", "alpine", "omega"];
/// assert_eq!(near_names("alphs", known), ["alpha"]);
/// assert!(near_names("beta", known).is_empty());
/// ```
pub fn near_names<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let lower = wrong.to_lowercase();
    let limit = (wrong.chars().count().max(3)) / 3;
    let mut near: Vec<(usize, &str)> = known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&lower, &k.to_lowercase()), k))
        .filter(|(d, k)| {
            *d <= limit || (k.len() > 3 && k.to_lowercase().contains(&lower) && lower.len() > 3)
        })
        .collect();
    near.sort_unstable();
    near.into_iter().map(|(_, k)| k).collect()
}

/// The name nearest to `wrong`, if one is near; see [`near_names`].
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    near_names(wrong, known).first().copied()
}

/// "did you mean `x`?", or else the known names.
pub fn suggestion(wrong: &str, known: &[&str], what: &str) -> Option<String> {
    match nearest(wrong, known.iter().copied()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None if known.is_empty() => Some(format!("there is no {what} to choose from")),
        None => Some(format!("known: {}", quoted(known))),
    }
}

/// `` `a`, `b` ``
pub(crate) fn quoted<S: Display>(names: &[S]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// "did you mean `x`?" for a file that is not there, if one in its folder has nearly that name.
pub(crate) fn near_file(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let neighbours: Vec<String> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .collect();
    let name = path.file_name()?.to_string_lossy().into_owned();
    nearest(&name, neighbours.iter().map(String::as_str))
        .map(|near| format!("did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_near_enough() {
        let names = ["Distance", "SquaredDistance", "Score", "WeightedCell"];
        for (wrong, expected, why) in [
            ("Distanc", Some("Distance"), "one letter missing"),
            ("distance", Some("Distance"), "case does not count"),
            ("Scores", Some("Score"), "one letter more"),
            ("Cell", Some("WeightedCell"), "a whole word of the name"),
            ("Cel", None, "too short a part to guess from"),
            ("Banana", None, "nothing is near"),
        ] {
            assert_eq!(nearest(wrong, names), expected, "{why}");
        }
    }
}
