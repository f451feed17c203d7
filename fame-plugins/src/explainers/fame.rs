//! `Fame`: walk the picture along its own loss gradient, and read what moved.

use std::collections::BTreeMap;

use fame_core::{
    AttributionMap, Error, Explanation, Layer, LayerChoices, Model, NamedMap, Place, Preset, Result, Sample, Taps, Target, TargetRequest,
    Tensor,
    contract::{ExplainContext, Explainer, Loss, MapStep, Perturbation, Reference, Start, Stop},
    model::ChannelOrder,
    recipe::Spec,
    record::{Facts, Value, facts},
    registry::{BuildContext, Built, Parts, Plugin},
    run::{Row, WalkedRow, walk_rows},
    seed_of,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// FAME: from the clean picture x the perturbation walks down the gradient of the loss at the target layer; the field |x̄ − x| that is left, grayed,
/// blurred and normalised, is the explanation. One map per picture, target and finish.
///
/// Layer, loss, perturbation and map steps are all the recipe's choice. A picture whose loss cannot be moved (a dead cell, a pair below the stop rule at the
/// start) has no map, and a warning says why.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fame {
    /// The target layer: a tensor's name or an alias in quotes, or `LastConv`, `BeforePooling`, `Output`; a list for losses that read several.
    pub layer: LayerChoices,
    /// What to descend.
    pub loss: Spec,
    /// How to walk. Default: `Lots()`, the paper's 500 steps of 1/255.
    #[serde(default)]
    pub perturbation: Option<Spec>,
    /// Steps from what moved to the map. Default: the preset's gray, blur and normalisation.
    #[serde(default)]
    pub map: Option<Vec<Spec>>,
    /// Several finishes of the same walk by name, in place of `map`: `{"sigma_2": [Gray(), …], …}`.
    #[serde(default)]
    pub maps: Option<BTreeMap<String, Vec<Spec>>>,
    /// Which pictures of a sample to explain, by role (`"probe"`, `"gallery"`). Default: all, each against the other frozen.
    #[serde(default)]
    pub roles: Option<Vec<String>>,
    /// Which published form the defaults inside follow: `Paper` or `Authors`. Default: the recipe's.
    #[serde(default)]
    pub preset: Option<Preset>,
}

impl Plugin<dyn Explainer> for Fame {
    const NAME: &'static str = "Fame";
    const SUMMARY: &'static str = "Walks the picture along its own loss gradient and reads what moved";
    const EXAMPLE: &'static str = r#"Fame(layer: "embedding", loss: Similarity(), perturbation: Lots(iterations: 100))"#;
    const REFERENCE: &'static str = "Zhang & Günther, FAME (2026), arXiv 2605.12017";

    fn resolve(&mut self, with: &BuildContext<'_>, parts: &mut Parts) {
        let preset = *self.preset.get_or_insert(with.preset);
        let spec = |text: &str| Spec::from_text(text).ok();
        if self.perturbation.is_none() {
            self.perturbation = spec("Lots()");
        }
        if self.map.is_some() && self.maps.is_some() {
            parts.report("maps", "`map` and `maps` exclude each other: give one finish, or several by name.");
        }
        if self.map.is_none() && self.maps.is_none() {
            let steps: &[&str] = match preset {
                Preset::Paper => &["Gray()", "GaussianBlur(kernel: 49, sigma: 7.7)", "MaxNormalize()"],
                // The authors divide by the maximum before blurring; after min-max it only shows next to ε.
                Preset::Authors => &["Gray()", "MaxNormalize()", "GaussianBlur(kernel: 49, sigma: 7.7)", "MinMaxNormalize()"],
            };
            self.map = Some(steps.iter().filter_map(|s| spec(s)).collect());
        }
        for name in self.maps.iter().flat_map(BTreeMap::keys) {
            parts.check(
                "maps",
                !name.is_empty() && fame_core::contract::safe_id(name) == *name,
                "needs names of letters, digits, `.`, `_` and `-`",
            );
        }
        parts.check("roles", self.roles.as_ref().is_none_or(|r| !r.is_empty()), "must name at least one role");
    }

    fn build(self, with: &BuildContext<'_>, parts: &mut Parts) -> Option<Box<dyn Explainer>> {
        let with = BuildContext { preset: self.preset.unwrap_or(with.preset), ..*with };
        let loss = parts.build::<dyn Loss>("loss", &self.loss, &with);
        let perturbation = parts.build::<dyn Perturbation>("perturbation", &self.perturbation?, &with);
        let named = match (self.map, self.maps) {
            (Some(map), _) => vec![(String::new(), parts.build_all("map", &map, &with))],
            (None, maps) => {
                let built = |(name, specs): (String, Vec<Spec>)| {
                    let steps = parts.build_all(&format!("maps.{name}"), &specs, &with);
                    (name, steps)
                };
                maps.unwrap_or_default().into_iter().map(built).collect()
            }
        };
        let finishes = named.into_iter().map(|(name, steps)| Finish { name, steps }).collect();
        Some(Box::new(Running { layer: self.layer, loss: loss?, perturbation: perturbation?, finishes, roles: self.roles }))
    }
}

