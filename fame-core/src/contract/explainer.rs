//! Explainers: from samples to attribution maps.

use std::path::PathBuf;

use super::ItemRef;
use crate::{Explanation, Model, Result, Sample};

/// A method that answers "which pixels?". FAME is one; every method it is compared with is another.
pub trait Explainer: Send + Sync {
    /// Refuses a model it cannot explain, before anything is computed: a missing layer, a layer no
    /// gradient reaches.
    fn check(&self, model: &Model) -> Result<()>;

    /// The files, beside the pictures, that the explanation of `item` is read from: their names and
    /// contents are part of the item's key, so that a changed file is read again. In a fixed order;
    /// files that are not there are left out.
    ///
    /// # Errors
    /// When a folder cannot be read.
    fn files(&self, item: &ItemRef) -> Result<Vec<PathBuf>> {
        let _ = item;
        Ok(Vec::new())
    }

    /// Explains a batch. One result per sample, in order: a sample that fails does not take the
    /// others with it.
    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>>;
}

/// The things that an explainer may use: the model, the seed, a listener for its progress.
pub struct ExplainContext<'a> {
    /// The model under explanation.
    pub model: &'a Model,
    /// The run's seed; [`crate::seed_of`] mixes it with an item's id.
    pub seed: u64,
    /// Told how far the work is.
    pub progress: &'a dyn Progress,
}

/// Told how far a long piece of work is.
pub trait Progress: Sync {
    /// `done` of `total` units of the current batch (walk steps, masks, pull-backs).
    fn advance(&self, done: usize, total: usize);
}

/// Progress that nobody watches.
pub struct Silent;

impl Progress for Silent {
    fn advance(&self, _done: usize, _total: usize) {}
}
