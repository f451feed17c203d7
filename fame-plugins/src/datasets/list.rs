//! Reading lists: rows with their line numbers, and everything wrong with them at once.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use fame_core::{Error, Result, contract::Files};

/// Lists are text of some megabytes; whatever is larger is another kind of file.
const MAX_BYTES: u64 = 1 << 28;

/// So many faults are shown one by one. Beyond, rows with the same fault share a line.
const ONE_BY_ONE: usize = 40;

/// The text of the list `shown`.
///
/// # Errors
/// `fame::data::list` when it cannot be read as UTF-8 text.
pub(super) fn text_of(shown: &str, files: &dyn Files) -> Result<String> {
    let path = files.locate(shown)?;
    let bad = |why: String| Error::new("fame::data::list", format!("list `{shown}` {why}."));
    let about = std::fs::metadata(&path).map_err(|e| bad(format!("cannot be read: {e}")))?;
    if !about.is_file() || about.len() > MAX_BYTES {
        let what = if about.is_file() {
            format!("has {} bytes, which no list has", about.len())
        } else {
            "is not a file".to_owned()
        };
        return Err(bad(what));
    }
    let bytes = std::fs::read(&path).map_err(|e| bad(format!("cannot be read: {e}")))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].split(|b| *b == b'\n').count();
        bad(format!("is not UTF-8 text: see line {line}"))
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// A list as rows of cells.
pub(super) struct Table {
    /// As the recipe names the file.
    pub(super) file: String,
    /// Rows with their line, counted from 1; blank ones are left out.
    pub(super) rows: Vec<(usize, Vec<String>)>,
}

impl Table {
    /// Reads `shown` as comma-separated, tab-separated or, when its first line holds neither,
    /// space-separated text. Cells may be quoted.
    ///
    /// # Errors
    /// When it cannot be read, is empty, or a quote never ends.
    pub(super) fn read(shown: &str, files: &dyn Files) -> Result<Self> {
        let text = text_of(shown, files)?;
        let first = text.lines().find(|l| !l.trim().is_empty()).unwrap_or_default();
        refuse_semicolons(shown, &text)?;
        let rows = match [',', '\t'].into_iter().find(|s| first.contains(*s)) {
            Some(separator) => separated(shown, &text, separator)?,
            None => spaced(&text),
        };
        if rows.is_empty() {
            return Err(Error::new(
                "fame::data::empty_list",
                format!("list `{shown}` has no rows."),
            ));
        }
        Ok(Self { file: shown.to_owned(), rows })
    }

    /// Takes the first row away if any of its cells is one of `names`: a header.
    ///
    /// # Errors
    /// As [`Table::check_width`], for the rows below it.
    pub(super) fn header(&mut self, names: &[&str]) -> Result<Option<Header>> {
        let known = |cell: &String| names.iter().any(|n| cell.eq_ignore_ascii_case(n));
        if !self.rows.first().is_some_and(|(_, cells)| cells.iter().any(known)) {
            return Ok(None);
        }
        let header = Header { file: self.file.clone(), cells: self.rows.remove(0).1 };
        self.check_width(header.cells.len())?;
        Ok(Some(header))
    }

    /// Refuses rows with more cells than there are `columns`: a name with a comma in it, without
    /// quotes, moves everything behind it one column on. Empty cells at the end do no harm.
    ///
    /// # Errors
    /// `fame::data::rows` with every such row.
    pub(super) fn check_width(&self, columns: usize) -> Result<()> {
        let mut faults = Faults::new(&self.file);
        for (line, cells) in &self.rows {
            if let Some(cell) = cells.iter().skip(columns).find(|cell| !cell.is_empty()) {
                faults.add(*line, "the row has more cells than there are columns", cell);
            }
        }
        faults.into_result()
    }
}

/// Refuses a list whose first rows are all cut by semicolons and by nothing else, as spreadsheets
/// write them where the comma is the decimal sign.
fn refuse_semicolons(shown: &str, text: &str) -> Result<()> {
    let mut first = text.lines().filter(|line| !line.trim().is_empty()).take(3).peekable();
    let is_cut = |line: &str| line.contains(';') && !line.contains([',', '\t']);
    if first.peek().is_none() || !first.all(is_cut) {
        return Ok(());
    }
    let message = format!("the cells of list `{shown}` are separated by `;`.");
    Err(Error::new("fame::data::separator", message)
        .with_help("Save it with commas or tabs between the cells."))
}

/// Rows of separated text (RFC 4180, except that a quoted cell cannot go on in the next line: no
/// list of paths needs it, and an unclosed quote would swallow all that follows). Written here
/// because the crate `csv` turns a feature of `serde_core` on, with which every dependency builds
/// anew.
fn separated(shown: &str, text: &str, separator: char) -> Result<Vec<(usize, Vec<String>)>> {
    let mut faults = Faults::new(shown);
    let mut rows = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let cells = faults.keep(n + 1, cells(line, separator));
        rows.extend(
            cells.filter(|cells| cells.iter().any(|c| !c.is_empty())).map(|cells| (n + 1, cells)),
        );
    }
    faults.into_result()?;
    Ok(rows)
}

