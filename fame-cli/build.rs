//! Embeds the manifests of `models/`, the converters they name and the models that lie there, so
//! that an installed binary knows its models.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

#[path = "../fame-plugins/build/libtorch.rs"]
#[allow(dead_code)] // The other half of the file finds it, which fame-plugins has done.
mod libtorch;

fn main() {
    let root =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../models");
    let mut files = Vec::new();
    collect(&root, &root, &mut files);
    files.sort();
    let (models, texts): (Vec<_>, Vec<_>) = files
        .into_iter()
        .partition(|(name, _)| Path::new(name).extension().is_some_and(|e| e == "onnx"));
    let entries = |files: &[(String, PathBuf)], include: &str| -> String {
        let entry = |(name, path): &(String, PathBuf)| {
            format!("    ({name:?}, {include}!({:?})),\n", path.display().to_string())
        };
        files.iter().map(entry).collect::<Vec<_>>().concat()
    };
    let code = format!(
        "/// Path below `models/`, and text.\npub(crate) const FILES: &[(&str, &str)] = &[\n{}];\n\
         /// Path below `models/`, and bytes.\npub(crate) const MODELS: &[(&str, &[u8])] = \
         &[\n{}];\n",
        entries(&texts, "include_str"),
        entries(&models, "include_bytes")
    );
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("builtin_models.rs");
    fs::write(out, code).expect("cargo gives a writable OUT_DIR");
    println!("cargo::rerun-if-changed={}", root.display());
    // Built with the feature `tch`: the program must find libtorch where it was linked.
    if let Some(folder) = env::var_os("DEP_FAME_LIBTORCH_LIB").map(PathBuf::from) {
        libtorch::link_arguments(&folder)
            .iter()
            .for_each(|argument| println!("cargo::rustc-link-arg={argument}"));
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, PathBuf)>) {
    println!("cargo::rerun-if-changed={}", folder.display());
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|e| e.path()) {
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|e| e == "ron" || e == "py" || e == "onnx") {
            let name =
                path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            files.push((name, fs::canonicalize(&path).unwrap_or(path)));
        }
    }
}
