//! Guard of [`Dataset`].

use std::collections::BTreeSet;

use super::{Guard, Guarded, Who, file_name, finite};
use crate::{
    Result, Sample,
    contract::{Dataset, Files, ItemRef},
};

impl Guard for dyn Dataset {
    fn guarded(who: Who, inner: Box<Self>) -> Result<Box<Self>> {
        let inner = Guarded::new(who, inner);
        let files = inner.call("files", Dataset::files)?;
        Ok(Box::new(GuardedDataset { inner, files }))
    }
}

struct GuardedDataset {
    inner: Guarded<dyn Dataset>,
    files: Vec<String>,
}

impl Dataset for GuardedDataset {
    fn files(&self) -> Vec<String> {
        self.files.clone()
    }

    fn index(&self, files: &dyn Files) -> Result<Vec<ItemRef>> {
        let items = self.inner.call("index", |d| d.index(files))??;
        check_items(&items).map_err(|what| self.inner.wrong("index", what))?;
        Ok(items)
    }

    fn contents(&self, items: &[ItemRef]) -> Option<String> {
        // As with the notes.
        self.inner.call("contents", |d| d.contents(items)).unwrap_or_else(|e| Some(e.to_string()))
    }

    fn notes(&self, items: &[ItemRef]) -> Vec<String> {
        // Notes are remarks for the reader, and a panic is one.
        self.inner.call("notes", |d| d.notes(items)).unwrap_or_else(|e| vec![e.to_string()])
    }

    fn kind(&self, item: &ItemRef) -> usize {
        // Only the choice of a limited run rests on it.
        self.inner.call("kind", |d| d.kind(item)).unwrap_or(0)
    }

    fn load(&self, item: &ItemRef, files: &dyn Files) -> Result<Sample> {
        let sample = self.inner.call("load", |d| d.load(item, files))??;
        check_sample(&sample, item).map_err(|what| self.inner.wrong("load", what))?;
        Ok(sample)
    }
}

/// Ids become folders: safe and unique.
fn check_items(items: &[ItemRef]) -> std::result::Result<(), String> {
    let mut seen = BTreeSet::new();
    for item in items {
        file_name("an item", &item.id)?;
        if !seen.insert(item.id.as_str()) {
            return Err(format!("two items called `{}`", item.id));
        }
    }
    Ok(())
}

fn check_sample(sample: &Sample, item: &ItemRef) -> std::result::Result<(), String> {
    if sample.id != item.id {
        return Err(format!("the sample `{}` for the item `{}`", sample.id, item.id));
    }
    if sample.pictures.is_empty() {
        return Err(format!("the sample `{}` without pictures", sample.id));
    }
    let mut seen = BTreeSet::new();
    for (role, picture) in &sample.pictures {
        file_name("a role", role)?;
        if !seen.insert(role.as_str()) {
            return Err(format!("two pictures in the role `{role}`"));
        }
        super::prepare::check_picture(picture)?;
        finite("a picture", &picture.pixels)?;
    }
    Ok(())
}
