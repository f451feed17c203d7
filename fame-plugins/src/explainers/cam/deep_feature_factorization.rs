//! `DeepFeatureFactorization`: a layer as a sum of few concepts, and where each of them is.

use std::collections::BTreeMap;

use fame_core::{
    Claim, Error, Explanation, Layer, LayerChoice, LayerChoices, MapId, Model, Result, Sample,
    Subject, Tensor,
    ask::{Aim, AimedRow},
    contract::{ExplainContext, Explainer, Loss},
    data::{Value, facts},
    registry::{Assembly, BuildContext, Built, Parameters, Plugin},
    text::Spec,
};

use super::{
    factors::{Factors, Matrix, factorise, length},
    planes::{Grid, Layout, Planes},
};
use crate::{
    ask::{usual_layer, usual_loss},
    explainers::{
        aimed::check_roles,
        enlarge::{Corners, bilinear},
        finish::{Draft, Finish, specs},
        meter::{Meter, per_sample},
    },
};

/// So many concepts at most: each takes rounds over the whole layer, between which no network is
/// asked, so that no time limit of an item ends them.
const MOST_CONCEPTS: usize = 50;

fame_core::parameters! {
    /// Deep Feature Factorization: one layer of the picture, channels × cells and each channel less
    /// its smallest value, taken apart into concepts: a ≈ Σ_k w_k·h_kᵀ, nothing below zero, by
    /// non-negative matrix factorisation. h_k, enlarged to the picture, is the map of concept k;
    /// w_k are its channels. One map for each concept, `concept_1` and on, in the order in which
    /// the factorisation starts with them, the strongest first.
    ///
    /// The concepts are the layer's own: the maps do not know what was asked. What was asked is
    /// recorded of every concept as `scores`: the value y of the loss where all cells of the layer
    /// hold the concept at its full strength in the picture (w_k·max h_k and the smallest values
    /// that were taken away), tokens without a place too. In a network that ends in a mean over
    /// places and a linear layer this is what that linear layer says of the concept.
    ///
    /// The start is NNDSVD, so the same layer has the same concepts; pytorch-grad-cam starts at
    /// random numbers. Both end in local minima, which are the same for a few concepts and need not
    /// be for many. Smallest values are taken away as there; after a ReLU they are mostly 0, and
    /// then this is the paper's factorisation. `raw` is ‖w_k‖·h_k: how much of the layer the
    /// concept is in each cell. `residual` is the share of the layer that no concept holds;
    /// `settled` says whether the descent ended by itself within 200 rounds.
    pub struct DeepFeatureFactorization {
        /// How many concepts to look for: 1 to 50, and at most the layer's cells and channels.
        concepts: usize = 5,
        /// The layer to take apart. A tensor's name or an alias in quotes, or `LastConv`,
        /// `BeforePooling`.
        layer: LayerChoice = LayerChoice::BeforePooling,
        /// Whose value y is recorded of every concept. Default: what the model's manifest asks for,
        /// else `Logit()`.
        loss: Spec = open,
        /// The layer the loss reads. Default: the one in the model's manifest, else its `Output`.
        loss_layer: LayerChoices = open,
        /// How the layer's values lie over the picture.
        layout: Layout = Layout::default(),
        /// Steps from the enlarged map to the finished one. Default: the maximum becomes 1, and
        /// where the concept is not, 0.
        map: Vec<Spec> = specs(&["MaxNormalize()"]),
        /// Which pictures of a sample to explain, by role. Default: all.
        roles: Option<Vec<String>> = None,
    }
}

impl Parameters for DeepFeatureFactorization {
    type Typed = typed::DeepFeatureFactorization;

    fn fill(
        typed: typed::DeepFeatureFactorization,
        with: &BuildContext<'_>,
        _: &mut Assembly,
    ) -> Option<Self> {
        Some(typed.or(usual_loss(with), usual_layer(with)))
    }
}

impl Plugin<dyn Explainer> for DeepFeatureFactorization {
    const NAME: &'static str = "DeepFeatureFactorization";
    const SUMMARY: &'static str =
        "Takes a layer apart into concepts that only add: one map for each, with its score";
    const CLAIM: &'static str = "Shows where in the picture each of a layer's recurring patterns is; not what the asked value rests on: it does not know what was asked, and a pattern need not be anything with a name.";
    const EXAMPLE: &'static str = "DeepFeatureFactorization(layer: BeforePooling, concepts: 3)";
    const REFERENCE: &'static str = "Collins, Achanta & Süsstrunk, Deep Feature Factorization, ECCV 2018, arXiv 1806.10206; pytorch-grad-cam 1.5.7";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        let is_bounded = (1..=MOST_CONCEPTS).contains(&self.concepts);
        assembly.check("concepts", is_bounded, "must be 1 to 50");
        check_roles(self.roles.as_deref(), assembly);
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let loss = assembly.build::<dyn Loss>("loss", &self.loss, with);
        let finish = Finish::build(assembly, &self.map, with);
        Some(Box::new(FactorizationExplainer { parameters: self, loss: loss?, finish }))
    }
}

