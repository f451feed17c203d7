//! `LeGrad`: where a transformer's layers would have to attend more for a higher score.

use fame_core::{
    Error, GradientPlace, Layer, LayerChoice, LayerChoices, LayerCotangent, Model, Result, Taps,
    Tensor,
    ask::Aim,
    contract::{ExplainContext, Explainer, Target},
    data::{Facts, facts},
    registry::{Assembly, BuildContext, Parameters, Plugin},
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    aimed::{AimedExplainer, InputRow, Method, MethodOutcome, Scalar, check_roles},
    attention::{Attention, check_attention},
    enlarge::{Corners, bilinear},
    finish::{Finish, one_channel, specs},
    paths::Ways,
};
use crate::ask::{usual_layer, usual_loss};

/// How the network's head reads the tokens of a layer that it was not made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum TokenPooling {
    /// It is given the mean over all tokens, the class token among them, in the place of every
    /// token: what the authors' program does for CLIP. Every query row of the attention counts.
    #[default]
    Mean,
    /// It is given the tokens as they are. A head that reads the class token then reads that of
    /// the layer, and only the class token's row of the attention counts.
    Own,
}

fame_core::parameters! {
    /// `LeGrad` for vision transformers. The head, all that stands behind the last block, reads
    /// the tokens Z_l that each block gives, as if the network ended there: s_l = y(head(Z_l)).
    /// With A_l the attention of block l (heads × tokens × tokens), block l says of each token
    /// E_l = mean over heads and query tokens of max(∂s_l/∂A_l, 0), the class token's column left
    /// out. The map is Σ_l E_l as a grid, enlarged.
    ///
    /// Each layer is asked for its own score s_l, as in the paper, and not for its part in the
    /// network's answer: gradients of the one y through all layers above would be another method.
    /// Every s_l is recorded under `scores`. The tokens are pooled as in the authors' program
    /// (`pooling: Mean`). That program divides what CLIP's head gives by its length, which belongs
    /// to its loss; here the loss says what y is. It begins with the last block but one unless it
    /// is told otherwise (`last: 2`); the formula of the paper, and the default here, sums over
    /// all.
    ///
    /// Attention must be the output of a Softmax over heads × tokens × tokens, and the output of
    /// its block the last sum of two values that everything passes before the next attention (a
    /// residual connection); `attention` and `blocks` can name them. As many tokens as cells, or a
    /// class token in front. For each block the network runs forwards once and its head once more,
    /// and both are pulled back through.
    pub struct LeGrad {
        /// `Mean` or `Own`.
        pooling: TokenPooling = TokenPooling::default(),
        /// How many blocks to sum over, counted from the last; all, where there are fewer.
        /// Default: all.
        last: Option<usize> = None,
        /// The attention layers from the first to the last, by name. Default: every Softmax of the
        /// graph whose output is heads × tokens × tokens.
        attention: Option<Vec<String>> = None,
        /// What each attention layer's block gives, tokens × channels, by name and in the order of
        /// `attention`: behind its own layer and before the next. Default: the last sum in front of
        /// the next attention that everything passes.
        blocks: Option<Vec<String>> = None,
        /// Rows and columns of tokens. Default: a square.
        grid: Option<(usize, usize)> = None,
        /// The target layer or layers. Default: the one in the model's manifest, else its `Output`.
        layer: LayerChoices = open,
        /// What to explain: any loss; y is its value, and the map shows what raises it. Default:
        /// what the model's manifest asks for, else `Logit()`, the class the network sees.
        loss: Spec = open,
        /// Steps from the enlarged map to the finished one. Default: min-max.
        map: Vec<Spec> = specs(&["MinMaxNormalize()"]),
        /// Which pictures of a sample to explain, by role. Default: all.
        roles: Option<Vec<String>> = None,
    }
}

impl Parameters for LeGrad {
    type Typed = typed::LeGrad;

    fn fill(typed: typed::LeGrad, with: &BuildContext<'_>, _: &mut Assembly) -> Option<Self> {
        Some(typed.or(usual_layer(with), usual_loss(with)))
    }
}

