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
    /// Stable, searchable code such as `fame::backend::no_gradient_rule`.
    pub code: String,
    /// One or more full sentences. They name the file, layer or parameter meant.
    pub message: String,
    /// What the user can do about it, when there is something to say.
    pub help: Option<String>,
}

impl Error {
    /// An error with a stable `code` and a full-sentence `message`.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), help: None }
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