fame_core::register!(Explainer: DeepFeatureFactorization);

struct FactorizationExplainer {
    parameters: DeepFeatureFactorization,
    loss: Built<dyn Loss>,
    finish: Finish,
}

/// A loss at its layers, and the layer that is taken apart.
struct Question<'m> {
    aim: Aim<'m>,
    layer: &'m Layer,
    grid: Grid,
}

impl Explainer for FactorizationExplainer {
    fn check(&self, model: &Model) -> Result<()> {
        self.question(model).map(|_| ())
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        match self.question(with.model) {
            Ok(question) => {
                per_sample(with, samples, |sample, meter| self.sample(&question, sample, meter))
            }
            Err(e) => samples.iter().map(|_| Err(e.clone())).collect(),
        }
    }
}

impl FactorizationExplainer {
    fn question<'m>(&'m self, model: &'m Model) -> Result<Question<'m>> {
        let wanted = &self.parameters;
        let aim = Aim::new(model, &wanted.loss_layer, self.loss.plugin.as_ref())?;
        let layer = model.layer(&wanted.layer)?;
        let grid = Grid::of_model(model, layer, wanted.layout)?;
        let most = grid.channels.min(grid.height * grid.width);
        if wanted.concepts > most {
            return Err(Error::new(
                "fame::cam::too_many_concepts",
                format!(
                    "layer `{}` has {} channels and {} × {} cells: it can be taken apart into {most} concepts at most, not {}.",
                    layer.name, grid.channels, grid.height, grid.width, wanted.concepts
                ),
            )
            .with_help("Ask for fewer `concepts`, or name a layer with more cells."));
        }
        Ok(Question { aim, layer, grid })
    }

    fn sample(
        &self,
        question: &Question<'_>,
        sample: &Sample,
        meter: &mut Meter<'_>,
    ) -> Result<Explanation> {
        let rows = question
            .aim
            .rows(sample, self.parameters.roles.as_deref())
            .map_err(|e| e.at(format!("loss {}", self.loss.name)))?;
        // The concepts are the picture's: its rows differ in what they ask of each.
        let mut of_role: BTreeMap<&str, Vec<&AimedRow>> = BTreeMap::new();
        let mut roles: Vec<&str> = Vec::new();
        for row in &rows {
            if !of_role.contains_key(row.id.role.as_str()) {
                roles.push(&row.id.role);
            }
            of_role.entry(&row.id.role).or_default().push(row);
        }
        meter.begin(roles.len());
        let Question { layer, grid, .. } = question;
        let shared = facts([
            ("layer", layer.name.as_str().into()),
            ("shape", layer.shape.clone().into()),
            ("grid", vec![grid.height, grid.width].into()),
            ("loss", self.loss.record()),
            ("loss_layers", question.aim.layer_facts()),
        ]);
        let mut explanation = Explanation { facts: shared, ..Explanation::default() };
        for role in roles {
            self.picture(question, sample, &of_role[role], &mut explanation)?;
            meter.tick(1);
        }
        Ok(explanation)
    }

    /// The concepts of one picture, which is that of all `rows`.
    fn picture(
        &self,
        question: &Question<'_>,
        sample: &Sample,
        rows: &[&AimedRow],
        into: &mut Explanation,
    ) -> Result<()> {
        let Question { aim, layer, grid } = question;
        let id = &rows[0].id;
        let input = aim.input(sample, &id.role)?;
        let mut taps = aim.taps();
        if !taps.layers.contains(&layer.name) {
            taps.layers.push(layer.name.clone());
        }
        let pass = aim.model.network.forward(&Tensor::stack([&input])?, &taps)?;
        let output = pass.output(&layer.name)?.row_tensor(0);
        let a = grid.read(output.data());
        if a.data.iter().any(|v| !v.is_finite()) {
            let message = format!(
                "layer `{}` is NaN or infinite on picture `{}` of sample `{}`.",
                layer.name, id.role, sample.id
            );
            return Err(Error::new("fame::explain::not_finite", message)
                .with_help("The model or its input convention (mean, std, channel order) is broken: see the manifest."));
        }
        let (matrix, floor) = above_floor(&a);
        let found = factorise(&matrix, self.parameters.concepts);
        let scores = scores(question, &input, &output, &concepts(&found, &floor), rows)?;
        let size = (aim.model.manifest.input.height, aim.model.manifest.input.width);
        for (k, (w, h)) in found.down.iter().zip(&found.across).enumerate() {
            let strength = length(w);
            let cells: Vec<f32> = h.iter().map(|h| (strength * h) as f32).collect();
            let enlarged = bilinear(&cells, (grid.height, grid.width), size, Corners::HalfPixel);
            let asked =
                |(row, scores): (&&AimedRow, &Vec<f32>)| (row.name(), Value::from(scores[k]));
            let about = facts([
                ("scores", Value::Map(rows.iter().zip(&scores).map(asked).collect())),
                ("residual", found.residual.into()),
                ("rounds", found.rounds.into()),
                ("settled", found.settled.into()),
            ]);
            let id = MapId::new(&id.role)
                .alone(id.alone)
                .about(Subject::Named(format!("concept_{}", k + 1)))
                .claiming(Claim::Neither);
            let raw = Tensor::new([1, size.0, size.1], enlarged)?;
            self.finish.finish(Draft::new(id, raw).with_facts(about), into)?;
        }
        Ok(())
    }
}