fame_core::register!(Explainer: Fame);

/// One way to finish a map.
struct Finish {
    name: String,
    steps: Vec<Built<dyn MapStep>>,
}

/// FAME with all its parts built.
struct Running {
    layer: LayerChoices,
    loss: Built<dyn Loss>,
    perturbation: Built<dyn Perturbation>,
    finishes: Vec<Finish>,
    roles: Option<Vec<String>>,
}

/// A row's place: which sample, which role.
struct RowPlace {
    sample: usize,
    role: String,
}

impl Explainer for Running {
    fn check(&self, model: &Model) -> Result<()> {
        for layer in self.layers(model)? {
            model.network.check_gradient(&layer.name, &Place::Input)?;
        }
        Ok(())
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        match self.explain_batch(with, samples) {
            Ok(results) => results,
            // What stops the whole batch (the network itself failed) is every sample's error.
            Err(e) => samples.iter().map(|_| Err(e.clone())).collect(),
        }
    }
}

impl Running {
    fn layers<'m>(&self, model: &'m Model) -> Result<Vec<&'m Layer>> {
        self.layer.0.iter().map(|choice| model.layer(choice)).collect()
    }

    fn explain_batch(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Result<Vec<Result<Explanation>>> {
        let layers = self.layers(with.model)?;
        let names: Vec<String> = layers.iter().map(|l| l.name.clone()).collect();
        let mut places = Vec::new();
        let mut rows = Vec::new();
        let mut results: Vec<Result<Explanation>> = Vec::new();
        for (n, sample) in samples.iter().enumerate() {
            match self.rows(with, &names, sample) {
                Ok(of_sample) => {
                    results.push(Ok(Explanation { facts: self.facts(&layers), ..Explanation::default() }));
                    for (role, row) in of_sample {
                        places.push(RowPlace { sample: n, role });
                        rows.push(row);
                    }
                }
                Err(e) => results.push(Err(e)),
            }
        }
        let walked = walk_rows(with.model.network.as_ref(), &names, self.loss.plugin.as_ref(), rows, with.progress)?;
        for (place, row) in places.into_iter().zip(walked) {
            let result = &mut results[place.sample];
            if let Ok(explanation) = result
                && let Err(e) = self.finish(with.model, &place.role, samples[place.sample].pictures.len(), row, explanation)
            {
                *result = Err(e);
            }
        }
        Ok(results)
    }

    /// What holds for all maps of an explanation.
    fn facts(&self, layers: &[&Layer]) -> Facts {
        let shown = layers.iter().map(|l| {
            Value::Map(facts([("name", l.name.as_str().into()), ("op", l.op.as_str().into()), ("shape", l.shape.clone().into())]))
        });
        facts([("layers", Value::List(shown.collect())), ("loss", self.loss.record()), ("perturbation", self.perturbation.record())])
    }

    /// The rows of one sample: every explained role, every target.
    fn rows(&self, with: &ExplainContext<'_>, layers: &[String], sample: &Sample) -> Result<Vec<(String, Row)>> {
        let roles = self.explained_roles(sample)?;
        let clean = clean_outputs(with.model, layers, sample)?;
        let mut rows = Vec::new();
        for role in roles {
            let outputs = &clean[&role];
            let reference: &[Tensor] = match self.loss.plugin.reference() {
                Reference::None => &[],
                Reference::OtherRole => &clean[sample.other_role(&role)?],
            };
            let input = &with.model.manifest.input;
            let labels = &with.model.labels;
            let about =
                TargetRequest { sample, role: &role, layers, clean: outputs, reference, input_size: (input.height, input.width), labels };
            for target in self.loss.plugin.targets(&about).map_err(|e| e.at(format!("loss {}", self.loss.name)))? {
                rows.push((role.clone(), self.row(with, sample, &role, target)?));
            }
        }
        Ok(rows)
    }

    fn explained_roles(&self, sample: &Sample) -> Result<Vec<String>> {
        let known: Vec<&str> = sample.roles().collect();
        let Some(roles) = &self.roles else { return Ok(known.into_iter().map(String::from).collect()) };
        if let Some(wrong) = roles.iter().find(|r| !known.contains(&r.as_str())) {
            let mut e = Error::new("fame::explain::unknown_role", format!("sample `{}` has no picture in the role `{wrong}`.", sample.id));
            e.help = fame_core::recipe::suggestion(wrong, &known, "role");
            return Err(e);
        }
        Ok(roles.clone())
    }

    fn row(&self, with: &ExplainContext<'_>, sample: &Sample, role: &str, target: Target) -> Result<Row> {
        let convention = &with.model.manifest.input;
        let picture = sample.picture(role).ok_or_else(|| Error::bug(format!("role `{role}` vanished.")))?;
        let pixels = convention.pixels(&picture.pixels)?;
        let seed = seed_of(with.seed, &format!("{}/{role}/{}", sample.id, target.name));
        let walk = self.perturbation.plugin.start(&Start { pixels: &pixels, convention, seed })?;
        Ok(Row { walk, target, max_steps: self.perturbation.plugin.max_steps() })
    }

    /// Turns a walked row into maps, or a warning.
    fn finish(&self, model: &Model, role: &str, pictures: usize, row: WalkedRow, into: &mut Explanation) -> Result<()> {
        // With one picture the role adds nothing to a map's name, unless there is nothing else to name it by.
        let parts: Vec<&str> = [if pictures > 1 || row.target.name.is_empty() { role } else { "" }, &row.target.name]
            .into_iter()
            .filter(|p| !p.is_empty())
            .collect();
        let name = parts.join("_");
        let field = row.walk.field();
        if let Some(why) = unmoved(&row, &field) {
            into.warnings.push(format!("{name} has no map: {why}"));
            return Ok(());
        }
        let mut about = row.target.facts.clone();
        about.append(&mut row.walk.facts());
        about.append(&mut facts([
            ("loss_before", row.loss_before.into()),
            ("loss_after", row.loss_after.into()),
            ("steps", row.steps.into()),
            ("stop", row.stop.to_string().into()),
        ]));
        for finish in &self.finishes {
            let mut map = AttributionMap { values: field.clone(), channels: channel_names(model.manifest.input.order) };
            for step in &finish.steps {
                map = step.plugin.apply(map).map_err(|e| e.at(format!("{name}: map step {}", step.name)))?;
            }
            let mut facts = about.clone();
            facts.insert("map_steps".into(), Value::List(finish.steps.iter().map(Built::record).collect()));
            let name = if finish.name.is_empty() { name.clone() } else { format!("{name}_{}", finish.name) };
            let finished = flat(map.values)?;
            into.maps.push(NamedMap { name, role: role.to_owned(), raw: field.clone(), finished, frame: row.target.frame, facts });
        }
        Ok(())
    }
}

