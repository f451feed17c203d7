//! `Fame`: walk the picture along its own loss gradient, and read what moved.

use std::fmt::Write as _;

use std::collections::BTreeMap;

use fame_core::{
    Error, Explanation, GradientPlace, LayerChoices, Model, Result, Sample, Tensor, Witness,
    ask::{Aim, AimedRow, Observation, Reading, Row, WalkedRow, walk_rows},
    contract::{ExplainContext, Explainer, Loss, MapSource, Perturbation, Start, Stop},
    data::{Facts, InputConvention, Value, facts, safe_name},
    registry::{Assembly, BuildContext, Built, Parameters, Plugin},
    seed_of,
    store::Ask,
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    aimed::check_roles,
    finish::{Draft, Finish, model_channels, no_map, specs},
};
use crate::{
    Preset,
    ask::{usual_layer, usual_loss},
    losses::{FeatureMapCell, TOP_BEFORE, top_classes},
    perturbations::Lots,
};

/// FAME: from the clean picture x the perturbation walks down the gradient of the loss at the
/// target layer; the field |x̄ − x| that is left, grayed, blurred and normalised, is the
/// explanation. One map per picture, target and finish.
///
/// Layer, loss, perturbation and map steps are all the recipe's choice. A picture whose loss cannot
/// be moved (a dead cell, a pair below the stop rule at the start) has no map, and a warning says
/// why; of a walk whose loss rose, a warning says so beside the map.
#[derive(Debug, Serialize)]
pub struct Fame {
    layer: LayerChoices,
    loss: Spec,
    perturbation: Spec,
    /// Every finish by name; a single one has none. The record shows them as they are built.
    #[serde(skip)]
    finishes: Vec<(String, Vec<Spec>)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    read_at: Vec<usize>,
    roles: Option<Vec<String>>,
    preset: Preset,
}

/// The parameters as a recipe types them.
mod typed {
    use super::{BTreeMap, Deserialize, JsonSchema, LayerChoices, Lots, Plugin, Preset, Spec};

    /// FAME: from the clean picture x the perturbation walks down the gradient of the loss at the
    /// target layer; the field |x̄ − x| that is left, grayed, blurred and normalised, is the
    /// explanation. One map per picture, target and finish.
    ///
    /// Layer, loss, perturbation and map steps are all the recipe's choice. A picture whose loss
    /// cannot be moved (a dead cell, a pair below the stop rule at the start) has no map, and a
    /// warning says why; of a walk whose loss rose, a warning says so beside the map.
    #[derive(Clone, Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub struct Fame {
        /// The target layer: a tensor's name or an alias in quotes, or `LastConv`, `BeforePooling`,
        /// `Output`; a list for losses that read several. Default: what the model's manifest asks
        /// about, else the output.
        #[serde(default)]
        pub layer: Option<LayerChoices>,
        /// What to descend. Default: what the model's manifest asks, else `Logit()`.
        #[serde(default)]
        pub loss: Option<Spec>,
        /// How to walk. Default: `Lots()`: the paper's 500 steps of 1/255; under preset Fast, for
        /// models that compare two pictures, 16 of 16/255.
        #[serde(default = "lots")]
        pub perturbation: Spec,
        /// Steps from what moved to the map. Default: the preset's gray, blur and normalisation.
        #[serde(default)]
        pub map: Option<Vec<Spec>>,
        /// Several finishes of the same walk by name, in place of `map`:
        /// `{"sigma_2": [Gray(), …], …}`.
        #[serde(default)]
        pub maps: Option<BTreeMap<String, Vec<Spec>>>,
        /// Numbers of steps, rising, such as `[1, 10, 100]`: the walk is read after each of them
        /// and ends with the last. Every map is byte for byte that of a walk of its own, and named
        /// after its steps, `steps_010`. Default: none, the map at the end.
        #[serde(default)]
        pub read_at: Vec<usize>,
        /// Which pictures of a sample to explain, by role (`"probe"`, `"gallery"`). Default: all,
        /// each against the other frozen.
        #[serde(default)]
        pub roles: Option<Vec<String>>,
        /// Which form the defaults inside follow: `Paper`, `Authors` or `Fast`. Default: the
        /// recipe's.
        #[serde(default)]
        pub preset: Option<Preset>,
    }

    fn lots() -> Spec {
        Spec::named(Lots::NAME)
    }
}

