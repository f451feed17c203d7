//! The kit's own dataset, explainer, loss and perturbation: the rest of a recipe, so that one new
//! plugin can be run in a whole one.

use crate::{
    AttributionMap, Error, Explanation, GradientPlace, LayerChoice, LayerChoices, Model, NamedMap,
    Result, Sample, Target, TargetRequest, Tensor,
    ask::{Aim, Row, walk_rows},
    contract::{
        Dataset, Evaluation, ExplainContext, Explainer, Files, ItemRef, Loss, MapSource, MapStep,
        Perturbation, Start, Walk, per_row, pixel_walk,
    },
    data::{ChannelOrder, InputConvention, facts},
    max_abs,
    registry::{Assembly, BuildContext, Built, Plugin},
    seed_of,
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The test kit's dataset: made-up pictures of 8 × 8 pixels, labelled with class 1.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FakePictures {
    /// Number of items, at least 1.
    pub items: usize,
    /// Whether an item is two pictures (left and right) instead of one (image).
    pub pairs: bool,
}

impl Default for FakePictures {
    fn default() -> Self {
        Self { items: 2, pairs: false }
    }
}

impl Plugin<dyn Dataset> for FakePictures {
    const NAME: &'static str = "FakePictures";
    const SUMMARY: &'static str = "Made-up pictures of the test kit";
    const EXAMPLE: &'static str = "FakePictures(items: 2, pairs: false)";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("items", self.items > 0, "must be at least 1");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Dataset>> {
        Some(Box::new(self))
    }
}

impl Dataset for FakePictures {
    fn files(&self) -> Vec<String> {
        Vec::new()
    }

    fn index(&self, _: &dyn Files) -> Result<Vec<ItemRef>> {
        Ok((1..=self.items)
            .map(|n| ItemRef { id: format!("fake_{n}"), files: Vec::new(), note: String::new() })
            .collect())
    }

    fn load(&self, item: &ItemRef, _: &dyn Files) -> Result<Sample> {
        super::sample(
            &item.id,
            if self.pairs { &["left", "right"] } else { &["image"] },
            super::SIZE,
        )
    }
}

/// The test kit's loss: half the mean of the layer's squares.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FakeLoss {}

impl Plugin<dyn Loss> for FakeLoss {
    const NAME: &'static str = "FakeLoss";
    const SUMMARY: &'static str = "Half the mean of the layer's squares";
    const EXAMPLE: &'static str = "FakeLoss()";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Loss>> {
        Some(Box::new(self))
    }
}

impl Loss for FakeLoss {
    fn targets(&self, _: &TargetRequest<'_>) -> Result<Vec<Target>> {
        Ok(vec![Target::unnamed()])
    }

    fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation> {
        per_row(outputs, targets, |y, _, g| {
            let n = y[0].len() as f32;
            g[0].iter_mut().zip(y[0]).for_each(|(g, y)| *g = y / n);
            Ok(0.5 * y[0].iter().map(|y| y * y).sum::<f32>() / n)
        })
    }
}

/// The test kit's perturbation: plain steps against the gradient, the largest component moving by
/// `step` (in pixels).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FakeSteps {
    /// The largest move of a step, in pixels of 0..=1; above 0.
    pub step: f32,
    /// Number of steps, at least 1.
    pub iterations: usize,
}

impl Default for FakeSteps {
    fn default() -> Self {
        Self { step: 0.02, iterations: 4 }
    }
}

impl Plugin<dyn Perturbation> for FakeSteps {
    const NAME: &'static str = "FakeSteps";
    const SUMMARY: &'static str = "Plain steps against the gradient";
    const EXAMPLE: &'static str = "FakeSteps(step: 0.02, iterations: 4)";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check(
            "step",
            self.step.is_finite() && self.step > 0.0,
            "must be a number above 0",
        );
        assembly.check("iterations", self.iterations > 0, "must be at least 1");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Perturbation>> {
        Some(Box::new(self))
    }
}

impl Perturbation for FakeSteps {
    fn start(&self, from: &Start<'_>) -> Result<Box<dyn Walk>> {
        let step = self.step;
        pixel_walk(from, move |gradient| {
            let largest = max_abs(gradient);
            gradient.iter_mut().for_each(|g| *g *= step / largest);
        })
    }

    fn max_steps(&self) -> usize {
        self.iterations
    }
}

/// The test kit's explainer: a walk along the loss's gradient, as FAME, with nothing around it. A
/// field that stays several channels after the map steps is shown by its mean absolute value.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FakeWalk {
    /// The target layer. Default: the network's output.
    pub layer: LayerChoices,
    /// What to descend. Default: `FakeLoss()`.
    pub loss: Spec,
    /// How to walk. Default: `FakeSteps()`.
    pub perturbation: Spec,
    /// Steps from what moved to the map.
    pub map: Vec<Spec>,
}

