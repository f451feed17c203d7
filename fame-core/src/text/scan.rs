//! Finds where things are in RON text, without knowing what they mean.
//!
//! serde stops at the first error and forgets where values stood. A recipe wants all its errors at
//! once, each under the right characters, and `--set` wants to replace one value and leave the rest
//! as written. Both need only this: the spans of the fields of a struct, the entries of a map and
//! the items of a list. Values are still parsed by the `ron` crate.

use std::ops::Range;

/// A key and a value, by position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key: a field's name, a map's key without its quotes, an item's index.
    pub key: String,
    /// Where the key stands (for list items: where the value stands).
    pub key_span: Range<usize>,
    /// Where the value stands, without surrounding white space.
    pub value_span: Range<usize>,
}

/// A place where the text stops being RON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanError {
    /// The thing that should have stood there.
    pub message: String,
    /// Byte offset.
    pub at: usize,
    /// A word or two for what stands at `at`.
    pub label: &'static str,
    /// The way out, where it is plain.
    pub help: Option<String>,
}

/// An error at the byte offset `at`.
fn fail<T>(message: impl Into<String>, at: usize) -> Result<T, ScanError> {
    Err(ScanError { message: message.into(), at, label: "here", help: None })
}

/// What stands where a bracket or quote was opened that is never closed.
const OPENED: &str = "opened here";

impl ScanError {
    /// Whether it is about what was opened and never closed.
    pub fn is_unclosed(&self) -> bool {
        self.label == OPENED
    }
}

/// An error about what was opened at `at`: whoever mends it begins there.
fn unclosed<T>(message: impl Into<String>, at: usize) -> Result<T, ScanError> {
    Err(ScanError { message: message.into(), at, label: OPENED, help: None })
}

/// The number of the line that `at` stands in, from 1.
fn line_of(text: &str, at: usize) -> usize {
    crate::data::line_column(text, at).0
}

/// Of these opening and closing brackets, the first whose closing one begins a line that is
/// indented otherwise than its own: most likely it took the place of one that is missing.
fn misplaced(text: &str, closed: &[(usize, usize)]) -> Option<usize> {
    // Where each line begins, and its first character that is no blank.
    let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
    let blanks = |start: usize| text[start..].find(|c| c != ' ' && c != '\t').unwrap_or(0);
    let lines: Vec<(usize, usize)> = starts.map(|start| (start, start + blanks(start))).collect();
    let line = |at: usize| lines[lines.partition_point(|(start, _)| *start <= at) - 1];
    let amiss = |(open, close): &&(usize, usize)| {
        let ((above, written), (start, first)) = (line(*open), line(*close));
        first == *close && written - above != first - start
    };
    closed.iter().find(amiss).map(|(open, _)| *open)
}

/// The first byte at or after `i` that is neither white space nor comment.
pub fn skip_blank(text: &str, mut i: usize) -> usize {
    loop {
        let rest = &text[i..];
        let trimmed = rest.trim_start();
        i += rest.len() - trimmed.len();
        if trimmed.starts_with("//") {
            i += trimmed.find('\n').unwrap_or(trimmed.len());
        } else if trimmed.starts_with("/*") {
            i += block_comment(trimmed);
        } else {
            return i;
        }
    }
}

