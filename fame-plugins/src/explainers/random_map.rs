//! `RandomMap`: noise, the floor of every table.

use fame_core::{
    Claim, Error, Explanation, LayerChoices, MapId, Model, Random, Result, Sample, Tensor,
    ask::Aim,
    contract::{ExplainContext, Explainer, Loss},
    data::facts,
    registry::{Assembly, BuildContext, Built, Parameters, Plugin},
    seed_of,
    text::Spec,
};

use super::{
    aimed::check_roles,
    finish::{Draft, Finish},
};
use crate::ask::{usual_layer, usual_loss};

fame_core::parameters! {
    /// A map that knows nothing: a uniform random number of 0..1 for each pixel, then the map
    /// steps. What a metric says of it is what the metric says of chance. Give it the blur of the
    /// method it stands beside, for removing regions and removing scattered pixels are two
    /// different things to a network: a table wants both. Seeded from the item and the map's name.
    ///
    /// There is one map for each thing that the loss asks about, called after it as other
    /// explainers' maps are (`class_281`), so that they stand side by side in sheets and tables.
    /// Nothing but its name depends on the network.
    pub struct RandomMap {
        /// Steps from the noise to the map. Default: none; blurred as FAME's maps:
        /// `[GaussianBlur(), MinMaxNormalize()]`.
        map: Vec<Spec> = Vec::new(),
        /// What the maps beside it explain: it is called after that. Default: what the model's
        /// manifest asks for, else `Logit()`.
        loss: Spec = open,
        /// The layer the loss reads. Default: the one in the model's manifest, else its `Output`.
        loss_layer: LayerChoices = open,
        /// Which pictures of a sample get a map, by role. Default: all.
        roles: Option<Vec<String>> = None,
    }
}

impl Parameters for RandomMap {
    type Typed = typed::RandomMap;

    fn fill(typed: typed::RandomMap, with: &BuildContext<'_>, _: &mut Assembly) -> Option<Self> {
        Some(typed.or(usual_loss(with), usual_layer(with)))
    }
}

impl Plugin<dyn Explainer> for RandomMap {
    const NAME: &'static str = "RandomMap";
    const SUMMARY: &'static str = "Noise: the floor that every method must beat";
    const CLAIM: &'static str = "Shows noise: the floor that every method must beat; it shows nothing about the answer.";
    const EXAMPLE: &'static str = "RandomMap(map: [GaussianBlur(), MinMaxNormalize()])";
    const REFERENCE: &'static str = "The random row of Rong et al., A Consistent and Efficient Evaluation Strategy (ROAD), ICML 2022, arXiv 2202.00449";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        check_roles(self.roles.as_deref(), assembly);
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let finish = Finish::build(assembly, &self.map, with);
        let loss = assembly.build::<dyn Loss>("loss", &self.loss, with)?;
        Some(Box::new(Noise { loss, layer: self.loss_layer, finish, roles: self.roles }))
    }
}

fame_core::register!(Explainer: RandomMap);

struct Noise {
    /// What the maps are called after.
    loss: Built<dyn Loss>,
    layer: LayerChoices,
    finish: Finish,
    roles: Option<Vec<String>>,
}

impl Explainer for Noise {
    fn check(&self, model: &Model) -> Result<()> {
        self.aim(model).map(|_| ())
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        samples.iter().map(|sample| self.sample(with, sample)).collect()
    }
}

impl Noise {
    fn aim<'a>(&'a self, model: &'a Model) -> Result<Aim<'a>> {
        Aim::new(model, &self.layer, self.loss.plugin.as_ref())
    }

    fn sample(&self, with: &ExplainContext<'_>, sample: &Sample) -> Result<Explanation> {
        let rows = self.aim(with.model)?.rows(sample, self.roles.as_deref())?;
        let mut explanation = Explanation::default();
        // Both sides of a match, and whatever else differs in its claim only, are one thing here.
        let mut ids: Vec<MapId> = Vec::new();
        for id in rows.into_iter().map(|row| row.id.claiming(Claim::Neither)) {
            if ids.contains(&id) {
                continue;
            }
            let missing = || Error::bug(format!("`{}` has no picture `{}`.", sample.id, id.role));
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

#[cfg(test)]
mod tests {
    use fame_core::{
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
        assert_eq!(nobody.unwrap_err().code, "fame::explain::unknown_role");
    }

    #[test]
    fn it_is_called_as_the_maps_beside_it() {
        let names = |spec: &str, roles: &[&str]| -> Vec<String> {
            explained(spec, 0, "a", roles).unwrap().maps.iter().map(|m| m.name()).collect()
        };
        let one = &["image"];
        assert_eq!(names("RandomMap()", one), names("Saliency()", one));
        let second = "loss: Logit(class: Index(1))";
        assert_eq!(names(&format!("RandomMap({second})"), one), ["class_1"]);
        // Noise takes no side of a match: one map for each picture.
        let pair = names("RandomMap(loss: Similarity())", &["left", "right"]);
        assert_eq!(pair, ["left", "right"]);
    }
}
