//! What the build script says when the feature `tch` is on and libtorch is not there or is the
//! wrong one: the script itself is run, in folders of every kind.

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Compiles the build script and gives a way to run it with these variables and no others that
/// matter.
fn script(folder: &Path) -> impl Fn(&[(&str, &str)]) -> Output {
    let program = folder.join("build-script");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let compiled = Command::new(rustc)
        .args(["--edition", "2024", "-o"])
        .arg(&program)
        .arg(source)
        .status()
        .unwrap();
    assert!(compiled.success());
    move |variables| {
        let mut run = Command::new(&program);
        run.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        run.envs(variables.iter().copied()).output().unwrap()
    }
}

fn told(output: &Output) -> (bool, String) {
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_build_says_what_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = script(folder.path());
    let root = folder.path().join("libtorch");
    let named = root.to_str().unwrap();
    let with = |more: &[(&'static str, &'static str)]| {
        let mut all = vec![("CARGO_FEATURE_TCH", "1"), ("LIBTORCH", named)];
        all.extend(more);
        run(&all)
    };

    // Without the feature nothing is looked for.
    assert!(run(&[]).status.success());

    if !Path::new("/usr/lib/libtorch.so").exists() {
        let (fine, text) = told(&run(&[("CARGO_FEATURE_TCH", "1")]));
        assert!(
            !fine
                && text.contains("LIBTORCH is not set")
                && text.contains("fame-plugins/libtorch.sh"),
            "{text}"
        );
    }

    let (fine, text) = told(&with(&[]));
    assert!(
        !fine
            && text.contains("there is none in")
            && text.contains(named)
            && text.contains("libtorch.sh"),
        "{text}"
    );

    fs::create_dir_all(root.join("lib")).unwrap();
    fs::write(root.join("lib/libtorch_cpu.so"), "").unwrap();
    fs::write(root.join("build-version"), "2.4.1+cu121\n").unwrap();
    let (fine, text) = told(&with(&[]));
    assert!(
        !fine
            && text.contains("2.13.0")
            && text.contains("version 2.4.1")
            && text.contains("libtorch.sh"),
        "{text}"
    );
    assert!(with(&[("LIBTORCH_BYPASS_VERSION_CHECK", "1")]).status.success());

    fs::write(root.join("build-version"), "2.13.0\n").unwrap();
    let output = with(&[]);
    assert!(output.status.success());
    let asked = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(asked.contains(&format!("cargo::rustc-link-arg=-Wl,-rpath,{named}/lib")), "{asked}");
    assert!(
        asked.contains(&format!("cargo::metadata=LIB={named}/lib")) && !asked.contains("cuda"),
        "{asked}"
    );

    // A CUDA build must not lose its CUDA library to the linker.
    fs::write(root.join("lib/libtorch_cuda.so"), "").unwrap();
    assert!(String::from_utf8_lossy(&with(&[]).stdout).contains("-ltorch_cuda"));
}
