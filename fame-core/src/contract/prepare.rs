//! Prepare steps: from a decoded picture to the pixels a network is fed.

use std::sync::Arc;

use crate::{Model, Picture, Result};

/// Changes a picture before it becomes network input: aligns, resizes, crops. Values stay in 0..=1
/// RGB; channel order and normalisation belong to the model's manifest and happen last.
pub trait PrepareStep: Send + Sync {
    /// Names of the models it will ask [`Models`] for, so that they are found and fetched before
    /// the run starts.
    fn models(&self) -> Vec<String> {
        Vec::new()
    }

    /// Transforms the picture and composes [`Picture::geometry`], so that annotations follow.
    ///
    /// # Errors
    /// One sentence naming the picture: no face found, crop larger than the picture.
    fn apply(&self, picture: Picture, with: &PrepareContext<'_>) -> Result<Picture>;
}

/// The things that a prepare step may use.
pub struct PrepareContext<'a> {
    /// Auxiliary models (a face detector), loaded once per run by the run's backend.
    pub models: &'a dyn Models,
    /// Height and width the explained model expects.
    pub input_size: (usize, usize),
    /// Role of the picture within its sample.
    pub role: &'a str,
}

/// Hands out loaded models by manifest name.
pub trait Models {
    /// The named model, loaded on first use.
    fn model(&self, name: &str) -> Result<Arc<Model>>;
}
