//! What third parties do: a crate from `plugin new` for each kind, and the guide's crate, are built
//! outside of the workspace, pass their own tests, and run from a recipe in the `fame-cli` under
//! test.
//!
//! All share one target folder, so that fame-core and its dependencies are built once. Nothing is
//! fetched: lock files and sources are the workspace's own.

use std::{
    env::consts::{DLL_PREFIX, DLL_SUFFIX},
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use fame_core::registry::Kind;

use super::*;

/// Where crates outside of the workspace are built.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("third-party")
}

fn library(name: &str) -> PathBuf {
    target().join("debug").join(format!("{DLL_PREFIX}{name}{DLL_SUFFIX}"))
}

/// `cargo ARGUMENTS` in `folder`, as its author would call it.
fn cargo(folder: &Path, arguments: &[&str]) -> String {
    // Cargo would wait for the folder anyway; this way a test that waits is not taken for one that
    // hangs.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut command = Command::new(env!("CARGO"));
    // What cargo tells the tests of this crate is not about that one.
    for (name, _) in std::env::vars().filter(|(name, _)| {
        name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_PRIMARY")
            || name == "CARGO_MANIFEST_DIR"
    }) {
        command.env_remove(name);
    }
    let output = command
        .current_dir(folder)
        .args(arguments)
        .env("CARGO_TARGET_DIR", target())
        .env("CARGO_TERM_COLOR", "never")
        .output()
        .unwrap();
    let said = format!("{}{}", stdout(&output), stderr(&output));
    assert!(output.status.success(), "cargo {arguments:?} in {}:\n{said}", folder.display());
    said
}

/// Makes a crate for `kind` in `folder`, and returns its own folder.
fn scaffolded(folder: &Path, kind: &str) -> PathBuf {
    let name = format!("try-{kind}");
    let output = fame(folder, &["plugin", "new", &name, "--kind", kind]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("built against the source in"), "{}", stdout(&output));
    folder.join(name)
}

/// What fame said on standard error, without the frame around it and without blanks: lines are
/// broken anywhere.
fn said(output: &Output) -> String {
    stderr(output).chars().filter(|c| !c.is_whitespace() && !"│×╭╰─┬·".contains(*c)).collect()
}

/// How many tests a `cargo test` passed.
fn passed(said: &str) -> usize {
    said.lines()
        .filter_map(|line| {
            line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse::<usize>().ok()
        })
        .sum()
}

/// Runs the recipe of a crate with `--plugin`, and returns its record.
fn run_with_plugin(crate_folder: &Path, library: &Path, out: &str) -> serde_json::Value {
    let library = library.to_string_lossy();
    let output = fame(
        crate_folder,
        &["--plugin", &library, "run", "recipe.ron", "--set", "plugins=[]", "--out", out],
    );
    assert!(
        output.status.success(),
        "{}: {}{}",
        crate_folder.display(),
        stdout(&output),
        stderr(&output)
    );
    record(&crate_folder.join(out))
}

#[test]
fn a_new_plugin_of_every_kind_builds_passes_its_tests_and_runs_from_its_recipe() {
    let dir = tempfile::tempdir().unwrap();
    for kind in Kind::ALL.map(Kind::word) {
        let folder = scaffolded(dir.path(), kind);
        // Warnings are the author's first impression.
        let said = cargo(&folder, &["test", "--offline"]);
        assert!(passed(&said) >= 3 && !said.contains("warning: "), "{kind}: {said}");
        cargo(&folder, &["build", "--offline"]);
        let record = run_with_plugin(&folder, &library(&format!("try_{kind}")), "out");
        assert_eq!(record["status"], "complete", "{kind}");
        let name = format!("Try{}{}", kind[..1].to_uppercase(), &kind[1..]);
        let plan = record["plan"].to_string();
        assert!(plan.contains(&format!("\"{name}\"")), "{kind}: the plan uses it: {plan}");
        assert!(!record["items"].as_array().unwrap().is_empty(), "{kind}");
    }
    let written = dir.path().join("try-writer/out/items/00000_disc");
    assert!(
        fs::read_dir(written).unwrap().any(|f| f
            .unwrap()
            .file_name()
            .to_string_lossy()
            .ends_with(".top.csv"))
    );
    assert!(
        fs::read_to_string(dir.path().join("try-metric/out/metrics.csv"))
            .unwrap()
            .contains("effective_pixels")
    );
}

