//! `DotDecomposition`: the dot product of two embeddings, taken apart by where in the feature maps
//! it comes from.

use fame_core::{
    Error, Explanation, GradientPlace, LayerChoice, LayerCotangent, MapId, Model, Result, Sample,
    Subject, Taps, Tensor,
    ask::Aim,
    contract::{ExplainContext, Explainer, layout_not_told},
    data::{Layout, facts},
    registry::{Assembly, BuildContext, Plugin},
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    super::{
        aimed::check_roles,
        enlarge::{Corners, bilinear},
        finish::{Draft, Finish, part, specs},
        meter::{Meter, per_sample},
    },
    embedding::{embedding_layer, picture_input},
};

/// What becomes of b in φ = Σ_i T_i·a_i + b.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum BiasTerm {
    /// b is taken off the other embedding: a cell's value is Σ_j D[i, j], the cells of both
    /// pictures only (Zhu et al.'s demo).
    #[default]
    Dropped,
    /// The other embedding is taken whole: a cell's value also holds its product with b.
    Kept,
}

/// Activation decomposition for networks whose embedding is linear in a feature map (flatten and
/// dense layers, batch norm, global depthwise convolution, pooling): φ = Σ_i T_i·a_i + b over the
/// cells i. D[i, j] = (T_i·a_i)·(T_j·a'_j) is what cell i of this picture and cell j of the other
/// add to the dot product; a cell's value is Σ_j D[i, j]. With `cell`, one cell j of the other
/// picture is asked for alone: where in this picture is what matches it?
///
/// No weights are read. T_i·a_i·u is a_i ⊙ d(φ·u)/da_i summed over channels, and T_j·a'_j is the
/// embedding of a feature map that is zero elsewhere, less b. So it works on any network, and
/// `linear_gap` in the facts says how far the embedding is from being linear (a warning above 1 %).
/// The cosine with frozen norms is this dot product scaled, so its map is the same; for live norms
/// use a CAM with `Similarity(norms: Live)`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DotDecomposition {
    /// The feature map: a tensor's name or an alias in quotes, or a rule.
    pub layer: LayerChoice,
    /// `ChannelsFirst` or `ChannelsLast`: how the feature map lays out its channels.
    /// Default: as the operators around it tell, or else the proportions of the picture.
    pub layout: Option<Layout>,
    /// The embedding.
    pub embedding: LayerChoice,
    /// `Dropped` or `Kept`.
    pub bias: BiasTerm,
    /// Row and column of one cell of the *other* picture's feature map, from 0.
    pub cell: Option<(usize, usize)>,
    /// Steps from the enlarged values above zero to the map. Default: the maximum becomes 1.
    pub map: Vec<Spec>,
    /// Which pictures to explain, by role. Default: both, each against the other.
    pub roles: Option<Vec<String>>,
}

impl Default for DotDecomposition {
    fn default() -> Self {
        Self {
            layer: LayerChoice::Named("feature_map".into()),
            layout: None,
            embedding: embedding_layer(),
            bias: BiasTerm::default(),
            cell: None,
            map: specs(&["MaxNormalize()"]),
            roles: None,
        }
    }
}

impl Plugin<dyn Explainer> for DotDecomposition {
    const NAME: &'static str = "DotDecomposition";
    const SUMMARY: &'static str = "Takes the embeddings' dot product apart by feature-map cells";
    const CLAIM: &'static str = "Shows how the embeddings' dot product adds up over the cells of a feature map; exact where a linear layer follows that map, and no finer than a cell.";
    const EXAMPLE: &'static str = r#"DotDecomposition(layer: "feature_map", bias: Dropped)"#;
    const REFERENCE: &'static str =
        "Zhu, Yang & Chen, IEEE TIP 30, 2021, p. 7593: activation decomposition";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        check_roles(self.roles.as_deref(), assembly);
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let finish = Finish::build(assembly, &self.map, with);
        Some(Box::new(DotDecompositionExplainer { parameters: self, finish }))
    }
}

fame_core::register!(Explainer: DotDecomposition);

struct DotDecompositionExplainer {
    parameters: DotDecomposition,
    finish: Finish,
}

/// Above this share of |φ·u| the head is not linear enough for its cells to tell the truth.
/// Rounding alone stays below 1e-4.
const LINEAR_ENOUGH: f64 = 0.01;

/// The layers meant, and the grid.
struct Head {
    map: String,
    embedding: String,
    grid: (usize, usize),
    /// How far the values of a cell's channels lie apart, and those of neighbouring cells.
    channel_step: usize,
    cell_step: usize,
}

