//! `Similarity`: Face similarity s = cos(φ, φ_ref), descended: which pixels make the pair match
//! (e+).

use fame_core::{
    Claim, Result, Target, TargetRequest, Tensor,
    contract::{Evaluation, Loss, Reference, per_row},
    registry::{BuildContext, Parts, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cosine::{Norms, reference_target, similarity_and_gradient};

/// Descends the cosine similarity `s` to the other picture's embedding, which stays frozen: moving
/// what makes the two match (the paper's e+, Eq. 6, L+ = s). Value in −1..=1.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Similarity {
    /// Whether the embedding's length takes part in the derivative. Default: `Frozen` (preset
    /// Paper), `Live` (preset Authors).
    pub norms: Option<Norms>,
}

impl Plugin<dyn Loss> for Similarity {
    const NAME: &'static str = "Similarity";
    const SUMMARY: &'static str =
        "Face similarity s = cos(φ, φ_ref), descended: which pixels make the pair match (e+)";
    const EXAMPLE: &'static str = "Similarity(norms: Frozen)";
    const REFERENCE: &'static str = "Zhang & Günther, FAME (2026), Eq. 6";

    fn resolve(&mut self, with: &BuildContext<'_>, _: &mut Parts) {
        self.norms.get_or_insert(Norms::of(with.preset));
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Parts) -> Option<Box<dyn Loss>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Loss: Similarity);

impl Loss for Similarity {
    fn reference(&self) -> Reference {
        Reference::OtherRole
    }

    fn targets(&self, about: &TargetRequest<'_>) -> Result<Vec<Target>> {
        reference_target(about, Claim::For)
    }

    fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation> {
        let norms = self.norms.unwrap_or(Norms::Frozen);
        per_row(outputs, targets, |phi, target, gradient| {
            let s = similarity_and_gradient(phi[0], &target.values, norms, 1.0, gradient[0])?;
            Ok(s)
        })
    }
}
