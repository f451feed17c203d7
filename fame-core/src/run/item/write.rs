//! An item's files: what the writers make of it, and `item.json`.

use std::path::{Path, PathBuf};

use super::{
    super::record::{item_json, line},
    Items, OpenItem,
};
use crate::{
    Error, Plan, Result,
    contract::{FinishedItem, ItemRef},
    data::{Draft, Facts, Value, facts, sha256_file, write_json},
};

impl Items<'_> {
    /// Writes the item's folder, whole or not at all, and returns one line about it.
    pub(super) fn write(&self, item: &OpenItem) -> Result<String> {
        let draft = Draft::new(&self.folder(&item.item))?;
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
    let digest = |name: &String| {
        let path = folder.join(name);
        let about = std::fs::metadata(&path).map_err(|e| Error::io("read", &path, &e))?;
        let digest = facts([
            ("bytes", Value::Integer(about.len() as i64)),
            ("sha256", sha256_file(&path)?.into()),
        ]);
        Ok((name.clone(), Value::Map(digest)))
    };
    files.iter().map(digest).collect()
}