/// Why a row has nothing to show, if so.
fn unmoved(row: &WalkedRow, field: &Tensor) -> Option<String> {
    if !field.is_finite() || row.stop == Stop::NotFinite {
        return Some(format!("the loss or its gradient became NaN or infinite after {} steps.", row.steps));
    }
    if field.max_abs() > 0.0 {
        return None;
    }
    Some(match row.stop {
        Stop::ZeroGradient => format!("no pixel moves its loss ({}): the gradient is zero.", row.loss_before),
        _ => format!("the walk stopped before its first step ({}, loss {}).", row.stop, row.loss_before),
    })
}

/// Clean outputs of `layers` by role.
fn clean_outputs(model: &Model, layers: &[String], sample: &Sample) -> Result<BTreeMap<String, Vec<Tensor>>> {
    let inputs = sample.pictures.iter().map(|(_, p)| model.manifest.input.to_input(&p.pixels)).collect::<Result<Vec<_>>>()?;
    let pass = model.network.forward(&Tensor::stack(&inputs)?, &Taps::of(layers.iter().cloned()))?;
    let outputs = layers.iter().map(|l| pass.output(l)).collect::<Result<Vec<_>>>()?;
    if let Some((layer, _)) = layers.iter().zip(&outputs).find(|(_, o)| !o.is_finite()) {
        return Err(Error::new(
            "fame::explain::not_finite",
            format!("layer `{layer}` is NaN or infinite on the clean picture of sample `{}`.", sample.id),
        )
        .with_help("The model or its input convention (mean, std, channel order) is broken: see the manifest."));
    }
    Ok(sample.roles().enumerate().map(|(n, role)| (role.to_owned(), outputs.iter().map(|o| o.row_tensor(n)).collect())).collect())
}

fn channel_names(order: ChannelOrder) -> Vec<String> {
    let names: &[&str] = match order {
        ChannelOrder::Rgb => &["R", "G", "B"],
        ChannelOrder::Bgr => &["B", "G", "R"],
        ChannelOrder::Gray => &["Y"],
    };
    names.iter().map(|n| (*n).to_owned()).collect()
}

/// `[1, H, W]` becomes `[H, W]`; several channels stay.
fn flat(values: Tensor) -> Result<Tensor> {
    match values.shape() {
        &[1, h, w] => values.reshaped([h, w]),
        _ => Ok(values),
    }
}