impl Plugin<dyn Explainer> for LeGrad {
    const NAME: &'static str = "LeGrad";
    const SUMMARY: &'static str =
        "Where a transformer's layers would attend more for a higher score of their own";
    const CLAIM: &'static str = "Shows which patches each layer of a transformer would have to attend to more for a higher score of its own; not how much a patch adds to the network's answer.";
    const EXAMPLE: &'static str = "LeGrad(last: 2)";
    const REFERENCE: &'static str =
        "Bousselham et al., LeGrad, 2024, arXiv 2404.03214; legrad_torch 1.1";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        check_attention(self.attention.as_deref(), self.grid, assembly);
        assembly.check("last", self.last.is_none_or(|n| n > 0), "must be at least 1");
        check_roles(self.roles.as_deref(), assembly);
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let (at, roles) = (self.layer.clone(), self.roles.clone());
        let scalar = Scalar::build(&self.loss, at, roles, with, assembly);
        let finish = Finish::build(assembly, &self.map, with);
        Some(Box::new(AimedExplainer { scalar: scalar?, method: OverBlocks(self), finish }))
    }
}

fame_core::register!(Explainer: LeGrad);

/// The method behind the parameters.
struct OverBlocks(LeGrad);

/// Where the network is read.
struct Places {
    attention: Attention,
    /// The output of each attention layer's block.
    blocks: Vec<String>,
    /// How many of the first are not looked at.
    skipped: usize,
}

impl Places {
    /// The last block: what stands behind it is the head.
    fn head(&self) -> &str {
        self.blocks.last().map_or("", String::as_str)
    }

    /// Attention and block of each layer that is looked at.
    fn layers(&self) -> impl Iterator<Item = (&String, &String)> {
        self.attention.layers.iter().zip(&self.blocks).skip(self.skipped)
    }
}

impl Method for OverBlocks {
    fn check(&self, aim: &Aim<'_>) -> Result<()> {
        let (places, network) = (self.places(aim)?, &aim.model.network);
        let head = GradientPlace::Layer(places.head().to_owned());
        aim.layers.iter().try_for_each(|target| network.check_gradient(target, &head))?;
        places.layers().try_for_each(|(attention, block)| {
            network.check_gradient(block, &GradientPlace::Layer(attention.clone()))
        })
    }

    fn facts(&self, aim: &Aim<'_>) -> Result<Facts> {
        let places = self.places(aim)?;
        let (attention, blocks): (Vec<String>, Vec<String>) =
            places.layers().map(|(a, b)| (a.clone(), b.clone())).unzip();
        Ok(facts([
            ("attention_layers", attention.into()),
            ("blocks", blocks.into()),
            ("tokens", places.attention.tokens.into()),
            ("grid", vec![places.attention.grid.0, places.attention.grid.1].into()),
        ]))
    }

    fn explain(
        &self,
        _: &ExplainContext<'_>,
        aim: &Aim<'_>,
        rows: &[InputRow],
    ) -> Result<Vec<Result<MethodOutcome>>> {
        let places = self.places(aim)?;
        Ok(rows.iter().map(|row| self.row(aim, &places, row)).collect())
    }
}

impl OverBlocks {
    fn places(&self, aim: &Aim<'_>) -> Result<Places> {
        let LeGrad { attention, blocks, grid, last, .. } = &self.0;
        let attention = Attention::of(aim.model, attention.as_deref(), *grid)?;
        let all = aim.model.network.layers();
        let blocks = match blocks {
            Some(names) => named_blocks(aim.model, names, &attention)?,
            None => blocks_of(all, &attention, &aim.layers)?,
        };
        let skipped = blocks.len().saturating_sub(last.unwrap_or(blocks.len()));
        Ok(Places { attention, blocks, skipped })
    }

