//! Attribution maps, and the explanation that carries them.

use crate::{Tensor, data::Facts};

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
    /// Unique within the explanation, safe in a file name: `probe`, `image_cell_3_4`.
    pub name: String,
    /// Role of the picture whose pixels it scores.
    pub role: String,
    /// What moved, or the unprocessed attribution: `[C, H, W]`, signed.
    pub raw: Tensor,
    /// The finished map, `[H, W]` (or `[C, H, W]` for per-channel maps).
    pub finished: Tensor,
    /// The part of the picture this map is about, if it is about a part.
    pub frame: Option<Frame>,
    /// Everything that made it: target, value before and after, steps, why it stopped.
    pub facts: Facts,
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
    /// Which input: `probe`, `probe after the walk`. Unique within the explanation.
    pub name: String,
    /// The network's input, `[C, H, W]`.
    pub input: Tensor,
    /// The target layers with their outputs for this input, without batch axis.
    pub outputs: Vec<(String, Tensor)>,
}
