//! `RandomMap`: noise, the floor of every table.

use fame_core::{
    Claim, Error, Explanation, MapId, Model, Random, Result, Sample, Tensor,
    contract::{ExplainContext, Explainer},
    data::facts,
    registry::{Assembly, BuildContext, Plugin},
    seed_of,
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    aimed::check_roles,
    finish::{Draft, Finish},
};

/// A map that knows nothing: a uniform random number of 0..1 for each pixel, then the map steps.
/// What a metric says of it is what the metric says of chance. Give it the blur of the method it
/// stands beside, for removing regions and removing scattered pixels are two different things to a
/// network: a table wants both. Seeded from the item.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RandomMap {
    /// Steps from the noise to the map. Default: none; blurred as FAME's maps:
    /// `[GaussianBlur(), MinMaxNormalize()]`.
    pub map: Vec<Spec>,
    /// Which pictures of a sample get a map, by role. Default: all.
    pub roles: Option<Vec<String>>,
}

impl Plugin<dyn Explainer> for RandomMap {
    const NAME: &'static str = "RandomMap";
    const SUMMARY: &'static str = "Noise: the floor that every method must beat";
    const EXAMPLE: &'static str = "RandomMap(map: [GaussianBlur(), MinMaxNormalize()])";
    const REFERENCE: &'static str = "The random row of Rong et al., A Consistent and Efficient Evaluation Strategy (ROAD), ICML 2022, arXiv 2202.00449";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        check_roles(self.roles.as_deref(), assembly);
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let finish = Finish::build(assembly, &self.map, with);
        Some(Box::new(RandomMapExplainer { finish, roles: self.roles }))
    }
}

fame_core::register!(Explainer: RandomMap);

struct RandomMapExplainer {
    finish: Finish,
    roles: Option<Vec<String>>,
}

impl Explainer for RandomMapExplainer {
    fn check(&self, _: &Model) -> Result<()> {
        Ok(())
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        samples.iter().map(|sample| self.sample(with.seed, sample)).collect()
    }
}

impl RandomMapExplainer {
    fn sample(&self, run: u64, sample: &Sample) -> Result<Explanation> {
        let roles: Vec<String> = match &self.roles {
            Some(roles) => roles.clone(),
            None => sample.roles().map(str::to_owned).collect(),
        };
        let mut explanation = Explanation::default();
        for role in roles {
            let Some(picture) = sample.picture(&role) else {
                return Err(Error::new(
                    "fame::data::unknown_role",
                    format!("sample `{}` has no picture in the role `{role}`.", sample.id),
                ));
            };
            let seed = seed_of(run, &format!("{}/{role}/random", sample.id));
            let mut random = Random::new(seed);
            let noise =
                (0..picture.height() * picture.width()).map(|_| random.uniform() as f32).collect();
            let raw = Tensor::new([1, picture.height(), picture.width()], noise)?;
            let id = MapId::new(role).alone(sample.pictures.len() == 1).claiming(Claim::Neither);
            let facts = facts([("loss", "none: noise".into())]);
            self.finish.finish(Draft::new(id, raw).with_facts(facts), &mut explanation)?;
        }
        Ok(explanation)
    }
}

#[cfg(test)]
mod tests {
    use fame_core::Picture;

    use super::*;

    #[test]
    fn noise_belongs_to_the_item() {
        let sample = |id: &str| {
            let picture = Picture::new(Tensor::zeros([3, 4, 5]), "black").unwrap();
            Sample { id: id.into(), pictures: vec![("image".into(), picture)], ..Sample::default() }
        };
        let map = |seed, id: &str| {
            RandomMapExplainer { finish: Finish::none(), roles: None }
                .sample(seed, &sample(id))
                .unwrap()
                .maps
                .remove(0)
                .finished
        };
        assert_eq!(map(0, "a"), map(0, "a"));
        assert!(map(0, "a") != map(0, "b") && map(0, "a") != map(1, "a"));
        assert_eq!(map(0, "a").shape(), [4, 5]);
        let nobody =
            RandomMapExplainer { finish: Finish::none(), roles: Some(vec!["probe".into()]) };
        assert_eq!(nobody.sample(0, &sample("a")).unwrap_err().code, "fame::data::unknown_role");
    }
}
