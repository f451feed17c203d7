//! The full check of what a run has left: every recorded file by size and SHA-256.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{
    super::{folder::OutputFolder, parts::is_whole},
    FILE as RECORD, INDEX, ItemLine, ItemStatus, counts, digest, gathered,
    item::{foreign_file, read_item},
    item_lines, metrics, read_record, tables,
};
use crate::{
    Error, Result,
    data::{LIST, Value, read_ordinary, recorded_files, sha256_file, sha256_hex},
};

/// A file that is not as the run left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The file, from the output folder.
    pub file: PathBuf,
    /// What is the matter with it: `is missing`.
    pub what: String,
    /// Whether the run's writers do not make it: an earlier recipe's did, and no further run of
    /// this one makes it anew.
    pub is_left_over: bool,
}

/// The result of a full check.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// The status that the run's record states.
    pub status: String,
    /// Items of the run that were looked at.
    pub items: usize,
    /// Items in its folder that an earlier run has left, and that its record leaves out.
    pub beside: usize,
    /// Files that were read and compared.
    pub files: usize,
    /// Items that failed, by the run's index.
    pub failed: usize,
    /// Every difference that was found.
    pub differences: Vec<Difference>,
}

impl Verified {
    /// Whether all of a run is there as it was written: a run that has not ended well leaves less.
    pub fn is_whole(&self) -> bool {
        self.differences.is_empty() && self.status == "complete"
    }
}

/// Reads every file that the run in `out` has recorded (items, parts, tables, `metrics.csv`, what
/// writers brought together) and compares it with the record; nothing is changed.
///
/// # Errors
/// When `out` holds no record of a run, or a run writes there now.
pub fn verify(out: &Path) -> Result<Verified> {
    if let Some(holder) = OutputFolder::holder(out) {
        let message = format!("a run writes to `{}`: {holder}.", out.display());
        return Err(Error::new("fame::run::locked", message).with_help("Wait for it to end."));
    }
    let record = read_record(out).map_err(|e| {
        if e.help.is_some() {
            e
        } else {
            e.with_help("Name the output folder of a run; `run.json` is its record.")
        }
    })?;
    let status = record.get("status").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut check = Check { out, found: Verified { status, ..Verified::default() } };
    if let Some(recorded) = record.get("index") {
        check.file(Path::new(INDEX), recorded);
    }
    check.items()?;
    check.parts();
    if let Some(recorded) = record.get("metrics") {
        check.file(Path::new(metrics::FILE), recorded);
    }
    if let Some(recorded) = record.get("tables") {
        check.file(&Path::new(tables::FOLDER).join(tables::LIST), recorded);
    }
    if let Some(Value::Map(all)) = record.get(gathered::FIELD) {
        let each = all.iter().map(|(file, entry)| (file, gathered::digest_of(entry)));
        each.for_each(|(file, recorded)| check.file(Path::new(file), &recorded));
    }
    check.counts(&record);
    check.listed(&record);
    Ok(check.found)
}

/// A check under way.
struct Check<'a> {
    out: &'a Path,
    found: Verified,
}