#[test]
fn a_recipe_finds_its_plugin_by_itself_where_cargo_leaves_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = scaffolded(dir.path(), "map");
    cargo(&folder, &["build", "--offline"]);
    // Where cargo leaves it without the shared folder of these tests.
    fs::create_dir_all(folder.join("target/debug")).unwrap();
    fs::copy(
        library("try_map"),
        folder.join("target/debug").join(library("try_map").file_name().unwrap()),
    )
    .unwrap();
    let output = fame(&folder, &["run", "recipe.ron", "--out", "out"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn nothing_is_overwritten_and_doubtful_names_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], with: &str| {
        let output = fame(dir.path(), &[&["plugin", "new"], arguments].concat());
        let with: String = with.chars().filter(|c| !c.is_whitespace()).collect();
        assert!(
            !output.status.success() && said(&output).contains(&with),
            "{arguments:?}: {}",
            stderr(&output)
        );
    };
    fs::create_dir(dir.path().join("mine")).unwrap();
    refused(&["mine", "--kind", "loss"], "`./mine` exists already, and nothing is overwritten.");
    assert!(fs::read_dir(dir.path().join("mine")).unwrap().next().is_none());
    refused(
        &["Logit", "--kind", "loss"],
        "there is a loss called `Logit` already, from fame-plugins",
    );
    refused(&["tensor", "--kind", "loss"], "uses the word `Tensor` for something else");
    refused(&["../evil", "--kind", "loss"], "`../evil` does not begin with a letter.");
    refused(&["mine2", "--kind", "los"], "possible values: backend, operator, dataset");
    refused(
        &["mine3", "--kind", "loss", "--fame-core", "nowhere"],
        "`nowhere` is neither a folder with fame-core's source nor a version.",
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was written");
    // A name may be one of another kind, and a version may be said.
    let output = fame(
        dir.path(),
        &["--json", "plugin", "new", "Logit", "--kind", "metric", "--fame-core", "9.9.9"],
    );
    let told: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        (&told["package"], &told["plugin"], &told["kind"]),
        (&"logit".into(), &"Logit".into(), &"metric".into())
    );
    assert!(
        fs::read_to_string(dir.path().join("logit/Cargo.toml"))
            .unwrap()
            .contains("fame-core = \"=9.9.9\"")
    );
}

#[test]
fn the_guides_crate_builds_passes_its_tests_and_runs() {
    let tiny = root().join("tests/third-party/fame-tiny");
    let of_tests = cargo(&tiny, &["test", "--offline", "--locked"]);
    assert!(passed(&of_tests) >= 4, "{of_tests}");
    cargo(&tiny, &["build", "--offline", "--locked"]);
    let dir = workshop();
    let fame_spec = "Fame(layer: Output, loss: Rather(classes: (0, 1)), perturbation: Steepest(step: 0.01, iterations: 3), map: [Gray(), MaxNormalize()])";
    let recipe = format!(
        r#"(model: "net.onnx", data: Image(file: "a.png"), prepare: [], explain: {{"rather": {fame_spec}}})"#
    );
    fs::write(dir.path().join("recipe.ron"), recipe).unwrap();
    let record = run_with_plugin(dir.path(), &library("fame_tiny"), "out");
    let map = &record["items"][0]["explanations"]["rather"]["maps"][0];
    assert!(map["loss_after"].as_f64() < map["loss_before"].as_f64(), "{map}");
    // A class that does not exist is the plugin's own error, at the item.
    let tiny = library("fame_tiny").to_string_lossy().into_owned();
    let wrong = [
        "--plugin",
        &tiny,
        "run",
        "recipe.ron",
        "--force",
        "--set",
        "explain.rather.loss=Rather(classes: (0, 9999))",
    ];
    let output = fame(dir.path(), &wrong);
    assert_eq!(output.status.code(), Some(3));
    assert!(said(&output).contains("classes,countedfrom0"), "{}", stderr(&output));
}
