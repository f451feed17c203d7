//! One file per subcommand.

pub(crate) mod align;
pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod describe;
pub(crate) mod explain;
pub(crate) mod inspect;
pub(crate) mod merge;
pub(crate) mod models;
pub(crate) mod plugin;
pub(crate) mod recipes;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod submit;
pub(crate) mod synth;
pub(crate) mod verify;
pub(crate) mod verify_run;

use std::{io::Write as _, path::Path};

use fame_core::{Error, ErrorKind, text::Problems};

/// The reason why a command did not do what it should.
pub(crate) enum Failure {
    /// The recipe, or a spec on the command line, has errors.
    Recipe(Box<Problems>),
    /// An argument that cannot be read, or arguments that do not go together.
    Arguments(Error),
    /// Any other error.
    Error(Error),
    /// Nobody reads our output any more.
    ClosedPipe,
}

/// Writes a file that is not there yet, through no link.
///
/// # Errors
/// When anything lies there already, or it cannot be written.
fn write_new(place: &Path, bytes: &[u8]) -> Result<(), Error> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(place);
    let written = file.and_then(|mut file| file.write_all(bytes));
    written.map_err(|e| {
        let error = Error::io("write", place, &e);
        if e.kind() == std::io::ErrorKind::AlreadyExists {
            return error.with_help("It is there already, and nothing was changed. Name another file, or move that one away.");
        }
        error
    })
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        match e.kind {
            ErrorKind::WrongRequest => Failure::Arguments(e),
            _ => Failure::Error(e),
        }
    }
}

impl From<Box<Problems>> for Failure {
    fn from(p: Box<Problems>) -> Self {
        Failure::Recipe(p)
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        if e.kind() == std::io::ErrorKind::BrokenPipe {
            return Failure::ClosedPipe;
        }
        Failure::Error(Error::new("fame::io", format!("cannot write the output: {e}.")))
    }
}
