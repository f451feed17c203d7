//! `AttentionRollout`: what a transformer's class token attends to, through all its layers.

use fame_core::{
    Explanation, GradientPlace, LayerChoices, Model, Result, Sample, Taps, Tensor,
    ask::{Aim, AimedRow},
    contract::{ExplainContext, Explainer, Loss},
    data::facts,
    registry::{Assembly, BuildContext, Built, Parameters, Plugin},
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    aimed::check_roles,
    attention::{Attention, check_attention},
    enlarge::{Corners, bilinear},
    finish::{Draft, Finish, specs},
    meter::{Meter, per_sample},
};
use crate::ask::{usual_layer, usual_loss};

/// How a layer's heads become one matrix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Heads {
    /// Attention alone: Ā = ½·mean over heads of A + ½·I, R = Ā_L ⋯ Ā_1 (Abnar & Zuidema). It does
    /// not know the target: every class has the same map.
    #[default]
    Mean,
    /// Weighted by the target's gradient: Ā = mean over heads of max(A ⊙ dy/dA, 0), R ← R + Ā·R
    /// from R = I (Chefer, Gur & Wolf).
    GradientWeighted,
}

fame_core::parameters! {
    /// Attention rollout for vision transformers. Every layer's attention A (heads × tokens ×
    /// tokens, rows sum to 1) is the output of a Softmax; the layers are multiplied up, and the
    /// class token's row over the picture's tokens, as a grid and enlarged, is the map. Without a
    /// class token (as many tokens as the grid has cells) the mean over rows is taken.
    ///
    /// A baseline to compare with: attention says where information may flow, not what it does to
    /// the answer. `GradientWeighted` asks the loss too.
    pub struct AttentionRollout {
        /// `Mean` or `GradientWeighted`.
        heads: Heads = Heads::default(),
        /// The attention layers from the first to the last, by name. Default: every Softmax of the
        /// graph whose output is heads × tokens × tokens.
        attention: Option<Vec<String>> = None,
        /// Rows and columns of tokens. Default: a square.
        grid: Option<(usize, usize)> = None,
        /// The target layer or layers. Default: the one in the model's manifest, else its `Output`.
        layer: LayerChoices = open,
        /// Whose value y is asked about. Default: what the model's manifest asks for, else
        /// `Logit()`, the class the network sees.
        loss: Spec = open,
        /// Steps from the enlarged map to the finished one. Default: min-max.
        map: Vec<Spec> = specs(&["MinMaxNormalize()"]),
        /// Which pictures of a sample to explain, by role. Default: all.
        roles: Option<Vec<String>> = None,
    }
}

impl Parameters for AttentionRollout {
    type Typed = typed::AttentionRollout;

    fn fill(
        typed: typed::AttentionRollout,
        with: &BuildContext<'_>,
        _: &mut Assembly,
    ) -> Option<Self> {
        Some(typed.or(usual_layer(with), usual_loss(with)))
    }
}

impl Plugin<dyn Explainer> for AttentionRollout {
    const NAME: &'static str = "AttentionRollout";
    const SUMMARY: &'static str =
        "Multiplies a transformer's attention through its layers, alone or weighted by gradients";
    const CLAIM: &'static str = "Shows how attention could carry each patch to the output; not how much it adds to the asked value, and not what happens between attentions.";
    const EXAMPLE: &'static str = "AttentionRollout(heads: GradientWeighted)";
    const REFERENCE: &'static str = "Abnar & Zuidema, ACL 2020, arXiv 2005.00928; Chefer, Gur & Wolf, ICCV 2021, arXiv 2103.15679";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        check_attention(self.attention.as_deref(), self.grid, assembly);
        check_roles(self.roles.as_deref(), assembly);
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let loss = assembly.build::<dyn Loss>("loss", &self.loss, with);
        let finish = Finish::build(assembly, &self.map, with);
        Some(Box::new(AttentionRolloutExplainer { parameters: self, loss: loss?, finish }))
    }
}

fame_core::register!(Explainer: AttentionRollout);

struct AttentionRolloutExplainer {
    parameters: AttentionRollout,
    loss: Built<dyn Loss>,
    finish: Finish,
}

impl Explainer for AttentionRolloutExplainer {
    fn check(&self, model: &Model) -> Result<()> {
        let (aim, attention) = self.aim(model)?;
        if self.parameters.heads == Heads::GradientWeighted {
            for layer in &attention.layers {
                aim.layers.iter().try_for_each(|target| {
                    model.network.check_gradient(target, &GradientPlace::Layer(layer.clone()))
                })?;
            }
        }
        Ok(())
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        match self.aim(with.model) {
            Ok((aim, attention)) => per_sample(with, samples, |sample, meter| {
                self.sample(&aim, &attention, sample, meter)
            }),
            Err(e) => samples.iter().map(|_| Err(e.clone())).collect(),
        }
    }
}