impl Default for FakeWalk {
    fn default() -> Self {
        Self {
            layer: LayerChoice::Output.into(),
            loss: Spec::named(FakeLoss::NAME),
            perturbation: Spec::named(FakeSteps::NAME),
            map: Vec::new(),
        }
    }
}

impl Plugin<dyn Explainer> for FakeWalk {
    const NAME: &'static str = "FakeWalk";
    const SUMMARY: &'static str = "A walk along the loss's gradient, with nothing around it";
    const EXAMPLE: &'static str = "FakeWalk(loss: FakeLoss(), perturbation: FakeSteps())";

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let FakeWalk { layer, loss, perturbation, map } = self;
        let loss = assembly.build::<dyn Loss>("loss", &loss, with);
        let perturbation = assembly.build::<dyn Perturbation>("perturbation", &perturbation, with);
        let map = assembly.build_all::<dyn MapStep>("map", &map, with);
        Some(Box::new(Walking { layer, loss: loss?, perturbation: perturbation?, map }))
    }
}

struct Walking {
    layer: LayerChoices,
    loss: Built<dyn Loss>,
    perturbation: Built<dyn Perturbation>,
    map: Vec<Built<dyn MapStep>>,
}

impl Explainer for Walking {
    fn check(&self, model: &Model) -> Result<()> {
        let aim = Aim::new(model, &self.layer, self.loss.plugin.as_ref())?;
        aim.layers
            .iter()
            .try_for_each(|layer| model.network.check_gradient(layer, &GradientPlace::Input))
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        samples.iter().map(|sample| self.one(with, sample)).collect()
    }
}

impl Walking {
    fn one(&self, with: &ExplainContext<'_>, sample: &Sample) -> Result<Explanation> {
        let aim = Aim::new(with.model, &self.layer, self.loss.plugin.as_ref())?;
        let convention = &with.model.manifest.input;
        let aimed = aim.rows(sample, None)?;
        let mut rows = Vec::new();
        for about in &aimed {
            let pixels = clean(sample, &about.id.role, convention)?;
            let seed = seed_of(with.seed, &format!("{}/{}", sample.id, about.name()));
            let walk =
                self.perturbation.plugin.start(&Start { pixels: &pixels, convention, seed })?;
            rows.push(Row {
                walk,
                target: about.target.clone(),
                max_steps: self.perturbation.plugin.max_steps(),
                read_at: Vec::new(),
            });
        }
        let mut explanation = Explanation {
            facts: facts([("layers", aim.layer_facts()), ("loss", self.loss.record())]),
            ..Explanation::default()
        };
        for (about, row) in aimed.into_iter().zip(walk_rows(&aim, rows, with.progress)?) {
            let raw = row.walk.field()?;
            let mut map =
                AttributionMap { values: raw.clone(), channels: channels(convention.order) };
            let recorded = row.walk.recorded()?;
            let pixels = clean(sample, &about.id.role, convention)?;
            let source = MapSource { pixels: &pixels, convention, recorded: &recorded };
            for step in &self.map {
                map = step
                    .plugin
                    .apply_to(map, &source)
                    .map_err(|e| e.at(format!("map step {}", step.name)))?;
            }
            let found = [
                ("first_loss", row.first_loss.into()),
                ("last_loss", row.last_loss.into()),
                ("steps", row.steps.into()),
            ];
            let finished = flat(&map.values)?;
            explanation.warnings.extend(row.rose(&about.name(), row.steps));
            explanation.maps.push(NamedMap {
                frame: about.target.frame,
                facts: facts(found),
                ..NamedMap::new(about.id, raw, finished)
            });
        }
        Ok(explanation)
    }
}

/// The picture in `role`, in the model's channels.
fn clean(sample: &Sample, role: &str, convention: &InputConvention) -> Result<Tensor> {
    let picture = sample.picture(role);
    let picture = picture.ok_or_else(|| Error::bug(format!("role `{role}` vanished.")))?;
    convention.pixels(&picture.pixels)
}

fn channels(order: ChannelOrder) -> Vec<String> {
    let names: &[&str] = match order {
        ChannelOrder::Rgb => &["R", "G", "B"],
        ChannelOrder::Bgr => &["B", "G", "R"],
        ChannelOrder::Gray => &["Y"],
    };
    names.iter().map(|n| (*n).to_owned()).collect()
}

/// `[C, H, W]` as `[H, W]`: the one channel, or the mean absolute value of several.
fn flat(values: &Tensor) -> Result<Tensor> {
    let [c, h, w] = *values.shape() else {
        return Err(Error::bug(format!("a map has the shape {:?}.", values.shape())));
    };
    if c == 1 {
        return values.clone().reshaped([h, w]);
    }
    let mean = |i: usize| (0..c).map(|k| values.row(k)[i].abs()).sum::<f32>() / c as f32;
    Tensor::new([h, w], (0..h * w).map(mean).collect())
}
