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
    // The last number given to each long name: counting from 2 for every one of them would take
    // quadratic time in a list of one name.
    let mut last_numbers: BTreeMap<String, usize> = BTreeMap::new();
    let mut ids = Vec::with_capacity(names.len());
    for (short, (_, long)) in short.into_iter().zip(names) {
        if counts[&fold(&short)] == 1 {
            ids.push(short);
            continue;
        }
        let long = safe_id(long);
        let number = last_numbers.entry(fold(&long)).or_insert(1);
        let mut id = if *number == 1 { long.clone() } else { format!("{long}-{number}") };
        while !taken.insert(fold(&id)) {
            *number += 1;
            id = format!("{long}-{number}");
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
    fn a_long_list_of_one_name_is_numbered_without_counting_anew() {
        // Quadratic counting would take minutes here, and a test that hangs has failed.
        let names = vec![("a".to_owned(), "x/a".to_owned()); 200_000];
        let ids = unique(&names);
        assert_eq!((ids[0].as_str(), ids[1].as_str()), ("x_a", "x_a-2"));
        assert_eq!(ids[199_999], "x_a-200000");
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
