//! Tables: what many measurements come to, for people and for other programs.

use std::fmt::Write as _;

use super::escape;
use crate::{Plot, Random};

/// A mean with how far it can be trusted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The mean; NaN of nothing.
    pub mean: f64,
    /// Lower end of the 95 % interval; NaN where nothing can vary, as with a single item.
    pub low: f64,
    /// Upper end of the 95 % interval; NaN as `low`.
    pub high: f64,
}

impl Interval {
    /// Mean and ends, or the mean alone where there is no interval, with `decimals` digits after
    /// the point.
    pub fn shown(&self, decimals: usize) -> String {
        let Self { mean, low, high } = self;
        if low.is_nan() || high.is_nan() {
            return format!("{mean:.decimals$}");
        }
        format!("{mean:.decimals$} [{low:.decimals$}, {high:.decimals$}]")
    }
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown(4))
    }
}

/// Resamples behind an [`interval`]: its ends then rest on the 50 lowest and highest of them.
const RESAMPLES: usize = 2000;

/// The mean of `statistic` over `n` items with the 95 % percentile interval of a bootstrap over
/// items (Efron 1979), seeded: the same numbers give the same interval.
///
/// `statistic` is given the items' numbers, drawn with replacement, and answers with what is to be
/// averaged or counted over them. A single item has no interval: nothing is known of others.
pub fn interval(n: usize, statistic: impl Fn(&[usize]) -> f64) -> Interval {
    stratified_interval(&vec![0; n], statistic)
}

/// The same where the items are of several kinds, `strata[i]` the kind of item i, from 0: each item
/// is replaced by one of its own kind, so that every resample has as many of each as there are
/// (kinds whose numbers a protocol fixes).
pub fn stratified_interval(strata: &[usize], statistic: impl Fn(&[usize]) -> f64) -> Interval {
    stratified_intervals(strata, 1, |drawn, found| found[0] = statistic(drawn))[0]
}

/// The same for `count` statistics of one bootstrap, such as the points of a curve: each resample
/// is drawn once, and `statistics` writes the numbers of all of them.
pub fn stratified_intervals(
    strata: &[usize],
    count: usize,
    statistics: impl Fn(&[usize], &mut [f64]),
) -> Vec<Interval> {
    let n = strata.len();
    let all: Vec<usize> = (0..n).collect();
    let mut means = vec![f64::NAN; count];
    if n > 0 {
        statistics(&all, &mut means);
    }
    let mut members: Vec<Vec<usize>> =
        vec![Vec::new(); strata.iter().max().map_or(0, |most| most + 1)];
    strata.iter().enumerate().for_each(|(item, stratum)| members[*stratum].push(item));
    if members.iter().all(|of_kind| of_kind.len() < 2) {
        return means
            .into_iter()
            .map(|mean| Interval { mean, low: f64::NAN, high: f64::NAN })
            .collect();
    }
    let mut random = Random::new(0x00FA_3E00);
    let mut drawn = all;
    let mut found = vec![Vec::with_capacity(RESAMPLES); count];
    let mut numbers = vec![f64::NAN; count];
    for _ in 0..RESAMPLES {
        drawn.iter_mut().zip(strata).for_each(|(d, stratum)| {
            *d = members[*stratum][random.below(members[*stratum].len())];
        });
        statistics(&drawn, &mut numbers);
        found.iter_mut().zip(&numbers).for_each(|(found, number)| found.push(*number));
    }
    let interval = |(mean, mut found): (f64, Vec<f64>)| {
        found.sort_by(f64::total_cmp);
        let at = |share: f64| {
            found
                .get((share * (found.len().saturating_sub(1)) as f64).round() as usize)
                .copied()
                .unwrap_or(f64::NAN)
        };
        Interval { mean, low: at(0.025), high: at(0.975) }
    };
    means.into_iter().zip(found).map(interval).collect()
}

/// The place of a cell among those of its column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Neither, or nothing that is good one way.
    #[default]
    Other,
    /// Best: bold.
    Best,
    /// Second: in italics, in LaTeX underlined.
    Second,
}

/// Rows and columns of text under a title.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Safe as a file name: `road`.
    pub name: String,
    /// One line above it.
    pub title: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Cells, as many in each row as there are columns.
    pub rows: Vec<Vec<String>>,
    /// Remarks for the reader, below the table.
    pub notes: Vec<String>,
    /// Curves that belong to it.
    pub plots: Vec<Plot>,
    /// A list for other programs, one row per item: left as CSV only, and not shown.
    pub is_list: bool,
    /// The same for other programs, one number to a cell; what the CSV file holds, where it is
    /// there.
    pub numbers: Option<Numbers>,
    /// The places of the cells, row by row; empty where none is better than another.
    pub places: Vec<Vec<Place>>,
}

