//! Embeds the manifests of `models/`, the converters and models they name, the recipes, also
//! those of detection where that is linked in, and the templates of `plugin new`, so that an
//! installed binary has them all.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

#[path = "../fame-plugins/build/libtorch.rs"]
#[allow(dead_code)] // The other half of the file finds it, which fame-plugins has done.
mod libtorch;

/// A network of the tests that a manifest of `models/` names by this path: a recipe runs on it.
const OF_TESTS: &str = "../tests/golden/nets/vit_slim.onnx";

fn main() {
    let crate_folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    embed_models(&crate_folder.join("../models"));
    let mut recipes = vec![crate_folder.join("../recipes")];
    if env::var_os("CARGO_FEATURE_DETECTION").is_some() {
        recipes.push(crate_folder.join("../tests/third-party/fame-detection/recipes"));
    }
    embed_recipes(&recipes);
    embed_templates(&crate_folder.join("src/commands/plugin/new/templates"));
    // Built with the feature `tch`: the program must find libtorch where it was linked.
    if let Some(folder) = env::var_os("DEP_FAME_LIBTORCH_LIB").map(PathBuf::from) {
        libtorch::link_arguments(&folder)
            .iter()
            .for_each(|argument| println!("cargo::rustc-link-arg={argument}"));
    }
}

/// Whether `path` has one of the extensions.
fn is(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|e| extensions.iter().any(|wanted| e == *wanted))
}

fn embed_models(root: &Path) {
    let texts = files(root, |path| is(path, &["ron", "py"]));
    let mut models = files(root, |path| is(path, &["onnx"]));
    let of_tests = root.join(OF_TESTS);
    println!("cargo::rerun-if-changed={}", of_tests.display());
    models.push((OF_TESTS.to_owned(), fs::canonicalize(&of_tests).unwrap_or(of_tests)));
    write(
        "builtin_models.rs",
        &format!(
            "/// Path below `models/`, and text.\npub(crate) const FILES: &[(&str, &str)] = &[\n{}];\n\
             /// Path below `models/`, and bytes.\npub(crate) const MODELS: &[(&str, &[u8])] = &[\n{}];\n",
            entries(&texts, "include_str"),
            entries(&models, "include_bytes")
        ),
    );
}

fn embed_recipes(roots: &[PathBuf]) {
    let mut all: Vec<_> =
        roots.iter().flat_map(|root| files(root, |path| is(path, &["ron"]))).collect();
    all.sort();
    write(
        "builtin_recipes.rs",
        &format!(
            "/// Name of a file of `recipes/`, or of a crate that is linked in, and text.\n\
             pub(super) const FILES: &[(&str, &str)] = &[\n{}];\n",
            entries(&all, "include_str")
        ),
    );
}

fn embed_templates(root: &Path) {
    write(
        "templates.rs",
        &format!(
            "/// Path below `templates/`, and bytes.\n\
             pub(super) const TEMPLATES: &[(&str, &[u8])] = &[\n{}];\n",
            entries(&files(root, |_| true), "include_bytes")
        ),
    );
}

/// Entries `(path, include!(file)),` of an array.
fn entries(files: &[(String, PathBuf)], include: &str) -> String {
    let entry = |(name, path): &(String, PathBuf)| {
        format!("    ({name:?}, {include}!({:?})),\n", path.display().to_string())
    };
    files.iter().map(entry).collect()
}

fn write(name: &str, code: &str) {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join(name);
    fs::write(out, code).expect("cargo gives a writable OUT_DIR");
}

/// The wanted files below `root`, by their path there, sorted.
fn files(root: &Path, wanted: impl Fn(&Path) -> bool) -> Vec<(String, PathBuf)> {
    let mut files = Vec::new();
    collect(root, root, &wanted, &mut files);
    files.sort();
    files
}

fn collect(
    root: &Path,
    folder: &Path,
    wanted: &dyn Fn(&Path) -> bool,
    files: &mut Vec<(String, PathBuf)>,
) {
    println!("cargo::rerun-if-changed={}", folder.display());
    let Ok(found) = fs::read_dir(folder) else { return };
    for path in found.flatten().map(|e| e.path()) {
        if path.is_dir() {
            collect(root, &path, wanted, files);
        } else if wanted(&path) {
            let name =
                path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            files.push((name, fs::canonicalize(&path).unwrap_or(path)));
        }
    }
}
