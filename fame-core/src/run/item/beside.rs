//! The items beside those that were asked for, by `--limit` or `--only`: what an earlier run has
//! finished of them stays in the record, the tables and the report, and what failed there stays
//! failed.

use std::collections::BTreeSet;

use super::{
    super::{Event, record::Made},
    Items,
};
use crate::{Result, contract::ItemRef};

impl Items<'_> {
    /// Of `all` items, the `asked` ones and those beside them that an earlier run has finished as
    /// this one would, or that failed there, in the order of the data. These are noted as kept or
    /// failed, and it is told what the tables cover.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub(in crate::run) fn with_earlier(
        &self,
        asked: &[ItemRef],
        all: Vec<ItemRef>,
    ) -> Result<Vec<ItemRef>> {
        let ids: BTreeSet<&str> = asked.iter().map(|item| item.id.as_str()).collect();
        let (mut whole, mut beside, mut others) = (Vec::with_capacity(asked.len()), Vec::new(), 0);
        let mut failed = Vec::new();
        for item in all {
            if ids.contains(item.id.as_str()) {
                whole.push(item);
            } else if let Some(made) = self.finished(&item)? {
                beside.push((item.id.clone(), made));
                whole.push(item);
            } else if self.options.stop.write(|record| Ok(record.has_failed(&item.id)))? {
                failed.push(item.id.clone());
                whole.push(item);
            } else {
                others += usize::from(self.place(&item).join("item.json").is_file());
            }
        }
        let (count, no_map) = (beside.len(), failed.len());
        if count + no_map > 0 {
            self.options.stop.write(|record| record.beside(&whole, beside, &failed))?;
        }
        for text in told(asked.len(), count, no_map, others) {
            self.observer.event(&Event::Warning(&text));
        }
        Ok(whole)
    }

    /// What identifies `item` if its folder is there, whole and of the key that this run would give
    /// it. A picture that cannot be read is no finished item's, and nothing that was asked for.
    fn finished(&self, item: &ItemRef) -> Result<Option<Made>> {
        if !self.place(item).join("item.json").is_file() {
            return Ok(None);
        }
        let Ok(inputs) = self.keys.inputs(self.plan, self.files, item) else { return Ok(None) };
        Ok(self.there(item, &inputs)?.filter(|(_, is_as_written)| *is_as_written).map(|(m, _)| m))
    }
}

/// What record and tables cover beside the `asked` items, where that is not plain: `kept` ones,
/// those that `failed` before, and none of the `others` that are there.
fn told(asked: usize, kept: usize, failed: usize, others: usize) -> Vec<String> {
    let items = |n: usize| format!("{n} item{}", if n == 1 { "" } else { "s" });
    let mut all = Vec::new();
    if kept > 0 {
        all.push(format!(
            "record, tables and report cover {}: {asked} asked for now, and {kept} that an earlier \
             run has finished. For those asked for alone name another folder: --out FOLDER.",
            items(asked + kept)
        ));
    }
    if failed > 0 {
        all.push(format!(
            "{} not asked for now failed in an earlier run, and still count{} as failed. A run \
             without --limit and --only tries them again.",
            items(failed),
            if failed == 1 { "s" } else { "" }
        ));
    }
    if others > 0 {
        all.push(format!(
            "{} of earlier runs in this folder {} of another question, or of files that were \
             changed since: record, tables and report leave them out. A run without --limit and \
             --only makes them anew.",
            items(others),
            if others == 1 { "is" } else { "are" }
        ));
    }
    all
}