/// Length of the block comment `text` starts with; RON's nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut i = 0;
    while i < text.len() {
        if text[i..].starts_with("/*") {
            depth += 1;
            i += 2;
        } else if text[i..].starts_with("*/") {
            depth -= 1;
            i += 2;
            if depth == 0 {
                return i;
            }
        } else {
            i += text[i..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of the identifier `text` starts with, 0 if none.
pub fn identifier(text: &str) -> usize {
    let first = text.chars().next();
    if !first.is_some_and(|c| c.is_alphabetic() || c == '_') {
        return 0;
    }
    text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len())
}

/// The end of the value that starts at `start`.
pub fn value_end(text: &str, start: usize) -> Result<usize, ScanError> {
    let rest = &text[start..];
    let Some(first) = rest.chars().next() else { return fail("expected a value", start) };
    match first {
        '"' => string_end(text, start),
        '(' | '[' | '{' => group_end(text, start),
        '\'' => char_end(text, start),
        ')' | ']' | '}' | ',' | ':' => fail("expected a value", start),
        _ if is_raw_string(rest) => string_end(text, start),
        _ if identifier(rest) > 0 => {
            let end = start + identifier(rest);
            let next = skip_blank(text, end);
            if text[next..].starts_with('(') { group_end(text, next) } else { Ok(end) }
        }
        _ => {
            let len = rest
                .find(|c: char| c.is_whitespace() || ",:()[]{}\"".contains(c))
                .unwrap_or(rest.len());
            if len == 0 { fail("expected a value", start) } else { Ok(start + len) }
        }
    }
}

/// Whether `rest` begins with a raw or byte string: `r#"…"#`, `b"…"`.
fn is_raw_string(rest: &str) -> bool {
    let body = rest
        .strip_prefix("br")
        .or_else(|| rest.strip_prefix('b'))
        .or_else(|| rest.strip_prefix('r'));
    body.is_some_and(|b| b.trim_start_matches('#').starts_with('"'))
}

/// The end of the string at `start`, of either sort.
fn string_end(text: &str, start: usize) -> Result<usize, ScanError> {
    let rest = &text[start..];
    let Some(quote) = rest.find('"') else { return fail("expected a string", start) };
    let raw = rest[..quote].contains('r');
    let hashes = rest[..quote].matches('#').count();
    let body = start + quote + 1;
    if raw {
        let close = format!("\"{}", "#".repeat(hashes));
        return text[body..].find(&close).map_or_else(
            || unclosed("this string is never closed", start),
            |n| Ok(body + n + close.len()),
        );
    }
    let mut escaped = false;
    for (i, c) in text[body..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Ok(body + i + 1),
            _ => {}
        }
    }
    unclosed("this string is never closed", start)
}

/// The end of the character at `start`.
fn char_end(text: &str, start: usize) -> Result<usize, ScanError> {
    let mut escaped = false;
    for (i, c) in text[start + 1..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' if i > 0 => return Ok(start + 1 + i + 1),
            '\n' => break,
            _ => {}
        }
    }
    unclosed("this character is never closed", start)
}

/// The end of the bracketed group at `open`, skipping strings, characters and comments.
fn group_end(text: &str, open: usize) -> Result<usize, ScanError> {
    let mut stack: Vec<(char, usize)> = Vec::new();
    let mut closed = Vec::new();
    let mut i = open;
    while i < text.len() {
        i = skip_blank(text, i);
        let Some(c) = text[i..].chars().next() else { break };
        match c {
            '(' | '[' | '{' => stack.push((c, i)),
            ')' | ']' | '}' => {
                let (opening, at) = stack.pop().unwrap_or(('{', i));
                let expected = match opening {
                    '(' => ')',
                    '[' => ']',
                    _ => '}',
                };
                if c != expected {
                    let line = line_of(text, i);
                    let message = format!(
                        "this `{opening}` is never closed: expected `{expected}` before the `{c}` in line {line}"
                    );
                    return unclosed(message, at);
                }
                closed.push((at, i));
                if stack.is_empty() {
                    return Ok(i + 1);
                }
            }
            '"' => {
                i = string_end(text, i)?;
                continue;
            }
            '\'' => {
                i = char_end(text, i)?;
                continue;
            }
            _ if is_raw_string(&text[i..]) => {
                i = string_end(text, i)?;
                continue;
            }
            _ if identifier(&text[i..]) > 0 => {
                i += identifier(&text[i..]);
                continue;
            }
            _ => {}
        }
        i += c.len_utf8();
    }
    let innermost = || stack.last().map(|(_, at)| *at);
    let at = misplaced(text, &closed).or_else(innermost).unwrap_or(open);
    unclosed("this bracket is never closed", at)
}

/// The entries of the struct, map or list that starts at `start` (an identifier before the bracket
/// is skipped).
///
/// # Errors
/// When the text there is not a bracketed group of entries, or is not closed.
pub fn entries(text: &str, start: usize) -> Result<Vec<Entry>, ScanError> {
    entries_or_first(text, start).map_err(|error| match swallowing_string(text, start) {
        // Whatever was found amiss was read as text that is none, or the other way round.
        Some(at) if at <= error.at => ScanError {
            message: "this string is not closed in its line".to_owned(),
            at,
            label: "opened here",
            help: None,
        },
        _ => error,
    })
}