impl Head {
    /// Where the channels of cell `at` lie in a feature map of `len` values.
    fn cell(&self, at: usize, len: usize) -> impl Iterator<Item = usize> + use<> {
        let count = len / (self.grid.0 * self.grid.1).max(1);
        (at * self.cell_step..).step_by(self.channel_step).take(count)
    }
}

/// One picture at both layers.
struct Half {
    role: String,
    input: Tensor,
    /// Laid out as the network has it.
    map: Tensor,
    phi: Vec<f64>,
}

impl Explainer for DotDecompositionExplainer {
    fn check(&self, model: &Model) -> Result<()> {
        let head = self.head(model)?;
        model.network.check_gradient(&head.embedding, &GradientPlace::Layer(head.map))
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        match self.head(with.model) {
            Ok(head) => per_sample(with, samples, |sample, meter| {
                self.sample(with.model, &head, sample, meter)
            }),
            Err(e) => samples.iter().map(|_| Err(e.clone())).collect(),
        }
    }
}

impl DotDecompositionExplainer {
    fn head(&self, model: &Model) -> Result<Head> {
        let layer = model.layer(&self.parameters.layer)?;
        let &[first, second, third] = layer.shape.as_slice() else {
            let message = format!(
                "layer `{}` has shape {:?}; a feature map, with three axes, is needed.",
                layer.name, layer.shape
            );
            return Err(Error::new("fame::explain::not_spatial", message)
                .with_help("Name the layer before the flattening or pooling."));
        };
        let (height, width, channel_step, cell_step) =
            match self.parameters.layout.or_else(|| model.layout(layer)) {
                Some(Layout::ChannelsFirst) => (second, third, second * third, 1),
                Some(Layout::ChannelsLast) => (first, second, 1, third),
                None => return Err(layout_not_told(&layer.name, &layer.shape)),
            };
        if let Some((row, column)) = self.parameters.cell
            && (row >= height || column >= width)
        {
            let message = format!(
                "cell ({row}, {column}) does not exist: layer `{}` has {height} × {width} cells.",
                layer.name
            );
            return Err(Error::new("fame::explain::cell_range", message)
                .with_help("Rows and columns are counted from 0."));
        }
        let embedding = model.layer(&self.parameters.embedding)?.name.clone();
        let grid = (height, width);
        Ok(Head { map: layer.name.clone(), embedding, grid, channel_step, cell_step })
    }

    fn sample(
        &self,
        model: &Model,
        head: &Head,
        sample: &Sample,
        meter: &mut Meter<'_>,
    ) -> Result<Explanation> {
        let halves = halves(model, head, sample)?;
        let known: Vec<&str> = sample.roles().collect();
        let roles = self
            .parameters
            .roles
            .clone()
            .unwrap_or_else(|| known.iter().map(|r| (*r).to_owned()).collect());
        meter.begin(roles.len());
        let bias = embedding_of(model, head, &halves[0], &Tensor::zeros(halves[0].map.shape()))?;
        // Only for its facts: an aim that is never evaluated.
        let aim = Aim {
            model,
            layers: vec![head.map.clone(), head.embedding.clone()],
            loss: &crate::losses::Target::default(),
        };
        let mut explanation =
            Explanation { facts: facts([("layers", aim.layer_facts())]), ..Explanation::default() };
        for role in &roles {
            let find = |wanted: &str| halves.iter().find(|h| h.role == wanted);
            let Some(this) = find(role) else {
                let mut e = Error::new(
                    "fame::explain::unknown_role",
                    format!("sample `{}` has no picture in the role `{role}`.", sample.id),
                );
                e.help = fame_core::text::suggestion(role, &known, "role");
                return Err(e);
            };
            let other = find(sample.other_role(role)?)
                .ok_or_else(|| Error::bug("the other role vanished."))?;
            self.half(model, head, this, other, &bias, &mut explanation)?;
            meter.tick(1);
        }
        Ok(explanation)
    }

