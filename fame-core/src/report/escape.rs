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

/// What a spreadsheet takes for the beginning of a formula, also in the wide letters of East Asia.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// A cell of comma-separated values (RFC 4180), on one line, that no spreadsheet takes for a
/// formula: a cell that begins like one, and is no number, begins with an apostrophe instead. So
/// does a name: of `-a` becomes `'-a`.
pub fn csv_cell(text: &str) -> String {
    let mut cell = one_line(text).into_owned();
    if cell.trim_start().starts_with(FORMULA) && !is_number(&cell) {
        cell.insert(0, '\'');
    }
    if cell.contains([',', '"']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

/// Whether a cell is a number, alone or with what our tables put behind one: `-0.25`,
/// `+2.00 (p 0.0006)`, `-0.1 [-0.2, 0.0]`. `+1+1` is a formula.
fn is_number(cell: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().is_ok();
    let Some((first, behind)) = cell.split_once(' ') else { return number(cell) };
    let p = behind.strip_prefix("(p ").and_then(|rest| rest.strip_suffix(')'));
    let ends = behind.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let ends = ends.and_then(|ends| ends.split_once(", "));
    number(first)
        && (p.is_some_and(number) || ends.is_some_and(|(low, high)| number(low) && number(high)))
}

/// Text in LaTeX, where ten characters are commands. A `[` or `*` at its beginning would belong to
/// the end of the line before.
pub fn latex(text: &str) -> String {
    let text = one_line(text);
    let mut escaped = String::with_capacity(text.len());
    if text.trim_start().starts_with(['[', '*']) {
        escaped.push_str("{}");
    }
    for c in text.chars() {
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

/// Text on one line of Markdown, in a cell of a table or outside, that stays text: no other column,
/// no tag of HTML, no link and no picture, also none that GitHub and its like make of a bare
/// address of the web. What no reader takes for such a thing is left as it is, `p < 0.05` and
/// `0.5 [0.4, 0.6]`; so are mail addresses, which GitHub links however they are escaped.
/// [`markdown_cells`] is the way back.
pub fn markdown_cell(text: &str) -> String {
    let line = one_line(text);
    let mut escaped = String::with_capacity(line.len());
    let mut rest = line.as_ref();
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        let begins = |is: fn(char) -> bool| rest.starts_with(is);
        match c {
            '|' => escaped.push_str("\\|"),
            // What would be taken for one of our own.
            '\\' if begins(|c| c.is_ascii_punctuation()) => escaped.push_str("\\\\"),
            '&' if is_entity(rest) => escaped.push_str("&amp;"),
            // A tag, a comment or an address. A backslash would not do everywhere.
            '<' if begins(|c| c.is_ascii_alphabetic() || "/!?".contains(c)) => {
                escaped.push_str("&lt;");
            }
            // The middle of a link, of a picture or of the definition of a link.
            ']' if begins(|c| "([:".contains(c)) => escaped.push_str("\\]"),
            // `http://` and `www.`, which are links without any brackets.
            ':' if rest.starts_with("//") && escaped.ends_with(|c: char| c.is_alphanumeric()) => {
                escaped.push_str("\\:");
            }
            '.' if ends_in_www(&escaped) => escaped.push_str("\\."),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Whether `text` ends in `www`, in whatever case.
fn ends_in_www(text: &str) -> bool {
    text.len() >= 3 && text.bytes().rev().take(3).all(|byte| byte.eq_ignore_ascii_case(&b'w'))
}

/// Whether `rest`, with a `&` before it, is a character's name in HTML, such as `&lt;`.
fn is_entity(rest: &str) -> bool {
    let name = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '#');
    name.len() < rest.len() && name.starts_with(';')
}

/// The texts of the cells in a line of Markdown that was made with [`markdown_cell`]; of a line
/// outside of tables, the only one.
pub fn markdown_cells(line: &str) -> Vec<String> {
    let line = line.trim();
    let mut rest = line.strip_prefix('|').unwrap_or(line);
    let mut cells = vec![String::new()];
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        let escaped = rest.chars().next().filter(char::is_ascii_punctuation);
        let name = [("lt;", '<'), ("amp;", '&')].into_iter().find(|(n, _)| rest.starts_with(n));
        let (text, taken) = match (c, escaped, name) {
            ('\\', Some(escaped), _) => (escaped, 1),
            ('&', _, Some((name, text))) => (text, name.len()),
            ('|', ..) => {
                // The last bar closes the row.
                if !rest.is_empty() {
                    cells.push(String::new());
                }
                continue;
            }
            _ => (c, 0),
        };
        rest = &rest[taken..];
        if let Some(cell) = cells.last_mut() {
            cell.push(text);
        }
    }
    cells.into_iter().map(|cell| cell.trim().to_owned()).collect()
}

/// Text for a terminal: control characters other than line ends and tabs, and with them every
/// command, also one that only chooses a colour, become the replacement character U+FFFD. So do
/// characters that turn the direction of what follows: behind such a name 31 would read 13.
pub fn terminal(text: &str) -> Cow<'_, str> {
    let turns = |c| matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    let is_command = |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || turns(c);
    if text.contains(is_command) {
        Cow::Owned(text.replace(is_command, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// One line for a terminal: as [`terminal`], and line ends become spaces, so that no name can begin
/// a line that looks like ours.
pub fn terminal_line(text: &str) -> Cow<'_, str> {
    if text.contains('\n') {
        Cow::Owned(terminal(&text.replace('\n', " ")).into_owned())
    } else {
        terminal(text)
    }
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
            ("+1+1", "'+1+1"),
            ("-2+3", "'-2+3"),
            ("+1 +1", "'+1 +1"),
            (" =1+1", "' =1+1"),
            ("＝1+1", "'＝1+1"),
            ("-name", "'-name"),
            ("-0.25", "-0.25"),
            ("-inf", "-inf"),
            ("+2.00 (p 0.0006)", "+2.00 (p 0.0006)"),
            ("-0.1 [-0.2, 0.0]", "\"-0.1 [-0.2, 0.0]\""),
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
        // In front of it a table has `\\`, which takes `[…]` and `*` for its own.
        assert_eq!((latex("[9cm] x"), latex("*x")), ("{}[9cm] x".into(), "{}*x".into()));
        assert_eq!(markdown_cell("a|b\nc"), "a\\|b c");
    }

    #[test]
    fn text_of_markdown_is_no_tag_and_no_link_and_comes_back() {
        for (text, cell) in [
            ("<script>alert(7)</script>", "&lt;script>alert(7)&lt;/script>"),
            ("<!-- -->", "&lt;!-- -->"),
            ("[x](javascript:alert(1))", "[x\\](javascript:alert(1))"),
            ("![i](http://evil/x.png)", "![i\\](http\\://evil/x.png)"),
            ("[x]: http://evil", "[x\\]: http\\://evil"),
            ("HTTPS://evil, (ftp://evil)", "HTTPS\\://evil, (ftp\\://evil)"),
            ("www.evil.com, wWw.evil", "www\\.evil.com, wWw\\.evil"),
            ("http\\://evil", "http\\\\://evil"),
            ("a: b, 0.5, ww.x, ://x", "a: b, 0.5, ww.x, ://x"),
            ("a\\|b\\](c) \\d", "a\\\\\\|b\\\\\\](c) \\d"),
            ("&lt;b> R&D", "&amp;lt;b> R&D"),
            ("p < 0.05, 0.5 [0.4, 0.6]", "p < 0.05, 0.5 [0.4, 0.6]"),
        ] {
            assert_eq!(markdown_cell(text), cell);
            assert_eq!(markdown_cells(cell), [text]);
            assert_eq!(markdown_cells(&format!("| {cell} | 1 |  |")), [text, "1", ""]);
        }
    }

    #[test]
    fn a_terminal_gets_text_and_no_commands() {
        assert_eq!(terminal("plain\n\ttext é"), "plain\n\ttext é");
        assert_eq!(terminal("\u{1b}[8mhid\u{1b}[0m"), "\u{fffd}[8mhid\u{fffd}[0m");
        assert_eq!(terminal("\u{1b}]0;title\u{7}"), "\u{fffd}]0;title\u{fffd}");
        assert_eq!(terminal("\u{1b}[2J\u{9b}1A\r"), "\u{fffd}[2J\u{fffd}1A\u{fffd}");
        assert_eq!(terminal("cat\u{202e} 31 %\u{2069}"), "cat\u{fffd} 31 %\u{fffd}");
        assert_eq!(terminal("עברית\u{200e} 31 %"), "עברית\u{200e} 31 %");
        assert_eq!(terminal_line("cat\n6 done\u{1b}[8m"), "cat 6 done\u{fffd}[8m");
    }
}