impl Parameters for Fame {
    type Typed = typed::Fame;

    fn fill(typed: typed::Fame, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Self> {
        let preset = typed.preset.unwrap_or(Preset::of(with));
        if typed.map.is_some() && typed.maps.is_some() {
            assembly.report(
                "maps",
                "`map` and `maps` exclude each other: give one finish, or several by name.",
            );
        }
        let finishes = match (typed.map, typed.maps) {
            (None, None) => vec![(String::new(), usual_map(preset))],
            (Some(map), _) => vec![(String::new(), map)],
            (None, Some(maps)) => {
                let safe = |name: &String| !name.is_empty() && safe_name(name) == *name;
                let must = "needs names of letters, digits, `.`, `_` and `-`";
                assembly.check("maps", maps.keys().all(safe), must);
                maps.into_iter().collect()
            }
        };
        let typed::Fame { layer, loss, perturbation, read_at, roles, .. } = typed;
        let layer = layer.unwrap_or_else(|| usual_layer(with));
        let loss = loss.unwrap_or_else(|| usual_loss(with));
        Some(Self { layer, loss, perturbation, finishes, read_at, roles, preset })
    }
}

impl Plugin<dyn Explainer> for Fame {
    const NAME: &'static str = "Fame";
    const SUMMARY: &'static str =
        "Walks the picture along its own loss gradient and reads what moved";
    const CLAIM: &'static str = "Shows which pixels moved most while the picture walked down its own loss, so what the answer rests on along that way; not what would happen if these pixels were taken away, nor that the others do not matter.";
    const EXAMPLE: &'static str =
        r#"Fame(layer: "embedding", loss: Similarity(), perturbation: Lots(iterations: 100))"#;
    const REFERENCE: &'static str = "Zhang & Günther, FAME (2026), arXiv 2605.12017";
    const PRESETS: &'static [&'static str] = Preset::NAMES;

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        check_roles(self.roles.as_deref(), assembly);
        let rising = self.read_at.windows(2).all(|pair| pair[0] < pair[1]);
        assembly.check(
            "read_at",
            rising && self.read_at.first() != Some(&0),
            "must be rising numbers of steps, from 1",
        );
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let Fame { layer, loss, perturbation, finishes, read_at, roles, preset } = self;
        // How long `Fast` walks follows from its own loss, whatever the manifest asks, if anything.
        // The authors' two programs are told apart by the manifest: a model has one of them.
        let ask = Ask { loss: Some(loss.clone()), ..with.ask.clone() };
        let with = BuildContext { preset: preset.name(), ..*with };
        let loss = assembly.build::<dyn Loss>("loss", &loss, &with);
        let of_cells = loss.as_ref().is_some_and(|loss| loss.name == FeatureMapCell::NAME);
        let mut walk = if of_cells { Preset::of_feature_map_walk(&with) } else { with };
        if preset == Preset::Fast {
            walk.ask = &ask;
        }
        let perturbation = assembly.build::<dyn Perturbation>("perturbation", &perturbation, &walk);
        let finish = |(name, specs): (String, Vec<Spec>)| {
            if name.is_empty() {
                Finish::build(assembly, &specs, &with)
            } else {
                Finish::build_named(assembly, name, &specs, &with)
            }
        };
        let finishes = finishes.into_iter().map(finish).collect();
        let (loss, perturbation) = (loss?, perturbation?);
        let most = perturbation.plugin.max_steps();
        if let Some(last) = read_at.last().filter(|last| **last > most) {
            assembly.report(
                "read_at",
                format!(
                    "`read_at` asks for {last} steps, and the walk takes at most {most}: give the \
                     perturbation more `iterations`, or take out what lies beyond them."
                ),
            );
        }
        Some(Box::new(FameExplainer { layer, loss, perturbation, finishes, read_at, roles }))
    }
}

fame_core::register!(Explainer: Fame);

/// The map steps where the recipe names none.
fn usual_map(preset: Preset) -> Vec<Spec> {
    match preset {
        Preset::Paper | Preset::Fast => {
            specs(&["Gray()", "GaussianBlur(kernel: 49, sigma: 7.7)", "MaxNormalize()"])
        }
        // The authors divide by the maximum before blurring; after min-max it only shows next to ε.
        Preset::Authors => specs(&[
            "Gray()",
            "MaxNormalize()",
            "GaussianBlur(kernel: 49, sigma: 7.7)",
            "MinMaxNormalize()",
        ]),
    }
}

