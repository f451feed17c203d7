//! `GuidedBackprop`: the gradient, with everything negative cut off at every ReLU.

use fame_core::{Model, Result, Tensor, contract::ReluRule, data::facts};

use super::{At, Ended, Gradients, Sums, by_gradient};
use crate::maps::Reduce;

by_gradient! {
    /// Guided backpropagation: dy/dx with the gradient passing a ReLU only where its input **and**
    /// the gradient are above zero.
    ///
    /// Every `Relu` of the graph is treated, and the lower bound of a `Clip` at zero (ReLU6); every
    /// other activation (`PRelu`, GELU, SiLU, …) keeps its derivative, and a warning says so. In a
    /// network without ReLU, such as IResNet, the map is that of `Saliency`. Sharp as they look,
    /// these maps hardly depend on y (Adebayo et al., 2018): compare them with a map for another
    /// class before believing one. Before the map steps, a channel above zero is one of which more
    /// would raise y, were every unit that speaks against y left out.
    GuidedBackprop {}
    summary: "The gradient with everything negative cut off at every ReLU",
    claim: "Shows the picture's detail that excites the network forwards and backwards; hardly what was asked: it changes little with the class.",
    example: "GuidedBackprop()",
    reference: "Springenberg et al., Striving for Simplicity, 2014, arXiv 1412.6806",
}

/// Operators that activate without being a ReLU. `Erf` is what a GELU is made of in a graph.
const UNTREATED: [&str; 13] = [
    "PRelu",
    "LeakyRelu",
    "Elu",
    "Selu",
    "Celu",
    "Gelu",
    "Erf",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Tanh",
    "Softplus",
    "Mish",
];

impl Gradients for GuidedBackprop {
    type Plan = ();
    const CHANNELS: Reduce = Reduce::Max;

    fn relu(&self) -> ReluRule {
        ReluRule::Guided
    }

    fn warning(&self, model: &Model) -> Option<String> {
        let mut kept: Vec<&str> = model
            .network
            .layers()
            .iter()
            .map(|l| l.op.as_str())
            .filter(|op| UNTREATED.contains(op))
            .collect();
        let count = kept.len();
        kept.sort_unstable();
        kept.dedup();
        (count > 0).then(|| {
            format!("guided backpropagation treats ReLU only; {count} other activation(s) keep their derivative: {}.", kept.join(", "))
        })
    }

    fn plan(&self, _: &At<'_>) -> Result<()> {
        Ok(())
    }

    fn point(&self, (): &(), _: usize, at: &At<'_>) -> Tensor {
        at.input.clone()
    }

    fn add(&self, (): &(), _: usize, gradient: &[f32], sums: &mut Sums) {
        sums.first.iter_mut().zip(gradient).for_each(|(s, g)| *s += f64::from(*g));
    }

    fn end(&self, (): &(), sums: &Sums, _: &At<'_>) -> Ended {
        let attribution: Vec<f32> = sums.first.iter().map(|s| *s as f32).collect();
        Ended { facts: facts([("relu", "Guided".into())]), ..attribution.into() }
    }
}
