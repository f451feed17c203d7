//! The checks of a manifest's values, and the error that comes of all that is wrong with one file.

use std::{fmt::Display, ops::Range};

use crate::{
    Error,
    text::{Problem, SourcedProblem, value_at},
};

/// Values that cannot be, each at its place in the text.
pub(super) struct Checks<'a> {
    text: &'a str,
    /// Where the value starts that paths are relative to, and what it is called.
    start: usize,
    name: String,
    problems: Vec<Problem>,
}

impl<'a> Checks<'a> {
    /// Checks of values that were read from `text`; an empty text marks nothing.
    pub(super) fn of(text: &'a str) -> Self {
        Self { text, start: 0, name: String::new(), problems: Vec::new() }
    }

    /// From here on, paths start from the value at `span`, which messages call `name`.
    pub(super) fn enter(&mut self, name: &str, span: &Range<usize>) {
        self.start = span.start;
        self.name = format!("{name}.");
    }

    /// Notes that the value at `path`, such as `source.from.sha256`, cannot be; `complaint` goes on
    /// after the path and ends without a stop.
    pub(super) fn refuse(&mut self, path: &str, complaint: impl Display) {
        // What a path leads to may be left out: then the nearest value around it is marked.
        let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
        let ends: Vec<usize> = ends.collect();
        let span = ends.iter().rev().find_map(|end| value_at(self.text, self.start, &path[..*end]));
        let span = span.unwrap_or(self.start..self.start);
        let message = format!("{}{path} {complaint}.", self.name);
        self.problems.push(Problem::new(INVALID, message, span).with_label("this value"));
    }

    /// The problems that were noted.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

/// The code of a file whose form is wrong.
pub(super) const FORM: &str = "fame::model::manifest";

/// The code of a file of the right form with values that cannot be.
const INVALID: &str = "fame::model::invalid";

/// The error of the file at `place`, whose form has the problems `form` and whose values have the
/// problems `values`: `fame::model::manifest` when anything is wrong with the form,
/// `fame::model::invalid` otherwise. It shows every problem, in the order of the text;
/// without a text, nothing is marked.
pub(super) fn unsound(place: &str, text: &str, form: Vec<Problem>, values: Vec<Problem>) -> Error {
    let code = if form.is_empty() { INVALID } else { FORM };
    let form = form.into_iter().map(|p| Problem { code: FORM.to_owned(), ..p });
    let mut all: Vec<Problem> = form.chain(values).collect();
    all.sort_by_key(|p| (p.span.start, p.span.end));
    if text.is_empty() {
        let messages: Vec<String> = all.into_iter().map(|p| p.message).collect();
        return Error::new(code, format!("`{place}` cannot be used: {}", messages.join(" ")));
    }
    let each = all.into_iter().map(|p| SourcedProblem::new(p, place, text)).collect();
    Error::in_text(code, &format!("`{place}`"), each)
}