    fn row(&self, aim: &Aim<'_>, places: &Places, row: &InputRow) -> Result<MethodOutcome> {
        let network = aim.model.network.as_ref();
        let layers: Vec<(usize, &String)> =
            places.layers().map(|(_, block)| block).enumerate().collect();
        let mut taps = Taps::of(layers.iter().map(|(_, block)| block.as_str()));
        taps.gradients = places.layers().map(|(a, _)| GradientPlace::Layer(a.clone())).collect();
        let of_head = aim.taps().with_gradient(GradientPlace::Layer(places.head().to_owned()));
        let grid = places.attention.grid;
        let (mut cells, mut scores) = (vec![0.0f64; grid.0 * grid.1], Vec::new());
        // One row of a batch for each layer: all rows have the same picture, and each the cotangent
        // of its own layer.
        for some in layers.chunks(network.preferred_rows().max(1)) {
            let batch = Tensor::stack(vec![&row.input; some.len()])?;
            let pass = network.forward(&batch, &taps)?;
            let given = some.iter().enumerate().map(|(n, (_, block))| {
                let tokens = pass.output(block)?.row_tensor(n);
                Ok(if self.0.pooling == TokenPooling::Mean { mean_token(tokens) } else { tokens })
            });
            let given = Tensor::stack(&given.collect::<Result<Vec<_>>>()?)?;
            let ended = network.forward_from(places.head(), &given, &batch, &of_head)?;
            let targets: Vec<&Target> = vec![&row.aimed.target; some.len()];
            let evaluation = aim.evaluate(ended.as_ref(), &targets)?;
            scores.extend_from_slice(&evaluation.values);
            let read = ended.gradient(&aim.layer_cotangents(evaluation.cotangents))?;
            let read = first(&read)?;
            let cotangent = |(n, (_, block)): (usize, &(usize, &String))| {
                let mut cotangent = Tensor::zeros(read.shape());
                let mut own = read.row_tensor(n);
                if self.0.pooling == TokenPooling::Mean {
                    // d/d(token) of a mean: a part of what all its copies pass back together.
                    own = mean_token(own);
                }
                cotangent.row_mut(n).copy_from_slice(own.data());
                LayerCotangent { layer: (*block).clone(), cotangent }
            };
            let cotangents: Vec<_> = some.iter().enumerate().map(cotangent).collect();
            let gradients = pass.gradient(&cotangents)?;
            for (n, (layer, _)) in some.iter().enumerate() {
                let gradient = gradients
                    .get(*layer)
                    .ok_or_else(|| Error::bug("the backend returned too few gradients."))?;
                add_relevance(gradient.row(n), &places.attention, &mut cells);
            }
        }
        let (height, width) = (aim.model.manifest.input.height, aim.model.manifest.input.width);
        let cells: Vec<f32> = cells.iter().map(|v| *v as f32).collect();
        let enlarged = bilinear(&cells, grid, (height, width), Corners::HalfPixel);
        let raw = Tensor::new([1, height, width], enlarged)?;
        let shown = Ok(one_channel(raw.clone()));
        let facts = facts([("scores", scores.into())]);
        Ok(MethodOutcome { raw, shown, facts, warnings: Vec::new() })
    }
}

fn first(gradients: &[Tensor]) -> Result<&Tensor> {
    gradients.first().ok_or_else(|| Error::bug("the backend returned no gradient."))
}

/// The mean over tokens `[T, D]` in the place of each of them.
fn mean_token(mut tokens: Tensor) -> Tensor {
    let (count, channels) = (tokens.rows(), tokens.len() / tokens.rows().max(1));
    let mean: Vec<f32> = (0..channels)
        .map(|c| {
            let along = tokens.data().iter().skip(c).step_by(channels);
            (along.map(|v| f64::from(*v)).sum::<f64>() / count as f64) as f32
        })
        .collect();
    tokens.data_mut().chunks_exact_mut(channels.max(1)).for_each(|t| t.copy_from_slice(&mean));
    tokens
}

/// Adds, for each cell of the grid, the mean over heads and query tokens of max(gradient, 0) in its
/// column.
fn add_relevance(gradient: &[f32], attention: &Attention, cells: &mut [f64]) {
    let (tokens, front) = (attention.tokens, attention.in_front());
    let queries = (gradient.len() / tokens).max(1) as f64;
    for query in gradient.chunks_exact(tokens) {
        for (cell, g) in cells.iter_mut().zip(&query[front..]) {
            // A NaN stays one: `max` would hide it.
            *cell += if g.is_nan() { f64::NAN } else { f64::from(g.max(0.0)) } / queries;
        }
    }
}

fn refuse<T>(message: String) -> Result<T> {
    Err(Error::new("fame::explain::no_blocks", message).with_help(
        "`blocks` can name them: for each attention layer the tensor of tokens × channels that its block gives.",
    ))
}

