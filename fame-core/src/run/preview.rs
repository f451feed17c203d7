//! A look at a plan's pictures as its network sees them, before anything is explained.

use std::sync::Arc;

use super::{Event, ModelShelf, Observer, item::sample::Loader, models::RunFiles};
use crate::{
    Error, Model, Plan, Result, Sample,
    store::{FetchEvent, ModelStore},
};

/// The loaded model of a plan with its samples, prepared as a run prepares them.
pub struct Preview {
    /// The explained model.
    pub model: Arc<Model>,
    /// The samples in the order of the dataset; without those that a run would fail at.
    pub samples: Vec<Sample>,
    /// What is wrong with each sample that is left out.
    pub left_out: Vec<Error>,
}

/// Loads the model of `plan` and its first `limit` samples, and explains nothing. Files are
/// fetched as a run fetches them; no output folder is touched. A sample that cannot be read or
/// prepared is left out, as long as another one can: in a run it is one failed item.
///
/// # Errors
/// A model that cannot be had, and what is wrong with the first sample where none is left.
pub fn preview(
    plan: &Plan,
    store: &ModelStore,
    limit: usize,
    observer: &dyn Observer,
) -> Result<Preview> {
    let on_fetch = |event: &FetchEvent| observer.event(&Event::Fetch(event));
    let files = RunFiles { folder: &plan.folder, store, on_fetch: &on_fetch };
    let data = plan.data.plugin.as_ref();
    let items = data.index(&files)?;
    let shelf = ModelShelf::new(store, plan.backend.plugin.as_ref(), &on_fetch)
        .with_operators(plan.operators.clone());
    let file = shelf.fetch(&plan.manifest)?;
    let model = shelf.load(plan.manifest.clone(), file)?;
    let loader = Loader { plan, files: &files, shelf: &shelf, model: &model };
    let (mut samples, mut left_out) = (Vec::new(), Vec::new());
    for item in items.iter().take(limit) {
        match loader.sample(item) {
            Ok(sample) => samples.push(sample),
            Err(error) if error.kind.ends_the_run() => return Err(error),
            Err(error) => left_out.push(error),
        }
    }
    if samples.is_empty() && !left_out.is_empty() {
        return Err(left_out.remove(0));
    }
    Ok(Preview { model, samples, left_out })
}
