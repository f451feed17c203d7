//! `Scaffold`: gradient × input, for any loss at any layer.

use fame_core::{
    Explanation, LayerChoice, LayerChoices, Model, NamedMap, GradientPlace, Result, Sample, Tensor,
    contract::{ExplainContext, Explainer, Loss},
    text::Spec,
    data::facts,
    registry::{BuildContext, Built, Assembly, Plugin},
    ask::Aim,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

// Makes the shared library loadable; in a program that links this crate it does nothing.
fame_core::export_plugin!();

/// |Σ_c x_c · ∂L/∂x_c|, divided by its maximum: how much each pixel of the network's input
/// contributes to the loss L, to first order. One map for each picture and target.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scaffold {
    /// What to explain, such as `Logit()`.
    pub loss: Spec,
    /// The layer that the loss reads. Default: the network's output.
    #[serde(default = "output")]
    pub layer: LayerChoices,
}

fn output() -> LayerChoices {
    LayerChoice::Output.into()
}

impl Plugin<dyn Explainer> for Scaffold {
    const NAME: &'static str = "Scaffold";
    const SUMMARY: &'static str = "Gradient × input, for any loss at any layer";
    const EXAMPLE: &'static str = "Scaffold(loss: Logit(), layer: Output)";
    const REFERENCE: &'static str =
        "Shrikumar et al., Not just a black box, 2016, arXiv 1605.01713";

    // What the record shows, and what `build` is given.
    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let loss = assembly.build::<dyn Loss>("loss", &self.loss, with)?;
        Some(Box::new(BuiltExplainer { loss, layer: self.layer }))
    }
}

fame_core::register!(Explainer: Scaffold);

/// The explainer with its loss built.
struct BuiltExplainer {
    loss: Built<dyn Loss>,
    layer: LayerChoices,
}

impl BuiltExplainer {
    fn aim<'a>(&'a self, model: &'a Model) -> Result<Aim<'a>> {
        Aim::new(model, &self.layer, self.loss.plugin.as_ref())
    }

    fn one(&self, with: &ExplainContext<'_>, sample: &Sample) -> Result<Explanation> {
        let aim = self.aim(with.model)?;
        let about = [("layers", aim.layer_facts()), ("loss", self.loss.record())];
        let mut explanation = Explanation { facts: facts(about), ..Explanation::default() };
        for row in aim.rows(sample, None)? {
            let input = aim.input(sample, &row.id.role)?;
            let taps = aim.taps().with_gradient(GradientPlace::Input);
            let pass = with.model.network.forward(&Tensor::stack([&input])?, &taps)?;
            let loss = aim.evaluate(pass.as_ref(), &[&row.target])?;
            let value = loss.values[0];
            let cotangents = aim.layer_cotangents(loss.cotangents);
            let gradient = pass.gradient(&cotangents)?.swap_remove(0).row_tensor(0);
            let raw = contributions(&input, &gradient)?;
            let largest = raw.max_abs();
            if !(largest.is_finite() && largest > 0.0) {
                // A picture that says nothing gets a sentence, never a black map.
                explanation
                    .warnings
                    .push(format!("{} has no map: its gradient is zero or not finite.", row.name()));
                continue;
            }
            let [_, h, w] = with.model.manifest.input.shape();
            let finished = raw.data().iter().map(|v| v.abs() / largest).collect();
            let mut found = row.target.facts.clone();
            found.insert("loss".into(), value.into());
            explanation.maps.push(NamedMap {
                frame: row.target.frame,
                annotations: row.target.annotations,
                facts: found,
                ..NamedMap::new(row.id, raw, Tensor::new([h, w], finished)?)
            });
        }
        Ok(explanation)
    }
}

/// Σ_c x_c · g_c for every pixel, `[1, H, W]`.
fn contributions(input: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let mut shape = input.shape().to_vec();
    shape[0] = 1;
    let mut sums = Tensor::zeros(shape);
    for channel in 0..input.rows() {
        let products = input.row(channel).iter().zip(gradient.row(channel)).map(|(x, g)| x * g);
        sums.data_mut().iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
    }
    Ok(sums)
}

impl Explainer for BuiltExplainer {
    // Before anything is computed: is there such a layer, and does a gradient reach the input?
    fn check(&self, model: &Model) -> Result<()> {
        let aim = self.aim(model)?;
        let to = GradientPlace::Input;
        aim.layers.iter().try_for_each(|layer| model.network.check_gradient(layer, &to))
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        samples.iter().map(|sample| self.one(with, sample)).collect()
    }
}
