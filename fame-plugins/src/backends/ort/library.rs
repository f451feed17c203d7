//! The shared library of onnxruntime: where it is looked for, and the one copy of a process.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fame_core::{Error, Result, plugin, store};
use ort::environment::Environment;
use ort::logging::LogLevel;

/// The version that `onnxruntime.sh` fetches.
const VERSION: &str = "1.32.0";

/// The environment variable that names the library, which the crate `ort` reads as well.
const VARIABLE: &str = "ORT_DYLIB_PATH";

const HELP: &str = "`eval \"$(fame-plugins/onnxruntime.sh)\"` fetches it (28 MB). Or name your own: `Ort(library: \"/path/to/libonnxruntime.so\")`, or the environment variable ORT_DYLIB_PATH; the Python package onnxruntime has it in its folder `capi`.";

/// The library that this process has loaded: it is loaded once and stays.
static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

struct Loaded {
    file: PathBuf,
    environment: Environment,
}

/// Loads the library, which runs its code: `named` by a recipe, else by the environment, else in
/// fame's cache. `trusting` skips the question who may have written it.
///
/// # Errors
/// It is nowhere; others could have put or changed it; it is no onnxruntime or one that is too old;
/// or this process has loaded another one.
pub(super) fn load(named: Option<&Path>, trusting: bool) -> Result<Environment> {
    let file = find(named)?;
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loaded) = &*loaded {
        if loaded.file == file {
            return Ok(loaded.environment.clone());
        }
        let text = format!(
            "`{}` cannot be loaded: this process runs onnxruntime from `{}`, and there can be only one.",
            file.display(),
            loaded.file.display()
        );
        return Err(Error::new("fame::backend::library", text)
            .with_help("Name the same library everywhere in a recipe."));
    }
    if !trusting {
        plugin::check_place(&file)?;
    }
    let environment = open(&file).map_err(|why| {
        let text = format!("`{}` cannot be used as onnxruntime: {why}.", file.display());
        Error::new("fame::backend::library", text).with_help(HELP)
    })?;
    *loaded = Some(Loaded { file, environment: environment.clone() });
    Ok(environment)
}

/// Opens the library at `file`.
fn open(file: &Path) -> std::result::Result<Environment, String> {
    let builder = ort::init_from(file).map_err(|e| e.to_string())?;
    // It writes its log on standard error, where a progress bar is; errors come back as values.
    let environment = builder.with_name("fame").with_telemetry(false).build();
    let environment = environment.map_err(|e| e.to_string())?;
    environment.set_log_level(LogLevel::Fatal);
    Ok(environment)
}

/// The real path of the library, which is not opened.
///
/// # Errors
/// It is nowhere.
pub(super) fn find(named: Option<&Path>) -> Result<PathBuf> {
    let given = |path: &Path, by: &str| {
        std::fs::canonicalize(path).ok().filter(|file| file.is_file()).ok_or_else(|| {
            let text = format!("there is no library `{}`, which {by} names.", path.display());
            Error::new("fame::backend::no_library", text).with_help(HELP)
        })
    };
    if let Some(path) = named {
        return given(path, "`library`");
    }
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return given(Path::new(&path), VARIABLE);
    }
    let cached = store::default_cache_dir()?.join(cached_place());
    std::fs::canonicalize(&cached).map_err(|_| {
        let text = format!(
            "onnxruntime is not here: neither `library` nor {VARIABLE} names it, and there is no `{}`.",
            cached.display()
        );
        Error::new("fame::backend::no_library", text).with_help(HELP)
    })
}

/// The place of the library in fame's cache, as `onnxruntime.sh` makes it.
fn cached_place() -> PathBuf {
    let name =
        format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    Path::new(&format!("onnxruntime-{VERSION}")).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_puts_the_library_where_it_is_looked_for() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/onnxruntime.sh");
        let text = std::fs::read_to_string(script).unwrap();
        assert!(text.contains(&format!("version={VERSION}\n")), "{VERSION}");
        assert!(text.contains("/onnxruntime-$version}"));
    }

    #[test]
    fn what_is_no_library_is_refused_with_the_way_out() {
        let missing = load(Some(Path::new("/no/such/libonnxruntime.so")), true).unwrap_err();
        assert_eq!(missing.code, "fame::backend::no_library");
        assert!(missing.help.unwrap().contains("onnxruntime.sh"));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libonnxruntime.so");
        std::fs::write(&file, "no library").unwrap();
        assert_eq!(load(Some(&file), true).unwrap_err().code, "fame::backend::library");
    }
}
