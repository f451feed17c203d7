//! Errors with a place in a text: message, marked characters, label, help; and many of them at
//! once.

use std::{borrow::Cow, fmt, ops::Range};

use miette::{
    Diagnostic, LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents,
};

/// A mistake in a piece of RON text, with the characters it marks. Plain data: it crosses the
/// plugin line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable code, `fame::recipe::unknown_field`.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// The words under the marked characters.
    pub label: String,
    /// The way out, when there is one to name.
    pub help: Option<String>,
    /// The marked bytes, relative to the text that was parsed.
    pub span: Range<usize>,
}

impl Problem {
    /// A problem at `span`.
    pub fn new(code: &str, message: impl Into<String>, span: Range<usize>) -> Self {
        Self {
            code: code.to_owned(),
            message: shortened(message.into()),
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
    /// The finding in one line: `recipe has 5 errors`.
    pub summary: String,
    /// Each problem with the source it points into.
    pub each: Vec<SourcedProblem>,
}

/// A problem with the text it points into. Plain data: it crosses the plugin line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcedProblem {
    problem: Problem,
    /// Name of the text: a file, or "command line".
    name: String,
    source: String,
    line: usize,
    column: usize,
}

impl SourcedProblem {
    /// `problem` in the text `source` called `name`.
    pub fn new(mut problem: Problem, name: &str, source: &str) -> Self {
        let (line, column) = line_column(source, problem.span.start);
        let window = window(source, &mut problem.span);
        let source = window.unwrap_or_else(|| source.to_owned());
        Self { problem, name: name.to_owned(), source, line, column }
    }

    /// The problem.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The name of the text: a file, or "command line".
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The 1-based line and column of the first marked character.
    pub fn line_column(&self) -> (usize, usize) {
        (self.line, self.column)
    }
}

impl SourceCode for SourcedProblem {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let read = self.source.read_span(span, lines_before, lines_after)?;
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            read.data(),
            *read.span(),
            read.line(),
            read.column(),
            read.line_count(),
        )))
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
        Some(self)
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

/// A message that can be read: what is in the middle of an absurdly long word, such as a path of
/// megabytes, or of an absurdly long message, is left out.
pub(super) fn shortened(message: String) -> String {
    const LONGEST_WORD: usize = 1 << 10;
    const LONGEST: usize = 1 << 14;
    if message.len() <= LONGEST_WORD {
        return message;
    }
    let words = message.split_inclusive(char::is_whitespace);
    let message: String = words.map(|word| without_middle(word, LONGEST_WORD)).collect();
    without_middle(&message, LONGEST).into_owned()
}

/// `text` if it has at most `most` bytes, else a half of so many, from its two ends.
fn without_middle(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let (from, to) = (text.floor_char_boundary(most / 4), text.len() - most / 4);
    let to = text.ceil_char_boundary(to);
    let (head, tail) = (&text[..from], &text[to..]);
    Cow::Owned(format!("{head}… ({} bytes left out) …{tail}", to - from))
}

/// The byte offset of a 1-based line and column; columns count characters, as RON's do.
///
/// ```
/// # use fame_core::text::{line_column, offset_of};
/// let text = "é = 1\nb = 2";
/// assert_eq!(&text[offset_of(text, 2, 5)..], "2");
/// assert_eq!(line_column(text, text.len() - 1), (2, 5));
/// ```
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
    fn an_absurd_line_is_cut_to_what_can_be_read() {
        let text = format!("{}x{}", "é".repeat(5000), "(".repeat(100_000));
        let shown = SourcedProblem::new(Problem::new("c", "m", 10_000..10_001), "n", &text);
        assert_eq!(shown.problem().span, 60..61);
        assert!(shown.source.len() < LONGEST_LINE);
        let past =
            SourcedProblem::new(Problem::new("c", "m", text.len()..text.len() + 9), "n", &text);
        assert!(past.problem().span.end <= past.source.len());
    }

    #[test]
    fn an_absurd_message_is_cut_to_what_can_be_read() {
        let path = "é".repeat(5_000_000);
        let message = format!("there is no file `{path}`.");
        let said = [
            Problem::new("c", &message, 0..0).message,
            crate::Error::new("c", &message).message,
            crate::Error::new("c", "x.").at(&path).message,
        ];
        for said in &said {
            assert!(said.len() < 1000 && said.contains(" bytes left out) …é"), "{said}");
        }
        assert!(said[0].starts_with("there is no file `éé") && said[0].ends_with("éé`."));
        let many = "word ".repeat(100_000);
        assert!(Problem::new("c", many, 0..0).message.len() < 1 << 14);
        let list = "a sentence of a list.\n".repeat(500);
        assert_eq!(Problem::new("c", list.clone(), 0..0).message, list);
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
