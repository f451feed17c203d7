//! Text in the columns of a terminal: names of any length line up, and no line is broken by the
//! terminal itself.

use std::{borrow::Cow, io::IsTerminal as _};

use console::{Term, measure_text_width};
use fame_core::{Table, report::escape};

/// Columns where the terminal does not say how many it has.
const USUAL: usize = 80;

/// Fewer columns than these are not heeded: there is no room to break a line.
const FEWEST: usize = 24;

/// The columns of the terminal behind standard error.
pub(super) fn columns() -> usize {
    columns_of(&Term::stderr())
}

fn columns_of(terminal: &Term) -> usize {
    terminal.size_checked().map_or(USUAL, |(_, columns)| usize::from(columns)).max(FEWEST)
}

/// `text` in at most `width` columns: what does not fit is left out of its middle, because names of
/// files and layers differ at their ends.
pub(crate) fn shortened(text: &str, width: usize) -> Cow<'_, str> {
    if measure_text_width(text) <= width {
        return Cow::Borrowed(text);
    }
    let room = width.saturating_sub(1);
    let head: String = fitting(text.chars(), room - room / 2).collect();
    let tail: Vec<char> = fitting(text.chars().rev(), room / 2).collect();
    Cow::Owned(head + "…" + &tail.iter().rev().collect::<String>())
}

/// As many of `letters` as `width` columns hold.
fn fitting(letters: impl Iterator<Item = char>, width: usize) -> impl Iterator<Item = char> {
    letters
        .scan(0, |used, letter| {
            *used += width_of(letter);
            Some((*used, letter))
        })
        .take_while(move |(used, _)| *used <= width)
        .map(|(_, letter)| letter)
}

/// The columns of one character: two for most of Chinese, none for an accent of its own.
fn width_of(letter: char) -> usize {
    measure_text_width(letter.encode_utf8(&mut [0; 4]))
}

/// `text` in lines of at most `width` columns, broken between words where that is possible. All but
/// the first line are indented.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    wrapped_by(text, width, INDENT)
}

/// How far further lines stand to the right.
const INDENT: usize = 4;

/// [`wrapped`] with this indent.
fn wrapped_by(text: &str, width: usize, indent: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut used, mut has_word) = (String::new(), 0, false);
    let mut turn = |line: &mut String, used: &mut usize| {
        lines.push(std::mem::replace(line, " ".repeat(indent)));
        *used = indent;
    };
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if has_word && used + 1 + measure_text_width(word) > width {
            turn(&mut line, &mut used);
        } else if has_word {
            line.push(' ');
            used += 1;
        }
        for letter in word.chars() {
            // A word longer than a line.
            if used + width_of(letter) > width {
                turn(&mut line, &mut used);
            }
            line.push(letter);
            used += width_of(letter);
        }
        has_word = true;
    }
    lines.push(line);
    lines
}

/// The columns of the terminal behind standard output, if it is one.
pub(crate) fn output_columns() -> Option<usize> {
    std::io::stdout().is_terminal().then(|| columns_of(&Term::stdout()))
}

/// Rows in columns as wide as their widest cell, for standard output. On a terminal a cell that is
/// too wide for a column has a line of its own, the columns behind it go on below, and the last
/// one is broken into lines; in a pipe or file every row is one line.
pub(crate) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let width = output_columns();
    let clean = |cell: &String| escape::terminal_line(cell).into_owned();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(clean).collect()).collect();
    in_columns(&rows, width)
}

/// A table that is wider than the terminal behind standard output, told row by row; `None` where it
/// fits, and where the output is no terminal: programs read a line for each row.
pub(crate) fn row_by_row(table: &Table) -> Option<Vec<String>> {
    let width = output_columns().filter(|width| table.width() > *width)?;
    Some(in_rows(table, width))
}

/// For each row its first cell, and below it the others that hold something, behind the names of
/// their columns; then the notes. No line has more than `width` columns.
fn in_rows(table: &Table, width: usize) -> Vec<String> {
    const INSIDE: usize = 2;
    let clean = |text: &str| escape::terminal_line(text).into_owned();
    let mut lines = wrapped_by(&clean(&format!("### {}", table.title)), width, INDENT);
    lines.push(String::new());
    for row in &table.rows {
        let mut cells = table.columns.iter().zip(row);
        lines.extend(cells.next().iter().flat_map(|(_, cell)| wrapped(&clean(cell), width)));
        for (name, cell) in cells.filter(|(_, cell)| !cell.is_empty()) {
            let told = wrapped_by(&clean(&format!("{name}: {cell}")), width - INSIDE, INSIDE);
            lines.extend(told.into_iter().map(|line| " ".repeat(INSIDE) + &line));
        }
    }
    for note in &table.notes {
        lines.push(String::new());
        lines.extend(wrapped_by(&clean(note), width, 0));
    }
    lines.push(String::new());
    lines
}

