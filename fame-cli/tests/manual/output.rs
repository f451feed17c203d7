//! What a page shows as a command's output, compared with what the command printed.

/// The mark of whatever is left out: the rest of a line, or any number of lines.
const ANYTHING: char = '…';

/// A line with what differs between machines made alike: numbers, and the room that columns take.
fn alike(line: &str) -> String {
    let mut text = String::new();
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut rest = line.trim();
    while let Some(c) = rest.chars().next() {
        let taken = if c.is_ascii_digit() {
            text.push('0');
            rest.find(|c| !is_number(c)).unwrap_or(rest.len())
        } else if c.is_whitespace() {
            text.push(' ');
            rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len())
        } else {
            text.push(c);
            c.len_utf8()
        };
        rest = &rest[taken..];
    }
    text
}

/// The first line of `shown` that `said` has not, the lines in order; `None` where all are there.
/// Lines between them are allowed: a page shows what matters.
pub(crate) fn missing<'a>(shown: &'a str, said: &str) -> Option<&'a str> {
    let mut said = said.lines().map(alike);
    let lines = shown.lines().filter(|line| !line.trim().is_empty());
    lines.filter(|line| line.trim() != ANYTHING.to_string()).find(|line| {
        let wanted = alike(line);
        match wanted.strip_suffix(ANYTHING) {
            Some(start) => !said.any(|line| line.starts_with(start.trim_end())),
            None => !said.any(|line| line == wanted),
        }
    })
}

#[test]
fn only_numbers_and_what_is_left_out_may_differ() {
    let said = "a: similarity 0.83\nx\n| m    | 10 | 0.5 [0.1, 0.9] |\n1 done in 12.5 s → pair\n";
    for shown in [
        "a: similarity 0.9\n1 done in 2.0 s → pair\n",
        "…\n| m | 9 | …\n…",
        "a: sim…\n| m | 1 | 0 [0.22, 1] |",
    ] {
        assert_eq!(missing(shown, said), None, "{shown}");
    }
    for (shown, first) in [
        ("a: similarity is 0.9", "a: similarity is 0.9"),
        ("x\na: similarity 0.9", "a: similarity 0.9"),
        ("1 done in 2.0 s → own", "1 done in 2.0 s → own"),
        ("b: …", "b: …"),
    ] {
        assert_eq!(missing(shown, said), Some(first));
    }
}