/// FAME with all its parts built.
struct FameExplainer {
    layer: LayerChoices,
    loss: Built<dyn Loss>,
    perturbation: Built<dyn Perturbation>,
    finishes: Vec<Finish>,
    read_at: Vec<usize>,
    roles: Option<Vec<String>>,
}

impl Explainer for FameExplainer {
    fn check(&self, model: &Model) -> Result<()> {
        let aim = self.aim(model)?;
        aim.layers
            .iter()
            .try_for_each(|layer| model.network.check_gradient(layer, &GradientPlace::Input))
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        // What stops the whole batch (the network itself failed) is every sample's error.
        self.explain_batch(with, samples)
            .unwrap_or_else(|e| samples.iter().map(|_| Err(e.clone())).collect())
    }
}

impl FameExplainer {
    fn aim<'a>(&'a self, model: &'a Model) -> Result<Aim<'a>> {
        Aim::new(model, &self.layer, self.loss.plugin.as_ref())
    }

    fn explain_batch(
        &self,
        with: &ExplainContext<'_>,
        samples: &[Sample],
    ) -> Result<Vec<Result<Explanation>>> {
        let aim = self.aim(with.model)?;
        // All rows of all samples are walked together; a place remembers where each belongs.
        let (mut places, mut rows, mut results) = (Vec::new(), Vec::new(), Vec::new());
        for (n, sample) in samples.iter().enumerate() {
            let begun = self.begin(with, &aim, sample).map(|of_sample| {
                for (about, row) in of_sample {
                    places.push((n, about));
                    rows.push(row);
                }
                Explanation { facts: self.facts(&aim), ..Explanation::default() }
            });
            results.push(begun);
        }
        for ((n, about), row) in places.into_iter().zip(walk_rows(&aim, rows, with.progress)?) {
            let result = &mut results[n];
            if let Ok(explanation) = result {
                witness(&aim.layers, &about, &row, &mut explanation.witnesses);
            }
            if let Ok(explanation) = result
                && let Err(e) = self.finish(&aim, &samples[n], &about, row, explanation)
            {
                *result = Err(e);
            }
        }
        for explanation in results.iter_mut().flatten().filter(|e| e.maps.len() > 2) {
            let more = explanation.maps.len();
            let _ = write!(explanation.summary, ", … {more} maps");
        }
        Ok(results)
    }

    /// What holds for all maps of an explanation.
    fn facts(&self, aim: &Aim<'_>) -> Facts {
        facts([
            ("layers", aim.layer_facts()),
            ("loss", self.loss.record()),
            ("perturbation", self.perturbation.record()),
        ])
    }

    /// The walks of one sample, at their starts.
    fn begin(
        &self,
        with: &ExplainContext<'_>,
        aim: &Aim<'_>,
        sample: &Sample,
    ) -> Result<Vec<(AimedRow, Row)>> {
        let convention = &with.model.manifest.input;
        let rows = aim
            .rows(sample, self.roles.as_deref())
            .map_err(|e| e.at(format!("loss {}", self.loss.name)))?;
        let begin = |about: AimedRow| {
            let pixels = clean(sample, &about.id.role, convention)?;
            let seed = seed_of(with.seed, &format!("{}/{}", sample.id, about.name()));
            let walk =
                self.perturbation.plugin.start(&Start { pixels: &pixels, convention, seed })?;
            let most = self.perturbation.plugin.max_steps();
            let row = Row {
                walk,
                target: about.target.clone(),
                max_steps: self.read_at.last().copied().unwrap_or(most),
                read_at: self.read_at.clone(),
            };
            Ok((about, row))
        };
        rows.into_iter().map(begin).collect()
    }

