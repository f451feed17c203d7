//! The run's tables, and the decision threshold that they know.

use std::path::Path;

use fame_core::{data::read_ordinary, report::escape::markdown_cells};
use maud::{Markup, PreEscaped, html};

use super::{
    folder::{ItemFolder, Method},
    pictures::svg_address,
};
use crate::datasets::GENUINE;

/// The most rows of one table that are shown; its file has all of them.
const MOST_ROWS: usize = 400;

/// The most characters of one drawing that are embedded.
const MOST_DRAWN: usize = 1_000_000;

/// A table of the run: what its Markdown says, and its curves.
pub(super) struct TableFile {
    name: String,
    title: String,
    notes: Vec<String>,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Names and SVG of its curves.
    drawings: Vec<(String, String)>,
}

/// The tables of the run in `out`, by name. Lists for other programs, which have no Markdown, are
/// left out.
pub(super) fn read(out: &Path) -> Vec<TableFile> {
    let folder = out.join("tables");
    let names = |ending: &str| -> Vec<String> {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(ending).map(str::to_owned))
            .collect();
        names.sort();
        names
    };
    let text = |name: &str| {
        let bytes = read_ordinary(&folder.join(name)).ok();
        bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
    };
    let mut tables: Vec<TableFile> = names(".md")
        .into_iter()
        .map(|name| TableFile::parse(&name, &text(&format!("{name}.md"))))
        .collect();
    for name in names(".svg") {
        let drawing = (name.clone(), text(&format!("{name}.svg")));
        // A drawing belongs to the table whose name it begins with; the longest decides.
        let owners = tables.iter_mut().filter(|table| name.starts_with(&table.name));
        if let Some(owner) = owners.max_by_key(|table| table.name.len()) {
            owner.drawings.push(drawing);
        }
    }
    tables
}

/// The plugin whose maps are noise.
const NOISE: &str = "RandomMap";

/// A cell's text without the marks of the best and the second of its column, and its class. Only
/// numbers are marked: a name may begin and end with `_`.
fn place(cell: &str) -> (&str, Option<&'static str>) {
    let is_number = |text: &&str| {
        text.starts_with(|c: char| c.is_ascii_digit() || ['+', '-', '\u{2212}', '.'].contains(&c))
    };
    let between = |mark: &str| cell.strip_prefix(mark)?.strip_suffix(mark).filter(is_number);
    match (between("**"), between("_")) {
        (Some(text), _) => (text, Some("best")),
        (_, Some(text)) => (text, Some("second")),
        _ => (cell, None),
    }
}

/// The text of a line outside of tables.
fn prose_of(line: &str) -> String {
    markdown_cells(line).join(" | ")
}

impl TableFile {
    fn parse(name: &str, markdown: &str) -> Self {
        let mut rows = markdown.lines().filter(|line| line.starts_with('|')).map(markdown_cells);
        let columns = rows.next().unwrap_or_default();
        // The rule below the head.
        rows.next();
        let prose = |line: &&str| !line.is_empty() && !line.starts_with('|');
        let mut prose = markdown.lines().filter(prose);
        let title = prose.next().unwrap_or(name).trim_start_matches('#');
        Self {
            name: name.to_owned(),
            title: prose_of(title),
            notes: prose.map(prose_of).collect(),
            rows: rows.filter(|row| row.len() == columns.len()).collect(),
            columns,
            drawings: Vec::new(),
        }
    }

    /// The table with its notes and curves. The best and the second of a column stand out, and so
    /// do the rows of `methods` that are noise: what is no better than they are says nothing.
    pub(super) fn show(&self, methods: &[Method]) -> Markup {
        let is_noise = |row: &[String]| {
            methods.iter().any(|m| m.plugin == NOISE && Some(&m.name) == row.first())
        };
        // A name may look like a mark.
        let places = |row: &[String]| -> Vec<(String, Option<&'static str>)> {
            let place = |(c, cell): (usize, &String)| match place(cell) {
                (text, Some(class)) if c > 0 => (text.to_owned(), Some(class)),
                _ => (cell.clone(), None),
            };
            row.iter().enumerate().map(place).collect()
        };
        let is_marked = self.rows.iter().any(|row| places(row).iter().any(|(_, c)| c.is_some()));
        let left_out = self.rows.len().saturating_sub(MOST_ROWS);
        html! {
            section.table {
                h3 { (self.title) }
                @if !self.rows.is_empty() {
                    div.wide tabindex="0" role="region" aria-label=(self.title) {
                        table.sortable {
                            thead { tr { @for column in &self.columns { th scope="col" { (column) } } } }
                            tbody { @for row in self.rows.iter().take(MOST_ROWS) {
                                tr class=[is_noise(row).then_some("noise")]
                                    title=[is_noise(row).then_some("Maps of noise, to compare with")] {
                                    @for (cell, class) in places(row) { td class=[class] { (cell) } }
                                }
                            } }
                        }
                    }
                }
                @if left_out > 0 { p.quiet { (left_out) " more rows are in tables/" (self.name) ".csv." } }
                @if is_marked { p.quiet { "Bold is the best of a column, underlined the second; whether that is more than chance the intervals and the comparisons tell." } }
                @for note in &self.notes { p.note { (note) } }
                div.drawings { @for (name, svg) in &self.drawings {
                    @if svg.len() <= MOST_DRAWN {
                        img.drawing src=(PreEscaped(svg_address(svg))) alt=(format!("Curves: {}", name.replace('_', " ")));
                    }
                } }
            }
        }
    }
}

