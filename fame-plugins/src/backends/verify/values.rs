//! Values: every layer of one engine against a witness's.

use std::collections::{HashMap, HashSet};

use fame_core::contract::Network;
use fame_core::{Layer, Result, Taps, Tensor};

use super::{Difference, Graph, Input};

/// How far a layer may be from the witness's, the length of the difference over the length of the
/// values. Two f32 engines that add in another order differ by about 1e-6 after fifty layers; one
/// wrong value among a hundred thousand costs more. In a quantised network roundings fall on
/// another side, and fifty layers make a tenth of that: there a layer is computed once more from
/// the witness's values in front of it.
pub const VALUE_TOLERANCE: f64 = 1e-3;

/// The length per value below which a layer counts as zero.
const NEARLY_ZERO: f64 = 1e-7;

/// What a comparison of values found.
#[derive(Clone, Debug, Default)]
pub struct Values {
    /// How many layers were compared.
    pub compared: usize,
    /// Layers of the file that the engine does not offer.
    pub missing: Vec<String>,
    /// The largest distance of all, relative to the layer.
    pub worst: f64,
    /// The layers that differ, in the file's order.
    pub differences: Vec<Difference>,
    /// How many layers behind rounding are further away, and agree when they are computed from the
    /// witness's values in front of them.
    pub rounded: usize,
}

/// A layer's largest distance, and the input it was met at.
type Distances = HashMap<String, (f64, String)>;

/// Compares every layer that both networks have, and the outputs once more computed alone, where
/// other operators are fused. `graph` is the file's.
///
/// # Errors
/// When one of the networks cannot run.
pub fn compare_values(
    ours: &dyn Network,
    witness: &dyn Network,
    graph: &Graph,
    inputs: &[Input],
) -> Result<Values> {
    let known: HashSet<&str> = ours.layers().iter().map(|l| l.name.as_str()).collect();
    let (shared, missing): (Vec<_>, Vec<_>) =
        witness.layers().iter().partition(|layer| known.contains(layer.name.as_str()));
    let names: Vec<String> = shared.iter().map(|layer| layer.name.clone()).collect();
    let mut together = distances(ours, witness, &names, inputs)?;
    let worst = together.values().map(|(apart, _)| *apart).fold(0.0, f64::max);
    let rounded = Rounded { ours, witness, graph, inputs }.excuse(&names, &mut together)?;
    let mut found = Values {
        compared: names.len(),
        missing: missing.into_iter().map(|layer| layer.name.clone()).collect(),
        worst,
        differences: told(&names, &together, graph),
        rounded,
    };
    let is_exact = |layer: &&&Layer| layer.is_output && graph.first_rounding(&layer.name).is_none();
    for output in shared.iter().filter(is_exact) {
        if together.get(&output.name).is_some_and(|(apart, _)| *apart <= VALUE_TOLERANCE) {
            let alone = alone(ours, witness, graph, &output.name, inputs)?;
            found.worst = found.worst.max(alone.1);
            found.differences.extend(alone.0);
        }
    }
    Ok(found)
}

/// The search for layers of a quantised network that differ only because rounding in front of them
/// fell on another side.
struct Rounded<'a> {
    ours: &'a dyn Network,
    witness: &'a dyn Network,
    graph: &'a Graph,
    inputs: &'a [Input],
}

impl Rounded<'_> {
    /// Sets the distance of each such layer to what it is with the witness's values in front of it.
    /// Returns how many there are.
    fn excuse(&self, names: &[String], all: &mut Distances) -> Result<usize> {
        let is_far = |all: &Distances, name: &str| {
            all.get(name).is_some_and(|(apart, _)| *apart > VALUE_TOLERANCE)
        };
        let far: HashSet<&str> =
            names.iter().map(String::as_str).filter(|name| is_far(all, name)).collect();
        let mut excused = 0;
        for name in names.iter().filter(|name| far.contains(name.as_str())) {
            if self.graph.first_rounding(name).is_none() {
                continue;
            }
            let is_shared = |n: &str| has(self.ours, n) && has(self.witness, n);
            let apart = match self.graph.nearest(name, is_shared)[..] {
                [before] => self.alone(name, before)?,
                // Of several the engine takes one from outside: the layer is left to those that
                // it is made of.
                ref several if several.iter().any(|before| far.contains(before)) => 0.0,
                _ => continue,
            };
            if apart <= VALUE_TOLERANCE
                && let Some(entry) = all.get_mut(name)
            {
                entry.0 = apart;
                excused += 1;
            }
        }
        Ok(excused)
    }

    /// The largest distance of `name`, computed from the witness's values of `before`.
    fn alone(&self, name: &str, before: &str) -> Result<f64> {
        let mut worst = 0f64;
        for input in self.inputs {
            let batch = Tensor::stack([&input.value])?;
            let right = self.witness.forward(&batch, &Taps::of([before, name]))?;
            let taps = Taps::of([name]);
            let value = right.output(before)?;
            let ours = self.ours.forward_from(before, &value, &batch, &taps)?.output(name)?;
            worst = worst.max(apart(&ours, &right.output(name)?));
        }
        Ok(worst)
    }
}

