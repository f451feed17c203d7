//! `RandomMap`: noise, the floor of every table.

use fame_core::{
    Claim, Error, Explanation, LayerChoices, MapId, Model, Random, Result, Sample, Tensor,
    ask::Aim,
    contract::{ExplainContext, Explainer, Loss},
    data::facts,
    registry::{Assembly, BuildContext, Built, Plugin},
    seed_of,
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    aimed::check_roles,
    finish::{Draft, Finish},
};
use crate::ask::{usual_layer, usual_loss};

/// A map that knows nothing: a uniform random number of 0..1 for each pixel, then the map steps.
/// What a metric says of it is what the metric says of chance. Give it the blur of the method it
/// stands beside, for removing regions and removing scattered pixels are two different things to a
/// network: a table wants both. Seeded from the item and the map's name.
///
/// There is one map for each thing that the loss asks about, called after it as other explainers'
/// maps are (`class_281`), so that they stand side by side in sheets and tables. This name is all
/// that it knows of the network. Where no loss is given and the usual one cannot be asked here (a
/// match of a picture that has no other), the map is called after its picture.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RandomMap {
    /// Steps from the noise to the map. Default: none; blurred as FAME's maps:
    /// `[GaussianBlur(), MinMaxNormalize()]`.
    pub map: Vec<Spec>,
    /// What the maps beside it explain: it is called after that. Default: what the model's
    /// manifest asks for, else `Logit()`.
    pub loss: Option<Spec>,
    /// The layer the loss reads. Default: the one in the model's manifest, else its `Output`.
    pub loss_layer: Option<LayerChoices>,
    /// Which pictures of a sample get a map, by role. Default: all.
    pub roles: Option<Vec<String>>,
}

impl Plugin<dyn Explainer> for RandomMap {
    const NAME: &'static str = "RandomMap";
    const SUMMARY: &'static str = "Noise: the floor that every method must beat";
    const CLAIM: &'static str =
        "Shows noise: the floor that every method must beat; it shows nothing about the answer.";
    const EXAMPLE: &'static str = "RandomMap(map: [GaussianBlur(), MinMaxNormalize()])";
    const REFERENCE: &'static str = "The random row of Rong et al., A Consistent and Efficient Evaluation Strategy (ROAD), ICML 2022, arXiv 2202.00449";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        check_roles(self.roles.as_deref(), assembly);
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let finish = Finish::build(assembly, &self.map, with);
        let is_given = self.loss.is_some() || self.loss_layer.is_some();
        let spec = self.loss.unwrap_or_else(|| usual_loss(with));
        let loss = assembly.build::<dyn Loss>("loss", &spec, with)?;
        let layer = self.loss_layer.unwrap_or_else(|| usual_layer(with));
        Some(Box::new(Noise { loss, is_given, layer, finish, roles: self.roles }))
    }
}

fame_core::register!(Explainer: RandomMap);

struct Noise {
    /// What the maps are called after.
    loss: Built<dyn Loss>,
    /// Whether the recipe names it or its layer: then what cannot be asked is an error.
    is_given: bool,
    layer: LayerChoices,
    finish: Finish,
    roles: Option<Vec<String>>,
}

impl Explainer for Noise {
    fn check(&self, model: &Model) -> Result<()> {
        if self.is_given { self.aim(model).map(|_| ()) } else { Ok(()) }
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        samples.iter().map(|sample| self.sample(with, sample)).collect()
    }
}

impl Noise {
    fn aim<'a>(&'a self, model: &'a Model) -> Result<Aim<'a>> {
        Aim::new(model, &self.layer, self.loss.plugin.as_ref())
    }

    /// A name for each picture that is asked for, as it stands alone or among others.
    fn pictures(&self, sample: &Sample) -> Vec<MapId> {
        let every = || sample.roles().map(str::to_owned).collect();
        let roles = self.roles.clone().unwrap_or_else(every);
        let alone = sample.pictures.len() == 1;
        roles.into_iter().map(|role| MapId::new(role).alone(alone)).collect()
    }