/// The first string from `start` on that goes on over its line's end and ends where a value would
/// begin, as `"a,\n b: "` does: its closing quote was to open the next string.
fn swallowing_string(text: &str, start: usize) -> Option<usize> {
    let mut i = start;
    while i < text.len() {
        i = skip_blank(text, i);
        let rest = &text[i..];
        if is_raw_string(rest) {
            i = string_end(text, i).ok()?;
        } else if rest.starts_with('"') {
            let Ok(end) = string_end(text, i) else { return rest.contains('\n').then_some(i) };
            let inner = text[i + 1..end - 1].trim_end();
            if text[i..end].contains('\n') && inner.ends_with([':', ',', '(', '[', '{']) {
                return Some(i);
            }
            i = end;
        } else if rest.starts_with('\'') {
            i = char_end(text, i).unwrap_or(i + 1);
        } else {
            i += identifier(rest).max(rest.chars().next().map_or(1, char::len_utf8));
        }
    }
    None
}

/// [`entries`], and else the first thing that is amiss.
fn entries_or_first(text: &str, start: usize) -> Result<Vec<Entry>, ScanError> {
    let start = skip_blank(text, start);
    let open = skip_blank(text, start + identifier(&text[start..]));
    let Some(bracket) = text[open..].chars().next().filter(|c| "([{".contains(*c)) else {
        return fail("expected `(`, `[` or `{`", open);
    };
    let end = group_end(text, open)? - 1;
    let mut found = Vec::new();
    let mut i = skip_blank(text, open + 1);
    while i < end {
        let entry = one_entry(text, i, bracket, found.len())?;
        i = skip_blank(text, entry.value_span.end);
        found.push(entry);
        if i < end {
            if !text[i..].starts_with(',') {
                let value = found.last().map_or(i..i, |entry: &Entry| entry.value_span.clone());
                return Err(curly(text, value, i).unwrap_or(ScanError {
                    message: "expected `,` or the end of this group".to_owned(),
                    at: i,
                    label: "here",
                    help: None,
                }));
            }
            i = skip_blank(text, i + 1);
        }
    }
    Ok(found)
}

/// The error of a plugin whose parameters stand in curly brackets: the name `value` and `{` at
/// `at`.
pub(super) fn curly(text: &str, value: Range<usize>, at: usize) -> Option<ScanError> {
    let name = text.get(value).filter(|name| !name.is_empty() && identifier(name) == name.len())?;
    if !text[at..].starts_with('{') {
        return None;
    }
    let parameters = if text[skip_blank(text, at + 1)..].starts_with('}') { "" } else { "…" };
    Some(ScanError {
        message: format!("the parameters of `{name}` stand in round brackets"),
        at,
        label: "this bracket",
        help: Some(format!("write `{name}({parameters})`")),
    })
}