/// Rows and columns of numbers: mean and ends of an interval in columns of their own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Cells, as many in each row as there are columns; empty where nothing is known.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Comma-separated values with a header, numbers in columns of their own; notes are left out.
    pub fn csv(&self) -> String {
        let (columns, rows) = match &self.numbers {
            Some(numbers) => (&numbers.columns, &numbers.rows),
            None => (&self.columns, &self.rows),
        };
        let cell = |cell: &String| escape::csv_cell(cell);
        let line = |cells: &[String]| cells.iter().map(cell).collect::<Vec<_>>().join(",") + "\n";
        line(columns) + &rows.iter().map(|r| line(r)).collect::<String>()
    }

    /// The table without the columns, but the first, in which no row has anything.
    #[must_use]
    pub fn without_empty_columns(mut self) -> Self {
        let used = drop_empty(&mut self.columns, &mut self.rows);
        self.places.iter_mut().for_each(|row| keep(row, &used));
        if let Some(numbers) = &mut self.numbers {
            drop_empty(&mut numbers.columns, &mut numbers.rows);
        }
        self
    }

    /// The place of a cell among those of its column.
    pub fn place(&self, row: usize, column: usize) -> Place {
        self.places.get(row).and_then(|row| row.get(column)).copied().unwrap_or_default()
    }

    /// The cells of row `r`, each as `write` makes it, marked by what stands around the best and the
    /// second.
    fn marked(&self, r: usize, write: fn(&str) -> String, marks: [[&str; 2]; 2]) -> Vec<String> {
        let cell = |(c, cell): (usize, &String)| {
            let text = write(cell);
            match self.place(r, c) {
                _ if text.is_empty() => text,
                Place::Other => text,
                Place::Best => [marks[0][0], &text, marks[0][1]].concat(),
                Place::Second => [marks[1][0], &text, marks[1][1]].concat(),
            }
        };
        self.rows[r].iter().enumerate().map(cell).collect()
    }

    /// The width in characters of its lines in Markdown.
    pub fn width(&self) -> usize {
        self.markdown().lines().find(|l| l.starts_with('|')).map_or(0, |l| l.chars().count())
    }

    /// A Markdown table, columns aligned so that it also reads well in a terminal; `**best**` and
    /// `_second_` of a column.
    pub fn markdown(&self) -> String {
        let head: Vec<String> = self.columns.iter().map(|c| escape::markdown_cell(c)).collect();
        let row = |r| self.marked(r, escape::markdown_cell, [["**"; 2], ["_"; 2]]);
        let body: Vec<Vec<String>> = (0..self.rows.len()).map(row).collect();
        let width = |c: usize| {
            let cells = body.iter().filter_map(|r| r.get(c)).chain(head.get(c));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |cells: &[String]| {
            let padded: Vec<String> = cells
                .iter()
                .zip(&widths)
                .map(|(c, w)| format!("{c}{}", " ".repeat(w - c.chars().count())))
                .collect();
            format!("| {} |\n", padded.join(" | "))
        };
        let rule: Vec<String> = widths.iter().map(|w| "-".repeat(*w)).collect();
        let title = escape::markdown_cell(&self.title);
        let mut text = format!("### {title}\n");
        if !self.columns.is_empty() {
            let _ = write!(text, "\n{}{}", line(&head), line(&rule));
        }
        body.iter().for_each(|r| text.push_str(&line(r)));
        for note in &self.notes {
            let _ = write!(text, "\n{}\n", escape::markdown_cell(note));
        }
        text
    }

    /// A LaTeX `tabular`, made smaller where it is wider than the text. Needs the package
    /// `graphicx`.
    pub fn latex(&self) -> String {
        let line = |cells: &[String]| cells.join(" & ") + " \\\\\n";
        let head: Vec<String> = self.columns.iter().map(|c| escape::latex(c)).collect();
        let row = |r| self.marked(r, escape::latex, [["\\textbf{", "}"], ["\\underline{", "}"]]);
        let columns = format!("l{}", "r".repeat(self.columns.len().saturating_sub(1)));
        let rows: String = (0..self.rows.len()).map(|r| line(&row(r))).collect();
        format!(
            "% {}\n% \\usepackage{{graphicx}}\n\\resizebox{{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}}{{!}}{{%\n\\begin{{tabular}}{{{columns}}}\n\\hline\n{}\\hline\n{rows}\\hline\n\\end{{tabular}}}}\n",
            escape::latex(&self.title),
            line(&head)
        )
    }
}

/// Drops every column but the first in which no row has anything, and tells which are kept. A table
/// without rows keeps all.
fn drop_empty(columns: &mut Vec<String>, rows: &mut [Vec<String>]) -> Vec<bool> {
    let is_used = |c: usize| {
        c == 0 || rows.is_empty() || rows.iter().any(|r| r.get(c).is_some_and(|v| !v.is_empty()))
    };
    let used: Vec<bool> = (0..columns.len()).map(is_used).collect();
    keep(columns, &used);
    rows.iter_mut().for_each(|row| keep(row, &used));
    used
}