    fn sample(&self, with: &ExplainContext<'_>, sample: &Sample) -> Result<Explanation> {
        let asked = self.aim(with.model).and_then(|aim| aim.rows(sample, self.roles.as_deref()));
        let named = match asked {
            Ok(rows) => rows.into_iter().map(|row| row.id).collect(),
            Err(error) if self.is_given => return Err(error),
            Err(_) => self.pictures(sample),
        };
        let mut explanation = Explanation::default();
        // Both sides of a match, and whatever else differs in its claim only, are one thing here.
        let mut ids: Vec<MapId> = Vec::new();
        for id in named.into_iter().map(|id| id.claiming(Claim::Neither)) {
            if ids.contains(&id) {
                continue;
            }
            let missing = || unknown_role(sample, &id.role);
            let picture = sample.picture(&id.role).ok_or_else(missing)?;
            let seed = seed_of(with.seed, &format!("{}/{}/random", sample.id, id.name()));
            let mut random = Random::new(seed);
            let noise =
                (0..picture.height() * picture.width()).map(|_| random.uniform() as f32).collect();
            let raw = Tensor::new([1, picture.height(), picture.width()], noise)?;
            let facts = facts([("loss", "none: noise".into())]);
            self.finish.finish(Draft::new(id.clone(), raw).with_facts(facts), &mut explanation)?;
            ids.push(id);
        }
        Ok(explanation)
    }
}

fn unknown_role(sample: &Sample, role: &str) -> Error {
    Error::new(
        "fame::data::unknown_role",
        format!("sample `{}` has no picture in the role `{role}`.", sample.id),
    )
}

#[cfg(test)]
mod tests {
    use fame_core::{
        LayerChoice, NamedMap,
        contract::Silent,
        testkit::{self, SIZE},
    };

    use super::*;

    fn explained(spec: &str, seed: u64, id: &str, roles: &[&str]) -> Result<Explanation> {
        let explainer = testkit::build::<dyn Explainer>(spec)?;
        let model = testkit::model()?;
        explainer.plugin.check(&model)?;
        let with = ExplainContext { model: &model, seed, progress: &Silent };
        explainer.plugin.explain(&with, &[testkit::sample(id, roles, SIZE)?]).swap_remove(0)
    }

    #[test]
    fn noise_belongs_to_the_item() {
        let map = |seed, id: &str| {
            let spec = "RandomMap(loss: Logit(class: Index(0)))";
            explained(spec, seed, id, &["image"]).unwrap().maps.remove(0).finished
        };
        assert_eq!(map(0, "a"), map(0, "a"));
        assert!(map(0, "a") != map(0, "b") && map(0, "a") != map(1, "a"));
        assert_eq!(map(0, "a").shape(), [SIZE, SIZE]);
        let nobody = explained("RandomMap(roles: [\"probe\"])", 0, "a", &["image"]);
        assert_eq!(nobody.unwrap_err().code, "fame::data::unknown_role");
    }

    #[test]
    fn it_is_called_as_the_maps_beside_it() {
        let names = |spec: &str, roles: &[&str]| -> Vec<String> {
            explained(spec, 0, "a", roles).unwrap().maps.iter().map(NamedMap::name).collect()
        };
        let one = &["image"];
        assert_eq!(names("RandomMap()", one), names("Saliency()", one));
        let second = "loss: Logit(class: Index(1))";
        assert_eq!(names(&format!("RandomMap({second})"), one), ["class_1"]);
        // Noise takes no side of a match: one map for each picture.
        let pair = names("RandomMap(loss: Similarity())", &["left", "right"]);
        assert_eq!(pair, ["left", "right"]);
    }

    #[test]
    fn what_cannot_be_asked_leaves_the_picture_for_a_name_unless_the_recipe_asks_it() {
        let (model, sample) =
            (testkit::model().unwrap(), testkit::sample("a", &["image"], SIZE).unwrap());
        let named = |is_given| {
            // A match of one picture.
            let loss = testkit::build::<dyn Loss>("Similarity()").unwrap();
            let (layer, finish) = (LayerChoice::Output.into(), Finish::none());
            let noise = Noise { loss, is_given, layer, finish, roles: None };
            let with = ExplainContext { model: &model, seed: 0, progress: &Silent };
            let explanation = noise.sample(&with, &sample)?;
            Ok::<_, Error>(explanation.maps.iter().map(NamedMap::name).collect::<Vec<_>>())
        };
        assert_eq!(named(false).unwrap(), ["image"]);
        assert_eq!(named(true).unwrap_err().code, "fame::data::not_a_pair");
    }
}
