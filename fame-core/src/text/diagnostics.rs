//! Errors with a place: message, span, label, help; and many of them at once.

use std::{fmt, ops::Range, path::Path};

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

/// One error in a piece of RON text. Plain data: it crosses the plugin line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable code, `fame::recipe::unknown_field`.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What to write under the marked characters.
    pub label: String,
    /// What to do, when there is something to say.
    pub help: Option<String>,
    /// The marked bytes, relative to the text that was parsed.
    pub span: Range<usize>,
}

impl Problem {
    /// A problem at `span`.
    pub fn new(code: &str, message: impl Into<String>, span: Range<usize>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            label: "here".to_owned(),
            help: None,
            span,
        }
    }

    /// Adds what to write under the marked characters.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_help(mut self, help: Option<impl Into<String>>) -> Self {
        self.help = help.map(Into::into);
        self
    }

    /// The same problem seen from a text in which the parsed text starts at `offset`.
    #[must_use]
    pub fn shifted(mut self, offset: usize) -> Self {
        self.span = self.span.start + offset..self.span.end + offset;
        self
    }
}

/// All problems of one text, with the text.
#[derive(Clone, Debug)]
pub struct Problems {
    /// What was wrong, in one line: `recipe has 5 errors`.
    pub summary: String,
    /// Each problem with the source it points into.
    pub each: Vec<SourcedProblem>,
}

/// A problem and the text it points into.
#[derive(Clone, Debug)]
pub struct SourcedProblem {
    problem: Problem,
    source: NamedSource<String>,
}

impl SourcedProblem {
    /// `problem` in the text `source` called `name`.
    pub fn new(mut problem: Problem, name: &str, source: &str) -> Self {
        let window = window(source, &mut problem.span);
        let source = window.as_deref().unwrap_or(source);
        Self { problem, source: NamedSource::new(name, source.to_owned()) }
    }

    /// The problem.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary)
    }
}

impl std::error::Error for Problems {}

impl Diagnostic for Problems {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.each.iter().map(|e| e as &dyn Diagnostic)))
    }
}

impl fmt::Display for SourcedProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for SourcedProblem {}

impl Diagnostic for SourcedProblem {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.problem.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.help.as_ref().map(|h| Box::new(h) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.problem.span.clone();
        Some(Box::new(std::iter::once(LabeledSpan::at(span, &self.problem.label))))
    }
}

/// Nobody reads a line this long, and the renderer cannot draw it.
const LONGEST_LINE: usize = 400;

/// Of a text with an absurdly long line, the part around `span`, which is moved to fit; `None` for
/// ordinary texts.
fn window(source: &str, span: &mut Range<usize>) -> Option<String> {
    if source.lines().all(|l| l.len() <= LONGEST_LINE) {
        return None;
    }
    let boundary = |mut at: usize| {
        while !source.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let at = boundary(span.start.min(source.len()));
    let (from, to) = (boundary(at.saturating_sub(60)), boundary((at + 120).min(source.len())));
    let cut = source[from..to].replace(['\n', '\r'], " ");
    *span = at - from..(span.end.clamp(at, to) - from);
    Some(cut)
}

/// The name nearest to `wrong`, if one is near: at most a third of the letters differ (rustc's
/// rule), case aside.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = wrong.to_lowercase();
    let limit = (wrong.chars().count().max(3)) / 3;
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&lower, &k.to_lowercase()), k))
        .filter(|(d, k)| {
            *d <= limit || (k.len() > 3 && k.to_lowercase().contains(&lower) && lower.len() > 3)
        })
        .min()
        .map(|(_, k)| k)
}

/// "did you mean `x`?", or else the known names.
pub fn suggestion(wrong: &str, known: &[&str], what: &str) -> Option<String> {
    match nearest(wrong, known.iter().copied()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None if known.is_empty() => Some(format!("there is no {what} to choose from")),
        None => Some(format!(
            "known: {}",
            known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")
        )),
    }
}

/// "did you mean `x`?" for a file that is not there, if one in its folder has nearly that name.
pub(crate) fn near_file(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let neighbours: Vec<String> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .collect();
    let name = path.file_name()?.to_string_lossy().into_owned();
    nearest(&name, neighbours.iter().map(String::as_str))
        .map(|near| format!("did you mean `{near}`?"))
}

/// The byte offset of a 1-based line and column; columns count characters, as RON's do.
pub fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = &text[start.min(text.len())..];
    let within: usize = rest.chars().take(column.saturating_sub(1)).map(char::len_utf8).sum();
    (start + within).min(text.len())
}

/// The 1-based line and column of a byte offset; the column counts characters.
pub fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_near_enough() {
        let names = ["Similarity", "Dissimilarity", "Logit", "FeatureMapCell"];
        for (wrong, expected, why) in [
            ("Similarty", Some("Similarity"), "one letter missing"),
            ("similarity", Some("Similarity"), "case does not count"),
            ("Logits", Some("Logit"), "one letter more"),
            ("Cell", Some("FeatureMapCell"), "a whole word of the name"),
            ("Log", None, "too short a part to guess from"),
            ("Banana", None, "nothing is near"),
        ] {
            assert_eq!(nearest(wrong, names), expected, "{why}");
        }
    }

    #[test]
    fn an_absurd_line_is_cut_to_what_can_be_read() {
        let text = format!("{}x{}", "é".repeat(5000), "(".repeat(100_000));
        let shown = SourcedProblem::new(Problem::new("c", "m", 10_000..10_001), "n", &text);
        assert_eq!(shown.problem().span, 60..61);
        assert!(shown.source.inner().len() < LONGEST_LINE);
        let past =
            SourcedProblem::new(Problem::new("c", "m", text.len()..text.len() + 9), "n", &text);
        assert!(past.problem().span.end <= past.source.inner().len());
    }

    proptest::proptest! {
        /// Offsets and line/column pairs are inverse on character boundaries, also with multi-byte
        /// characters.
        #[test]
        fn offsets_round_trip(text in "[aé\n ]{0,30}", pick in 0usize..31) {
            let bounds: Vec<usize> = text.char_indices().map(|(i, _)| i).chain([text.len()]).collect();
            let offset = bounds[pick % bounds.len()];
            let (line, column) = line_column(&text, offset);
            assert_eq!(offset_of(&text, line, column), offset);
        }
    }
}