impl Check<'_> {
    fn differs(&mut self, file: impl Into<PathBuf>, what: impl Into<String>) {
        let (file, what) = (file.into(), what.into());
        self.found.differences.push(Difference { file, what, is_left_over: false });
    }

    /// Compares a file with what was `recorded` of it.
    fn file(&mut self, file: &Path, recorded: &Value) {
        self.found.files += 1;
        match digest(&self.out.join(file)) {
            Ok(now) if now == *recorded => {}
            Ok(now) if now.get("bytes") == recorded.get("bytes") => {
                self.differs(file, "has other bytes than the run wrote");
            }
            Ok(_) => self.differs(file, "has another size than the run wrote"),
            Err(_) if !self.out.join(file).exists() => self.differs(file, "is missing"),
            Err(e) => self.differs(file, format!("cannot be read: {e}")),
        }
    }

    /// The items on disk, and those of the index that are not there.
    fn items(&mut self) -> Result<()> {
        let lines = item_lines(self.out)?.map(|line| (line.id.clone(), line));
        let mut recorded: BTreeMap<String, ItemLine> = lines.collect();
        let has_index = !recorded.is_empty();
        for id in entries(&self.out.join("items")) {
            let line = recorded.remove(&id);
            let is_of_run = line.is_some() || !has_index;
            *(if is_of_run { &mut self.found.items } else { &mut self.found.beside }) += 1;
            self.item(&id, line.as_ref());
        }
        for (id, line) in recorded {
            match line.status {
                ItemStatus::Failed => self.found.failed += 1,
                _ => self.differs(Path::new("items").join(id), "is missing"),
            }
        }
        Ok(())
    }

    /// One item: what its own record lists, and whether that is what the run's index says.
    fn item(&mut self, id: &str, line: Option<&ItemLine>) {
        let place = Path::new("items").join(id);
        let text = read_ordinary(&self.out.join(&place).join("item.json"));
        let Some(item) = read_item(&self.out.join(&place)) else {
            return self.differs(place.join("item.json"), "is missing or no record");
        };
        let changed = |recorded: Option<&String>, now: Option<String>| {
            recorded.is_some_and(|recorded| now.as_ref() != Some(recorded))
        };
        let key = item.get("key").and_then(Value::as_str).map(str::to_owned);
        let sha256 = text.ok().map(|text| sha256_hex(&text));
        if changed(line.and_then(|line| line.key.as_ref()), key)
            || changed(line.and_then(|line| line.sha256.as_ref()), sha256)
        {
            self.differs(place.join("item.json"), format!("is another than {INDEX} says"));
        }
        if let Some(Value::Map(files)) = item.get("files") {
            files.iter().for_each(|(name, recorded)| self.file(&place.join(name), recorded));
        }
        if let Some(name) = foreign_file(&self.out.join(&place)) {
            self.differs(place.join(name), "was not written by a run");
        }
    }

    /// Parts carry their own hash.
    fn parts(&mut self) {
        for id in entries(&self.out.join("parts")) {
            let place = Path::new("parts").join(id);
            for name in entries(&self.out.join(&place)) {
                self.found.files += 1;
                let file = place.join(name);
                if !is_whole(&self.out.join(&file)) {
                    self.differs(file, "is damaged; it will be computed again when it is needed");
                }
            }
        }
    }

    /// The counts of the record, by the index.
    fn counts(&mut self, record: &Value) {
        let Some(Value::Map(recorded)) = record.get("counts") else { return };
        let number = |status: ItemStatus| {
            recorded.get(status.word()).and_then(Value::as_f64).unwrap_or_default()
        };
        let finished = number(ItemStatus::Done) + number(ItemStatus::Kept);
        let (found, failed) = counts(self.out);
        if (finished, number(ItemStatus::Failed)) != (found as f64, failed as f64) {
            self.differs(RECORD, format!("counts other items than {INDEX} has"));
        }
    }

    /// The tables, and what writers brought together: folders with a list of their files.
    fn listed(&mut self, record: &Value) {
        for folder in entries(self.out) {
            let place = self.out.join(&folder);
            // A run drops from its record what its writers do not make, and leaves it where
            // somebody has changed it.
            let is_made = folder == tables::FOLDER
                || record
                    .get(gathered::FIELD)
                    .is_some_and(|all| all.get(&format!("{folder}/{LIST}")).is_some());
            for (name, sha256) in recorded_files(&place).unwrap_or_default() {
                self.found.files += 1;
                let file = Path::new(&folder).join(&name);
                let what = match sha256_file(&place.join(&name)) {
                    Ok(now) if now == sha256 => continue,
                    Ok(_) => "has other bytes than the run wrote",
                    Err(_) => "is missing or cannot be read",
                };
                if is_made {
                    self.differs(file, what);
                    continue;
                }
                let what =
                    format!("{what}; no writer of this recipe makes it: `{folder}` may be deleted");
                self.found.differences.push(Difference { file, what, is_left_over: true });
            }
        }
        if let Some(name) = tables::foreign_table(self.out) {
            self.differs(Path::new(tables::FOLDER).join(name), "was not written by a run");
        }
    }
}

/// The names in `folder` in order, without those of drafts.
fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}
