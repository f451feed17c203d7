//! Text on its way out of the program: one function for each medium.
//!
//! Names come from lists, recipes, manifests, ONNX files and plugins of other people. What is plain
//! text in one medium is a command in another: a formula in a spreadsheet, a macro in LaTeX, a
//! column in Markdown, a title change in a terminal. Every writer passes what it did not make
//! itself through the function of its medium.

use std::borrow::Cow;

/// `text` on one line: control characters, line ends among them, become spaces.
fn one_line(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) {
        Cow::Owned(text.replace(char::is_control, " "))
    } else {
        Cow::Borrowed(text)
    }
}

/// A cell of comma-separated values (RFC 4180), on one line, that no spreadsheet takes for a
/// formula: a cell that begins like one, and is no number, begins with an apostrophe instead.
pub fn csv_cell(text: &str) -> String {
    let mut cell = one_line(text).into_owned();
    // Numbers and our own `+0.12 (p 0.03)` hold nothing that a formula could call.
    let is_number = |c: char| c.is_ascii_digit() || ".eE+- ()[],p%".contains(c);
    if cell.starts_with(['=', '+', '-', '@']) && !cell.chars().all(is_number) {
        cell.insert(0, '\'');
    }
    if cell.contains([',', '"']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

/// Text in LaTeX, where ten characters are commands.
pub fn latex(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        match c {
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '_' | '%' | '&' | '#' | '$' | '{' | '}' => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A cell of a Markdown table: a bar would begin another column.
pub fn markdown_cell(text: &str) -> String {
    one_line(text).replace('|', "\\|")
}

/// Text for a terminal: control characters other than line ends and tabs become the replacement
/// character U+FFFD. Escape sequences that only choose colours stay.
pub fn terminal(text: &str) -> Cow<'_, str> {
    let keeps = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    if text.chars().all(keeps) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = colour(rest).unwrap_or(c.len_utf8());
        if length > c.len_utf8() || keeps(c) {
            clean.push_str(&rest[..length]);
        } else {
            clean.push(char::REPLACEMENT_CHARACTER);
        }
        rest = &rest[length..];
    }
    Cow::Owned(clean)
}

/// The length of the colour command (`ESC [ numbers m`) that `text` begins with, if it does.
fn colour(text: &str) -> Option<usize> {
    let body = text.strip_prefix("\u{1b}[")?;
    let end = body.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    body[end..].starts_with('m').then_some(2 + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_or_two_rows() {
        for (text, cell) in [
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-cmd|' /C calc'!A0", "'-cmd|' /C calc'!A0"),
            ("-0.25", "-0.25"),
            ("+2.00 (p 0.0006)", "+2.00 (p 0.0006)"),
            ("1e-5", "1e-5"),
            ("a\rb\nc", "a b c"),
            ("a,\"b\"", "\"a,\"\"b\"\"\""),
        ] {
            assert_eq!(csv_cell(text), cell);
        }
    }

    #[test]
    fn commands_of_latex_and_markdown_are_text() {
        assert_eq!(
            latex("$x^2$ {a_b} 5% #~\\&"),
            "\\$x\\textasciicircum{}2\\$ \\{a\\_b\\} 5\\% \\#\\textasciitilde{}\\textbackslash{}\\&"
        );
        assert_eq!(markdown_cell("a|b\nc"), "a\\|b c");
    }

    #[test]
    fn a_terminal_gets_colours_and_no_commands() {
        assert_eq!(terminal("plain\n\ttext é"), "plain\n\ttext é");
        assert_eq!(terminal("\u{1b}[31mred\u{1b}[0m"), "\u{1b}[31mred\u{1b}[0m");
        assert_eq!(terminal("\u{1b}]0;title\u{7}"), "\u{fffd}]0;title\u{fffd}");
        assert_eq!(terminal("\u{1b}[2J\u{9b}1A\r"), "\u{fffd}[2J\u{fffd}1A\u{fffd}");
    }
}
