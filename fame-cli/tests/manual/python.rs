//! Python with NumPy, pandas and readers of what writers leave, for the page that loads a run.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// What the page needs; pandas brings NumPy, and reads Parquet with pyarrow.
const PACKAGES: [&str; 3] = ["pandas==2.3.3", "pyarrow==26.0.1", "safetensors==0.8.0"];

/// Runs the script `file` in `folder`.
///
/// # Panics
/// When it fails, or there is no Python to run it.
pub(crate) fn run(folder: &Path, file: &str) {
    let output = Command::new(interpreter()).arg(file).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !output.stdout.is_empty(), "{file}: {said}");
}

/// The system's Python if it has the packages, else one in the user's cache that gets them once.
fn interpreter() -> PathBuf {
    let has = |python: &Path| {
        let line = ["-c", "import numpy, pandas, pyarrow, safetensors"];
        Command::new(python).args(line).output().is_ok_and(|output| output.status.success())
    };
    let system = PathBuf::from("python3");
    if has(&system) {
        return system;
    }
    let folder = fame_core::store::default_cache_dir().unwrap().join("tests-pandas");
    let own = folder.join("bin/python");
    if !has(&own) {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        let got = Command::new(&own).args(pip).args(PACKAGES).output().unwrap();
        assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    }
    own
}
