//! An item's files: what the writers make of it, and `item.json`.

use std::path::{Path, PathBuf};

use super::{
    super::record::{Made, digest, has_record, item_json, line, stranger},
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
        let json = item_json(
            &item.item,
            &key,
            &item.sample,
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
/// of `items` that are there.
pub(in crate::run) fn gather(plan: &Plan, out: &Path, items: &[ItemRef]) -> Result<()> {
    let folder = |item: &ItemRef| out.join("items").join(&item.id);
    let there: Vec<PathBuf> = items.iter().map(folder).filter(|folder| folder.is_dir()).collect();
    let (last, first): (Vec<_>, Vec<_>) =
        plan.write.iter().partition(|writer| writer.plugin.gathers_last());
    first.into_iter().chain(last).try_for_each(|writer| {
        let gathered = writer.plugin.gather(out, &there);
        gathered.map_err(|e| e.at(format!("writer {}", writer.name)))
    })
}

/// The size and SHA-256 of each of `files` in `folder`, by name.
fn digests(folder: &Path, files: &[String]) -> Result<Facts> {
    files.iter().map(|name| Ok((name.clone(), digest(&folder.join(name))?))).collect()
}
