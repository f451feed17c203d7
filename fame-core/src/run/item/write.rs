//! An item's files: what the writers make of it, and `item.json`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{
    super::record::{
        ItemRecord, Made, RunRecord, digest, has_record, item_json, left_out, line, stranger,
    },
    Items, OpenItem, foreign,
};
use crate::{
    Plan, Result,
    contract::{FinishedItem, ItemRef},
    data::{Draft, Facts, json_text, sha256_hex, write_whole},
};

impl Items<'_> {
    /// Writes the item's folder, whole or not at all, and returns one line about it, and what
    /// identifies it. Whoever stops the run waits for it.
    ///
    /// # Errors
    /// When a file cannot be written; when a file of somebody else is in the way in a folder that
    /// has lost its record.
    pub(super) fn write(&self, item: &OpenItem) -> Result<(String, Made)> {
        let place = self.place(&item.item);
        let draft = Draft::new(&place)?;
        let mut written = Vec::new();
        let finished = FinishedItem { sample: &item.sample, explanations: &item.explanations };
        for writer in &self.plan.write {
            let files = writer.plugin.write(&finished, draft.path());
            written.extend(files.map_err(|e| e.at(format!("writer {}", writer.name)))?);
        }
        written.sort();
        if !has_record(&place)
            && let Some(name) = stranger(&place, written.iter())
        {
            return Err(foreign(&place, &name));
        }
        let key = self.keys.item(&item.inputs);
        let label_name = item.sample.label.and_then(|label| self.model.labels.get(label));
        let json = item_json(
            &item.item,
            &key,
            &item.sample,
            label_name.map(String::as_str),
            &item.explanations,
            &item.measurements,
            &digests(draft.path(), &written)?,
        );
        let text = json_text(&json)?;
        write_whole(&draft.path().join("item.json"), text.as_bytes())?;
        draft.publish()?;
        Ok((line(&item.explanations), Made { key, sha256: sha256_hex(text.as_bytes()) }))
    }
}

/// Lets every writer of `plan` bring together, in the run's folder `out`, what it wrote about those
/// of `items` that are there and whose record can be read. What came of it goes into `record`; what
/// writers of earlier runs made, and these do not, is removed. Returns what is to be told: what is
/// left out, and what stays though it is of an earlier run.
///
/// # Errors
/// What a writer says, and when a file cannot be read, removed or written.
pub(in crate::run) fn gather(
    plan: &Plan,
    out: &Path,
    items: &[ItemRef],
    record: &mut RunRecord,
) -> Result<Vec<String>> {
    let (before, warned) = (record.all_gathered(), record.warnings().len());
    let mut there: Vec<PathBuf> = Vec::new();
    if !plan.write.is_empty() {
        for item in items {
            let folder = out.join("items").join(&item.id);
            match ItemRecord::read(&folder) {
                Ok(_) => there.push(folder),
                Err(e) if folder.is_dir() => record.warn(left_out(&item.id, &e)),
                Err(_) => {}
            }
        }
    }
    let (last, first): (Vec<_>, Vec<_>) =
        plan.write.iter().partition(|writer| writer.plugin.gathers_last());
    let later: BTreeSet<&str> = last.iter().map(|writer| writer.name.as_ref()).collect();
    let mut made = BTreeSet::new();
    for (writers, later) in [(first, later), (last, BTreeSet::new())] {
        for writer in writers {
            let gathered = writer.plugin.gather(out, &there);
            for name in gathered.map_err(|e| e.at(format!("writer {}", writer.name)))? {
                made.insert(record.gathered(&writer.name, &name)?);
            }
        }
        // Before the last ones describe what is there.
        record.remove_stale(|file, writer| made.contains(file) || later.contains(writer))?;
    }
    if record.all_gathered() != before || record.warnings().len() > warned {
        record.save_gathered()?;
    }
    Ok(record.warnings().to_vec())
}

/// The size and SHA-256 of each of `files` in `folder`, by name.
fn digests(folder: &Path, files: &[String]) -> Result<Facts> {
    files.iter().map(|name| Ok((name.clone(), digest(&folder.join(name))?))).collect()
}
