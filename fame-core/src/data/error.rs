//! The one error type that crosses every seam.
//!
//! A plugin may live in another shared library with its own copy of every dependency, so an error
//! is plain data: a stable code, one full sentence, what to do about it, and the marked places when
//! it is about a text (see [`Problem`](super::Problem)).

use std::{
    fmt::{self, Write as _},
    io,
};

use super::{SourcedProblem, problem::shortened};

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
    /// When a text such as a manifest cannot be used: what is wrong with it, each problem with the
    /// characters it marks. The message says the same without marks.
    pub problems: Vec<SourcedProblem>,
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
    /// The disk, or the user's share of it, is full: whatever is written next fails as well.
    DiskFull,
    /// Somebody has stopped the run.
    Stopped,
    /// An item took longer than the run allows.
    TimedOut,
    /// What was asked for is not there to be had, such as an item that the data does not have: a
    /// mistake of whoever asks.
    WrongRequest,
}

impl ErrorKind {
    /// Whether such an error of one item ends the whole run, because every other item would meet
    /// it too.
    pub fn ends_the_run(self) -> bool {
        matches!(self, Self::DiskFull | Self::Stopped)
    }
}

impl Error {
    /// An error with a stable `code` and a full-sentence `message`.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            kind: ErrorKind::default(),
            message: shortened(message.into()),
            help: None,
            problems: Vec::new(),
        }
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

    /// An error about the text of `what` ("manifest `net.ron`"): the message lists `problems`, each
    /// with line and column.
    ///
    /// ```
    /// use fame_core::{Error, text::{Problem, SourcedProblem}};
    ///
    /// let text = "(size: 0)";
    /// let problem = Problem::new("my::size", "a size of 0 holds nothing.", 7..8);
    /// let each = vec![SourcedProblem::new(problem, "net.ron", text)];
    /// let error = Error::in_text("my::invalid", "`net.ron`", each);
    /// assert_eq!(error.message, "`net.ron` has 1 error:\n  1:8: a size of 0 holds nothing.");
    /// assert_eq!(error.summary(), "`net.ron` has 1 error");
    /// ```
    pub fn in_text(code: impl Into<String>, what: &str, problems: Vec<SourcedProblem>) -> Self {
        let mut message = format!(
            "{what} has {} error{}:",
            problems.len(),
            if problems.len() == 1 { "" } else { "s" }
        );
        for problem in &problems {
            let (line, column) = problem.line_column();
            let help = problem.problem().help.as_ref();
            let help = help.map_or_else(String::new, |help| format!(" ({help})"));
            let _ = write!(message, "\n  {line}:{column}: {problem}{help}");
        }
        Self { problems, ..Self::new(code, message) }
    }

    /// The message without the list of [`Error::problems`], for whoever shows those themselves.
    pub fn summary(&self) -> &str {
        if self.problems.is_empty() {
            return &self.message;
        }
        self.message.lines().next().unwrap_or_default().trim_end_matches(':')
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
        self.message = shortened(format!("{place}: {}", self.message));
        self
    }

    /// An I/O error on `path` while doing `what` ("read", "write", "create").
    pub fn io(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let this = Self::new("fame::io", format!("cannot {what} `{}`: {error}.", path.display()));
        let way_out = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "Make room",
            io::ErrorKind::FileTooLarge => "Allow larger files (`ulimit -f`)",
            _ => return this,
        };
        this.of_kind(ErrorKind::DiskFull).with_help(format!(
            "{way_out}, then give the same command again: what is finished is kept."
        ))
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

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        if self.problems.is_empty() {
            return None;
        }
        Some(Box::new(self.problems.iter().map(|p| p as &dyn miette::Diagnostic)))
    }
}