/// The rows in lines of at most `width` columns, or one line each.
fn in_columns(rows: &[Vec<String>], width: Option<usize>) -> Vec<String> {
    /// The widest column, and how much of the first there must be room for.
    const MOST: usize = 40;
    const LEAST: usize = 12;
    /// Between two columns.
    const GAP: usize = 2;
    /// What words need.
    const WORDS: usize = 16;
    let wide = |n: usize| {
        let cells = rows.iter().filter(|row| n + 1 < row.len()).map(|row| &row[n]);
        cells.map(|cell| measure_text_width(cell)).max().unwrap_or(0).min(MOST)
    };
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0).saturating_sub(1);
    let mut widths: Vec<usize> = (0..columns).map(wide).collect();
    if let (Some(width), Some((first, others))) = (width, widths.split_first_mut()) {
        let others: usize = others.iter().map(|wide| wide + GAP).sum();
        *first = (*first).min(width.saturating_sub(others + GAP).max(LEAST));
        if *first + GAP + others > width {
            return rows.iter().flat_map(|row| wrapped(&row.join("  "), width)).collect();
        }
    }
    let mut lines = Vec::new();
    for row in rows {
        let (mut line, mut start) = (String::new(), 0);
        let Some((last, before)) = row.split_last() else { continue };
        for (cell, wide) in before.iter().zip(&widths) {
            start += wide + GAP;
            line += cell;
            match width {
                Some(width) if measure_text_width(cell) > *wide => {
                    lines.extend(wrapped_by(&line, width, 0));
                    line = " ".repeat(start);
                }
                _ => {
                    let used = measure_text_width(&line);
                    line += &" ".repeat(start.saturating_sub(used).max(GAP));
                }
            }
        }
        let Some(width) = width else {
            lines.push((line + last).trim_end().to_owned());
            continue;
        };
        // Too little is left of the line for words.
        if start + measure_text_width(last).min(WORDS) > width {
            lines.push(line.trim_end().to_owned());
            (line, start) = (" ".repeat(INDENT), INDENT);
        }
        let mut parts = wrapped_by(last, width - start, 0).into_iter();
        lines.push((line + &parts.next().unwrap_or_default()).trim_end().to_owned());
        lines.extend(parts.map(|part| " ".repeat(start) + &part));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn columns_line_up_below_a_name_of_any_length() {
        let long = "backbone.encoder.layers.11.attention.output";
        let rows = rows(&[
            &["conv1", "Conv", "[64, 8, 8]", "= first"],
            &[long, "MatMul", "[197, 768]", "a mark of several words that has no room in its line"],
        ]);
        assert_eq!(
            in_columns(&rows, Some(80)),
            [
                format!("{:40}  Conv    [64, 8, 8]  = first", "conv1"),
                long.to_owned(),
                format!("{:42}MatMul  [197, 768]  a mark of several", ""),
                format!("{:62}words that has no", ""),
                format!("{:62}room in its line", ""),
            ]
        );
        let plain = in_columns(&rows, None);
        assert_eq!(plain.len(), 2, "a row is a line for programs");
        assert!(plain[1].starts_with(&format!("{long}  MatMul  [197, 768]  a mark")), "{plain:?}");
    }

    #[test]
    fn a_table_that_is_too_wide_is_told_row_by_row() {
        let spec = format!("Fame(loss: {})", "z".repeat(200));
        let table = Table {
            title: "What the recipes say differently".into(),
            columns: ["parameter", "first", "other"].map(str::to_owned).into(),
            rows: vec![
                vec!["explain.fame".into(), spec, "–".into()],
                vec!["seed".into(), String::new(), "7".into()],
            ],
            notes: vec!["A note.".into()],
            ..Table::default()
        };
        let lines = in_rows(&table, 60);
        assert!(lines.iter().all(|line| measure_text_width(line) <= 60), "{lines:#?}");
        let at = |text: &str| lines.iter().position(|line| line == text).unwrap_or(usize::MAX);
        let [fame, other, seed, seven, note] =
            ["explain.fame", "  other: –", "seed", "  other: 7", "A note."].map(at);
        assert!(fame < other && other < seed && seed + 1 == seven && seven < note, "{lines:#?}");
        assert_eq!(lines.concat().matches('z').count(), 200, "no letter is lost");
    }

    #[test]
    fn no_row_is_wider_than_the_terminal() {
        let name = |n: usize| "x".repeat(n);
        for n in [1, 30, 33, 79, 200] {
            let rows = rows(&[&[&name(n), &name(20), "and words and words and words"]]);
            for width in [24, 60, 80] {
                let lines = in_columns(&rows, Some(width));
                let widest = lines.iter().map(|line| measure_text_width(line)).max();
                assert!(widest <= Some(width), "{n} in {width}: {lines:#?}");
                let letters = lines.concat().matches('x').count();
                assert_eq!(letters, n + 20, "{lines:#?}");
            }
        }
    }

    #[test]
    fn a_name_that_is_too_long_keeps_both_ends() {
        assert_eq!(shortened("layer", 5), "layer");
        assert_eq!(shortened("backbone.layer4.conv1", 11), "backb…conv1");
        assert_eq!(shortened("骨干网络第四层", 7), "骨…层", "no column too many");
        assert_eq!(shortened("abc", 1), "…");
        for width in 1..30 {
            let name = "a/very/long/namé/骨干/of/a/layer";
            assert!(measure_text_width(&shortened(name, width)) <= width, "{width}");
        }
    }

    #[test]
    fn no_line_is_longer_than_the_terminal_and_no_letter_is_lost() {
        let text = "a--b: similarity 0.412; fame: probe_similar loss 0.4124 → 0.0213 in 120 steps";
        assert_eq!(wrapped("a--b: kept", 80), ["a--b: kept"]);
        assert_eq!(wrapped(text, 40)[1], "    probe_similar loss 0.4124 → 0.0213");
        let long = format!("{}: {text}", "x".repeat(200));
        for (text, width) in [(text, 24), (text, 40), (&long, 24), (&long, 80)] {
            let lines = wrapped(text, width);
            assert!(lines.iter().all(|line| measure_text_width(line) <= width), "{lines:#?}");
            let bare = |text: &str| text.replace(' ', "");
            assert_eq!(bare(&lines.concat()), bare(text));
        }
    }
}
