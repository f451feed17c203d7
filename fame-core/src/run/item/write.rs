//! An item's files: what the writers make of it, and `item.json`.

use std::path::{Path, PathBuf};

use super::{
    super::record::{digest, item_json, line},
    Items, OpenItem,
};
use crate::{
    Plan, Result,
    contract::{FinishedItem, ItemRef},
    data::{Draft, Facts, write_json},
};

impl Items<'_> {
    /// Writes the item's folder, whole or not at all, and returns one line about it. Whoever stops
    /// the run waits for it.
    pub(super) fn write(&self, item: &OpenItem) -> Result<String> {
        let draft = Draft::new(&self.place(&item.item))?;
        let mut written = Vec::new();
        let finished = FinishedItem { sample: &item.sample, explanations: &item.explanations };
        for writer in &self.plan.write {
            let files = writer.plugin.write(&finished, draft.path());
            written.extend(files.map_err(|e| e.at(format!("writer {}", writer.name)))?);
        }
        written.sort();
        let json = item_json(
            &item.item,
            &self.keys.item(&item.inputs),
            &item.sample,
            &item.explanations,
            &item.measurements,
            &digests(draft.path(), &written)?,
        );
        write_json(&draft.path().join("item.json"), &json)?;
        draft.publish()?;
        Ok(line(&item.explanations))
    }
}

/// Lets every writer of `plan` bring together, in the run's folder `out`, what it wrote about those
/// of `items` that are there.
pub(in crate::run) fn gather(plan: &Plan, out: &Path, items: &[ItemRef]) -> Result<()> {
    let folder = |item: &ItemRef| out.join("items").join(&item.id);
    let there: Vec<PathBuf> = items.iter().map(folder).filter(|folder| folder.is_dir()).collect();
    plan.write.iter().try_for_each(|writer| {
        let gathered = writer.plugin.gather(out, &there);
        gathered.map_err(|e| e.at(format!("writer {}", writer.name)))
    })
}

/// The size and SHA-256 of each of `files` in `folder`, by name.
fn digests(folder: &Path, files: &[String]) -> Result<Facts> {
    files.iter().map(|name| Ok((name.clone(), digest(&folder.join(name))?))).collect()
}
