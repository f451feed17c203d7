//! An operator that somebody registers reaches the engine, and a gradient passes through it.

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used)]

use std::{path::Path, sync::Arc};

use fame_core::{
    Bias, Error, GradientPlace, Layer, LayerCotangent, LoadRequest, Result, Taps, Tensor,
    contract::{Attribute, Attributes, Backend, Network, Operator, OperatorId, Pass},
    registry::{Assembly, BuildContext, Plugin, Registry},
    testkit::{
        Trial, build, check_network, check_operator, check_operator_rows, check_plugin, registry,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// y = scale · the mean square of each channel.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Energy {
    /// What a node says of `scale` where it says nothing.
    scale: f32,
}

impl Default for Energy {
    fn default() -> Self {
        Self { scale: 2.0 }
    }
}

impl Plugin<dyn Operator> for Energy {
    const NAME: &'static str = "Energy";
    const SUMMARY: &'static str = "The mean square of each channel";
    const EXAMPLE: &'static str = "Energy(scale: 1.0)";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Operator>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Operator: Energy);

impl Energy {
    /// The factor of every square, and how many values a channel has.
    fn factor(&self, attributes: &Attributes, shape: &[usize]) -> Result<(f32, usize)> {
        let values = shape[2] * shape[3];
        Ok((attributes.float("scale", self.scale)? / values as f32, values))
    }
}

impl Operator for Energy {
    fn serves(&self) -> OperatorId {
        OperatorId::new("example", "Energy").in_opsets(1..=3)
    }

    fn output_shapes(&self, _: &Attributes, inputs: &[Vec<usize>]) -> Result<Vec<Vec<usize>>> {
        match inputs {
            [x] if x.len() == 4 => Ok(vec![x[..2].to_vec()]),
            _ => Err(Error::new("example::inputs", "it takes one [N, C, H, W].")),
        }
    }

    fn forward(&self, attributes: &Attributes, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let (factor, values) = self.factor(attributes, inputs[0].shape())?;
        let channels = inputs[0].data().chunks(values);
        let y = channels.map(|c| factor * c.iter().map(|x| x * x).sum::<f32>()).collect();
        Ok(vec![Tensor::new(&inputs[0].shape()[..2], y)?])
    }

    fn pull_back(
        &self,
        attributes: &Attributes,
        inputs: &[Tensor],
        _: &[Tensor],
        cotangents: &[Tensor],
    ) -> Result<Vec<Tensor>> {
        let (factor, values) = self.factor(attributes, inputs[0].shape())?;
        let mut pulled = inputs[0].clone();
        for (channel, c) in pulled.data_mut().chunks_mut(values).zip(cotangents[0].data()) {
            channel.iter_mut().for_each(|x| *x *= 2.0 * factor * c);
        }
        Ok(vec![pulled])
    }
}

/// A backend whose only network is one node `Energy` from the input to `logits`: it knows the
/// operator from the request alone.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OneNode {}

impl Plugin<dyn Backend> for OneNode {
    const NAME: &'static str = "OneNode";
    const SUMMARY: &'static str = "A network of one node";
    const EXAMPLE: &'static str = "OneNode()";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Backend>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Backend: OneNode);

impl Backend for OneNode {
    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn load(&self, request: &LoadRequest) -> Result<Box<dyn Network>> {
        let Some((plugin, operator)) = request.operators.find("example", "Energy", 2) else {
            return Err(Error::new("example::unknown", "nobody serves example.Energy."));
        };
        let input = request.input_shape.clone().unwrap();
        let node: Attributes = [("scale", Attribute::Float(3.0))].into_iter().collect();
        let outputs = operator.output_shapes(&node, &[[&[1], &input[..]].concat()])?;
        let layer = |name: &str, op: &str, shape: &[usize], is_output| Layer {
            name: name.to_owned(),
            op: op.to_owned(),
            shape: shape.to_vec(),
            is_output,
            depends_on_input: true,
            reads: Vec::new(),
        };
        Ok(Box::new(Node {
            layers: vec![
                layer("input", "Input", &input, false),
                layer("logits", "Energy", &outputs[0][1..], true),
            ],
            notes: vec![format!("node 0 (example.Energy) is run by the plugin `{plugin}`")],
            operator,
            attributes: node,
        }))
    }
}

struct Node {
    layers: Vec<Layer>,
    notes: Vec<String>,
    operator: Arc<dyn Operator>,
    attributes: Attributes,
}

impl Network for Node {
    fn input_shape(&self) -> &[usize] {
        &self.layers[0].shape
    }

    fn layers(&self) -> &[Layer] {
        &self.layers
    }

    fn check_gradient(&self, layer: &str, _: &GradientPlace) -> Result<()> {
        match layer {
            "logits" => self.operator.check_gradient(&self.attributes, 0),
            _ => Err(Error::new("example::layer", format!("no layer `{layer}`."))),
        }
    }

    fn preferred_rows(&self) -> usize {
        2
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn forward<'n>(&'n self, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>> {
        if batch.row_shape() != self.input_shape() {
            return Err(Error::new("example::shape", "a batch of another shape."));
        }
        let known = |name: &String| self.layers.iter().any(|l| l.name == *name);
        let places = taps.gradients.iter().filter_map(|place| match place {
            GradientPlace::Layer(name) => Some(name),
            GradientPlace::Input => None,
        });
        if let Some(unknown) = taps.layers.iter().chain(places).find(|name| !known(name)) {
            return Err(Error::new("example::layer", format!("no layer `{unknown}`."))
                .with_help("did you mean `logits`?"));
        }
        let logits = self.operator.forward(&self.attributes, std::slice::from_ref(batch))?;
        Ok(Box::new(NodePass { network: self, batch: batch.clone(), logits, taps: taps.clone() }))
    }

    fn forward_from<'n>(
        &'n self,
        _: &str,
        value: &Tensor,
        _: &Tensor,
        taps: &Taps,
    ) -> Result<Box<dyn Pass + 'n>> {
        self.forward(value, taps)
    }

    fn biases(&self) -> Result<Vec<Bias>> {
        Ok(Vec::new())
    }
}

struct NodePass<'n> {
    network: &'n Node,
    batch: Tensor,
    logits: Vec<Tensor>,
    taps: Taps,
}

impl NodePass<'_> {
    fn tapped(&self, layer: &str) -> Result<&Tensor> {
        if !self.taps.layers.iter().any(|l| l == layer) {
            return Err(Error::new("example::tap", format!("`{layer}` was not tapped.")));
        }
        Ok(if layer == "input" { &self.batch } else { &self.logits[0] })
    }
}

