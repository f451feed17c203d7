//! Which device, and whether the libtorch that is loaded is the one that was compiled against.

use std::path::{Path, PathBuf};

use fame_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version that tch binds.
pub(super) const LIBTORCH: &str = "2.13.0";

/// Where to compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The CUDA device of this number, or an error.
    Cuda(usize),
    /// The first CUDA device if there is one, else the processor.
    Auto,
}

impl Device {
    /// The device, if it is there.
    pub(super) fn resolve(self) -> Result<tch::Device> {
        match self {
            Self::Cpu => Ok(tch::Device::Cpu),
            Self::Auto => Ok(tch::Device::cuda_if_available()),
            Self::Cuda(wanted) => {
                let there = if tch::Cuda::is_available() {
                    usize::try_from(tch::Cuda::device_count()).unwrap_or(0)
                } else {
                    0
                };
                if wanted < there {
                    Ok(tch::Device::Cuda(wanted))
                } else {
                    Err(no_device(wanted, there))
                }
            }
        }
    }
}

fn no_device(wanted: usize, there: usize) -> Error {
    let why = match there {
        0 if !tch::utils::has_cuda() => "this libtorch was built without CUDA".to_owned(),
        0 => "libtorch sees no CUDA device".to_owned(),
        n => format!("libtorch sees {n} of them, counted from 0"),
    };
    Error::new(
        "fame::backend::no_device",
        format!("the CUDA device {wanted} cannot be used: {why}."),
    )
    .with_help("Use `device: Cpu`, or `device: Auto` to take whatever is there.")
}

/// Whether the libtorch in this process is the one that this program was compiled for. Its
/// functions have no stable binary interface.
pub(super) fn check_library() -> Result<()> {
    check_version(loaded_library().as_deref())
}

/// Unknown versions pass: some installations carry no mark, and loading has succeeded.
fn check_version(library: Option<&Path>) -> Result<()> {
    let Some((library, version)) = library.and_then(|path| Some((path, version_beside(path)?)))
    else {
        return Ok(());
    };
    if version == LIBTORCH {
        return Ok(());
    }
    Err(Error::new(
        "fame::backend::libtorch_version",
        format!("the backend Tch was built for libtorch {LIBTORCH}, but `{}` is version {version}.", library.display()),
    )
    .with_help("Let LD_LIBRARY_PATH name the right one, or build fame again with LIBTORCH set to this one's folder. fame-plugins/libtorch.sh makes the right one."))
}

/// The file that libtorch was loaded from, where the system says.
fn loaded_library() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines()
        .filter_map(|line| line.split_once('/'))
        .map(|(_, path)| PathBuf::from(format!("/{path}")))
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("libtorch_cpu.so"))
        })
}

/// The version written beside a library: `build-version` of a libtorch folder, or `version.py` of a
/// Python package.
fn version_beside(library: &Path) -> Option<String> {
    let folder = library.parent()?.parent()?;
    let plain = |text: &str| text.trim().split('+').next().unwrap_or_default().to_owned();
    if let Ok(text) = std::fs::read_to_string(folder.join("build-version")) {
        return Some(plain(&text));
    }
    let python = std::fs::read_to_string(folder.join("version.py")).ok()?;
    let value = python.lines().find_map(|line| line.strip_prefix("__version__ = "))?;
    Some(plain(value.trim_matches(['\'', '"'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_named_and_the_right_one_passes() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("lib")).unwrap();
        let library = folder.path().join("lib/libtorch_cpu.so");
        check_version(Some(&library)).unwrap();
        std::fs::write(
            folder.path().join("version.py"),
            "__all__ = []\n__version__ = '2.4.1+cu121'\n",
        )
        .unwrap();
        let error = check_version(Some(&library)).unwrap_err();
        assert!(
            error.message.contains("2.13.0")
                && error.message.contains("2.4.1")
                && !error.message.contains("cu121"),
            "{error}"
        );
        std::fs::write(folder.path().join("build-version"), "2.13.0+cpu\n").unwrap();
        check_version(Some(&library)).unwrap();
    }

    #[test]
    fn the_library_of_this_process_is_found_and_right() {
        // libtorch is linked, so it is loaded.
        assert!(tch::get_num_threads() > 0);
        let library = loaded_library().expect("libtorch is mapped");
        assert_eq!(version_beside(&library).as_deref(), Some(LIBTORCH));
        check_library().unwrap();
    }

    #[test]
    fn a_cuda_device_that_is_not_there_is_refused_and_nothing_else_is_taken() {
        let there = tch::Cuda::device_count();
        let error = Device::Cuda(usize::try_from(there).unwrap() + 1).resolve().unwrap_err();
        assert_eq!(error.code, "fame::backend::no_device");
        assert!(error.help.unwrap().contains("device: Cpu"));
        assert_eq!(Device::Cpu.resolve().unwrap(), tch::Device::Cpu);
        assert_eq!(
            Device::Auto.resolve().unwrap(),
            if there > 0 { tch::Device::Cuda(0) } else { tch::Device::Cpu }
        );
    }
}
