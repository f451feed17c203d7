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
}

/// An error at the byte offset `at`.
fn fail<T>(message: impl Into<String>, at: usize) -> Result<T, ScanError> {
    Err(ScanError { message: message.into(), at })
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
            || fail("this string is never closed", start),
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
    fail("this string is never closed", start)
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
    fail("this character is never closed", start)
}

/// The end of the bracketed group at `open`, skipping strings, characters and comments.
fn group_end(text: &str, open: usize) -> Result<usize, ScanError> {
    let mut stack: Vec<(char, usize)> = Vec::new();
    let mut i = open;
    while i < text.len() {
        i = skip_blank(text, i);
        let Some(c) = text[i..].chars().next() else { break };
        match c {
            '(' | '[' | '{' => stack.push((c, i)),
            ')' | ']' | '}' => {
                let expected = match stack.pop() {
                    Some(('(', _)) => ')',
                    Some(('[', _)) => ']',
                    _ => '}',
                };
                if c != expected {
                    return fail(format!("expected `{expected}` before this `{c}`"), i);
                }
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
    let at = stack.last().map_or(open, |(_, at)| *at);
    fail("this bracket is never closed", at)
}

/// The entries of the struct, map or list that starts at `start` (an identifier before the bracket
/// is skipped).
///
/// # Errors
/// When the text there is not a bracketed group of entries, or is not closed.
pub fn entries(text: &str, start: usize) -> Result<Vec<Entry>, ScanError> {
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
                return fail("expected `,` or the end of this group", i);
            }
            i = skip_blank(text, i + 1);
        }
    }
    Ok(found)
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
        assert_eq!(
            entries("(a: [1, 2)", 0).unwrap_err(),
            ScanError { message: "expected `]` before this `)`".into(), at: 9 }
        );
        assert_eq!(entries("(a: (1", 0).unwrap_err().at, 4);
        assert_eq!(entries("(a: \"x", 0).unwrap_err().at, 4);
        assert_eq!(entries("(a: 1 b: 2)", 0).unwrap_err().at, 6);
        assert!(
            entries("", 0).is_err() && entries("7", 0).is_err() && entries("(a 1)", 0).is_err()
        );
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
