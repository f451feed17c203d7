//! What RON's own words about a value mean for somebody who writes a recipe.

use std::ops::Range;

use ron::error::Error as RonError;

use super::scan;

/// A mistake that RON names by what its parser wanted next, told by what was probably meant.
#[derive(Debug)]
pub(super) struct Hint {
    /// What is wrong, without full stop; `None` where RON's own words will do.
    pub(super) message: Option<String>,
    /// The way out.
    pub(super) help: String,
    /// What to mark.
    pub(super) span: Range<usize>,
}

impl Hint {
    /// RON's own words, with a way out.
    fn help(help: impl Into<String>, span: Range<usize>) -> Self {
        Self { message: None, help: help.into(), span }
    }

    /// `message` in place of RON's words, with a way out.
    fn told(message: impl Into<String>, help: impl Into<String>, span: Range<usize>) -> Self {
        Self { message: Some(message.into()), help: help.into(), span }
    }
}

/// What `code` means where RON's parser stood at the byte offset `at` of `text`.
pub(super) fn hint(text: &str, code: &RonError, at: usize) -> Option<Hint> {
    use RonError as E;
    let next = scan::skip_blank(text, at);
    // RON has read the sign, and blanks behind it, where it wanted an attribute.
    let attribute = matches!(code, E::ExpectedAttribute).then(|| text[..at].rfind('#')).flatten();
    let is_syntax = matches!(
        code,
        E::ExpectedIdentifier
            | E::ExpectedComma
            | E::ExpectedString
            | E::ExpectedStructLikeEnd
            | E::ExpectedOptionEnd
            | E::ExpectedArrayEnd
            | E::ExpectedMapEnd
            | E::ExpectedAttribute
            | E::UnexpectedChar(_)
            | E::TrailingCharacters
    );
    let at_sign = if is_syntax { comment(text, attribute.unwrap_or(next)) } else { None };
    if at_sign.is_some() {
        return at_sign;
    }
    if let Some(told) = is_syntax.then(|| curly(text, next)).flatten() {
        return Some(told);
    }
    match code {
        E::ExpectedString => text_without_quotes(text, next),
        E::UnexpectedChar(c) if is_quote(*c) => text_without_quotes(text, next),
        // Of a text in single quotes RON has read the quote and a character.
        E::ExpectedChar => text[..at].rfind('\'').and_then(|open| text_without_quotes(text, open)),
        E::ExpectedIdentifier if text[next..].starts_with(is_quote) => Some(quoted(text, next)),
        E::SuggestRawIdentifier(found) => Some(not_a_name(text, next, found)),
        E::ExpectedComma
        | E::ExpectedStructLikeEnd
        | E::ExpectedOptionEnd
        | E::ExpectedArrayEnd
        | E::ExpectedMapEnd
        | E::TrailingCharacters
            if text[at..].starts_with('.') =>
        {
            not_whole(text, at)
        }
        E::InvalidIntegerDigit { .. } => not_whole(text, at),
        E::IntegerOutOfBounds => Some(out_of_bounds(text, at)),
        _ => None,
    }
}

/// Parameters in curly brackets, `Name{…}`, whose bracket stands at `at`.
fn curly(text: &str, at: usize) -> Option<Hint> {
    let name = text[..at].trim_end();
    let start = name.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_').len();
    let told = scan::curly(text, start..name.len(), at)?;
    Some(Hint::told(told.message, told.help?, at..at + 1))
}

/// Whether `c` is a quotation mark of any sort.
fn is_quote(c: char) -> bool {
    "\"'`´‘’‚“”„«»‹›".contains(c)
}

/// A comment that begins with `#` at `at`.
fn comment(text: &str, at: usize) -> Option<Hint> {
    let line = text[at..].lines().next().filter(|line| line.starts_with('#'))?;
    // `#![…]` is RON's, and `r#…` a raw text.
    let is_ron = line.starts_with("#!") || text[..at].ends_with(['r', '#']);
    let span = at..at + line.trim_end().len();
    (!is_ron).then(|| Hint::told("`#` begins no comment", "comments begin with `//`", span))
}

/// The text in quotation marks, of whatever sort, that starts at `at`: what stands in them, and
/// where it ends.
fn in_quotes(text: &str, at: usize) -> Option<(&str, usize)> {
    let open = text[at..].chars().next().filter(|c| is_quote(*c))?;
    let body = at + open.len_utf8();
    let line = text[body..].lines().next().unwrap_or_default();
    // Each sort is closed by its own sort: “ by ”, but also by “ and ".
    let sort = |c: char| "'`´‘’‚‹›".contains(c);
    let (len, close) = line.char_indices().find(|(_, c)| is_quote(*c) && sort(*c) == sort(open))?;
    Some((&line[..len], body + len + close.len_utf8()))
}

