//! The fields of a whole file, each parsed by itself.
//!
//! serde stops at the first mistake. A file that is cut into its fields first shows one mistake per
//! field, each under its characters.

use std::ops::Range;

use serde::de::DeserializeOwned;

use super::{
    Problem, parse,
    scan::{self, Entry},
    suggestion,
};

/// A value and the place it was written.
#[derive(Clone, Debug)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it stands in the text; empty at 0 for a default.
    pub span: Range<usize>,
}

/// A file `(name: value, …)`, cut into its fields, and what is wrong with them so far.
pub struct Fields<'a> {
    text: &'a str,
    /// What the file is, for messages: "recipe".
    kind: &'a str,
    entries: Vec<Entry>,
    /// The problems found so far.
    pub problems: Vec<Problem>,
}

impl<'a> Fields<'a> {
    /// Cuts `text`, a file of this `kind` ("recipe") with fields of these names; `example` shows the
    /// form of such a file. Unknown and repeated fields, and text behind the file's closing bracket,
    /// are among the problems.
    ///
    /// # Errors
    /// Where a bracket, a name or a colon is missing: nothing more can be read then.
    pub fn cut(
        text: &'a str,
        kind: &'a str,
        names: &[&str],
        example: &str,
    ) -> Result<Self, Problem> {
        let entries = scan::entries(text, 0).map_err(|e| {
            let at = e.at..(e.at + 1).min(text.len());
            Problem::new("fame::recipe::syntax", format!("{}.", e.message), at)
                .with_help(Some(format!("a {kind} is `{example}`")))
        })?;
        let mut fields = Self { text, kind, entries, problems: Vec::new() };
        fields.find_unknown_and_repeated(names);
        fields.find_trailing_text();
        Ok(fields)
    }

    fn find_unknown_and_repeated(&mut self, names: &[&str]) {
        for (i, e) in self.entries.iter().enumerate() {
            if !names.contains(&e.key.as_str()) {
                self.problems.push(
                    Problem::new(
                        "fame::recipe::unknown_field",
                        format!("a {} has no field `{}`.", self.kind, e.key),
                        e.key_span.clone(),
                    )
                    .with_label("unknown field")
                    .with_help(suggestion(&e.key, names, "field")),
                );
            } else if self.entries[..i].iter().any(|f| f.key == e.key) {
                self.problems.push(Problem::new(
                    "fame::recipe::repeated_field",
                    format!("`{}` is given twice.", e.key),
                    e.key_span.clone(),
                ));
            }
        }
    }

    fn find_trailing_text(&mut self) {
        let start = scan::skip_blank(self.text, 0);
        let rest = scan::value_end(self.text, start).map(|end| scan::skip_blank(self.text, end));
        if let Some(rest) = rest.ok().filter(|rest| *rest < self.text.len()) {
            self.problems.push(
                Problem::new(
                    "fame::recipe::syntax",
                    format!("the {} ends before this.", self.kind),
                    rest..self.text.trim_end().len().max(rest),
                )
                .with_label("not part of it"),
            );
        }
    }

    /// The field called `name`, if it was written.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.key == name)
    }

    /// The value of a field that must be there; its absence is among the problems.
    pub fn required<T: DeserializeOwned>(&mut self, name: &str) -> Option<Placed<T>> {
        if self.entry(name).is_none() {
            let start = scan::skip_blank(self.text, 0);
            self.problems.push(
                Problem::new(
                    "fame::recipe::missing_field",
                    format!("the {} has no `{name}`.", self.kind),
                    start..(start + 1).min(self.text.len()),
                )
                .with_label(format!("add `{name}: …` in here")),
            );
        }
        self.optional(name)
    }

    /// The value of a field; `None` when it was not written, or cannot be read (which is among the
    /// problems).
    pub fn optional<T: DeserializeOwned>(&mut self, name: &str) -> Option<Placed<T>> {
        let span = self.entry(name)?.value_span.clone();
        self.value(span)
    }

    /// The value that stands at `span`.
    pub fn value<T: DeserializeOwned>(&mut self, span: Range<usize>) -> Option<Placed<T>> {
        match parse::<T>(&self.text[span.clone()]) {
            Ok(value) => Some(Placed { value, span }),
            Err(p) => {
                self.problems.push(p.shifted(span.start));
                None
            }
        }
    }

    /// The entries of a field that is a group in this `bracket`. `None` when it was not written, or
    /// is no such group (which is among the problems: it must be `what`).
    pub fn group(&mut self, name: &str, bracket: char, what: &str) -> Option<Vec<Entry>> {
        let span = self.entry(name)?.value_span.clone();
        match scan::entries(self.text, span.start) {
            Ok(entries) if self.text[span.clone()].starts_with(bracket) => Some(entries),
            Ok(_) | Err(_) => {
                self.problems.push(
                    Problem::new(
                        "fame::recipe::wrong_value",
                        format!("`{name}` must be {what}."),
                        span,
                    )
                    .with_label("this value"),
                );
                None
            }
        }
    }

    /// The values of a field that is a list; it must be `what`.
    pub fn list<T: DeserializeOwned>(&mut self, name: &str, what: &str) -> Option<Vec<Placed<T>>> {
        let entries = self.group(name, '[', what)?;
        Some(entries.into_iter().filter_map(|e| self.value(e.value_span)).collect())
    }
}
