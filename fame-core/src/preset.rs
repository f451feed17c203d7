//! Which published form defaults follow.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The paper's text and its authors' code differ in a dozen choices (norms, gray, normalisation,
/// step space, early stop). A preset fixes all of them; any single parameter can still be set by
/// hand, and the record shows every choice as resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Preset {
    /// What the paper says: steps in pixels, frozen norms, |difference| then gray, maximum
    /// normalisation, no early stop.
    #[default]
    Paper,
    /// What the public code does: steps in normalised space for classifiers and in pixels for
    /// faces, live norms, gray then |difference| with weights in stored channel order, min-max
    /// normalisation, early stop at 0.01 for faces.
    Authors,
}
