//! The programs that fame runs: the registries' own clients, and Python for converters.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fmt, io,
    process::{Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{Error, Result};

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
    /// The file that is looked for.
    fn program(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pip | Self::Python => "python3",
        }
    }

    /// The way out for a user who lacks it.
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
        let output = output(&mut command)
            .map_err(|error| failed(format!("it cannot be started: {error}.")))?;
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

/// The programs that run now, by process id. Each leads a process group, in which is also what it
/// starts itself: npm runs node, and pip runs Python.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn running() -> MutexGuard<'static, BTreeSet<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `command` to its end, where [`end_programs`] can end it before.
fn output(command: &mut Command) -> io::Result<Output> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    let mut all = running();
    let child = command.spawn()?;
    let id = child.id();
    all.insert(id);
    drop(all);
    let output = child.wait_with_output();
    running().remove(&id);
    output
}

/// Ends the programs that fetch and convert for this process, with what they have started: for
/// whoever is about to end the process itself.
pub fn end_programs() {
    #[cfg(unix)]
    for id in running().iter() {
        let group = rustix::process::Pid::from_raw(id.cast_signed());
        if let Some(group) = group {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::TERM);
        }
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

/// Whether a printed line says nothing to a user: an empty one, or npm's stack trace.
fn is_noise(line: &str) -> bool {
    line.strip_prefix("npm error")
        .map_or(line.is_empty(), |rest| rest.is_empty() || rest == " }" || rest.starts_with("  "))
}