/// The layer as channels × cells, each channel less its smallest value, and these values.
fn above_floor(a: &Planes) -> (Matrix, Vec<f64>) {
    let lowest = |plane: &[f32]| plane.iter().fold(f64::INFINITY, |m, v| m.min(f64::from(*v)));
    let floor: Vec<f64> = a.iter().map(lowest).collect();
    let above = a
        .iter()
        .zip(&floor)
        .flat_map(|(plane, floor)| plane.iter().map(move |v| f64::from(*v) - floor));
    let data = above.collect();
    (Matrix { rows: a.channels, columns: a.area(), data }, floor)
}

/// The channels of each concept where it is strongest: w_k·max h_k, on the floor.
fn concepts(found: &Factors, floor: &[f64]) -> Vec<Vec<f32>> {
    let concept = |(w, h): (&Vec<f64>, &Vec<f64>)| {
        let strongest = h.iter().fold(0.0f64, |m, h| m.max(*h));
        w.iter().zip(floor).map(|(w, floor)| (w * strongest + floor) as f32).collect()
    };
    found.down.iter().zip(&found.across).map(concept).collect()
}

/// For each of `rows` its y of each concept: of the layer with the concept's channels in all cells.
fn scores(
    question: &Question<'_>,
    input: &Tensor,
    output: &Tensor,
    concepts: &[Vec<f32>],
    rows: &[&AimedRow],
) -> Result<Vec<Vec<f32>>> {
    let Question { aim, layer, grid } = question;
    let network = aim.model.network.as_ref();
    let filled = |concept: &Vec<f32>| {
        let mut filled = output.clone();
        for (channel, value) in concept.iter().enumerate() {
            grid.overwrite(filled.data_mut(), channel, *value);
        }
        filled
    };
    let mut scores = vec![Vec::with_capacity(concepts.len()); rows.len()];
    for some in concepts.chunks(network.preferred_rows().max(1)) {
        let layers: Vec<Tensor> = some.iter().map(filled).collect();
        let batch = Tensor::stack(vec![input; some.len()])?;
        let pass =
            network.forward_from(&layer.name, &Tensor::stack(&layers)?, &batch, &aim.taps())?;
        for (row, scores) in rows.iter().zip(&mut scores) {
            let targets = vec![&row.target; some.len()];
            scores.extend(aim.evaluate(pass.as_ref(), &targets)?.values);
        }
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use fame_core::testkit;

    use super::{super::testing::planes, *};

    /// Sums of products near 10, in single precision where the planes are.
    const ROUNDING: f64 = 1e-4;

    #[test]
    fn the_number_of_concepts_is_bounded() {
        let build = |n: usize| {
            let spec = format!("DeepFeatureFactorization(concepts: {n})");
            testkit::build::<dyn Explainer>(&spec).map(drop)
        };
        assert!(build(1).is_ok() && build(50).is_ok());
        for wrong in [0, 51] {
            let error = build(wrong).unwrap_err();
            assert!(error.to_string().contains("1 to 50"), "{error}");
        }
    }

    #[test]
    fn parts_that_do_not_meet_are_the_concepts() {
        // Channels at 1 and −2 where nothing is: the first two cells hold (2, 1, 0), the last two
        // (0, 0, 4) above that, in other strengths.
        let a = planes(&[&[3., 5., 1., 1., 1.], &[-1., 0., -2., -2., -2.], &[0., 0., 0., 4., 2.]]);
        let (matrix, floor) = above_floor(&a);
        assert_eq!(floor, [1.0, -2.0, 0.0]);
        let found = factorise(&matrix, 2);
        assert!(found.residual < ROUNDING, "{}", found.residual);
        let spread = |k: usize| {
            let most = found.across[k].iter().fold(0.0f64, |m, v| m.max(*v));
            found.across[k].iter().map(|v| v / most).collect::<Vec<_>>()
        };
        let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < ROUNDING);
        assert!(near(&spread(0), &[0.5, 1., 0., 0., 0.]), "{:?}", spread(0));
        assert!(near(&spread(1), &[0., 0., 0., 1., 0.5]), "{:?}", spread(1));
        // At full strength, on the floor: the cell itself where it is strongest.
        let wanted = [[5.0, 0.0, 0.0], [1.0, -2.0, 4.0]];
        for (concept, wanted) in concepts(&found, &floor).iter().zip(wanted) {
            let concept: Vec<f64> = concept.iter().map(|v| f64::from(*v)).collect();
            assert!(near(&concept, &wanted), "{concept:?}");
        }
    }
}
