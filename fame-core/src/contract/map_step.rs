//! Map steps: from what moved to what a person looks at.

use crate::{AttributionMap, Result};

/// One step of the way from a perturbation field to a finished map. Steps run in the recipe's
/// order.
pub trait MapStep: Send + Sync {
    /// Transforms the map.
    ///
    /// # Errors
    /// When the map cannot be finished honestly: an all-zero map cannot be normalised, a blur
    /// kernel is larger than the picture.
    fn apply(&self, map: AttributionMap) -> Result<AttributionMap>;
}