/// The entry at `start`, the `index`-th of a group in this `bracket`.
fn one_entry(text: &str, start: usize, bracket: char, index: usize) -> Result<Entry, ScanError> {
    if bracket == '[' {
        let span = start..value_end(text, start)?;
        return Ok(Entry { key: index.to_string(), key_span: span.clone(), value_span: span });
    }
    let key_end =
        if bracket == '(' { start + identifier(&text[start..]) } else { value_end(text, start)? };
    if key_end == start {
        return fail("expected a field name", start);
    }
    let colon = skip_blank(text, key_end);
    if !text[colon..].starts_with(':') {
        return fail("expected `:` after the name", colon);
    }
    let value = skip_blank(text, colon + 1);
    let end = value_end(text, value)?;
    Ok(Entry {
        key: text[start..key_end].trim_matches('"').to_owned(),
        key_span: start..key_end,
        value_span: value..end,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<(String, &str)> {
        entries(text, 0).unwrap().into_iter().map(|e| (e.key, &text[e.value_span])).collect()
    }

    #[test]
    fn fields_are_found_past_comments_strings_and_nesting() {
        let text =
            "// lead, (\n(a: 1, /* (( /* nested */ */ b: Name(x: \"),\\\"\", y: [1, 2]), 'c': 3)";
        assert_eq!(entries(text, 0).unwrap_err().message, "expected a field name");
        let text = "// lead, (\n(a: 1, /* (( /* nested */ */ b: Name(x: \"),\\\"\", y: [1, ')']), c: r#\"a\"b\"#,)";
        assert_eq!(
            keys(text),
            [
                ("a".into(), "1"),
                ("b".into(), "Name(x: \"),\\\"\", y: [1, ')'])"),
                ("c".into(), "r#\"a\"b\"#")
            ]
        );
    }

    #[test]
    fn maps_and_lists_have_entries_too() {
        assert_eq!(keys("{\"é\": Mine(), \"b\": 2}"), [("é".into(), "Mine()"), ("b".into(), "2")]);
        assert_eq!(
            keys("[Gray(), -1.5e3, None]"),
            [("0".into(), "Gray()"), ("1".into(), "-1.5e3"), ("2".into(), "None")]
        );
        assert_eq!(keys("Name ( )"), []);
    }

    #[test]
    fn what_is_not_closed_is_pointed_at() {
        let wrong = entries("(a: [1,\n 2)", 0).unwrap_err();
        assert_eq!((wrong.at, wrong.label), (4, "opened here"));
        assert_eq!(
            wrong.message,
            "this `[` is never closed: expected `]` before the `)` in line 2"
        );
        assert_eq!(entries("(a: (1", 0).unwrap_err().at, 4);
        assert_eq!(entries("(a: \"x", 0).unwrap_err().at, 4);
        assert_eq!(entries("(a: 1 b: 2)", 0).unwrap_err().at, 6);
        assert!(
            entries("", 0).is_err() && entries("7", 0).is_err() && entries("(a 1)", 0).is_err()
        );
    }

    /// What is marked, from there to the line's end.
    fn marked(text: &str) -> (&str, ScanError) {
        let error = entries(text, 0).unwrap_err();
        (text[error.at..].lines().next().unwrap_or_default(), error)
    }

    #[test]
    fn a_missing_bracket_is_told_where_the_other_one_stands() {
        let (line, error) =
            marked("(\n    e: {\n        \"f\": First(\n            a: 1,\n    },\n)\n");
        assert_eq!((line, error.label), ("(", "opened here"));
        assert!(error.message.ends_with("expected `)` before the `}` in line 5"), "{error:?}");
        // The file's last bracket closes this one, and the first is left open: but their lines are
        // not indented alike.
        let (line, _) =
            marked("(\n    d: Pair(a: 1, b: 2,\n    e: {\n        \"f\": G(),\n    },\n)\n");
        assert_eq!(line, "(a: 1, b: 2,");
        assert_eq!(marked("(a: (1,\n").0, "(1,");
    }

    #[test]
    fn a_missing_quote_is_told_in_the_line_of_the_other_one() {
        let (line, error) =
            marked("(\n    m: \"net,\n    d: Pair(a: \"x\", b: \"y\"),\n    e: {\"f\": G()},\n)");
        assert_eq!((line, error.label), ("\"net,", "opened here"));
        assert_eq!(marked("(\n    m: \"a\",\n    d: \"b,\n)").0, "\"b,");
        // A string of several lines that is closed is not to blame for a bracket further down.
        assert_eq!(marked("(\n    m: \"one\ntwo\",\n    d: [1, 2,\n)").0, "[1, 2,");
    }

    #[test]
    fn curly_brackets_behind_a_name_are_told() {
        let (line, error) = marked("{\"a\": Gray(),\n \"b\": Cam{}, \"c\": Gray()}");
        assert_eq!((line, error.help.as_deref()), ("{}, \"c\": Gray()}", Some("write `Cam()`")));
        assert_eq!(marked("[Cam{a: 1}]").1.help.as_deref(), Some("write `Cam(…)`"));
    }

    proptest::proptest! {
        /// No text, however broken, makes the scanner panic or loop.
        #[test]
        fn any_text_is_survived(text in "[a-z(){}\\[\\],:\"'#rb/* \\\\é\n]{0,40}") {
            let _ = entries(&text, 0);
            let _ = value_end(&text, 0);
        }
    }
}