    /// Turns a walked row into maps, or a warning: one map for each finish, at the end or at each
    /// of the lengths asked for.
    fn finish(
        &self,
        aim: &Aim<'_>,
        sample: &Sample,
        aimed: &AimedRow,
        mut row: WalkedRow,
        into: &mut Explanation,
    ) -> Result<()> {
        let readings = std::mem::take(&mut row.readings);
        let end = Reading {
            steps: row.steps,
            field: row.walk.field()?,
            recorded: row.walk.recorded()?,
            facts: row.walk.facts()?,
            outputs: row.ended.outputs.clone(),
        };
        if unmoved(row.first_loss, &end, &row.stop).is_none() {
            into.warnings.extend(stuck(&aimed.id.name(), &row.stop, row.steps, row.last_loss));
        }
        let Some(last) = self.read_at.last() else {
            return self.finish_at(aim, sample, aimed, &row, (&end, &row.stop), into);
        };
        let digits = last.to_string().len();
        for steps in &self.read_at {
            // A walk that stopped before a length would have stopped before it all the same.
            let there = readings.iter().find(|reading| reading.steps == *steps);
            let state = there.map_or((&end, &row.stop), |there| (there, &Stop::Iterations));
            let mut aimed = aimed.clone();
            aimed.id = aimed.id.finished(Some(format!("steps_{steps:0digits$}")));
            self.finish_at(aim, sample, &aimed, &row, state, into)?;
        }
        Ok(())
    }

    /// The maps of a walk as it was when it was read.
    fn finish_at(
        &self,
        aim: &Aim<'_>,
        sample: &Sample,
        aimed: &AimedRow,
        row: &WalkedRow,
        (at, stop): (&Reading, &Stop),
        into: &mut Explanation,
    ) -> Result<()> {
        let losses = &row.losses[..row.losses.len().min(at.steps + 1)];
        let (before, after) = (row.first_loss, losses.last().copied().unwrap_or(f32::NAN));
        if let Some(why) = unmoved(before, at, stop) {
            no_map(&aimed.id, &why, into);
            return Ok(());
        }
        into.warnings.extend(row.rose(&aimed.id.name(), at.steps));
        let (field, steps) = (at.field.clone(), at.steps);
        let convention = &aim.model.manifest.input;
        let draft = Draft {
            shown: model_channels(field.clone(), convention.order),
            note: format!("loss {before:.4} → {after:.4} in {steps} steps"),
            ..Draft::of_row(aimed, field)
        };
        let draft = draft.with_facts(at.facts.clone()).with_facts(facts([
            ("loss_before", before.into()),
            ("loss_after", after.into()),
            ("steps", steps.into()),
            ("stop", stop.to_string().into()),
            ("loss_curve", loss_curve(losses)),
        ]));
        let draft = draft.with_facts(answers_after(aim, aimed, &at.outputs));
        let pixels = clean(sample, &aimed.id.role, convention)?;
        let source = MapSource { pixels: &pixels, convention, recorded: &at.recorded };
        let mut finish = |finish: &Finish| finish.finish_walk(draft.clone(), &source, into);
        self.finishes.iter().try_for_each(&mut finish)
    }
}

/// The most points of a recorded loss curve, beside the last.
const CURVE_POINTS: usize = 50;

/// The losses along a walk for the record: every n-th from the start on, and the last.
fn loss_curve(losses: &[f32]) -> Value {
    let last = losses.len().saturating_sub(1);
    let every = last.div_ceil(CURVE_POINTS).max(1);
    let mut values: Vec<f32> = losses.iter().step_by(every).copied().collect();
    if !last.is_multiple_of(every) {
        values.push(losses[last]);
    }
    Value::Map(facts([("every", every.into()), ("values", values.into())]))
}

/// The first classes where a walk about a class ended: the counterpart of the loss's `top_before`.
fn answers_after(aim: &Aim<'_>, aimed: &AimedRow, outputs: &[Tensor]) -> Facts {
    let before = aimed.target.facts.contains_key(TOP_BEFORE);
    let [output] = outputs else { return Facts::new() };
    if !before || !output.is_finite() {
        return Facts::new();
    }
    let top = top_classes(output.data(), &aim.model.labels, aim.holds_probabilities());
    facts([("top_after", top)])
}

/// The picture in `role`, in the model's channels.
fn clean(sample: &Sample, role: &str, convention: &InputConvention) -> Result<Tensor> {
    let picture = sample.picture(role);
    let picture = picture.ok_or_else(|| Error::bug(format!("role `{role}` vanished.")))?;
    convention.pixels(&picture.pixels)
}

/// Remembers where a walk began, once for each picture, and where it ended.
fn witness(layers: &[String], about: &AimedRow, row: &WalkedRow, into: &mut Vec<Witness>) {
    let seen = |name: String, seen: &Observation| {
        let outputs = layers.iter().cloned().zip(seen.outputs.iter().cloned()).collect();
        Witness { name, input: seen.input.clone(), outputs }
    };
    if !into.iter().any(|w| w.input == row.began.input) {
        // A walk that begins beside the picture is known by its map's name.
        let taken = into.iter().any(|w| w.name == about.id.role);
        into.push(seen(
            if taken { format!("{} at the start", about.name()) } else { about.id.role.clone() },
            &row.began,
        ));
    }
    if row.steps > 0 {
        into.push(seen(format!("{} after the walk", about.name()), &row.ended));
    }
}