/// The cells of one row, trimmed, quotes taken off.
pub(super) fn cells(line: &str, separator: char) -> std::result::Result<Vec<String>, Wrong> {
    let mut cells = Vec::new();
    let mut rest = line;
    loop {
        let (cell, after) = match rest.trim_start_matches(' ').strip_prefix('"') {
            Some(inner) => quoted_cell(inner, separator)
                .ok_or(("a quote does not end with its cell", line.to_owned()))?,
            None => match rest.split_once(separator) {
                Some((cell, after)) => (cell.trim().to_owned(), Some(after)),
                None => (rest.trim().to_owned(), None),
            },
        };
        cells.push(cell);
        match after {
            Some(after) => rest = after,
            None => return Ok(cells),
        }
    }
}

/// The cell whose opening quote stands before `inner`, and what follows its separator.
fn quoted_cell(inner: &str, separator: char) -> Option<(String, Option<&str>)> {
    let mut end = 0;
    loop {
        end += inner[end..].find('"')?;
        // Two quotes stand for one.
        if inner[end + 1..].starts_with('"') {
            end += 2;
        } else {
            break;
        }
    }
    let cell = inner[..end].replace("\"\"", "\"").trim().to_owned();
    let after = inner[end + 1..].trim_start_matches(' ');
    match after.strip_prefix(separator) {
        Some(after) => Some((cell, Some(after))),
        None => after.trim().is_empty().then_some((cell, None)),
    }
}

fn spaced(text: &str) -> Vec<(usize, Vec<String>)> {
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    text.lines()
        .enumerate()
        .map(|(n, line)| (n + 1, cells(line)))
        .filter(|(_, cells)| !cells.is_empty())
        .collect()
}

/// The names of a list's columns.
pub(super) struct Header {
    file: String,
    cells: Vec<String>,
}

impl Header {
    /// The column with one of these names, in whatever case.
    pub(super) fn find(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|n| self.cells.iter().position(|cell| cell.eq_ignore_ascii_case(n)))
    }

    /// The columns with these names; of each group one must be there.
    ///
    /// # Errors
    /// `fame::data::columns` with all that are missing.
    pub(super) fn need<const N: usize>(&self, groups: [&[&str]; N]) -> Result<[usize; N]> {
        let missing: Vec<String> = groups
            .iter()
            .filter(|g| self.find(g).is_none())
            .map(|g| format!("`{}`", g.join("` or `")))
            .collect();
        if missing.is_empty() {
            return Ok(groups.map(|g| self.find(g).unwrap_or_default()));
        }
        let message =
            format!("list `{}` has no column {}.", self.file, missing.join(" and no column "));
        Err(Error::new("fame::data::columns", message)
            .with_help(format!("Its columns are `{}`.", self.cells.join("`, `"))))
    }
}

/// The mistakes in the rows of one file.
pub(super) struct Faults {
    file: String,
    found: Vec<Fault>,
}

struct Fault {
    line: usize,
    what: String,
    about: String,
}

impl Faults {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), found: Vec::new() }
    }

    /// Notes that `line` is unusable: `what` is wrong with it, a sentence's end without a full
    /// stop; `about` is the text that is meant, or empty.
    pub(super) fn add(&mut self, line: usize, what: &str, about: &str) {
        self.found.push(Fault { line, what: what.to_owned(), about: about.to_owned() });
    }

    /// Keeps `value`, or notes why there is none.
    pub(super) fn keep<T>(
        &mut self,
        line: usize,
        value: std::result::Result<T, Wrong>,
    ) -> Option<T> {
        value.map_err(|(what, about)| self.add(line, what, &about)).ok()
    }

    /// # Errors
    /// `fame::data::rows` with every fault.
    pub(super) fn into_result(self) -> Result<()> {
        Self::all(vec![self])
    }

    /// The faults of several files as one error.
    ///
    /// # Errors
    /// `fame::data::rows` with every fault.
    pub(super) fn all(of: Vec<Self>) -> Result<()> {
        let of: Vec<Self> = of.into_iter().filter(|f| !f.found.is_empty()).collect();
        if of.is_empty() {
            return Ok(());
        }
        let message = of.iter().map(Self::told).collect::<Vec<_>>().join("\n");
        Err(Error::new("fame::data::rows", message)
            .with_help("Nothing has been run. Correct the rows, or take them out."))
    }

    fn told(&self) -> String {
        let mut lines: Vec<usize> = self.found.iter().map(|f| f.line).collect();
        lines.dedup();
        let count =
            if lines.len() == 1 { "1 row".to_owned() } else { format!("{} rows", lines.len()) };
        let mut told = format!("`{}` has {count} that cannot be used:", self.file);
        if self.found.len() <= ONE_BY_ONE {
            for f in &self.found {
                let _ = write!(told, "\n  line {}: {}{}.", f.line, f.what, quoted(&f.about));
            }
            return told;
        }
        let mut groups: BTreeMap<&str, Vec<&Fault>> = BTreeMap::new();
        self.found.iter().for_each(|f| groups.entry(&f.what).or_default().push(f));
        for (what, faults) in groups {
            let lines = ranges(&faults.iter().map(|f| f.line).collect::<Vec<_>>());
            let _ =
                write!(told, "\n  lines {lines}: {what}{}, and so on.", quoted(&faults[0].about));
        }
        told
    }
}

