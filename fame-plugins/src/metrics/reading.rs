//! Which numbers of a map a metric reads.

use fame_core::{Error, NamedMap, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plane;

/// The numbers of a map that are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Reading {
    /// The finished map: what a reader sees, usually 0..=1. The same for every explainer, so the
    /// default.
    #[default]
    Finished,
    /// The attribution before its map steps, with its sign; the channels of a pixel are added up.
    /// What the published formulas of attributions mean, where an explainer makes attributions.
    Raw,
}

impl Reading {
    /// One number for each pixel of `map`.
    ///
    /// # Errors
    /// A map whose raw attribution is not over the pixels of the finished one.
    pub(super) fn of(self, map: &NamedMap) -> Result<Vec<f32>> {
        let finished = plane(map)?;
        if self == Self::Finished {
            return Ok(finished);
        }
        let (area, raw) = (finished.len(), map.raw.data());
        if raw.is_empty() || !raw.len().is_multiple_of(area) {
            let message = format!(
                "the raw attribution of map `{}` has the shape {:?}, and the map {area} pixels.",
                map.name(),
                map.raw.shape()
            );
            return Err(
                Error::new("fame::metric::map_size", message).with_help("Use reading: Finished.")
            );
        }
        let mut sums = vec![0.0; area];
        for channel in raw.chunks_exact(area) {
            sums.iter_mut().zip(channel).for_each(|(sum, v)| *sum += v);
        }
        Ok(sums)
    }
}

#[cfg(test)]
mod tests {
    use fame_core::{MapId, Tensor};

    use super::*;

    #[test]
    fn raw_channels_are_added_with_their_signs() {
        let raw = Tensor::new([2, 1, 2], vec![1.0, -3.0, 2.0, 1.0]).unwrap();
        let finished = Tensor::new([1, 2], vec![1.0, 0.0]).unwrap();
        let map = NamedMap::new(MapId::new("image"), raw, finished.clone());
        assert_eq!(Reading::Raw.of(&map).unwrap(), [3.0, -2.0]);
        assert_eq!(Reading::Finished.of(&map).unwrap(), [1.0, 0.0]);
        let odd = NamedMap::new(MapId::new("image"), Tensor::zeros([1, 1, 3]), finished);
        assert_eq!(Reading::Raw.of(&odd).unwrap_err().code, "fame::metric::map_size");
    }
}
