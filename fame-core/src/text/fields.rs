//! The fields of a whole file, each parsed by itself.
//!
//! serde stops at the first mistake. A file that is cut into its fields first shows one mistake per
//! field, each under its characters.

use std::ops::Range;

use serde::de::DeserializeOwned;

use super::{
    Problem, line_column, parse,
    scan::{self, Entry, ScanError},
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
///
/// ```
/// use fame_core::text::Fields;
///
/// let text = "(name: \"a\", sise: 3, seed: x)";
/// let mut fields = Fields::cut(text, "plate", &["name", "size", "seed"], "(name: …)").unwrap();
/// let name = fields.required::<String>("name").unwrap();
/// assert_eq!((name.value.as_str(), &text[name.span]), ("a", "\"a\""));
/// assert!(fields.optional::<u64>("seed").is_none());
/// // Both mistakes are known, each with its characters: `sise` and `x`.
/// let marked: Vec<&str> = fields.problems.iter().map(|p| &text[p.span.clone()]).collect();
/// assert_eq!(marked, ["sise", "x"]);
/// ```
pub struct Fields<'a> {
    text: &'a str,
    /// The kind of file, for messages: "recipe".
    kind: &'a str,
    entries: Vec<Entry>,
    /// Text of the same form with the fields that may be left out.
    defaults: &'a str,
    /// The problems found so far.
    pub problems: Vec<Problem>,
}

impl<'a> Fields<'a> {
    /// Cuts `text`, a file of this `kind` ("recipe") with fields of these names; `example` shows
    /// the form of such a file. Unknown and repeated fields, and text behind the file's closing
    /// bracket, are among the problems.
    ///
    /// # Errors
    /// Where a bracket, a name or a colon is missing: nothing more can be read then.
    pub fn cut(
        text: &'a str,
        kind: &'a str,
        names: &[&str],
        example: &str,
    ) -> Result<Self, Problem> {
        let entries = scan::entries(text, 0)
            .map_err(|e| syntax(text, e, || Some(format!("a {kind} is `{example}`"))))?;
        let mut fields = Self { text, kind, entries, defaults: "()", problems: Vec::new() };
        fields.find_unknown_and_repeated(names);
        fields.find_trailing_text();
        Ok(fields)
    }

    /// The same fields, where those of `defaults` stand in for what the file leaves out: text of
    /// the same form, `(name: value, …)`.
    #[must_use]
    pub fn with_defaults(self, defaults: &'a str) -> Self {
        Self { defaults, ..self }
    }

    /// Notes every field that has no meaning or comes twice.
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
                let first = self.entries[..i].iter().find(|f| f.key == e.key);
                let line = line_column(self.text, first.map_or(0, |f| f.key_span.start)).0;
                self.problems.push(Problem::new(
                    "fame::recipe::repeated_field",
                    format!("`{}` is given twice: first in line {line}.", e.key),
                    e.key_span.clone(),
                ));
            }
        }
    }

    /// Notes text behind the closing bracket: it would be ignored, and its author thinks it is not.
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
        if self.entry(name).is_none() && self.default_text(name).is_none() {
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
        match self.entry(name).map(|entry| entry.value_span.clone()) {
            Some(span) => self.value(span),
            None => self.default(name),
        }
    }

    /// The value of a field among the defaults. What is wrong with it is the caller's fault and has
    /// no place in the file.
    fn default<T: DeserializeOwned>(&mut self, name: &str) -> Option<Placed<T>> {
        match parse::<T>(self.default_text(name)?) {
            Ok(value) => Some(Placed { value, span: 0..0 }),
            Err(p) => {
                let message = format!("the default of `{name}` cannot be used: {}", p.message);
                self.problems.push(Problem::new(&p.code, message, 0..0).with_help(p.help));
                None
            }
        }
    }

    /// The text of a field among the defaults.
    fn default_text(&self, name: &str) -> Option<&'a str> {
        let entries = scan::entries(self.defaults, 0).unwrap_or_default();
        let entry = entries.into_iter().find(|e| e.key == name)?;
        Some(&self.defaults[entry.value_span])
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
            // The right bracket, with something amiss in it.
            Err(e) if self.text[span.clone()].starts_with(bracket) => {
                self.problems.push(syntax(self.text, e, || None));
                None
            }
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
        if self.entry(name).is_none() {
            let all = self.default::<Vec<T>>(name)?.value;
            return Some(all.into_iter().map(|value| Placed { value, span: 0..0 }).collect());
        }
        let entries = self.group(name, '[', what)?;
        Some(entries.into_iter().filter_map(|e| self.value(e.value_span)).collect())
    }
}

