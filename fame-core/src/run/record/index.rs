//! `items.jsonl`: the index of a run's items, one line of JSON for each.
//!
//! ```text
//! id, status, seconds   which item, how it ended, and the time it took now; null where it was kept
//! computed              what was explained and measured now, and not restored
//! key, sha256           the key and the hash of its `item.json`, where there is one
//! error                 why it failed
//! explanations          what a check found that failed it: such an item has no `item.json`
//! ```
//!
//! Lines are appended as items end. When the run is over they are brought into the data's order,
//! and the file is replaced as one. A run that was killed leaves the lines so far, the last of them
//! perhaps torn: readers pass over it, and the next run writes the index anew, for what is true of
//! an item stands in its folder. No more of it is held in memory than one line and the places of
//! all.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{ItemStatus, read_record};
use crate::{
    Error, Result,
    data::{Value, open_ordinary, write_whole_by},
};

/// The name of the index.
pub(in crate::run) const FILE: &str = "items.jsonl";

/// The longest line that is read, in bytes: of a file that is not ours, memory must not run out.
const LONGEST: u64 = 1 << 22;

/// The line of an item in the index of a run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ItemLine {
    /// The item's id.
    pub id: String,
    /// How it ended.
    pub status: ItemStatus,
    /// Seconds that it took; `None` where it was kept from an earlier run.
    #[serde(default)]
    pub seconds: Option<f64>,
    /// Names of what was computed, and not restored: `mine`, `mine/Deletion`.
    #[serde(default)]
    pub computed: Vec<String>,
    /// Its key: the hash of everything that determines its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// SHA-256 of its `item.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Why it failed: `code`, `message` and `help`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// Of an item that a check failed: what it found, by explainer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanations: Option<Value>,
}

/// The lines of a run's index in their order; a line that is no line of ours is passed over.
#[derive(Debug)]
pub struct ItemLines(Source);

#[derive(Debug)]
enum Source {
    Index(BufReader<File>),
    /// A record of a version that kept the items in it.
    Record(std::vec::IntoIter<Value>),
    Nothing,
}

/// The items of the run in `out`, one by one, from its index, or from the record of a version that
/// kept them there. None where there is neither.
///
/// # Errors
/// When the index cannot be read.
pub fn item_lines(out: &Path) -> Result<ItemLines> {
    let path = out.join(FILE);
    if path.exists() {
        return Ok(ItemLines(Source::Index(BufReader::new(open_ordinary(&path)?))));
    }
    Ok(ItemLines(match read_record(out) {
        Ok(Value::Map(mut record)) => match record.remove("items") {
            Some(Value::List(items)) => Source::Record(items.into_iter()),
            _ => Source::Nothing,
        },
        _ => Source::Nothing,
    }))
}

impl Iterator for ItemLines {
    type Item = ItemLine;

    fn next(&mut self) -> Option<ItemLine> {
        loop {
            match &mut self.0 {
                Source::Nothing => return None,
                Source::Record(items) => {
                    let line = serde_json::to_value(items.next()?).ok();
                    if let Some(line) = line.and_then(|line| serde_json::from_value(line).ok()) {
                        return Some(line);
                    }
                }
                Source::Index(file) => {
                    let mut bytes = Vec::new();
                    let read = file.by_ref().take(LONGEST).read_until(b'\n', &mut bytes);
                    if !matches!(read, Ok(1..)) {
                        return None;
                    }
                    if let Ok(line) = serde_json::from_slice(&bytes) {
                        return Some(line);
                    }
                }
            }
        }
    }
}

/// Whether `out` holds an index that begins as ours do.
pub(in crate::run) fn is_there(out: &Path) -> bool {
    let file = open_ordinary(&out.join(FILE)).ok().map(BufReader::new);
    file.is_some_and(|file| ItemLines(Source::Index(file)).next().is_some())
}

