//! Gradients: what an engine pulls back to the input, against slopes of a forward pass.

use std::collections::HashSet;

use fame_core::contract::Network;
use fame_core::{GradientPlace, Layer, LayerCotangent, Random, Result, Taps, Tensor};

use super::directional::{Verdict, judge};
use super::inputs::SEED;
use super::{Difference, Graph, Input};

/// What a comparison of gradients found.
#[derive(Clone, Debug, Default)]
pub struct Slopes {
    /// The outputs whose gradients were compared.
    pub outputs: Vec<String>,
    /// Sentences about outputs whose gradient the engine refuses.
    pub refused: Vec<String>,
    /// Sentences about outputs whose gradient passes rounding straight through: slopes of rounded
    /// values say nothing about it, and it is not compared.
    pub straight_through: Vec<String>,
    /// Inputs at which the slope could be measured.
    pub measured: usize,
    /// Inputs at which rounding hides the slope.
    pub undecided: usize,
    /// The largest distance between a gradient and its slope that passed, relative to the gradient.
    pub worst: f64,
    /// The gradients that are wrong, one sentence for each layer where a fault begins.
    pub differences: Vec<Difference>,
}

/// Compares gradients of `ours`, pulled back from every output to the input, with differences of
/// the forward passes of `witness`, which may be the same network. `graph` is the file's.
///
/// # Errors
/// When one of the networks cannot run.
pub fn check_slopes(
    ours: &dyn Network,
    witness: &dyn Network,
    graph: &Graph,
    inputs: &[Input],
) -> Result<Slopes> {
    let mut found = Slopes::default();
    let mut outputs: Vec<&Layer> = vec![];
    for layer in witness.layers().iter().filter(|l| l.is_output && l.depends_on_input) {
        match ours.check_gradient(&layer.name, &GradientPlace::Input) {
            Ok(()) => match graph.first_rounding(&layer.name) {
                None => outputs.push(layer),
                Some(node) => found.straight_through.push(straight_through(&layer.name, &node)),
            },
            Err(why) => found.refused.push(format!("output `{}`: {}", layer.name, why.message)),
        }
    }
    found.outputs = outputs.iter().map(|layer| layer.name.clone()).collect();
    if outputs.is_empty() {
        return Ok(found);
    }
    let sum = Sum::of(&outputs)?;
    for input in inputs {
        let batch = Tensor::stack([&input.value])?;
        let gradient = match sum.gradients(ours, &batch, &[GradientPlace::Input]) {
            Ok(mut gradients) => gradients.remove(0),
            Err(why) => {
                let fault = Fault::NotGiven;
                let at = Search { ours, witness, graph, sum: &sum, batch: &batch, fault };
                let (layer, begins) = at.begin()?;
                let why = why.message.trim_end_matches('.');
                let sentence = format!("a gradient is promised and not given: {why}; {begins}.");
                found.differences.push(Difference { layer, sentence });
                break;
            }
        };
        let value = |x: &Tensor| sum.value(witness, x);
        match judge(&batch, &gradient, &value)? {
            Verdict::Right(off) => {
                found.measured += 1;
                found.worst = found.worst.max(off);
            }
            Verdict::Undecided => found.undecided += 1,
            Verdict::Wrong(off) => {
                found.measured += 1;
                let fault = Fault::Wrong;
                let at = Search { ours, witness, graph, sum: &sum, batch: &batch, fault };
                let (layer, begins) = at.begin()?;
                let sentence = format!(
                    "the gradient at the input is off by {off:.1e} of its size for {}; {begins}.",
                    input.name
                );
                // One input is enough: another meets the same fault.
                found.differences.push(Difference { layer, sentence });
                break;
            }
        }
    }
    Ok(found)
}

/// Why the gradient of `output`, which passes the rounding of `node`, is not compared.
fn straight_through(output: &str, node: &str) -> String {
    format!(
        "the gradient of output `{output}` passes rounding as if it were the identity \
         (straight-through), at {node} and behind it; slopes of rounded values say nothing about \
         it, so it is not compared"
    )
}

/// A sum over outputs, each weighed by a random cotangent.
struct Sum {
    cotangents: Vec<LayerCotangent>,
}

impl Sum {
    fn of(layers: &[&Layer]) -> Result<Self> {
        let one = |(n, layer): (usize, &&Layer)| {
            let mut shape = vec![1];
            shape.extend(&layer.shape);
            let mut values = Tensor::zeros(shape.clone());
            Random::stream(SEED, 200 + n).fill_normal(values.data_mut());
            Ok(LayerCotangent { layer: layer.name.clone(), cotangent: values })
        };
        let cotangents = layers.iter().enumerate().map(one).collect::<Result<_>>()?;
        Ok(Self { cotangents })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.cotangents.iter().map(|c| c.layer.as_str())
    }

    /// The sum for one row.
    fn value(&self, network: &dyn Network, batch: &Tensor) -> Result<f64> {
        let pass = network.forward(batch, &Taps::of(self.names()))?;
        self.over(|layer| pass.output(layer))
    }

