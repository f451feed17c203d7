//! Map steps: from what moved to what a person looks at.

use super::Recorded;
use crate::{AttributionMap, Result, Tensor, data::InputConvention};

/// One step of the way from a perturbation field to a finished map. Steps run in the recipe's
/// order.
///
/// Most steps transform a map for itself and implement [`MapStep::apply`] alone. A step that has to
/// see the picture under the map, or a field that the walk recorded, implements
/// [`MapStep::apply_to`] as well, and refuses in `apply`: [`MapSource::missing`] is the error.
pub trait MapStep: Send + Sync {
    /// Transforms the map.
    ///
    /// # Errors
    /// When the map cannot be finished honestly: an all-zero map cannot be normalised, a blur
    /// kernel is larger than the picture.
    fn apply(&self, map: AttributionMap) -> Result<AttributionMap>;

    /// Transforms the map of a walk, knowing where it comes from. Explainers that walk call this
    /// one. Default: [`MapStep::apply`].
    ///
    /// # Errors
    /// As [`MapStep::apply`].
    fn apply_to(&self, map: AttributionMap, source: &MapSource<'_>) -> Result<AttributionMap> {
        let _ = source;
        self.apply(map)
    }
}

/// Where the map of a walk comes from.
#[derive(Clone, Copy, Debug)]
pub struct MapSource<'a> {
    /// The clean picture under the map, `[C, H, W]`, values in 0..=1, channels in the *model's*
    /// order.
    pub pixels: &'a Tensor,
    /// How pixels become the network's input.
    pub convention: &'a InputConvention,
    /// What the walk recorded along the way: see [`Walk::recorded`](super::Walk::recorded).
    pub recorded: &'a [Recorded],
}

impl MapSource<'_> {
    /// The error of a step that was asked to finish a map without a source.
    pub fn missing(step: &str) -> crate::Error {
        crate::Error::new(
            "fame::map::no_source",
            format!("{step} reads the walk that made the map, but this map comes from no walk."),
        )
        .with_help(
            "Use it in the map steps of an explainer that walks: `describe explainer` lists them.",
        )
    }
}
