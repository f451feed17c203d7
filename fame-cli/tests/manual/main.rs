//! The manual says what is so: every command in it is taken by the program, what it shows as run
//! runs, its recipes and manifests have no mistakes, its reference pages are what `describe` says,
//! and its links lead somewhere.
//!
//! The first line of a fenced block says what becomes of it: `sh run` is run, page by page in a
//! folder of the page's own; `text output` is what the commands before it print, but for numbers
//! and for what `…` leaves out; `sh` and `console` must be taken by the program; `ron file=NAME`
//! and `python file=NAME` are files for the commands behind them, the latter also run; `python
//! exports=NET` needs PyTorch, so that a small network of the tests stands here for what it exports
//! (`fame-cli/release/newcomer.sh` runs it); `ron manifest` is one; `ron plugin` needs a plugin and
//! is read only; any other `ron` is a list of specs.
//!
//! Needs the models and pictures that recipes need, which are fetched once into the user's cache.

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used)]

mod blocks;
mod output;
mod python;
mod recipes;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use blocks::{Block, blocks, words};
use fame_core::{
    recipe::RecipeFile,
    registry::{BuildContext, Kind, Registry},
    store::ModelManifest,
    text::{Spec, parse},
};
use fame_plugins::{MANIFEST_EXAMPLE, RECIPE_DEFAULTS, RECIPE_EXAMPLE, writers::claim};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// `fame-cli` in `folder`, with the user's cache.
fn fame(folder: &Path, arguments: &[&str]) -> Output {
    assert_cmd::Command::new(env!("CARGO_BIN_EXE_fame-cli"))
        .current_dir(folder)
        .args(arguments)
        .env("NO_COLOR", "1")
        .output()
        .expect("fame-cli starts")
}

/// Every page with its path below the repository: the manual, README and llms.txt.
fn pages() -> Vec<(String, String)> {
    let mut files = vec![root().join("README.md"), root().join("llms.txt")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                files.push(path);
            }
        }
    }
    files.sort();
    let named = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(&path).unwrap())
    };
    files.into_iter().map(named).collect()
}

/// The arguments of every `fame-cli` in a block.
fn commands(block: &Block) -> Vec<Vec<String>> {
    let lines = block.code.lines().filter_map(words);
    lines.filter(|words| words[0] == "fame-cli").map(|words| words[1..].to_vec()).collect()
}

