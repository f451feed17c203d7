//! Where libtorch is. The variables are those that `torch-sys` reads, so that the two agree; its
//! own messages do not know our script.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that tch 0.26 binds.
pub(crate) const VERSION: &str = "2.13.0";

/// What the answer depends on.
pub(crate) const VARIABLES: [&str; 6] = [
    "LIBTORCH",
    "LIBTORCH_LIB",
    "LIBTORCH_INCLUDE",
    "LIBTORCH_USE_PYTORCH",
    "LIBTORCH_BYPASS_VERSION_CHECK",
    "VIRTUAL_ENV",
];

/// What to do.
const WAY_OUT: &str = "Run `eval \"$(fame-plugins/libtorch.sh)\"`, which builds a CPU-only libtorch 2.13.0 folder and sets LIBTORCH; or \
                       set LIBTORCH to your own one, or LIBTORCH_USE_PYTORCH=1 to use the torch==2.13.0 of your Python.";

/// The folder with libtorch's libraries.
///
/// # Errors
/// One sentence: nothing names a libtorch, what is named is none, or it has another version.
pub(crate) fn locate(variable: &dyn Fn(&str) -> Option<String>) -> Result<PathBuf, String> {
    let (folder, version) = if variable("LIBTORCH_USE_PYTORCH").is_some() {
        of_python(variable)?
    } else if let Some(root) = variable("LIBTORCH") {
        let folder =
            PathBuf::from(variable("LIBTORCH_LIB").unwrap_or_else(|| root.clone())).join("lib");
        let version = std::fs::read_to_string(Path::new(&root).join("build-version")).ok();
        (folder, version)
    } else if Path::new("/usr/lib/libtorch.so").exists() {
        (PathBuf::from("/usr/lib"), None)
    } else {
        return Err(format!(
            "the feature `tch` needs libtorch {VERSION}, and LIBTORCH is not set. {WAY_OUT}"
        ));
    };
    if !["libtorch_cpu.so", "libtorch_cpu.dylib", "torch_cpu.dll"]
        .iter()
        .any(|name| folder.join(name).exists())
    {
        return Err(format!(
            "the feature `tch` needs libtorch {VERSION}, and there is none in `{}`. {WAY_OUT}",
            folder.display()
        ));
    }
    let version = version.map(|text| text.trim().split('+').next().unwrap_or_default().to_owned());
    match version {
        Some(other) if other != VERSION && variable("LIBTORCH_BYPASS_VERSION_CHECK").is_none() => {
            Err(format!(
                "the feature `tch` needs libtorch {VERSION}, but `{}` holds version {other}. {WAY_OUT}",
                folder.display()
            ))
        }
        _ => Ok(folder),
    }
}

/// Asks the Python that torch-sys will ask.
fn of_python(
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(PathBuf, Option<String>), String> {
    let python = if variable("VIRTUAL_ENV").is_some() { "python" } else { "python3" };
    let script = "import torch, os; print(torch.__version__); print(os.path.join(os.path.dirname(torch.__file__), 'lib'))";
    let told = Command::new(python)
        .args(["-c", script])
        .output()
        .ok()
        .filter(|output| output.status.success());
    let text =
        told.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let mut lines = text.lines().map(str::to_owned);
    match (lines.next(), lines.next()) {
        (Some(version), Some(folder)) => Ok((PathBuf::from(folder), Some(version))),
        _ => Err(format!("LIBTORCH_USE_PYTORCH is set, but `{python}` has no torch. {WAY_OUT}")),
    }
}

/// Lets a program find libtorch where it was linked, and keeps the linker from dropping what only
/// registers itself when loaded: without its CUDA library libtorch sees no CUDA device.
pub(crate) fn link_arguments(folder: &Path) -> Vec<String> {
    let mut arguments = vec![format!("-Wl,-rpath,{}", folder.display())];
    if folder.join("libtorch_cuda.so").exists() {
        arguments.extend(
            ["-Wl,--no-as-needed", "-ltorch_cuda", "-ltorch", "-Wl,--as-needed"].map(str::to_owned),
        );
    }
    arguments
}