/// A mistake, and the text that it is about.
pub(super) type Wrong = (&'static str, String);

fn quoted(about: &str) -> String {
    if about.is_empty() { String::new() } else { format!(": `{about}`") }
}

/// `2, 4–9`.
fn ranges(lines: &[usize]) -> String {
    let runs = lines.chunk_by(|a, b| b - a <= 1);
    let told = runs.map(|run| match run {
        [only] => only.to_string(),
        [first, .., last] => format!("{first}–{last}"),
        [] => String::new(),
    });
    told.collect::<Vec<_>>().join(", ")
}

/// `file` below `root`; `root` may be empty, `file` absolute.
pub(super) fn below(root: &str, file: &str) -> String {
    // A picture that fame fetches lies in no folder of the user's.
    if file.starts_with("picture:") {
        return file.to_owned();
    }
    match root.trim_end_matches('/') {
        "" if root.is_empty() => file.to_owned(),
        root if !Path::new(file).is_absolute() => format!("{root}/{file}"),
        _ => file.to_owned(),
    }
}

/// The folder that `file` lies in, as written; empty when that is the recipe's.
pub(super) fn folder_of(file: &str) -> &str {
    file.rfind('/').map_or("", |slash| &file[..slash])
}

/// Whether two pictures are of one kind, in the words and numbers that lists use.
pub(super) fn truth(cell: &str) -> std::result::Result<bool, Wrong> {
    match cell.to_ascii_lowercase().as_str() {
        "1" | "1.0" | "+1" | "true" | "same" | "genuine" | "match" | "yes" => Ok(true),
        "0" | "0.0" | "-1" | "-1.0" | "false" | "diff" | "different" | "impostor" | "no" => {
            Ok(false)
        }
        _ => Err((
            "the label is none of 1, 0, -1, true, false, same, diff, genuine, impostor",
            cell.to_owned(),
        )),
    }
}

/// Notes rows whose picture is not there.
pub(super) fn check_file(file: &str, line: usize, files: &dyn Files, faults: &mut Faults) {
    // Fetching waits until the picture is needed: a list is also read to be checked.
    if !file.starts_with("picture:") && !files.locate(file).is_ok_and(|path| path.is_file()) {
        faults.add(line, "the file is not there", file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_faults_are_told_one_by_one_and_many_by_kind() {
        let mut faults = Faults::new("a.csv");
        faults.add(3, "the label is odd", "x");
        faults.add(3, "a cell is missing", "");
        let told = faults.into_result().unwrap_err().message;
        assert_eq!(
            told,
            "`a.csv` has 1 row that cannot be used:\n  line 3: the label is odd: `x`.\n  line 3: a cell is missing."
        );
        let mut faults = Faults::new("a.csv");
        (2..60)
            .filter(|n| *n != 7)
            .for_each(|n| faults.add(n, "the file is not there", &format!("{n}.png")));
        let told = faults.into_result().unwrap_err().message;
        assert_eq!(
            told,
            "`a.csv` has 57 rows that cannot be used:\n  lines 2–6, 8–59: the file is not there: `2.png`, and so on."
        );
    }

    #[test]
    fn paths_go_below_their_root() {
        assert_eq!(
            [below("r/", "a/b"), below("", "a"), below("r", "/a"), below("/", "a")],
            ["r/a/b", "a", "/a", "/a"]
        );
        assert_eq!([folder_of("a/b/c.csv"), folder_of("c.csv")], ["a/b", ""]);
    }

    #[test]
    fn separators_are_found_and_lines_counted() {
        let rows = separated("l.csv", "a, b\r\n\n\"c, \"\"d\"\"\" ,e,\n", ',').unwrap();
        assert_eq!(
            rows,
            [
                (1, vec!["a".to_owned(), "b".to_owned()]),
                (3, vec!["c, \"d\"".to_owned(), "e".to_owned(), String::new()])
            ]
        );
        let odd = separated("l.csv", "a,\"b\nc,\"d\"e\n", ',').unwrap_err().message;
        assert!(odd.contains("line 1: a quote") && odd.contains("line 2: a quote"), "{odd}");
        assert_eq!(spaced(" a  b\n\n c\n").iter().map(|r| r.0).collect::<Vec<_>>(), [1, 3]);
    }
}
