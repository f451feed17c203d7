//! Attribution maps, and the explanation that carries them.

use std::borrow::Cow;

use super::{Annotation, Error, Facts, MapId, Result, Tensor};

/// What map steps work on: `[C, H, W]` over the pixels of one prepared picture.
///
/// It starts as the perturbation field (C = the model's channels, signed: what moved) and ends as
/// the finished map (usually C = 1, values in 0..=1, 1 = most important).
#[derive(Clone, Debug, PartialEq)]
pub struct AttributionMap {
    /// `[C, H, W]`.
    pub values: Tensor,
    /// Names of the channels in order: `["R", "G", "B"]`, `["B", "G", "R"]`, `["Y"]`.
    pub channels: Vec<String>,
}

/// One map of an explanation.
#[derive(Clone, Debug)]
pub struct NamedMap {
    /// Which picture it scores, what it is about, what it claims, and how it was finished. Unique
    /// within the explanation.
    pub id: MapId,
    /// What moved, or the unprocessed attribution: `[C, H, W]`, signed.
    pub raw: Tensor,
    /// The finished map, `[H, W]` (or `[C, H, W]` for per-channel maps).
    pub finished: Tensor,
    /// The part of the picture this map is about, if it is about a part.
    pub frame: Option<Frame>,
    /// Points and regions that show what it is about, in pixels of the prepared picture: for
    /// writers that draw them.
    pub annotations: Vec<Annotation>,
    /// Everything that made it: value before and after, steps, why it stopped. For the record
    /// only: code looks at the fields.
    pub facts: Facts,
}

impl NamedMap {
    /// A map of the whole picture, with nothing to record.
    pub fn new(id: MapId, raw: Tensor, finished: Tensor) -> Self {
        Self { id, raw, finished, frame: None, annotations: Vec::new(), facts: Facts::new() }
    }

    /// Its name, [`MapId::name`].
    pub fn name(&self) -> String {
        self.id.name()
    }

    /// The name of a file of this map by `explainer`, such as `fame.image.npy` with the ending
    /// `.npy`: safe in its length too, which [`NamedMap::name`] is not.
    pub fn file(&self, explainer: &str, ending: &str) -> String {
        super::file_name(&format!("{explainer}.{}", self.name()), ending)
    }

    /// The finished map as one plane: rows, columns and a value for each pixel, row-major. Of a
    /// map with channels `merge` makes one value of each pixel's.
    ///
    /// # Errors
    /// When the finished map is neither `[H, W]` nor `[C, H, W]` with C ≥ 1: a bug.
    pub fn plane(
        &self,
        merge: impl Fn(&mut dyn Iterator<Item = f32>) -> f32,
    ) -> Result<(usize, usize, Cow<'_, [f32]>)> {
        let values = self.finished.data();
        match *self.finished.shape() {
            [h, w] | [1, h, w] => Ok((h, w, Cow::Borrowed(values))),
            [c, h, w] if c > 0 => {
                let area = h * w;
                let pixel = |i| merge(&mut (0..c).map(|k| values[k * area + i]));
                Ok((h, w, Cow::Owned((0..area).map(pixel).collect())))
            }
            ref other => Err(Error::bug(format!(
                "map `{}` must be [H, W] or [C, H, W], not {other:?}.",
                self.name()
            ))),
        }
    }
}

/// A rectangle of pixels, end exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// One past the last row.
    pub bottom: usize,
    /// One past the last column.
    pub right: usize,
}

/// What an explainer says about one sample.
#[derive(Clone, Debug, Default)]
pub struct Explanation {
    /// The maps, in a stable order. Never an all-zero or non-finite one.
    pub maps: Vec<NamedMap>,
    /// One line for whoever watches the run: how the maps came about. Empty: their names.
    pub summary: String,
    /// What a reader must know: a cell that is dead, a walk that stopped at once.
    pub warnings: Vec<String>,
    /// What holds for all maps: layer, loss, parameters as resolved.
    pub facts: Facts,
    /// What the maps rest on, for the recipe's `check`. An explainer that names none is checked at
    /// the network's outputs for the clean pictures.
    pub witnesses: Vec<Witness>,
}

/// An input that was fed to the network, and what the target layers gave for it: what a second
/// backend can recompute.
#[derive(Clone, Debug, PartialEq)]
pub struct Witness {
    /// Which input: `left`, `left after the walk`. Unique within the explanation.
    pub name: String,
    /// The network's input, `[C, H, W]`.
    pub input: Tensor,
    /// The target layers with their outputs for this input, without batch axis.
    pub outputs: Vec<(String, Tensor)>,
}