/// The rule by which pairs are accepted.
pub(super) struct Decision {
    /// A pair is accepted when its similarity is at least this.
    pub(super) threshold: f64,
}

/// The threshold in use, from the first row of a table of thresholds; `None` where no table has
/// one.
pub(super) fn decision(tables: &[TableFile]) -> Option<Decision> {
    let table = tables.iter().find(|table| table.name.ends_with("_thresholds"))?;
    let column = table.columns.iter().position(|name| name == "thr")?;
    let threshold = table.rows.first()?.get(column)?.parse().ok()?;
    Some(Decision { threshold })
}

impl Decision {
    /// What became of a pair: whether it is genuine, and whether it was accepted.
    pub(super) fn of(&self, item: &ItemFolder<'_>) -> Option<&'static str> {
        let genuine = item.record["marks"][GENUINE.name()].as_bool()?;
        let similarity = item.first_fact("similarity_before")?.as_f64()?;
        Some(match (genuine, similarity >= self.threshold) {
            (true, true) => "true accept",
            (true, false) => "false reject",
            (false, true) => "false accept",
            (false, false) => "true reject",
        })
    }
}

#[cfg(test)]
mod tests {
    use fame_core::report::Place;

    use super::*;

    #[test]
    fn a_table_has_its_title_its_notes_and_its_cells_as_text() {
        let markdown =
            "### Scores <of>\n\n| a | b |\n| --- | --- |\n| x\\|y, <i> | 1 |\n\nFew & small.\n";
        let table = TableFile::parse("scores", markdown);
        let shown = table.show(&[]).into_string();
        assert!(shown.contains("Scores &lt;of&gt;") && shown.contains("Few &amp; small."));
        assert!(shown.contains("<td>x|y, &lt;i&gt;</td>"), "{shown}");
    }

    #[test]
    fn what_is_escaped_in_the_file_is_shown_as_it_was() {
        let text = "[x](javascript:1) <b> a|b";
        let table = fame_core::Table {
            title: text.into(),
            columns: vec![text.into()],
            rows: vec![vec![text.into()]],
            notes: vec![text.into()],
            ..Default::default()
        };
        let read = TableFile::parse("t", &table.markdown());
        assert_eq!((read.title.as_str(), read.notes.as_slice()), (text, &[text.to_owned()][..]));
        assert_eq!((read.columns, read.rows), (table.columns, table.rows));
    }

    #[test]
    fn best_second_and_noise_stand_out() {
        let text = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let place = |place| vec![Place::Other, Place::Other, place];
        let table = fame_core::Table {
            columns: text(["explainer", "items", "drop"]),
            rows: vec![
                text(["_cam_", "2", "0.3 [0.2, 0.4]"]),
                text(["noise", "2", "0.1"]),
                text(["fame", "2", "0.2"]),
            ],
            places: [Place::Best, Place::Other, Place::Second].map(place).to_vec(),
            ..Default::default()
        };
        let method = |name: &str, plugin: &str| Method {
            name: name.to_owned(),
            plugin: plugin.to_owned(),
            parameters: serde_json::Value::Null,
        };
        let methods = [method("noise", "RandomMap"), method("fame", "Fame")];
        let shown = TableFile::parse("t", &table.markdown()).show(&methods).into_string();
        for row in [
            "<tr><td>_cam_</td><td>2</td><td class=\"best\">0.3 [0.2, 0.4]</td></tr>",
            "<tr class=\"noise\" title=\"Maps of noise, to compare with\"><td>noise</td>",
            "<tr><td>fame</td><td>2</td><td class=\"second\">0.2</td></tr>",
            "Bold is the best of a column",
        ] {
            assert!(shown.contains(row), "{shown}");
        }
        let unmarked = fame_core::Table { places: Vec::new(), ..table };
        let shown = TableFile::parse("t", &unmarked.markdown()).show(&[]).into_string();
        assert!(!shown.contains("Bold") && !shown.contains("noise\" title"), "{shown}");
    }

    #[test]
    fn the_threshold_in_use_is_the_first() {
        let markdown = "### T\n\n| rule | thr | fmr |\n| --- | --- | --- |\n| EerMiddle | 0.45 | 0 |\n| Eer | 0.5 | 0 |\n";
        let tables = [TableFile::parse("verification_thresholds", markdown)];
        assert_eq!(decision(&tables).unwrap().threshold, 0.45);
        assert!(decision(&[]).is_none());
    }
}
