//! `Randomized`: what an explainer says of networks that have forgotten, stage by stage, what they
//! learnt.

use std::sync::{Arc, Mutex, PoisonError};

use fame_core::{
    Error, Explanation, Model, Result, Sample,
    contract::{Backend, ExplainContext, Explainer},
    data::{Value, facts},
    registry::{Assembly, BuildContext, Built, Plugin},
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backends::{
    random_weights::{Layers, count, load},
    tract::Tract,
};

/// How layers forget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Forgetting {
    /// Cumulatively, from the output down: stage n has the last n layers drawn anew.
    #[default]
    Cascading,
    /// One layer at a time: stage n has only the n-th layer from the output drawn anew.
    Independent,
}

/// Adebayo et al.'s model randomisation: explains the same pictures with the weights of some layers
/// drawn anew (see the backend `RandomWeights`), one map for each map of the explainer and each
/// stage, named `{map}_last_{n}` or `{map}_only_{n}`. A map that looks the same when the network
/// knows nothing any more shows the picture, not the network: the metric `MapSimilarity(to: …)`
/// puts a number to it. The class must be the same on all networks: use `Label` or `Index`, not
/// `Predicted`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Randomized {
    /// The explainer that is put to the test.
    pub of: Spec,
    /// `Cascading` or `Independent`.
    #[serde(default)]
    pub forgetting: Forgetting,
    /// The stages, by layers counted from the output, 1 being the last. Default: five, evenly from
    /// the last to all.
    #[serde(default)]
    pub stages: Option<Vec<usize>>,
    /// Seed of the weights.
    #[serde(default)]
    pub seed: u64,
    /// What runs the networks that forget. Default: `Tract()`.
    #[serde(default = "tract")]
    pub backend: Spec,
}

fn tract() -> Spec {
    Spec::named(Tract::NAME)
}

impl Plugin<dyn Explainer> for Randomized {
    const NAME: &'static str = "Randomized";
    const SUMMARY: &'static str =
        "Another explainer on networks with weights drawn anew: the sanity check";
    const CLAIM: &'static str = "Shows the method on a network with weights drawn anew: if the map looks as before, the method does not show what was learnt.";
    const EXAMPLE: &'static str = "Randomized(of: Saliency(), stages: [1, 5, 20])";
    const REFERENCE: &'static str =
        "Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, arXiv 1810.03292";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        let good = self.stages.as_ref().is_none_or(|s| !s.is_empty() && s.iter().all(|n| *n > 0));
        assembly.check("stages", good, "must hold at least one number, each from 1");
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let of = assembly.build::<dyn Explainer>("of", &self.of, with);
        let backend = assembly.build::<dyn Backend>("backend", &self.backend, with);
        let Self { forgetting, stages, seed, .. } = self;
        Some(Box::new(RandomizedExplainer {
            of: of?,
            backend: backend?,
            forgetting,
            stages,
            seed,
            loaded: Mutex::default(),
        }))
    }
}

fame_core::register!(Explainer: Randomized);

struct RandomizedExplainer {
    of: Built<dyn Explainer>,
    backend: Built<dyn Backend>,
    forgetting: Forgetting,
    stages: Option<Vec<usize>>,
    seed: u64,
    /// The networks of all stages, once the first picture asked for them: they are the same for
    /// every picture.
    loaded: Mutex<Option<Stages>>,
}

type Stages = Arc<Vec<(String, Model)>>;

impl Explainer for RandomizedExplainer {
    fn check(&self, model: &Model) -> Result<()> {
        self.of.plugin.check(model)?;
        self.stages_of(model).map(|_| ())
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        if with.model.network.is_rehearsal() {
            return self.of.plugin.explain(with, samples);
        }
        let stages = match self.networks(with.model) {
            Ok(stages) => stages,
            Err(e) => return samples.iter().map(|_| Err(e.clone())).collect(),
        };
        let mut all: Vec<Result<Explanation>> =
            samples.iter().map(|_| Ok(Explanation::default())).collect();
        for (stage, model) in stages.iter() {
            let there = ExplainContext { model, ..*with };
            for (whole, one) in all.iter_mut().zip(self.of.plugin.explain(&there, samples)) {
                match (one, &mut *whole) {
                    (Ok(one), Ok(whole)) => add(whole, one, stage),
                    // A network of random weights may leave nothing to explain, a dead gradient
                    // say: that is a finding.
                    (Err(e), Ok(whole)) => whole.warnings.push(format!("{stage}: {e}")),
                    (_, Err(_)) => {}
                }
            }
        }
        all
    }
}

/// Adds what was found at a stage, named after it.
fn add(whole: &mut Explanation, one: Explanation, stage: &str) {
    whole.warnings.extend(one.warnings.into_iter().map(|w| format!("{stage}: {w}")));
    whole.maps.extend(one.maps.into_iter().map(|mut map| {
        map.id.stage = Some(match map.id.stage {
            Some(inner) => format!("{inner}_{stage}"),
            None => stage.to_owned(),
        });
        map.facts.insert("stage".into(), stage.into());
        map
    }));
    if whole.facts.is_empty() {
        whole.facts = facts([("explainer", Value::Map(one.facts))]);
    }
}

impl RandomizedExplainer {
    /// The stages by layers from the output.
    fn stages_of(&self, model: &Model) -> Result<Vec<usize>> {
        let layers = count(&model.file)?;
        let Some(stages) = &self.stages else {
            let mut even: Vec<usize> =
                [0, 1, 2, 3, 4].iter().map(|k| 1 + (layers.max(1) - 1) * k / 4).collect();
            even.dedup();
            return Ok(even);
        };
        if let Some(n) = stages.iter().find(|n| **n > layers) {
            let message = format!(
                "model `{}` has {layers} layers with weights, and stage {n} is asked for.",
                model.manifest.name
            );
            return Err(Error::new("fame::backend::no_such_layer", message)
                .with_help("Stages count layers from the output."));
        }
        Ok(stages.clone())
    }

    fn networks(&self, model: &Model) -> Result<Stages> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stages) = &*loaded {
            return Ok(stages.clone());
        }
        let request = model.load_request();
        let stage = |n: usize| -> Result<(String, Model)> {
            let (name, layers) = match self.forgetting {
                Forgetting::Cascading => (format!("last_{n}"), Layers::Last(n)),
                Forgetting::Independent => (format!("only_{n}"), Layers::Only(n)),
            };
            let network = load(self.backend.plugin.as_ref(), &request, layers, self.seed)?;
            Ok((name, model.with_network(network)))
        };
        let stages: Stages =
            Arc::new(self.stages_of(model)?.into_iter().map(stage).collect::<Result<_>>()?);
        *loaded = Some(stages.clone());
        Ok(stages)
    }
}