/// The blocks that the recipe names.
fn named_blocks(model: &Model, names: &[String], attention: &Attention) -> Result<Vec<String>> {
    if names.len() != attention.layers.len() {
        return refuse(format!(
            "{} blocks are named for {} attention layers.",
            names.len(),
            attention.layers.len()
        ));
    }
    let layer = |name: &String| model.layer(&LayerChoice::Named(name.clone()));
    let blocks = names.iter().map(layer).collect::<Result<Vec<&Layer>>>()?;
    check_order(model.network.layers(), &blocks, attention)?;
    let wrong = blocks.iter().find(|b| {
        b.shape.len() != 2 || b.shape[0] != attention.tokens || b.shape != blocks[0].shape
    });
    match wrong {
        Some(block) => refuse(format!(
            "layer `{}` has shape {:?}, but a block gives {} tokens × channels, as many channels everywhere.",
            block.name, block.shape, attention.tokens
        )),
        None => Ok(blocks.into_iter().map(|b| b.name.clone()).collect()),
    }
}

/// Refuses a block that does not stand behind its attention layer and before the next one.
fn check_order(all: &[Layer], blocks: &[&Layer], attention: &Attention) -> Result<()> {
    let at = |name: &str| all.iter().position(|l| l.name == name).unwrap_or(all.len());
    for (n, (own, block)) in attention.layers.iter().zip(blocks).enumerate() {
        let (place, next) = (at(&block.name), attention.layers.get(n + 1));
        if place <= at(own) || next.is_some_and(|next| place >= at(next)) {
            let before = next.map_or_else(String::new, |next| format!(" and before `{next}`"));
            return refuse(format!(
                "block `{}` is named for attention layer `{own}`, but does not stand behind it{before}.",
                block.name
            ));
        }
    }
    Ok(())
}