    fn half(
        &self,
        model: &Model,
        head: &Head,
        this: &Half,
        other: &Half,
        bias: &[f64],
        into: &mut Explanation,
    ) -> Result<()> {
        let towards = self.towards(model, head, other, bias)?;
        let cells = cell_products(model, head, this, &towards)?;
        let whole: f64 = this.phi.iter().zip(&towards).map(|(p, u)| p * u).sum();
        let constant: f64 = bias.iter().zip(&towards).map(|(b, u)| b * u).sum();
        // Relative to the lengths, not to the product: two unlike faces have a product near zero.
        let lengths = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let scale = (lengths(&this.phi) * lengths(&towards)).max(f64::MIN_POSITIVE);
        let gap = (cells.iter().sum::<f64>() + constant - whole).abs() / scale;
        let input = &model.manifest.input;
        let grid: Vec<f32> = cells.iter().map(|c| *c as f32).collect();
        let size = (input.height, input.width);
        let raw =
            Tensor::new([1, size.0, size.1], bilinear(&grid, head.grid, size, Corners::HalfPixel))?;
        let mut about = facts([
            ("dot_product", whole.into()),
            ("from_cells", cells.iter().sum::<f64>().into()),
            ("from_bias", constant.into()),
            ("linear_gap", gap.into()),
            ("grid", vec![head.grid.0, head.grid.1].into()),
        ]);
        let subject = match self.parameters.cell {
            Some((row, column)) => {
                about.insert("cell_of_other".into(), vec![row, column].into());
                Subject::Named(format!("for_{}_cell_{row}_{column}", other.role))
            }
            None => Subject::Match,
        };
        let id = MapId::new(&this.role).about(subject);
        if gap.is_nan() || gap > LINEAR_ENOUGH {
            into.warnings.push(format!(
                "{}: the embedding is not linear in layer `{}` (the cells miss {:.1} % of it), so they are a first-order estimate.",
                id.name(),
                head.map,
                100.0 * gap
            ));
        }
        let shown = part(&raw, 1.0)?;
        self.finish.finish(Draft::new(id, raw).showing(shown).with_facts(about), into)
    }

    /// The vector u that this picture's cells are multiplied with.
    fn towards(&self, model: &Model, head: &Head, other: &Half, bias: &[f64]) -> Result<Vec<f64>> {
        let less = |phi: Vec<f64>| phi.iter().zip(bias).map(|(p, b)| p - b).collect();
        match (self.parameters.cell, self.parameters.bias) {
            (Some((row, column)), _) => {
                let at = row * head.grid.1 + column;
                let mut only = Tensor::zeros(other.map.shape());
                for place in head.cell(at, only.len()) {
                    only.data_mut()[place] = other.map.data()[place];
                }
                Ok(less(embedding_of(model, head, other, &only)?))
            }
            (None, BiasTerm::Dropped) => Ok(less(other.phi.clone())),
            (None, BiasTerm::Kept) => Ok(other.phi.clone()),
        }
    }
}

/// Both pictures at both layers.
fn halves(model: &Model, head: &Head, sample: &Sample) -> Result<Vec<Half>> {
    let roles: Vec<&str> = sample.roles().collect();
    let inputs =
        roles.iter().map(|role| picture_input(model, sample, role)).collect::<Result<Vec<_>>>()?;
    let pass =
        model.network.forward(&Tensor::stack(&inputs)?, &Taps::of([&head.map, &head.embedding]))?;
    let (maps, phis) = (pass.output(&head.map)?, pass.output(&head.embedding)?);
    let half = |(n, (role, input)): (usize, (&&str, Tensor))| Half {
        role: (*role).to_owned(),
        input,
        map: maps.row_tensor(n),
        phi: phis.row(n).iter().map(|v| f64::from(*v)).collect(),
    };
    Ok(roles.iter().zip(inputs).enumerate().map(half).collect())
}

/// φ of a feature map put in the place of `of`'s.
fn embedding_of(model: &Model, head: &Head, of: &Half, map: &Tensor) -> Result<Vec<f64>> {
    let (value, batch) = (Tensor::stack([map])?, Tensor::stack([&of.input])?);
    let pass =
        model.network.forward_from(&head.map, &value, &batch, &Taps::of([&head.embedding]))?;
    Ok(pass.output(&head.embedding)?.row(0).iter().map(|v| f64::from(*v)).collect())
}

/// Σ_c a[c, i] · d(φ·u)/da[c, i] for every cell i, row-major.
fn cell_products(model: &Model, head: &Head, of: &Half, towards: &[f64]) -> Result<Vec<f64>> {
    let taps = Taps::of([&head.embedding]).with_gradient(GradientPlace::Layer(head.map.clone()));
    let pass = model.network.forward(&Tensor::stack([&of.input])?, &taps)?;
    let cotangent = Tensor::new([1, towards.len()], towards.iter().map(|u| *u as f32).collect())?;
    let gradient = pass.gradient(&[LayerCotangent { layer: head.embedding.clone(), cotangent }])?;
    let gradient =
        gradient.first().ok_or_else(|| Error::bug("the backend returned no gradient."))?;
    let (a, g) = (of.map.data(), gradient.row(0));
    let product = |place: usize| f64::from(a[place]) * f64::from(g[place]);
    let cell = |at: usize| head.cell(at, a.len()).map(product).sum();
    Ok((0..head.grid.0 * head.grid.1).map(cell).collect())
}