    /// The sum with the value of `layer` replaced.
    fn value_from(
        &self,
        network: &dyn Network,
        layer: &str,
        value: &Tensor,
        batch: &Tensor,
    ) -> Result<f64> {
        let pass = network.forward_from(layer, value, batch, &Taps::of(self.names()))?;
        self.over(|layer| pass.output(layer))
    }

    fn over(&self, output: impl Fn(&str) -> Result<Tensor>) -> Result<f64> {
        self.cotangents.iter().try_fold(0.0, |sum, seed| {
            let output = output(&seed.layer)?;
            let products = output.data().iter().zip(seed.cotangent.data());
            Ok(sum + products.map(|(y, c)| f64::from(*y) * f64::from(*c)).sum::<f64>())
        })
    }

    fn gradients(
        &self,
        network: &dyn Network,
        batch: &Tensor,
        places: &[GradientPlace],
    ) -> Result<Vec<Tensor>> {
        let mut taps = Taps::of(self.names());
        taps.gradients = places.to_vec();
        network.forward(batch, &taps)?.gradient(&self.cotangents)
    }
}

/// What is wrong with a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It is not the slope, or there is none.
    Wrong,
    /// It is promised, and the engine fails.
    NotGiven,
}

/// The search for the node at which a gradient goes wrong.
struct Search<'a> {
    ours: &'a dyn Network,
    witness: &'a dyn Network,
    graph: &'a Graph,
    sum: &'a Sum,
    batch: &'a Tensor,
    fault: Fault,
}

impl Search<'_> {
    /// The layer whose gradient is wrong while all behind it are right, and a sentence about the
    /// node in between.
    fn begin(&self) -> Result<(String, String)> {
        let above: HashSet<&str> =
            self.sum.names().flat_map(|output| self.graph.ancestors(output)).collect();
        let input = &self.witness.layers()[0].name;
        let all = self.witness.layers().iter().rev();
        let between = all.filter(|l| l.depends_on_input && above.contains(l.name.as_str()));
        for layer in between.filter(|l| l.name != *input) {
            if self.is_wrong(&layer.name, self.sum)? {
                return Ok((layer.name.clone(), self.at(&layer.name)?));
            }
        }
        Ok((input.clone(), self.at(input)?))
    }

    /// Names the nodes that read `layer` and pull a wrong gradient back to it.
    fn at(&self, layer: &str) -> Result<String> {
        let readers = self.graph.readers(layer);
        let mut wrong: Vec<(&str, &str)> = vec![];
        for reader in &readers {
            for seen in self.first_layers(reader) {
                let Some(of) = self.witness.layers().iter().find(|l| l.name == seen) else {
                    continue;
                };
                if of.depends_on_input && self.is_wrong(layer, &Sum::of(&[of])?)? {
                    wrong.push((reader, seen));
                }
            }
        }
        // Not one to which the fault of another comes down.
        let is_first = |(_, seen): &&(&str, &str)| {
            let above = self.graph.ancestors(seen);
            !wrong.iter().any(|(_, other)| other != seen && above.contains(other))
        };
        let mut first: Vec<&str> =
            wrong.iter().filter(is_first).map(|(reader, _)| *reader).collect();
        first.dedup();
        let named = if first.is_empty() { readers } else { first };
        let nodes: Vec<String> = named.into_iter().map(|reader| self.graph.node(reader)).collect();
        Ok(format!("it begins at {}, which reads `{layer}`", nodes.join(" or ")))
    }

    /// `tensor` if the engine offers it as a layer, else the first layers that are computed from
    /// it.
    fn first_layers<'t>(&'t self, tensor: &'t str) -> Vec<&'t str> {
        let (mut found, mut open, mut seen) = (vec![], vec![tensor], HashSet::new());
        while let Some(name) = open.pop() {
            if !seen.insert(name) {
                continue;
            }
            if self.ours.layers().iter().any(|l| l.name == name) {
                found.push(name);
            } else {
                open.extend(self.graph.readers(name));
            }
        }
        found
    }

    /// Whether the gradient of `sum` at `layer` has the fault that is searched for. A place that no
    /// gradient is promised for has none.
    fn is_wrong(&self, layer: &str, sum: &Sum) -> Result<bool> {
        let is_input = *layer == self.witness.layers()[0].name;
        let place =
            if is_input { GradientPlace::Input } else { GradientPlace::Layer(layer.to_owned()) };
        let promised = sum.names().all(|name| self.ours.check_gradient(name, &place).is_ok());
        if !promised {
            return Ok(false);
        }
        // A gradient that is promised and not given is a wrong one.
        let Ok(gradients) = sum.gradients(self.ours, self.batch, std::slice::from_ref(&place))
        else {
            return Ok(true);
        };
        if self.fault == Fault::NotGiven {
            return Ok(false);
        }
        let Some(gradient) = gradients.first() else { return Ok(true) };
        let value = if is_input {
            self.batch.clone()
        } else {
            self.witness.forward(self.batch, &Taps::of([layer]))?.output(layer)?
        };
        let moved = |value: &Tensor| {
            if is_input {
                return sum.value(self.witness, value);
            }
            sum.value_from(self.witness, layer, value, self.batch)
        };
        Ok(matches!(judge(&value, gradient, &moved)?, Verdict::Wrong(_)))
    }
}
