//! `tables/`: written beside the old ones and put in their place as one, with a list of what a run
//! wrote there, so that nothing of anybody else is ever replaced.

use std::{fs, path::Path};

use crate::{
    Error, Result, Table,
    data::{Draft, recorded_files, write_whole},
};

pub(super) use crate::data::LIST;

/// Their folder.
pub(super) const FOLDER: &str = "tables";

/// Replaces the tables in `out`.
///
/// # Errors
/// When a file cannot be written, or a plot cannot be drawn. The old tables are there then.
pub(super) fn write(out: &Path, tables: &[Table]) -> Result<()> {
    // Beside the old ones, which stay until the new ones are there.
    let draft = Draft::new(&out.join("tables"))?;
    tables.iter().try_for_each(|table| write_table(draft.path(), table))?;
    draft.publish_listed()
}

/// Removes the tables of an earlier recipe, which would be taken for this one's.
pub(super) fn remove(out: &Path) -> Result<()> {
    let folder = out.join("tables");
    if !folder.exists() {
        return Ok(());
    }
    let failed = |e: std::io::Error| Error::io("remove", &folder, &e);
    for name in recorded_files(&folder).unwrap_or_default().keys() {
        match fs::remove_file(folder.join(name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
    }
    // The list goes last: until then it says whose the others are.
    let _ = fs::remove_file(folder.join(LIST));
    fs::remove_dir(&folder).map_err(failed)
}

/// A file among the tables in `out` that no run wrote, if there is one.
pub(in crate::run) fn foreign_table(out: &Path) -> Option<String> {
    let folder = out.join("tables");
    let ours = recorded_files(&folder).unwrap_or_default();
    let names = fs::read_dir(&folder).ok()?.flatten();
    let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.find(|name| name != LIST && !ours.contains_key(name))
}

/// Writes a table as CSV, Markdown and LaTeX (a list only as CSV), and its plots as SVG.
fn write_table(folder: &Path, table: &Table) -> Result<()> {
    let forms = [("csv", table.csv()), ("md", table.markdown()), ("tex", table.latex())];
    for (ending, text) in forms.into_iter().take(if table.is_list { 1 } else { 3 }) {
        write_whole(&folder.join(format!("{}.{ending}", table.name)), text.as_bytes())?;
    }
    table.plots.iter().try_for_each(|plot| {
        write_whole(&folder.join(format!("{}.svg", plot.name)), plot.svg()?.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_file_among_the_tables_is_known_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let table = Table { name: "hits".into(), ..Table::default() };
        write(dir.path(), std::slice::from_ref(&table)).unwrap();
        assert!(dir.path().join("tables/hits.tex").exists());
        assert_eq!(foreign_table(dir.path()), None);
        // Another recipe's tables take the place of these.
        write(dir.path(), &[Table { name: "others".into(), ..table }]).unwrap();
        assert!(!dir.path().join("tables/hits.tex").exists());
        fs::write(dir.path().join("tables/mine.tex"), "precious").unwrap();
        assert_eq!(foreign_table(dir.path()).as_deref(), Some("mine.tex"));
        assert!(remove(dir.path()).is_err());
        assert_eq!(fs::read_to_string(dir.path().join("tables/mine.tex")).unwrap(), "precious");
        fs::remove_file(dir.path().join("tables/mine.tex")).unwrap();
        remove(dir.path()).unwrap();
        assert!(!dir.path().join("tables").exists());
    }
}
