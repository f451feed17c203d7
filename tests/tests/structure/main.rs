//! The shape of fame-core: no circles between its rooms, and no word of any task, method or default
//! in it.

mod circles;
mod code;
mod words;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A source file: its path below `src/`, with `/` between the parts, and its text.
type SourceFile = (String, String);

/// The Rust files of fame-core, sorted by path.
fn fame_core() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fame-core/src");
    let mut files = Vec::new();
    read(&root, &root, &mut files);
    files.sort();
    assert!(files.len() > 50, "fame-core was not found");
    files
}

fn read(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) {
    for entry in fs::read_dir(folder).expect("a folder of fame-core is readable").flatten() {
        let path: PathBuf = entry.path();
        if path.is_dir() {
            read(root, &path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let name = path.strip_prefix(root).expect("found below the root");
            let text = fs::read_to_string(&path).expect("source is text");
            files.push((name.to_string_lossy().replace('\\', "/"), text));
        }
    }
}

/// Files of a made-up crate, for tests of the tests.
#[cfg(test)]
fn made_up(files: &[(&str, &str)]) -> Vec<SourceFile> {
    files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())).collect()
}

#[test]
fn the_rooms_of_fame_core_form_no_circle() {
    let circles = circles::find(&fame_core());
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn fame_core_names_no_task_method_or_default() {
    let found = words::find(&fame_core());
    assert!(
        found.is_empty(),
        "fame-core says what only plugins may know (the list: tests/tests/structure/words.rs):\n{}",
        found.join("\n")
    );
}