/// Keeps those of a row's cells whose columns are used.
fn keep<T>(cells: &mut Vec<T>, used: &[bool]) {
    let mut column = used.iter();
    cells.retain(|_| column.next().copied().unwrap_or(true));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(values: &[f64]) -> Interval {
        interval(values.len(), |drawn| {
            drawn.iter().map(|i| values[*i]).sum::<f64>() / drawn.len() as f64
        })
    }

    #[test]
    fn an_interval_holds_its_mean_and_narrows_with_more_items() {
        let few: Vec<f64> = (0..10).map(f64::from).collect();
        let many: Vec<f64> = (0..1000).map(|i| f64::from(i % 10)).collect();
        let (few, many) = (mean(&few), mean(&many));
        assert!((few.mean - 4.5).abs() < 1e-12 && few.low < 4.5 && few.high > 4.5);
        assert!(many.high - many.low < 0.2 * (few.high - few.low));
        // The standard error of 1000 draws is 2.87 / √1000 = 0.091; 95 % are ± 1.96 of it. The
        // bootstrap itself wavers by a few percent.
        assert!((many.high - many.low - 2.0 * 1.96 * 0.0908).abs() < 0.03, "{many:?}");
        assert_eq!(mean(&[2.0; 5]), Interval { mean: 2.0, low: 2.0, high: 2.0 });
        assert!(mean(&[]).mean.is_nan());
        // One item says nothing of others.
        assert!(mean(&[2.0]).low.is_nan() && mean(&[2.0]).to_string() == "2.0000");
    }

    #[test]
    fn strata_keep_their_shares() {
        // Half of the items are all 0, half all 1: drawn within their kinds nothing varies.
        let values: Vec<f64> = (0..40).map(|i| f64::from(i % 2)).collect();
        let strata: Vec<usize> = (0..40).map(|i| i % 2).collect();
        let of =
            |drawn: &[usize]| drawn.iter().map(|i| values[*i]).sum::<f64>() / drawn.len() as f64;
        assert_eq!(stratified_interval(&strata, of), Interval { mean: 0.5, low: 0.5, high: 0.5 });
        let free = interval(40, of);
        // √(0.25 / 40) = 0.079.
        assert!((free.high - free.low - 2.0 * 1.96 * 0.079).abs() < 0.05, "{free:?}");
    }

    #[test]
    fn one_table_reads_in_three_forms() {
        let table = Table {
            name: "t".into(),
            title: "Scores".into(),
            columns: vec!["explainer".into(), "a_b".into()],
            rows: vec![vec!["fame, \"x\"".into(), "50%".into()]],
            notes: vec!["Few.".into()],
            ..Table::default()
        };
        assert_eq!(table.csv(), "explainer,a_b\n\"fame, \"\"x\"\"\",50%\n");
        assert_eq!(
            table.markdown(),
            "### Scores\n\n| explainer | a_b |\n| --------- | --- |\n| fame, \"x\" | 50% |\n\nFew.\n"
        );
        let latex = table.latex();
        assert!(latex.contains("explainer & a\\_b \\\\") && latex.contains("50\\%"));
        assert!(latex.contains("\\resizebox") && latex.ends_with("\\end{tabular}}\n"), "{latex}");
        assert_eq!(table.width(), "| fame, \"x\" | 50% |".len());
        let numbers = Numbers { columns: vec!["a".into()], rows: vec![vec!["1".into()]] };
        let with = Table { numbers: Some(numbers), ..table };
        assert_eq!(with.csv(), "a\n1\n", "one number to a cell");
    }

    #[test]
    fn best_and_second_stand_out_in_markdown_and_latex() {
        let text = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let table = Table {
            columns: text(["explainer", "empty", "drop"]),
            rows: ["5%", "4", ""].map(|cell| text(["m", "", cell])).to_vec(),
            places: [Place::Best, Place::Second, Place::Best]
                .map(|place| vec![Place::Other, Place::Other, place])
                .to_vec(),
            ..Table::default()
        };
        let table = table.without_empty_columns();
        let markdown = table.markdown();
        assert!(markdown.contains("| m         | **5%** |\n| m         | _4_    |"), "{markdown}");
        assert!(!markdown.contains("****"), "nothing is no best cell");
        let latex = table.latex();
        assert!(latex.contains("m & \\textbf{5\\%} \\\\\nm & \\underline{4} \\\\"), "{latex}");
        assert_eq!(table.csv(), "explainer,drop\nm,5%\nm,4\nm,\n", "programs get numbers");
    }

    #[test]
    fn title_and_notes_are_one_line_of_text_each() {
        let table = Table {
            title: "of <b>\n| x |".into(),
            columns: vec!["a".into()],
            notes: vec!["[x]: http://evil\n# y".into()],
            ..Table::default()
        };
        assert_eq!(
            table.markdown(),
            "### of &lt;b> \\| x \\|\n\n| a   |\n| --- |\n\n[x\\]: http\\://evil # y\n"
        );
    }

    #[test]
    fn columns_without_anything_are_left_out() {
        let text = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let table = Table {
            columns: text(&["explainer", "a", "b"]),
            rows: vec![text(&["x", "", "1"]), text(&["y", "", ""])],
            ..Table::default()
        };
        let table = table.without_empty_columns();
        assert_eq!(table.columns, ["explainer", "b"]);
        assert_eq!(table.rows, [["x", "1"], ["y", ""]]);
        let none = Table { columns: text(&["a", "b"]), ..Table::default() };
        assert_eq!(none.without_empty_columns().columns.len(), 2, "no rows say nothing");
    }
}
