//! Names for items, from the files they come from.

use std::collections::{BTreeMap, BTreeSet};

use fame_core::data::safe_id;

/// The name of a file without folders and extension: `faces/a.b.png` and `picture:a.b` give `a.b`.
pub(crate) fn stem(file: &str) -> &str {
    match file.strip_prefix("picture:") {
        Some(name) => last(name),
        None => without_extension(last(file)),
    }
}

/// `file` without its extension, folders kept.
pub(super) fn without_extension(file: &str) -> &str {
    match file.rfind('.') {
        // A leading dot is part of a name, not the start of an extension.
        Some(dot) if dot > 0 && !last(file).starts_with('.') && !file[dot..].contains('/') => {
            &file[..dot]
        }
        _ => file,
    }
}

fn last(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

/// One id for each pair of a short and a long name. The short name is taken where it is the only
/// one of its kind; several that share it take their long names; if these agree too, they are
/// numbered in order: `a`, `a-2`, `a-3`. Upper and lower case count as the same: not every file
/// system tells them apart, and ids become folders.
pub(super) fn unique(names: &[(String, String)]) -> Vec<String> {
    let fold = |id: &str| id.to_ascii_lowercase();
    let short: Vec<String> = names.iter().map(|(short, _)| safe_id(short)).collect();
    let mut counts = BTreeMap::new();
    for id in &short {
        *counts.entry(fold(id)).or_insert(0) += 1;
    }
    let mut taken: BTreeSet<String> =
        counts.iter().filter(|(_, n)| **n == 1).map(|(id, _)| id.clone()).collect();
    let mut ids = Vec::with_capacity(names.len());
    for (short, (_, long)) in short.into_iter().zip(names) {
        if counts[&fold(&short)] == 1 {
            ids.push(short);
            continue;
        }
        let long = safe_id(long);
        let (mut id, mut n) = (long.clone(), 1);
        while !taken.insert(fold(&id)) {
            n += 1;
            id = format!("{long}-{n}");
        }
        ids.push(id);
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_drop_folders_and_one_extension() {
        assert_eq!(
            ["a/b.c.png", "b", "picture:x/y.z", ".hidden", "d.ir/file"].map(stem),
            ["b.c", "b", "y.z", ".hidden", "file"]
        );
        assert_eq!(["a/b.png", "a.x/b", "a/.h"].map(without_extension), ["a/b", "a.x/b", "a/.h"]);
    }

    #[test]
    fn ids_are_unique_whatever_the_names() {
        let of = |names: &[(&str, &str)]| {
            unique(
                &names.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>(),
            )
        };
        assert_eq!(of(&[("a", "x/a"), ("b", "x/b"), ("A", "y/A")]), ["x_a", "b", "y_A"]);
        assert_eq!(
            of(&[("a", "a"), ("a", "a"), ("a-2", "a-2"), ("a", "a")]),
            ["a", "a-3", "a-2", "a-4"]
        );
    }
}