/// The index of a run while it grows.
#[derive(Debug)]
pub(super) struct Index {
    path: PathBuf,
    file: File,
    /// Bytes that are whole lines.
    length: u64,
    /// Where each item's line begins and how long it is, in the data's order.
    places: Vec<Option<(u64, u32)>>,
    is_sorted: bool,
    done: usize,
    kept: usize,
    failed: usize,
}

impl Index {
    /// An empty index in `out`, in place of an earlier run's.
    pub(super) fn begin(out: &Path) -> Result<Self> {
        let path = out.join(FILE);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&path).map_err(|e| Error::io("write", &path, &e))?;
        let (places, is_sorted) = (Vec::new(), true);
        Ok(Self { path, file, length: 0, places, is_sorted, done: 0, kept: 0, failed: 0 })
    }

    /// Appends the line of the item that is the `n`-th in the data.
    ///
    /// # Errors
    /// When it cannot be written; half of it is taken back then.
    pub(super) fn add(&mut self, n: usize, line: &ItemLine) -> Result<()> {
        let mut text = serde_json::to_string(line)
            .map_err(|e| Error::bug(format!("a line cannot be written as JSON: {e}.")))?;
        text.push('\n');
        let written = self
            .file
            .seek(SeekFrom::Start(self.length))
            .and_then(|_| self.file.write_all(text.as_bytes()));
        if let Err(e) = written {
            let _ = self.file.set_len(self.length);
            return Err(Error::io("write", &self.path, &e));
        }
        if n >= self.places.len() {
            self.places.resize(n + 1, None);
        }
        // An item that failed while it was noted as done is noted again.
        if self.places[n].is_some()
            && let Some(old) = self.line(n)
        {
            *self.count(old.status) -= 1;
        }
        self.is_sorted &= self.places.len() == n + 1 && self.places[n].is_none();
        self.places[n] = Some((self.length, text.len() as u32));
        self.length += text.len() as u64;
        *self.count(line.status) += 1;
        Ok(())
    }

    fn count(&mut self, status: ItemStatus) -> &mut usize {
        match status {
            ItemStatus::Done => &mut self.done,
            ItemStatus::Kept => &mut self.kept,
            ItemStatus::Failed => &mut self.failed,
        }
    }

    /// The items that ended so.
    pub(super) fn counted(&self, status: ItemStatus) -> usize {
        match status {
            ItemStatus::Done => self.done,
            ItemStatus::Kept => self.kept,
            ItemStatus::Failed => self.failed,
        }
    }

    fn line(&mut self, n: usize) -> Option<ItemLine> {
        let bytes = self.bytes((*self.places.get(n)?)?).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn bytes(&mut self, (at, length): (u64, u32)) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length as usize];
        self.file.seek(SeekFrom::Start(at))?;
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Brings the lines into the data's order and to the disk.
    ///
    /// # Errors
    /// When the folder cannot be written; the lines are there then in the order they came.
    pub(super) fn finish(&mut self) -> Result<()> {
        if self.is_sorted {
            return self.file.sync_all().map_err(|e| Error::io("write", &self.path, &e));
        }
        let path = self.path.clone();
        let folder = path.parent().unwrap_or(Path::new("."));
        let (mut places, mut length) = (Vec::new(), 0);
        write_whole_by(folder, &path, |file| {
            for n in 0..self.places.len() {
                let Some(place) = self.places[n] else { continue };
                file.write_all(&self.bytes(place)?)?;
                places.resize(n + 1, None);
                places[n] = Some((length, place.1));
                length += u64::from(place.1);
            }
            Ok(())
        })?;
        let file = File::options().read(true).write(true).open(&path);
        self.file = file.map_err(|e| Error::io("write", &path, &e))?;
        (self.places, self.length, self.is_sorted) = (places, length, true);
        Ok(())
    }
}

