//! `Dissimilarity`: 1 − s, descended: which pixels keep the pair from matching better (e−).

use fame_core::{
    Claim, Result, Target, TargetRequest, Tensor,
    contract::{Evaluation, Loss, Reference, per_row},
    registry::{BuildContext, Parts, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cosine::{Norms, reference_target, similarity_and_gradient};

/// Descends `1 − s`, that is, raises the cosine similarity to the other picture's embedding, which
/// stays frozen: moving what keeps the two apart (the paper's e−, Eq. 6, L− = 1 − s). Value in
/// 0..=2.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dissimilarity {
    /// Whether the embedding's length takes part in the derivative. Default: `Frozen` (preset
    /// Paper), `Live` (preset Authors).
    pub norms: Option<Norms>,
}

impl Plugin<dyn Loss> for Dissimilarity {
    const NAME: &'static str = "Dissimilarity";
    const SUMMARY: &'static str =
        "1 − s, descended: which pixels keep the pair from matching better (e−)";
    const EXAMPLE: &'static str = "Dissimilarity(norms: Frozen)";
    const REFERENCE: &'static str = "Zhang & Günther, FAME (2026), Eq. 6";

    fn resolve(&mut self, with: &BuildContext<'_>, _: &mut Parts) {
        self.norms.get_or_insert(Norms::of(with.preset));
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Parts) -> Option<Box<dyn Loss>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Loss: Dissimilarity);

impl Loss for Dissimilarity {
    fn reference(&self) -> Reference {
        Reference::OtherRole
    }

    fn targets(&self, about: &TargetRequest<'_>) -> Result<Vec<Target>> {
        reference_target(about, Claim::Against)
    }

    fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation> {
        let norms = self.norms.unwrap_or(Norms::Frozen);
        per_row(outputs, targets, |phi, target, gradient| {
            let s = similarity_and_gradient(phi[0], &target.values, norms, -1.0, gradient[0])?;
            Ok(1.0 - s)
        })
    }
}