/// One sentence for each layer that differs.
fn told(names: &[String], distances: &Distances, graph: &Graph) -> Vec<Difference> {
    let differs = |name: &&String| distances.get(*name).is_some_and(|(d, _)| *d > VALUE_TOLERANCE);
    let faulty: HashSet<&str> = names.iter().filter(differs).map(String::as_str).collect();
    let one = |name: &String| {
        let (apart, input) = &distances[name];
        let origin = graph.origin(name, &faulty);
        let begins = if origin == name {
            format!("it begins here, at {}", graph.node(name))
        } else {
            format!("it begins at {}", graph.node(origin))
        };
        let sentence = format!(
            "layer `{name}` is {apart:.1e} of its size away from the witness's value for {input}; {begins}."
        );
        Difference { layer: name.clone(), sentence }
    };
    names.iter().filter(differs).map(one).collect()
}

/// The output `name` computed without any other layer; where it then differs, the first layer on
/// its way that differs when it is computed alone.
fn alone(
    ours: &dyn Network,
    witness: &dyn Network,
    graph: &Graph,
    name: &str,
    inputs: &[Input],
) -> Result<(Option<Difference>, f64)> {
    let distance = |name: &str| -> Result<(f64, String)> {
        let all = distances(ours, witness, &[name.to_owned()], inputs)?;
        Ok(all.into_values().next().unwrap_or_default())
    };
    let (apart, input) = distance(name)?;
    if apart <= VALUE_TOLERANCE {
        return Ok((None, apart));
    }
    let above = graph.ancestors(name);
    let shared = |n: &&String| above.contains(n.as_str()) && has(ours, n) && has(witness, n);
    let mut origin = name;
    for layer in graph.order().iter().filter(shared) {
        if distance(layer)?.0 > VALUE_TOLERANCE {
            origin = layer;
            break;
        }
    }
    let sentence = format!(
        "output `{name}`, computed alone, is {apart:.1e} of its size away from the witness's value for {input}, and right when every layer is kept: operators are fused wrongly, from {} on.",
        graph.node(origin)
    );
    Ok((Some(Difference { layer: name.to_owned(), sentence }), apart))
}

fn has(network: &dyn Network, layer: &str) -> bool {
    network.layers().iter().any(|l| l.name == layer)
}

/// The largest distance of each of `names` over all inputs.
fn distances(
    ours: &dyn Network,
    witness: &dyn Network,
    names: &[String],
    inputs: &[Input],
) -> Result<Distances> {
    let taps = Taps::of(names.iter().cloned());
    let mut worst = Distances::new();
    for input in inputs {
        let batch = Tensor::stack([&input.value])?;
        let (here, there) = (ours.forward(&batch, &taps)?, witness.forward(&batch, &taps)?);
        for name in names {
            let apart = apart(&here.output(name)?, &there.output(name)?);
            let entry = worst.entry(name.clone()).or_default();
            if entry.1.is_empty() || apart > entry.0 {
                *entry = (apart, input.name.clone());
            }
        }
    }
    Ok(worst)
}

/// The length of the difference over the length of `right`; equal infinities are equal, and what
/// is not a number in one of them only is infinitely far.
fn apart(value: &Tensor, right: &Tensor) -> f64 {
    if value.shape() != right.shape() {
        return f64::INFINITY;
    }
    let (mut difference, mut length) = (0.0, 0.0);
    for (a, b) in value.data().iter().zip(right.data()) {
        let (x, y) = (f64::from(*a), f64::from(*b));
        if a != b && !(x.is_nan() && y.is_nan()) {
            difference += (x - y) * (x - y);
        }
        if y.is_finite() {
            length += y * y;
        }
    }
    let floor = NEARLY_ZERO * (right.len() as f64).sqrt();
    let apart = difference.sqrt() / length.sqrt().max(floor);
    if apart.is_nan() { f64::INFINITY } else { apart }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_infinities_are_equal_and_shapes_count() {
        let t = |values: &[f32]| Tensor::vector(values.to_vec());
        let (inf, nan) = (f32::NEG_INFINITY, f32::NAN);
        assert_eq!(apart(&t(&[inf, 1.0]), &t(&[inf, 1.0])), 0.0);
        assert_eq!(apart(&t(&[nan, 1.0]), &t(&[nan, 1.0])), 0.0);
        assert_eq!(apart(&t(&[0.0, 1.0]), &t(&[inf, 1.0])), f64::INFINITY);
        assert_eq!(apart(&t(&[nan, 1.0]), &t(&[0.0, 1.0])), f64::INFINITY);
        assert_eq!(apart(&t(&[1.0]), &t(&[1.0, 1.0])), f64::INFINITY);
        assert!((apart(&t(&[3.0, 4.5]), &t(&[3.0, 4.0])) - 0.1).abs() < 1e-12);
    }
}