/// The output of each attention layer's block: the last sum of two computed values, tokens ×
/// channels, that every way to `ends` passes before the next attention.
fn blocks_of(all: &[Layer], attention: &Attention, ends: &[String]) -> Result<Vec<String>> {
    let at = |name: &str| all.iter().position(|l| l.name == name).unwrap_or(all.len());
    let computed = |name: &String| all.get(at(name)).is_some_and(|l| l.depends_on_input);
    let is_block = |l: &&&Layer| {
        matches!(l.op.as_str(), "Add" | "Sum")
            && matches!(l.shape.as_slice(), [tokens, _] if *tokens == attention.tokens)
            && l.reads.iter().filter(|r| computed(r)).count() > 1
    };
    let mut blocks: Vec<&Layer> = Vec::with_capacity(attention.layers.len());
    let mut passed_by_all: Option<Vec<&str>> = None;
    for (n, name) in attention.layers.iter().enumerate() {
        let next = attention.layers.get(n + 1).map_or(all.len(), |next| at(next));
        let narrows = Ways::between(all, name, ends).map(|w| w.narrows()).unwrap_or_default();
        let Some(block) = narrows.iter().filter(is_block).rfind(|l| at(&l.name) < next) else {
            return refuse(format!(
                "behind attention layer `{name}` no sum of tokens × channels is passed by everything: where its block ends cannot be told."
            ));
        };
        blocks.push(*block);
        passed_by_all
            .get_or_insert_with(|| narrows.iter().map(|l| l.name.as_str()).collect::<Vec<_>>());
    }
    let (passed, last) = (passed_by_all.unwrap_or_default(), blocks.last());
    if let Some(last) = last.filter(|last| !passed.contains(&last.name.as_str())) {
        return refuse(format!(
            "what the loss reads comes from more than the last block's output `{}`: the head cannot be told from the blocks.",
            last.name
        ));
    }
    if let Some(other) = blocks.iter().find(|b| b.shape != blocks[0].shape) {
        return refuse(format!(
            "block `{}` gives tokens of another length than block `{}`: one head cannot read both.",
            other.name, blocks[0].name
        ));
    }
    Ok(blocks.into_iter().map(|b| b.name.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attention(layers: &[&str]) -> Attention {
        let layers = layers.iter().map(|l| (*l).to_owned()).collect();
        Attention { layers, tokens: 3, grid: (1, 2) }
    }

    /// Two blocks before a norm and a linear layer; `more` is added to what the norm reads.
    fn transformer(head_reads: &[&str]) -> Vec<Layer> {
        let mut layers = Vec::new();
        let mut layer = |name: &str, op: &str, shape: &[usize], reads: &[&str]| {
            layers.push(Layer {
                name: name.into(),
                op: op.into(),
                shape: shape.to_vec(),
                is_output: false,
                depends_on_input: op != "Weight",
                reads: reads.iter().map(|r| (*r).to_owned()).collect(),
            });
        };
        layer("x", "Input", &[3, 4], &[]);
        let mut stream = "x".to_owned();
        for n in ["1", "2"] {
            let name = |part: &str| format!("{part}{n}");
            layer(&name("ln"), "LayerNormalization", &[3, 4], &[&stream]);
            layer(&name("a"), "Softmax", &[2, 3, 3], &[&name("ln")]);
            layer(&name("values"), "MatMul", &[3, 4], &[&name("a"), &name("ln")]);
            // A bias is no second value.
            layer(&name("bias"), "Weight", &[4], &[]);
            layer(&name("out"), "Add", &[3, 4], &[&name("values"), &name("bias")]);
            layer(&name("middle"), "Add", &[3, 4], &[&stream, &name("out")]);
            layer(&name("mlp"), "Gelu", &[3, 4], &[&name("middle")]);
            layer(&name("block"), "Add", &[3, 4], &[&name("middle"), &name("mlp")]);
            stream = name("block");
        }
        layer("bias", "Weight", &[4], &[]);
        layer("norm", "Add", &[3, 4], &["block2", "bias"]);
        layer("y", "Gemm", &[5], head_reads);
        layers
    }

    #[test]
    fn blocks_end_in_their_last_residual_sum() {
        let found = blocks_of(&transformer(&["norm"]), &attention(&["a1", "a2"]), &["y".into()]);
        assert_eq!(found.unwrap(), ["block1", "block2"]);
    }

    #[test]
    fn named_blocks_stand_behind_their_attention_and_before_the_next() {
        let all = transformer(&["norm"]);
        let order = |attention_layers: &[&str], blocks: &[&str]| {
            let layer = |name: &&str| all.iter().find(|l| l.name == *name).unwrap();
            let blocks: Vec<&Layer> = blocks.iter().map(layer).collect();
            check_order(&all, &blocks, &attention(attention_layers))
        };
        assert!(order(&["a1", "a2"], &["block1", "block2"]).is_ok());
        assert!(order(&["a1", "a2"], &["middle1", "middle2"]).is_ok());
        let error = order(&["a1", "a2"], &["block2", "block1"]).unwrap_err();
        assert!(error.message.contains("behind it and before `a2`"), "{}", error.message);
        assert!(order(&["a1", "a2"], &["block1", "block1"]).is_err());
        assert!(order(&["a1", "a2"], &["x", "block2"]).is_err());
        assert!(order(&["a2", "a1"], &["block2", "block1"]).is_err(), "attention from the last");
    }

    #[test]
    fn a_head_that_reads_more_than_the_last_block_is_refused() {
        let ends = ["y".to_owned()];
        let both = transformer(&["norm", "block1"]);
        let error = blocks_of(&both, &attention(&["a1", "a2"]), &ends).unwrap_err();
        assert!(error.message.contains("more than the last block"), "{}", error.message);
        let deaf = transformer(&["x"]);
        let error = blocks_of(&deaf, &attention(&["a1", "a2"]), &ends).unwrap_err();
        assert!(error.message.contains("`a1`"), "{}", error.message);
    }

    #[test]
    fn relevance_is_the_mean_of_what_is_above_zero_without_the_class_tokens_column() {
        // Two heads, three tokens of which the first is the class token.
        let mut gradient = [0.0f32; 18];
        gradient[..3].copy_from_slice(&[9.0, 6.0, -6.0]);
        gradient[15..].copy_from_slice(&[-9.0, 12.0, 3.0]);
        let mut cells = [0.5, 0.0];
        add_relevance(&gradient, &attention(&["a"]), &mut cells);
        assert_eq!(cells, [3.5, 0.5]);
        gradient[1] = f32::NAN;
        add_relevance(&gradient, &attention(&["a"]), &mut cells);
        assert!(cells[0].is_nan() && !cells[1].is_nan());
    }

    #[test]
    fn the_mean_stands_in_the_place_of_every_token() {
        let tokens = Tensor::new([2, 3], vec![1., 2., 3., 3., 6., -3.]).unwrap();
        assert_eq!(mean_token(tokens).data(), [2., 4., 0., 2., 4., 0.]);
    }
}
