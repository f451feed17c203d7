//! Downloads: one archive of one package, by the registry's own client.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    source::{Package, PyPiArchive},
    tools::{Tool, Tools},
};
use crate::{Error, Result};

impl Package {
    /// The client that fetches it.
    pub fn tool(&self) -> Tool {
        match self {
            Self::Npm { .. } => Tool::Npm,
            Self::PyPi { .. } => Tool::Pip,
        }
    }
}

/// Downloads the archive of `package` into the empty folder `work` and answers with its path. Its
/// checksum is still to be verified.
pub(super) fn download(tools: &Tools, package: &Package, work: &Path) -> Result<PathBuf> {
    let what = format!("download {} {}", package.name(), package.version());
    let tool = package.tool();
    let mut command = tools.command(tool, &what)?;
    let into = work.join("download");
    super::cache::make_folder(&into)?;
    command.current_dir(&into);
    ask_for(&mut command, package, work, &into)?;
    Tools::run(command, tool, "fame::model::download", &what).map_err(explain)?;
    only_file(&into)?.ok_or_else(|| {
        Error::new(
            "fame::model::download",
            format!("{tool} could not {what}: it ended well, but left no archive or several."),
        )
        .with_help(TRY_AGAIN)
    })
}

/// The client's arguments: the archive of `package`, and no other, into the folder `into`.
fn ask_for(command: &mut Command, package: &Package, work: &Path, into: &Path) -> Result<()> {
    match package {
        Package::Npm { package, version, .. } => {
            // npm waits more than a minute between its three tries; without a network that is too
            // long to learn of it.
            command.args([
                "pack",
                "--ignore-scripts",
                "--loglevel=error",
                "--fetch-retry-mintimeout=1000",
                "--fetch-retry-maxtimeout=4000",
            ]);
            command.arg(format!("{package}@{version}"));
        }
        Package::PyPi { package, version, archive, archive_sha256 } => {
            // The checksum goes to pip as well: for a source distribution pip runs code of the
            // package, and must not run any other.
            let pinned = work.join("requirements.txt");
            fs::write(&pinned, format!("{package}=={version} --hash=sha256:{archive_sha256}\n"))
                .map_err(|error| Error::io("write", &pinned, &error))?;
            command
                .args(["download", "--no-deps", "--require-hashes", "--dest"])
                .arg(into)
                .arg("--requirement")
                .arg(&pinned);
            match archive {
                PyPiArchive::Wheel => command
                    .args(["--only-binary=:all:", "--implementation=cp", "--python-version=3.11"])
                    .args([
                        "--platform=manylinux_2_28_x86_64",
                        "--platform=manylinux_2_17_x86_64",
                        "--platform=manylinux2014_x86_64",
                    ]),
                // Only this package: its build tools may come as wheels.
                PyPiArchive::Sdist => command.arg(format!("--no-binary={package}")),
            };
        }
    }
    Ok(())
}

/// The way out of a failed download.
const TRY_AGAIN: &str = "Check the network connection and the client's own settings (registry, proxy), then try again. \
What is cached once is never downloaded again.";

/// pip sees a wrong checksum before fame does; both must read the same.
fn explain(error: Error) -> Error {
    if error.message.contains("DO NOT MATCH THE HASHES") {
        Error { code: "fame::model::checksum".to_owned(), ..error }.with_help(WRONG_CHECKSUM)
    } else if error.help.is_none() {
        error.with_help(TRY_AGAIN)
    } else {
        error
    }
}

/// The way out of a wrong checksum.
pub(super) const WRONG_CHECKSUM: &str = "Nothing was kept. The registry or something on the way serves another file than the manifest \
was written for: do not use it before you know why.";

/// The archive in `folder`; `None` where there is none or more than one.
fn only_file(folder: &Path) -> Result<Option<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|error| Error::io("read", folder, &error))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(std::result::Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    let is_archive = |path: &PathBuf| path.extension() != Some(OsStr::new("txt"));
    files.retain(is_archive);
    Ok(if files.len() == 1 { files.pop() } else { None })
}
