//! Resolution of taps: from the names that a pass asks for to what an engine compiles.

use fame_core::{Error, GradientPlace, Result, Taps};

use super::file::OnnxFile;
use super::import::Wanted;
use super::refusal::{
    Engine, Refusal, flat, no_box, no_multipliers, no_path, no_relevance, no_rule, reason,
    unclear_kind,
};
use super::skeleton::{Obstacle, Skeleton};

/// The taps of a pass with every name found in the network.
pub(in crate::backends) struct ResolvedTaps<'a> {
    /// The tapped layers, each once, with their full shapes (N = 1).
    pub(in crate::backends) layers: Vec<(String, Vec<usize>)>,
    /// The places of the gradients, with their full shapes.
    pub(in crate::backends) places: Vec<(String, Vec<usize>)>,
    /// Every name of the two, the layers first, each once.
    outputs: Vec<String>,
    /// The layer whose value is given from outside, with its full shape.
    replaced: Option<(&'a str, &'a [usize])>,
    /// The full shape of the network's input.
    input: &'a [usize],
    taps: &'a Taps,
}

impl<'a> ResolvedTaps<'a> {
    /// Finds every name of `taps`, with the value of `replaced` given from outside.
    ///
    /// # Errors
    /// A layer that the network does not have, or a gradient that cannot reach its place.
    pub(in crate::backends) fn new(
        skeleton: &'a Skeleton,
        taps: &'a Taps,
        replaced: Option<&'a str>,
    ) -> Result<Self> {
        let input_name = &skeleton.layers[0].name;
        let mut layers: Vec<(String, Vec<usize>)> = vec![];
        for name in &taps.layers {
            if !layers.iter().any(|(known, _)| known == name) {
                layers.push((name.clone(), skeleton.shape(name)?.to_vec()));
            }
        }
        let place = |place: &GradientPlace| -> Result<(String, Vec<usize>)> {
            let name = match place {
                GradientPlace::Input => input_name,
                GradientPlace::Layer(name) => name,
            };
            Ok((name.clone(), skeleton.shape(name)?.to_vec()))
        };
        let places = taps.gradients.iter().map(place).collect::<Result<Vec<_>>>()?;
        // What leads where was learnt with nothing replaced.
        if replaced.is_none() {
            check_paths(skeleton, taps)?;
        } else if layers.is_empty() && !places.is_empty() {
            return Err(nothing_tapped());
        }
        let mut outputs: Vec<String> = vec![];
        for (name, _) in layers.iter().chain(&places) {
            if !outputs.contains(name) {
                outputs.push(name.clone());
            }
        }
        let replaced =
            replaced.map(|name| skeleton.shape(name).map(|shape| (name, shape))).transpose()?;
        Ok(Self { layers, places, outputs, replaced, input: skeleton.shape(input_name)?, taps })
    }

    /// The model to import for these taps.
    pub(in crate::backends) fn wanted(&self) -> Wanted<'_> {
        Wanted { outputs: &self.outputs, replaced: self.replaced, input: self.input, fold: true }
    }

    /// The position of a layer or place among the outputs of the imported model.
    pub(in crate::backends) fn output(&self, name: &str) -> usize {
        // Every layer and place was put there; 0 is never taken.
        self.outputs.iter().position(|output| output == name).unwrap_or_default()
    }

    /// The error that says why `engine` cannot compile these taps of `file`.
    pub(in crate::backends) fn error(
        &self,
        file: &OnnxFile,
        engine: Engine,
        refusal: Refusal,
    ) -> Error {
        match refusal {
            Refusal::NoRule { node, op } => no_rule(&node, &op, engine),
            Refusal::NoRelevance { node, op } => no_relevance(&node, &op),
            Refusal::NoMultipliers { node, op } => no_multipliers(&node, &op),
            Refusal::NoBox { node, why } => no_box(&node, &why),
            Refusal::UnclearKind { node } => unclear_kind(&node),
            Refusal::NoPath(ix) => no_path(&joined(self.taps), &self.taps.gradients[ix]),
            Refusal::Failed(error) => Error::new(
                "fame::backend::planning",
                format!(
                    "`{}` cannot be compiled for layers {:?}: {}.",
                    file.path,
                    self.taps.layers,
                    reason(&error)
                ),
            ),
        }
    }
}

/// Refuses a gradient that an operator stops on its way from any tapped layer, and one that no
/// tapped layer leads to. A place behind one tap is fine as long as another tap lies behind it.
fn check_paths(skeleton: &Skeleton, taps: &Taps) -> Result<()> {
    for place in &taps.gradients {
        let (mut reached, mut ends) = (false, None);
        for layer in &taps.layers {
            match skeleton.obstacle(layer, place)? {
                Some(Obstacle::NoRule { node, op }) => {
                    return Err(no_rule(&node, &op, skeleton.engine));
                }
                Some(Obstacle::Flat { node, op }) => ends = Some(flat(layer, place, &node, &op)),
                Some(Obstacle::NoPath) => {}
                None => reached = true,
            }
        }
        if taps.layers.is_empty() {
            return Err(nothing_tapped());
        }
        if !reached {
            return Err(ends.unwrap_or_else(|| no_path(&joined(taps), place)));
        }
    }
    Ok(())
}

fn nothing_tapped() -> Error {
    Error::bug("a gradient is asked for, but no layer is tapped to be seeded.")
}

/// The tapped layers as one name for messages.
fn joined(taps: &Taps) -> String {
    taps.layers.join("`, `")
}
