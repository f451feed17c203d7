//! What CAMs and gradient methods share: they explain one scalar y, one picture and target at a
//! time, and need no walk.

use fame_core::{
    AttributionMap, Explanation, LayerChoices, Model, Result, Sample, Tensor,
    ask::{Aim, AimedRow},
    contract::{ExplainContext, Explainer, Loss},
    data::{Facts, facts},
    registry::{Assembly, BuildContext, Built},
    seed_of,
    text::Spec,
};

use super::finish::{Draft, Finish, no_map};
use crate::Preset;

/// The scalar y that is explained, and for whose pictures.
///
/// y is the loss's value **as it is**: these methods show what *raises* y, where FAME shows what
/// moves when y is *descended*. For `Logit()` both speak of the evidence for the class, for
/// `Similarity()` of what makes the pair match; `Dissimilarity()` is what tells the two apart.
pub(super) struct Scalar {
    loss: Built<dyn Loss>,
    layer: LayerChoices,
    roles: Option<Vec<String>>,
}

/// Checks that roles, where they are named, are at least one.
pub(super) fn check_roles(roles: Option<&[String]>, assembly: &mut Assembly) {
    assembly.check("roles", roles.is_none_or(|r| !r.is_empty()), "must name at least one role");
}

impl Scalar {
    /// Builds the loss.
    pub(super) fn build(
        loss: &Spec,
        layer: LayerChoices,
        roles: Option<Vec<String>>,
        with: &BuildContext<'_>,
        assembly: &mut Assembly,
    ) -> Option<Self> {
        let loss = assembly.build::<dyn Loss>("loss", loss, &Preset::of_explained_value(with))?;
        Some(Self { loss, layer, roles })
    }

    /// The loss at its layers.
    fn aim<'a>(&'a self, model: &'a Model) -> Result<Aim<'a>> {
        Aim::new(model, &self.layer, self.loss.plugin.as_ref())
    }
}

/// One picture with a frozen target, ready for a pass.
pub(super) struct InputRow {
    /// What is explained.
    pub(super) aimed: AimedRow,
    /// The network's input, `[C, H, W]`.
    pub(super) input: Tensor,
    /// Depends on the run's seed, the item's id and the row's name, never on order.
    pub(super) seed: u64,
}

/// What a method has to say about a row.
pub(super) struct MethodOutcome {
    /// The attribution before it was finished, `[C, H, W]`, signed.
    pub(super) raw: Tensor,
    /// What the map steps begin with; or why there is no map.
    pub(super) shown: std::result::Result<AttributionMap, String>,
    /// About this map.
    pub(super) facts: Facts,
    /// What a reader must know.
    pub(super) warnings: Vec<String>,
}

/// A method that explains rows.
pub(super) trait Method: Send + Sync {
    /// Refuses what cannot be explained, before anything is computed.
    fn check(&self, aim: &Aim<'_>) -> Result<()>;

    /// What holds for every map.
    fn facts(&self, aim: &Aim<'_>) -> Result<Facts>;

    /// Explains rows, at most as many as keep the backend busy. An outer error stops the batch, an
    /// inner one its row.
    fn explain(
        &self,
        with: &ExplainContext<'_>,
        aim: &Aim<'_>,
        rows: &[InputRow],
    ) -> Result<Vec<Result<MethodOutcome>>>;
}

/// A method with its scalar and its map steps: the explainer.
pub(super) struct AimedExplainer<M> {
    pub(super) scalar: Scalar,
    pub(super) method: M,
    pub(super) finish: Finish,
}

impl<M: Method> Explainer for AimedExplainer<M> {
    fn check(&self, model: &Model) -> Result<()> {
        self.method.check(&self.scalar.aim(model)?)
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        // What stops the whole batch (the network itself failed) is every sample's error.
        self.explain_batch(with, samples)
            .unwrap_or_else(|e| samples.iter().map(|_| Err(e.clone())).collect())
    }
}

impl<M: Method> AimedExplainer<M> {
    fn explain_batch(
        &self,
        with: &ExplainContext<'_>,
        samples: &[Sample],
    ) -> Result<Vec<Result<Explanation>>> {
        let aim = self.scalar.aim(with.model)?;
        let mut shared =
            facts([("loss", self.scalar.loss.record()), ("loss_layers", aim.layer_facts())]);
        shared.append(&mut self.method.facts(&aim)?);
        let (mut waiting, mut results) = (Vec::new(), Vec::new());
        for (n, sample) in samples.iter().enumerate() {
            let begun = aim
                .rows(sample, self.scalar.roles.as_deref())
                .map_err(|e| e.at(format!("loss {}", self.scalar.loss.name)));
            results.push(begun.map(|rows| {
                waiting.extend(rows.into_iter().map(|row| (n, row)));
                Explanation { facts: shared.clone(), ..Explanation::default() }
            }));
        }
        // Inputs are made a few rows at a time, so that memory does not grow with the number of
        // targets.
        for chunk in waiting.chunks(with.model.network.preferred_rows().max(1)) {
            let rows = chunk.iter().map(|(n, aimed)| {
                let input = aim.input(&samples[*n], &aimed.id.role)?;
                let seed = seed_of(with.seed, &format!("{}/{}", samples[*n].id, aimed.name()));
                Ok(InputRow { aimed: aimed.clone(), input, seed })
            });
            let made = self.method.explain(with, &aim, &rows.collect::<Result<Vec<_>>>()?)?;
            for ((n, aimed), made) in chunk.iter().zip(made) {
                let Ok(explanation) = &mut results[*n] else { continue };
                let attached = made
                    .map_err(|e| e.at(aimed.name()))
                    .and_then(|made| self.attach(aimed, made, explanation));
                if let Err(e) = attached {
                    results[*n] = Err(e);
                }
            }
        }
        Ok(results)
    }

    /// Puts the finished map, or the reason why there is none, into the explanation.
    fn attach(&self, aimed: &AimedRow, made: MethodOutcome, into: &mut Explanation) -> Result<()> {
        let name = aimed.name();
        into.warnings.extend(made.warnings.into_iter().map(|w| format!("{name}: {w}")));
        match made.shown {
            Err(why) => {
                no_map(&aimed.id, &why, into);
                Ok(())
            }
            Ok(shown) => {
                let draft = Draft { shown, ..Draft::of_row(aimed, made.raw) };
                self.finish.finish(draft.with_facts(made.facts), into)
            }
        }
    }
}