impl AttentionRolloutExplainer {
    fn aim<'a>(&'a self, model: &'a Model) -> Result<(Aim<'a>, Attention)> {
        let aim = Aim::new(model, &self.parameters.layer, self.loss.plugin.as_ref())?;
        Ok((aim, self.attention(model)?))
    }

    fn attention(&self, model: &Model) -> Result<Attention> {
        Attention::of(model, self.parameters.attention.as_deref(), self.parameters.grid)
    }

    fn sample(
        &self,
        aim: &Aim<'_>,
        attention: &Attention,
        sample: &Sample,
        meter: &mut Meter<'_>,
    ) -> Result<Explanation> {
        let rows = aim
            .rows(sample, self.parameters.roles.as_deref())
            .map_err(|e| e.at(format!("loss {}", self.loss.name)))?;
        meter.begin(rows.len());
        let shared = facts([
            ("layers", aim.layer_facts()),
            ("loss", self.loss.record()),
            ("attention_layers", attention.layers.clone().into()),
            ("tokens", attention.tokens.into()),
            ("grid", vec![attention.grid.0, attention.grid.1].into()),
        ]);
        let mut explanation = Explanation { facts: shared, ..Explanation::default() };
        for row in rows {
            self.row(aim, attention, sample, &row, &mut explanation)?;
            meter.tick(1);
        }
        Ok(explanation)
    }

    fn row(
        &self,
        aim: &Aim<'_>,
        attention: &Attention,
        sample: &Sample,
        row: &AimedRow,
        into: &mut Explanation,
    ) -> Result<()> {
        let input = aim.input(sample, &row.id.role)?;
        let weighted = self.parameters.heads == Heads::GradientWeighted;
        let mut taps: Taps = aim.taps();
        taps.layers.extend(attention.layers.iter().cloned());
        if weighted {
            taps.gradients = attention.layers.iter().cloned().map(GradientPlace::Layer).collect();
        }
        let pass = aim.model.network.forward(&Tensor::stack([&input])?, &taps)?;
        let gradients = if weighted {
            let evaluation = aim.evaluate(pass.as_ref(), &[&row.target])?;
            pass.gradient(&aim.layer_cotangents(evaluation.cotangents))?
        } else {
            Vec::new()
        };
        let mut rollout = identity(attention.tokens);
        for (n, layer) in attention.layers.iter().enumerate() {
            let matrix = one_head(
                pass.output(layer)?.row(0),
                gradients.get(n).map(|g| g.row(0)),
                attention.tokens,
            );
            let product = multiply(&matrix, &rollout, attention.tokens);
            if weighted {
                rollout.iter_mut().zip(product).for_each(|(r, p)| *r += p);
            } else {
                rollout = product;
            }
        }
        let (height, width) = (aim.model.manifest.input.height, aim.model.manifest.input.width);
        let cells = of_picture(&rollout, attention);
        let enlarged = bilinear(&cells, attention.grid, (height, width), Corners::HalfPixel);
        let raw = Tensor::new([1, height, width], enlarged)?;
        self.finish.finish(Draft::of_row(row, raw), into)
    }
}

fn identity(n: usize) -> Vec<f64> {
    (0..n * n).map(|i| if i / n == i % n { 1.0 } else { 0.0 }).collect()
}

/// One matrix for all heads: the mean with the skip connection, or the gradient-weighted mean.
fn one_head(heads: &[f32], gradient: Option<&[f32]>, tokens: usize) -> Vec<f64> {
    let area = tokens * tokens;
    let count = (heads.len() / area).max(1) as f64;
    let mut matrix = vec![0.0; area];
    for (i, a) in heads.iter().enumerate() {
        matrix[i % area] += match gradient {
            // A NaN stays one: `max` would hide it.
            Some(g) if g[i].is_nan() => f64::NAN,
            Some(g) => (f64::from(*a) * f64::from(g[i])).max(0.0) / count,
            None => f64::from(*a) / count,
        };
    }
    if gradient.is_none() {
        matrix.iter_mut().zip(identity(tokens)).for_each(|(m, i)| *m = 0.5 * (*m + i));
    }
    matrix
}

/// a·b for square matrices.
fn multiply(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
    let mut out = vec![0.0; n * n];
    for (row, to) in a.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
        for (x, line) in row.iter().zip(b.chunks_exact(n)) {
            to.iter_mut().zip(line).for_each(|(t, y)| *t += x * y);
        }
    }
    out
}

/// The class token's row over the picture's tokens; without a class token the mean over all rows.
fn of_picture(rollout: &[f64], attention: &Attention) -> Vec<f32> {
    let (n, cells) = (attention.tokens, attention.grid.0 * attention.grid.1);
    if attention.in_front() == 1 {
        return rollout[1..n].iter().map(|v| *v as f32).collect();
    }
    (0..cells).map(|c| (rollout.iter().skip(c).step_by(n).sum::<f64>() / n as f64) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rolled_out_attention_stays_a_distribution() {
        let heads = [0.5, 0.5, 0.0, 0.0, 1.0, 0.0, 0.25, 0.25, 0.5];
        let a = one_head(&heads, None, 3);
        let twice = multiply(&a, &a, 3);
        assert!(twice.chunks_exact(3).all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-12));
        assert_eq!(multiply(&identity(3), &a, 3), a);
    }

    #[test]
    fn gradients_weigh_heads_and_hide_nothing() {
        let heads = [0.5, 0.5, 1.0, 0.0];
        assert_eq!(one_head(&heads, Some(&[2.0, -1.0, 0.5, 3.0]), 2), [1.0, 0.0, 0.5, 0.0]);
        assert!(one_head(&heads, Some(&[f32::NAN; 4]), 2)[0].is_nan());
    }
}