impl Pass for NodePass<'_> {
    fn output(&self, layer: &str) -> Result<Tensor> {
        self.tapped(layer).cloned()
    }

    fn gradient(&self, seeds: &[LayerCotangent]) -> Result<Vec<Tensor>> {
        if self.taps.gradients.is_empty() {
            return Err(Error::new("example::gradient", "no gradient was asked for."));
        }
        let mut cotangent = Tensor::zeros(self.logits[0].shape());
        for seed in seeds {
            if self.tapped(&seed.layer)?.shape() != seed.cotangent.shape() {
                return Err(Error::new("example::shape", "a cotangent of another shape."));
            }
            let sum = cotangent.data_mut().iter_mut().zip(seed.cotangent.data());
            sum.for_each(|(sum, c)| *sum += c);
        }
        let inputs = std::slice::from_ref(&self.batch);
        self.network.operator.pull_back(
            &self.network.attributes,
            inputs,
            &self.logits,
            &[cotangent],
        )
    }
}

fn pictures() -> Tensor {
    let value = |i: usize| ((i * 7 % 23) as f32 - 11.0) / 9.0;
    Tensor::new([2, 3, 2, 2], (0..24).map(value).collect()).unwrap()
}

#[test]
fn an_operator_is_a_plugin_like_any_other() {
    check_plugin::<dyn Operator, Energy>().unwrap();
    let energy = build::<dyn Operator>("Energy(scale: 1.5)").unwrap().plugin;
    let node = Attributes::default();
    println!("{}", check_operator(energy.as_ref(), &node, &[pictures()]).unwrap());
    check_operator_rows(energy.as_ref(), &node, &[pictures()], &[0]).unwrap();
}

#[test]
fn models_are_loaded_with_what_is_registered_and_the_record_says_so() {
    let trial = Trial::run("backend: OneNode()").unwrap();
    let record = trial.read("run.json").unwrap();
    for said in [
        "\"Energy\": \"example.Energy, opsets 1 to 3\"",
        "node 0 (example.Energy) is run by the plugin `Energy`",
    ] {
        assert!(record.contains(said), "{said} is missing in {record}");
    }
}

#[test]
fn a_network_with_the_operator_has_true_gradients() {
    let registry = registry().unwrap();
    let with = BuildContext::new(&registry, Path::new("."));
    let request = LoadRequest::new("none.onnx")
        .with_input_shape([3, 4, 4])
        .with_operators(registry.operators(&with).unwrap());
    let backend = build::<dyn Backend>("OneNode()").unwrap().plugin;
    let checks = check_network(backend.load(&request).unwrap().as_ref()).unwrap();
    assert!(checks.iter().any(|c| c.compared > 0), "{checks:?}");
}

#[test]
fn without_the_operator_the_engine_says_what_it_misses() {
    let backend = build::<dyn Backend>("OneNode()").unwrap().plugin;
    let alone = LoadRequest::new("none.onnx").with_input_shape([3, 4, 4]);
    let error = backend.load(&alone).err().unwrap();
    assert_eq!(error.code, "example::unknown");
}

/// An operator that needs a parameter, which nothing can give it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Demanding {
    /// How many.
    count: usize,
}

impl Plugin<dyn Operator> for Demanding {
    const NAME: &'static str = "Demanding";
    const SUMMARY: &'static str = "An operator with a parameter that has no default";
    const EXAMPLE: &'static str = "Demanding(count: 1)";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Operator>> {
        Some(Box::new(Energy { scale: self.count as f32 }))
    }
}

#[test]
fn an_operator_that_cannot_be_built_without_parameters_is_named() {
    let mut registry = Registry::default();
    registry.add(fame_core::register!(# Operator: Demanding)).unwrap();
    let with = BuildContext::new(&registry, Path::new("."));
    let error = registry.operators(&with).unwrap_err();
    assert_eq!(error.code, "fame::operator::not_built");
    assert!(
        error.message.contains("operator `Demanding` (fame-core")
            && error.message.contains("`count`"),
        "{error}"
    );
}
