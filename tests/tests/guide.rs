//! The guide for plugin authors, `docs/plugins.md`, says what is so: its code is that of the crate
//! `third-party/fame-tiny`, which `fame-cli/tests/cli/third_party.rs` builds, tests and runs, and
//! no refusal is missing from its table.
//!
//! The two plugins are compiled from the guide's text as well, as documentation tests of this
//! crate.

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, fs};

use fame_tests::root;

fn guide() -> String {
    fs::read_to_string(root().join("docs/plugins.md")).unwrap()
}

/// The fenced blocks whose first line begins with `kind`.
fn blocks(kind: &str) -> Vec<String> {
    let text = guide();
    let fenced = text.split("```").skip(1).step_by(2);
    fenced
        .filter_map(|block| {
            block
                .split_once('\n')
                .filter(|(head, _)| head.starts_with(kind))
                .map(|(_, code)| code.to_owned())
        })
        .collect()
}

#[test]
fn the_guides_code_is_the_tiny_crates() {
    let found = blocks("rust");
    let files = ["src/loss.rs", "src/lib.rs", "src/perturbation.rs", "tests/promises.rs"];
    assert_eq!(found.len(), files.len(), "the guide's blocks of Rust");
    for (block, file) in found.iter().zip(files) {
        let there =
            fs::read_to_string(root().join("tests/third-party/fame-tiny").join(file)).unwrap();
        assert!(
            *block == there,
            "docs/plugins.md and tests/third-party/fame-tiny/{file} have drifted apart"
        );
    }
}

#[test]
fn the_tiny_crate_is_tiny() {
    let folder = root().join("tests/third-party/fame-tiny/src");
    let lines = |path| fs::read_to_string(path).unwrap().lines().count();
    let all: usize = fs::read_dir(folder).unwrap().map(|file| lines(file.unwrap().path())).sum();
    assert!(all < 90, "a loss and a perturbation in {all} lines");
}

#[test]
fn every_refusal_is_in_the_guides_table() {
    let mut codes = BTreeSet::new();
    for file in fs::read_dir(root().join("fame-core/src/plugin"))
        .unwrap()
        .chain(fs::read_dir(root().join("fame-core/src/registry/guard")).unwrap())
    {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|e| e != "rs") {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        // Codes are written whole, or, where both sides are compared, as the word behind
        // `fame::plugin::`.
        for start in ["\"fame::plugin::", "\"wrong_"] {
            let behind = text
                .split(start)
                .skip(1)
                .map(|rest| rest.split(['"', '{']).next().unwrap_or_default());
            let whole = if start.contains("wrong") { "wrong_" } else { "" };
            codes.extend(
                behind.filter(|code| !code.is_empty()).map(|code| format!("{whole}{code}")),
            );
        }
    }
    assert!(codes.len() > 12, "{codes:?}");
    let guide = guide();
    let (_, table) = guide.split_once("## When a plugin is refused").unwrap();
    let missing: Vec<_> =
        codes.iter().filter(|code| !table.contains(&format!("`{code}`"))).collect();
    assert!(missing.is_empty(), "not in docs/plugins.md: {missing:?}");
}
