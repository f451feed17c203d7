//! What a dynamic plugin and its host compare before they meet: the compiler, the target, the
//! features and the source of this very crate.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher as _},
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    println!("cargo::rustc-env=FAME_RUSTC={}", compiler());
    println!("cargo::rustc-env=FAME_TARGET={}", env::var("TARGET").unwrap_or_default());
    println!("cargo::rustc-env=FAME_FEATURES={}", features());
    println!("cargo::rustc-env=FAME_SOURCE={}", source(&root.join("src")));
}

/// `rustc -V`: Rust promises no layout and no calling convention between two versions of the
/// compiler.
fn compiler() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(&rustc)
        .arg("-V")
        .output()
        .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    said.unwrap_or_else(|e| panic!("cannot ask {} for its version: {e}", rustc.display()))
}

/// The features this crate is built with, sorted.
fn features() -> String {
    let mut on: Vec<String> = env::vars()
        .filter_map(|(name, _)| Some(name.strip_prefix("CARGO_FEATURE_")?.to_lowercase()))
        .collect();
    on.sort();
    on.join(",")
}

/// A hash over every source file with its path. It guards against mistakes, not against malice: 64
/// bits and no cryptography are enough, and since both sides must have the same compiler, both have
/// the same standard hasher.
fn source(folder: &Path) -> String {
    let mut files = Vec::new();
    collect(folder, folder, &mut files);
    files.sort();
    let mut hasher = DefaultHasher::new();
    for (name, path) in files {
        let text =
            fs::read(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
        name.hash(&mut hasher);
        // Git may write other line ends on another system.
        text.into_iter().filter(|b| *b != b'\r').collect::<Vec<u8>>().hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, PathBuf)>) {
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()) {
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push((
                path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/"),
                path.clone(),
            ));
        }
    }
}
