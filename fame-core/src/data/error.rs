//! The one error type that crosses every seam.
//!
//! A plugin may live in another shared library with its own copy of every dependency, so an error
//! is plain data: a stable code, one full sentence, and what to do about it. Recipe errors carry a
//! place in the text as well; those live in [`crate::recipe`].

use std::fmt;

/// `Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where, and what to do: plain data, safe to pass across the plugin line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Stable, searchable code such as `fame::backend::no_gradient_rule`: for people and for
    /// programs that read fame's output.
    pub code: String,
    /// What code may branch on.
    pub kind: ErrorKind,
    /// One or more full sentences. They name the file, layer or parameter meant.
    pub message: String,
    /// What the user can do about it, when there is something to say.
    pub help: Option<String>,
}

/// The failures that the caller can do something about: code asks for the kind, never for the code
/// or the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorKind {
    /// Whatever has no kind of its own: the work ends here.
    #[default]
    Failure,
    /// A map step was given a map that says nothing, such as zeros to be normalised: the picture
    /// then has a warning in place of a map.
    EmptyMap,
    /// The backend has no gradient rule for an operator on the way.
    NoGradientRule,
}

impl Error {
    /// An error with a stable `code` and a full-sentence `message`.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        let kind = ErrorKind::default();
        Self { code: code.into(), kind, message: message.into(), help: None }
    }

    /// Says of which kind it is.
    #[must_use]
    pub fn of_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// The refusal of a map step that has nothing to work with: [`ErrorKind::EmptyMap`].
    pub fn empty_map(message: impl Into<String>) -> Self {
        Self::new("fame::map::empty", message).of_kind(ErrorKind::EmptyMap)
    }

    /// Adds what the user can do.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Puts `place` in front of the message: `place: message`. Use it on the way up to say in which
    /// item, layer or file it happened.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// An I/O error on `path` while doing `what` ("read", "write", "create").
    pub fn io(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new("fame::io", format!("cannot {what} `{}`: {error}.", path.display()))
    }

    /// A broken promise between two parts of fame: a bug in fame or in a plugin, never the user's
    /// fault.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new("fame::bug", message).with_help(
            "This is a bug in fame or in a plugin. Please report it with the recipe that led here.",
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl miette::Diagnostic for Error {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|h| Box::new(h) as Box<dyn fmt::Display>)
    }
}