/// The run of characters around `at` that one word or number is made of.
fn token(text: &str, at: usize) -> Range<usize> {
    let part = |c: char| c.is_alphanumeric() || "_.+-".contains(c);
    let start = text[..at].trim_end_matches(part).len();
    start..at + text[at..].find(|c: char| !part(c)).unwrap_or(text.len() - at)
}

/// A text without straight double quotes at `at`.
fn text_without_quotes(text: &str, at: usize) -> Option<Hint> {
    let (inner, span) = match in_quotes(text, at) {
        Some((inner, end)) => (inner, at..end),
        None if text[at..].starts_with(is_quote) => ("…", token(text, at)),
        None => {
            let word = token(text, at);
            let ends = |c: char| c.is_whitespace() || ",()[]{}".contains(c);
            let end = at + text[at..].find(ends).unwrap_or(text.len() - at);
            let word = word.start..end.max(word.end);
            // A number, a list or a plugin is not a text that lacks its quotes.
            if !text[word.clone()].starts_with(|c: char| c.is_alphabetic() || "_./~".contains(c))
                || text[word.end..].starts_with(['(', '[', '{'])
            {
                return None;
            }
            (&text[word.clone()], word)
        }
    };
    // What would need escapes is not spelled out.
    let inner = if inner.contains(['"', '\\']) { "…" } else { inner };
    Some(Hint::help(format!("texts stand in straight double quotes: \"{inner}\""), span))
}

/// A text in quotes at `at`, where a name should stand: of a choice or of a parameter.
fn quoted(text: &str, at: usize) -> Hint {
    let (inner, end) = in_quotes(text, at).unwrap_or(("", text.len().min(at + 1)));
    let span = at..text.get(at..end).map_or(at, |_| end);
    let is_name = !inner.is_empty() && scan::identifier(inner) == inner.len();
    let is_key = text[scan::skip_blank(text, span.end)..].starts_with(':');
    let help = match (is_key, names_parameter(text, at)) {
        (true, _) if is_name => format!("a parameter's name stands without quotes: {inner}"),
        (true, _) | (_, true) => "parameters are written `name: value`".to_owned(),
        _ if is_name => format!("a choice stands without quotes: {inner}"),
        _ => "a choice is a name, and stands without quotes".to_owned(),
    };
    Hint::help(help, span)
}

/// What is no name, such as a number, at `at`, where the name of a choice or of a parameter should
/// stand.
fn not_a_name(text: &str, at: usize, found: &str) -> Hint {
    let span = at..text[at..].get(..found.len()).map_or(at, |_| at + found.len());
    if names_parameter(text, at) || text[scan::skip_blank(text, span.end)..].starts_with(':') {
        let message = format!("`{found}` is not the name of a parameter");
        return Hint::told(message, "parameters are written `name: value`", span);
    }
    Hint::told(format!("`{found}` is not a choice"), "a choice is a name, without quotes", span)
}

/// Whether the name of a parameter stands at `at`, rather than a value: in round brackets, behind
/// no colon.
fn names_parameter(text: &str, at: usize) -> bool {
    let mut open = Vec::new();
    let mut last = None;
    let mut i = scan::skip_blank(text, 0);
    while i < at {
        let Some(c) = text[i..].chars().next() else { break };
        match c {
            '(' | '[' | '{' => open.push(c),
            ')' | ']' | '}' => {
                open.pop();
            }
            _ => {}
        }
        last = Some(c);
        let is_text = c == '"' || c == '\'';
        let end = if is_text { scan::value_end(text, i).ok() } else { None };
        i = scan::skip_blank(text, end.unwrap_or(i + c.len_utf8()));
    }
    open.last() == Some(&'(') && last != Some(':')
}

/// A number with a point or an exponent around `at`, where a whole one should stand.
fn not_whole(text: &str, at: usize) -> Option<Hint> {
    let span = token(text, at);
    let number = &text[span.clone()];
    number.starts_with(|c: char| c.is_ascii_digit() || "+-".contains(c)).then_some(())?;
    number.parse::<f64>().ok()?;
    Some(Hint::told(
        format!("`{number}` is not a whole number"),
        "a whole number is expected",
        span,
    ))
}

/// A whole number that ends at `at` and that its type cannot hold.
fn out_of_bounds(text: &str, at: usize) -> Hint {
    let span = token(text, at);
    let number = &text[span.clone()];
    // Every signed type of a parameter holds what 32 bits do: the type has no sign.
    if number.starts_with('-') && number.parse::<i32>().is_ok() {
        let help = "must be a whole number of at least 0";
        return Hint::told(format!("`{number}` is below 0"), help, span);
    }
    let side = if number.starts_with('-') { "small" } else { "large" };
    Hint::told(format!("`{number}` is too {side}"), "take a number that is nearer to 0", span)
}