/// The problem of text that cannot be cut; `help` where the error knows no way out.
fn syntax(text: &str, error: ScanError, help: impl FnOnce() -> Option<String>) -> Problem {
    let ScanError { message, at, label, help: known } = error;
    let len = text[at..].chars().next().map_or(0, char::len_utf8);
    Problem::new("fame::recipe::syntax", format!("{message}."), at..at + len)
        .with_label(label)
        .with_help(known.or_else(help))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["name", "sizes", "parts", "seed"];

    fn cut(text: &str) -> Fields<'_> {
        Fields::cut(text, "plate", &NAMES, "(name: …)").unwrap()
    }

    fn said(fields: &Fields<'_>) -> Vec<String> {
        let marked = |p: &Problem| format!("{} {}", &fields.text[p.span.clone()], p.message);
        fields.problems.iter().map(marked).collect()
    }

    #[test]
    fn one_mistake_per_field_is_found_and_marked() {
        let mut fields = cut("(nmae: 1, seed: x, seed: 2, sizes: [1, 2.5, \"a\"], parts: 3) more");
        assert!(fields.required::<String>("name").is_none());
        assert!(fields.optional::<u8>("seed").is_none());
        let sizes = fields.list::<f32>("sizes", "a list").unwrap();
        assert_eq!(sizes.iter().map(|s| s.value).collect::<Vec<_>>(), [1.0, 2.5]);
        assert_eq!(&fields.text[sizes[1].span.clone()], "2.5");
        assert!(fields.group("parts", '{', "a map of parts").is_none());
        assert_eq!(
            said(&fields)[..4],
            [
                "nmae a plate has no field `nmae`.",
                "seed `seed` is given twice: first in line 1.",
                "more the plate ends before this.",
                "( the plate has no `name`.",
            ]
        );
        let rest: Vec<String> =
            said(&fields)[4..].iter().map(|s| s.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(rest, ["x", "\"a\"", "3"]);
    }

    #[test]
    fn defaults_stand_in_for_what_is_left_out_and_for_nothing_else() {
        let mut fields = cut("(seed: 1)").with_defaults("(name: \"n\", sizes: [4], seed: 9)");
        let name = fields.required::<String>("name").unwrap();
        assert_eq!((name.value.as_str(), name.span), ("n", 0..0));
        assert_eq!(fields.optional::<u8>("seed").unwrap().value, 1);
        assert_eq!(fields.list::<u8>("sizes", "a list").unwrap()[0].value, 4);
        assert!(fields.optional::<u8>("parts").is_none() && fields.problems.is_empty());
        let mut fields = cut("()").with_defaults("(seed: \"x\")");
        assert!(fields.optional::<u8>("seed").is_none());
        assert!(fields.problems[0].message.starts_with("the default of `seed` cannot be used: "));
    }

    proptest::proptest! {
        /// No file, however broken, panics.
        #[test]
        fn any_text_is_survived(text in "[a-z(){}\\[\\],:\"'#r/*0-9. \\\\é\n]{0,40}") {
            if let Ok(mut fields) = Fields::cut(&text, "plate", &NAMES, "(name: …)") {
                let _ = fields.required::<String>("name");
                let _ = fields.list::<f32>("sizes", "a list");
                let _ = fields.group("parts", '{', "a map");
            }
        }
    }
}