#[test]
fn every_command_is_taken_by_the_program() {
    let mut seen = 0;
    for (page, text) in pages() {
        for block in blocks(&text).iter().filter(|b| b.is("sh") || b.is("console")) {
            for command in commands(block) {
                let line: Vec<&str> = command.iter().map(String::as_str).collect();
                fame_cli::accepts(&line)
                    .unwrap_or_else(|e| panic!("{page}:{}: {line:?}: {e}", block.line));
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "only {seen} commands");
}

#[test]
fn what_is_shown_as_run_runs() {
    let (mut seen, mut outputs) = (0, 0);
    for (page, text) in pages() {
        let folder = tempfile::tempdir().unwrap();
        // What the commands of the last block printed.
        let mut printed = String::new();
        for block in blocks(&text) {
            if let Some(file) = block.file() {
                fs::write(folder.path().join(file), &block.code).unwrap();
            }
            if let Some(network) = block.exports() {
                let small = root().join("tests/golden/nets/mobilenet_v2_slim.onnx");
                fs::copy(small, folder.path().join(network)).unwrap();
            } else if let Some(file) = block.file().filter(|_| block.is("python")) {
                python::run(folder.path(), file);
            }
            if block.is("text") && block.has("output") {
                let place = format!("{page}:{}", block.line);
                assert_eq!(output::missing(&block.code, &printed), None, "{place}: {printed}");
                outputs += 1;
            }
            if !(block.is("sh") && block.has("run")) {
                continue;
            }
            printed.clear();
            for command in commands(&block) {
                let line: Vec<&str> = command.iter().map(String::as_str).collect();
                let output = fame(folder.path(), &line);
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{page}:{}: {line:?}: {said}", block.line);
                printed += &String::from_utf8_lossy(&output.stdout);
                seen += 1;
            }
        }
    }
    assert!(seen > 20 && outputs > 2, "only {seen} commands and {outputs} outputs");
}

#[test]
fn every_recipe_manifest_and_spec_is_right() {
    let registry = Registry::builtin().unwrap();
    let ask = parse("(loss: Similarity(), layer: Output)").unwrap();
    let with = BuildContext { ask: &ask, ..BuildContext::new(&registry, Path::new(".")) };
    for (page, text) in pages() {
        // Keys alone, in the reference, are parts of examples that are looked at as a whole.
        let reference = page.starts_with("docs/reference/");
        for block in blocks(&text).iter().filter(|b| b.is("ron")) {
            let place = format!("{page}:{}", block.line);
            let whole = block.code.trim_start().starts_with('(');
            if block.has("manifest") {
                ModelManifest::parse("net", &block.code, None)
                    .unwrap_or_else(|e| panic!("{place}: {e}"));
            } else if whole && block.code.contains("model:") {
                RecipeFile::parse(&block.code, RECIPE_DEFAULTS)
                    .unwrap_or_else(|p| panic!("{place}: {p:?}"));
            } else if whole {
                let read = ModelManifest::parse("net", &block.code, None);
                read.unwrap_or_else(|e| panic!("{place}: {e}"));
            } else if !reference {
                for line in block.code.lines() {
                    let spec = Spec::from_text(line).unwrap_or_else(|p| panic!("{place}: {p:?}"));
                    let known = registry.iter().find(|r| r.name() == spec.name);
                    let known = known.unwrap_or_else(|| panic!("{place}: no {}", spec.name));
                    registry
                        .check_text(known, line, &with)
                        .unwrap_or_else(|p| panic!("{place}: {line}: {p:?}"));
                }
            }
        }
    }
}

#[test]
fn the_examples_of_describe_are_a_recipe_and_a_manifest() {
    ModelManifest::parse("pets", MANIFEST_EXAMPLE, None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // Its library is nowhere, and onnxruntime may be missing.
    let lines = RECIPE_EXAMPLE.lines();
    let here: Vec<&str> =
        lines.filter(|line| !line.contains("plugins:") && !line.contains("check:")).collect();
    fs::write(folder.path().join("r.ron"), here.join("\n")).unwrap();
    let output = fame(folder.path(), &["check", "r.ron"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What `describe` is asked for a reference page.
fn reference_pages() -> Vec<(String, String)> {
    let kinds = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Operator);
    let mut pages: Vec<(String, String)> = kinds
        .map(|kind| {
            let plural = kind.plural();
            let title = plural[..1].to_uppercase() + &plural[1..];
            (kind.word().to_owned(), title)
        })
        .collect();
    for (word, title) in [
        ("recipe", "Keys of a recipe"),
        ("manifest", "Keys of a manifest"),
        ("commands", "Commands"),
    ] {
        pages.push((word.to_owned(), title.to_owned()));
    }
    pages
}

/// With `FAME_WRITE_MANUAL=1` the pages are written instead.
#[test]
fn the_reference_is_what_describe_says() {
    let folder = root().join("docs/reference");
    for (word, title) in reference_pages() {
        let output = fame(&folder.join(".."), &["describe", &word, "--markdown"]);
        assert!(output.status.success(), "{word}");
        let said = String::from_utf8(output.stdout).unwrap();
        let page = format!("# {title}\n\n<!-- fame-cli describe {word} --markdown -->\n\n{said}");
        let path = folder.join(format!("{word}.md"));
        if std::env::var_os("FAME_WRITE_MANUAL").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &page).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == page,
            "docs/reference/{word}.md is not what `fame-cli describe {word} --markdown` says: FAME_WRITE_MANUAL=1 cargo test -p fame-cli --test manual writes it"
        );
    }
}

#[test]
fn every_explainer_has_its_formula_paper_and_claim() {
    let text = fs::read_to_string(root().join("docs/methods.md")).unwrap();
    let registry = Registry::builtin().unwrap();
    let sections: Vec<(&str, &str)> =
        text.split("\n### ").skip(1).filter_map(|part| part.split_once('\n')).collect();
    let explainers: BTreeSet<&str> = registry
        .iter()
        .filter(|r| r.kind() == Kind::Explainer)
        .map(fame_core::registry::Registration::name)
        .collect();
    let told: BTreeSet<&str> = sections.iter().map(|(name, _)| name.trim()).collect();
    assert_eq!(told, explainers);
    for r in registry.iter().filter(|r| r.kind() == Kind::Explainer) {
        let (_, section) = sections.iter().find(|(name, _)| name.trim() == r.name()).unwrap();
        let section = section.split("\n## ").next().unwrap();
        for part in [r.reference(), claim(r.name())] {
            assert!(section.contains(part), "{}: {part}", r.name());
        }
        let formula = section.trim().lines().next().unwrap();
        assert!(formula.len() > 10 && !formula.starts_with('*'), "{}: {formula}", r.name());
    }
}

#[test]
fn every_link_leads_somewhere_and_every_page_is_in_the_summary() {
    for (page, text) in pages() {
        let folder = root().join(&page).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if link.starts_with("http") || link.starts_with('#') || link.contains(' ') {
                continue;
            }
            let file = link.split('#').next().unwrap();
            assert!(folder.join(file).exists(), "{page}: ({link})");
        }
    }
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    for (page, _) in pages() {
        let Some(page) = page.strip_prefix("docs/").filter(|page| *page != "SUMMARY.md") else {
            continue;
        };
        assert!(summary.contains(&format!("({page})")), "{page} is not in SUMMARY.md");
    }
}

#[test]
fn codes_and_recipes_that_are_named_exist() {
    let mut source = String::new();
    let mut folders: Vec<PathBuf> =
        ["fame-core/src", "fame-plugins/src", "fame-cli/src"].map(|f| root().join(f)).into();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                source += &fs::read_to_string(path).unwrap();
            }
        }
    }
    let text = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let codes: Vec<&str> =
        text.split('`').filter(|part| part.starts_with("fame::") && !part.contains(' ')).collect();
    assert!(codes.len() > 8, "{codes:?}");
    for code in codes {
        let written = source.contains(&format!("\"{code}\""));
        // Codes about plugins are made of a fixed start and a word.
        let word = code.rsplit(':').next().unwrap();
        let made = code.starts_with("fame::plugin::") && source.contains(&format!("\"{word}"));
        assert!(written || made, "no code {code}");
    }
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for entry in fs::read_dir(root().join("recipes")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let shown = Path::new(&name).extension().is_none_or(|end| end != "ron")
            || readme.contains(&format!("`{name}`"));
        assert!(shown, "README does not name {name}");
    }
    assert!(readme.lines().count() <= 120, "README has {} lines", readme.lines().count());
}