/// Which items the index in `out` has lines of, and how many ended well and failed; of a run that
/// was killed the lines so far.
pub(in crate::run) fn counts(out: &Path) -> (usize, usize) {
    let Ok(lines) = item_lines(out) else { return (0, 0) };
    lines.fold((0, 0), |(finished, failed), line| match line.status {
        ItemStatus::Failed => (finished, failed + 1),
        ItemStatus::Done | ItemStatus::Kept => (finished + 1, failed),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::FILE as RECORD, *};

    fn line(id: &str, status: ItemStatus) -> ItemLine {
        ItemLine {
            id: id.to_owned(),
            status,
            seconds: Some(0.5),
            computed: vec!["cam".to_owned()],
            key: None,
            sha256: None,
            error: None,
            explanations: None,
        }
    }

    fn ids(out: &Path) -> Vec<String> {
        item_lines(out).unwrap().map(|line| line.id).collect()
    }

    #[test]
    fn lines_end_in_the_order_of_the_data() {
        let dir = tempfile::tempdir().unwrap();
        let mut index = Index::begin(dir.path()).unwrap();
        for (n, id) in [(2, "c"), (0, "a"), (3, "d"), (1, "b")] {
            index.add(n, &line(id, ItemStatus::Done)).unwrap();
        }
        assert_eq!(ids(dir.path()), ["c", "a", "d", "b"], "as they ended");
        index.finish().unwrap();
        assert_eq!(ids(dir.path()), ["a", "b", "c", "d"]);
        // It can be gone on with.
        index.add(4, &line("e", ItemStatus::Failed)).unwrap();
        index.finish().unwrap();
        assert_eq!(ids(dir.path()).last().map(String::as_str), Some("e"));
        assert_eq!(counts(dir.path()), (4, 1));
    }

    #[test]
    fn an_item_that_is_noted_twice_counts_as_it_was_noted_last() {
        let dir = tempfile::tempdir().unwrap();
        let mut index = Index::begin(dir.path()).unwrap();
        index.add(0, &line("a", ItemStatus::Done)).unwrap();
        index.add(1, &line("b", ItemStatus::Done)).unwrap();
        index.add(0, &line("a", ItemStatus::Failed)).unwrap();
        index.finish().unwrap();
        assert_eq!(ids(dir.path()), ["a", "b"]);
        assert_eq!(counts(dir.path()), (1, 1));
        let counted = [ItemStatus::Done, ItemStatus::Failed].map(|s| index.counted(s));
        assert_eq!(counted, [1, 1]);
    }

    /// Every cut of the last line, as a kill or a power cut may leave it.
    #[test]
    fn a_torn_last_line_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut index = Index::begin(dir.path()).unwrap();
        index.add(0, &line("a", ItemStatus::Done)).unwrap();
        let whole = fs::read(dir.path().join(FILE)).unwrap();
        let two = [&whole[..], &whole[..]].concat();
        for cut in 0..whole.len() - 1 {
            fs::write(dir.path().join(FILE), &two[..whole.len() + cut]).unwrap();
            assert_eq!(ids(dir.path()), ["a"], "cut at {cut}");
        }
        // And damage in the middle costs the one line.
        fs::write(dir.path().join(FILE), [&whole[..], b"\xff{]\n", &whole[..]].concat()).unwrap();
        assert_eq!(ids(dir.path()), ["a", "a"]);
        assert!(is_there(dir.path()));
        fs::write(dir.path().join(FILE), "{\"mine\": 1}\n").unwrap();
        assert!(!is_there(dir.path()), "somebody else's lines");
    }

    #[test]
    fn the_items_of_an_older_record_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let record = r#"{"fame_version": "0.0.1", "items": [{"id": "a", "status": "kept", "seconds": null, "key": "k", "files": {}}, {"id": "b", "status": "failed", "error": {"code": "c", "message": "m", "help": null}}]}"#;
        fs::write(dir.path().join(RECORD), record).unwrap();
        let all: Vec<ItemLine> = item_lines(dir.path()).unwrap().collect();
        assert_eq!((all[0].id.as_str(), all[0].status), ("a", ItemStatus::Kept));
        assert_eq!(all[0].key.as_deref(), Some("k"));
        assert_eq!(all[1].error.as_ref().unwrap().get("code"), Some(&"c".into()));
        assert_eq!(counts(dir.path()), (1, 1));
    }
}