/// What a reader must know of a walk that moved and then could not go on, if so.
fn stuck(name: &str, stop: &Stop, steps: usize, loss: f32) -> Option<String> {
    (*stop == Stop::ZeroGradient).then(|| {
        format!(
            "{name}: the walk stopped after {steps} steps, at loss {loss}: no pixel moves the loss \
             from there, its gradient is zero (a quantised value at the end of its range has no slope)."
        )
    })
}

/// Why a walk has nothing to show where it was read, if so.
fn unmoved(first_loss: f32, at: &Reading, stop: &Stop) -> Option<String> {
    let steps = at.steps;
    if !at.field.is_finite() || *stop == Stop::NotFinite {
        return Some(format!(
            "the loss or its gradient became NaN or infinite after {steps} steps."
        ));
    }
    if at.field.max_abs() > 0.0 {
        return None;
    }
    Some(match stop {
        Stop::ZeroGradient => {
            format!("no pixel moves its loss ({first_loss}): the gradient is zero.")
        }
        _ if steps > 0 => format!("its {steps} steps moved nothing."),
        _ => format!("the walk stopped before its first step ({stop}, loss {first_loss})."),
    })
}

#[cfg(test)]
mod tests {
    use fame_core::registry::Registry;

    use super::{super::terms::tests::explained, *};

    /// A walk of steps as long as the picture is bright, read after each of two: the map is there,
    /// and beside it that it went the wrong way.
    #[test]
    fn a_walk_whose_loss_rose_has_a_map_and_a_warning() {
        let walk = |step: f32| {
            format!(
                "Fame(layer: Output, loss: FakeLoss(), perturbation: FakeSteps(step: {step}, \
                 iterations: 2), map: [Gray()], read_at: [1, 2])"
            )
        };
        let (maps, warnings) = explained(&walk(1e-3)).unwrap();
        assert_eq!((maps.len(), warnings), (2, Vec::new()));
        let (maps, warnings) = explained(&walk(100.0)).unwrap();
        assert_eq!((maps.len(), warnings.len()), (2, 2), "{warnings:?}");
        let told = "image_steps_1: the walk went the wrong way: its loss rose from ";
        assert!(warnings[0].starts_with(told), "{warnings:?}");
        assert!(warnings[1].contains(" in 2 steps, so what moved is no evidence"), "{warnings:?}");
    }

    /// Its own loss says whether pictures are compared, not only what a manifest asks for.
    #[test]
    fn fast_is_short_for_a_loss_of_two_pictures_whatever_the_manifest_asks() {
        let registry = Registry::builtin().unwrap();
        let steps = |loss: &str, asked: Option<&str>| {
            let loss_asked = asked.map(|loss| Spec::from_text(loss).unwrap());
            let ask = Ask { loss: loss_asked, ..Ask::default() };
            let with = BuildContext {
                ask: &ask,
                ..BuildContext::new(&registry, std::path::Path::new("."))
            };
            let text = format!("Fame(layer: Output, loss: {loss}, preset: Fast)");
            let built = registry.build::<dyn Explainer>(&Spec::from_text(&text).unwrap(), &with);
            let parameters = built.unwrap().parameters;
            let walk = parameters.get("perturbation").and_then(|walk| walk.get("Lots")).unwrap();
            walk.get("iterations").and_then(Value::as_f64).unwrap()
        };
        assert_eq!(steps("Similarity()", None), 16.0);
        assert_eq!(steps("Dissimilarity()", Some("Similarity()")), 16.0);
        assert_eq!(steps("Logit()", None), 500.0);
        assert_eq!(steps("Logit()", Some("Similarity()")), 500.0);
    }

    #[test]
    fn a_walk_that_could_not_go_on_says_so() {
        let told = stuck("image", &Stop::ZeroGradient, 20, -4.25).unwrap();
        assert!(
            told.contains("after 20 steps, at loss -4.25") && told.contains("gradient is zero")
        );
        assert_eq!(stuck("image", &Stop::Iterations, 20, 0.0), None);
    }
}
