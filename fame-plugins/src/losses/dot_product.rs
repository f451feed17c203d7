//! `DotProduct`: φ · φ_ref, the face similarity before its lengths are taken out.

use fame_core::{
    Claim, Result, Target, TargetRequest, Tensor,
    contract::{Evaluation, Loss, Reference, per_row},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cosine::reference_target;

/// Descends the dot product φ · φ_ref with the other picture's embedding, which stays frozen: the
/// target of Zhu et al.'s maps, and of the authors' CAMs beside the cosine. Its derivative is
/// φ_ref, which is the derivative of the cosine under frozen norms times ‖φ‖·‖φ_ref‖: maps that do
/// not depend on a positive factor are the same for both. The value is unbounded, so stop rules
/// that name a value mean something else here.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DotProduct {}

impl Plugin<dyn Loss> for DotProduct {
    const NAME: &'static str = "DotProduct";
    const SUMMARY: &'static str =
        "Dot product of the embedding with the other picture's, descended";
    const EXAMPLE: &'static str = "DotProduct()";
    const REFERENCE: &'static str =
        "Zhu, Yang & Chen, Visual Explanation for Deep Metric Learning, TIP 2021, arXiv 1909.12977";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Loss>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Loss: DotProduct);

impl Loss for DotProduct {
    fn reference(&self) -> Reference {
        Reference::OtherRole
    }

    fn targets(&self, about: &TargetRequest<'_>) -> Result<Vec<Target>> {
        reference_target(about, Claim::For)
    }

    fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation> {
        per_row(outputs, targets, |phi, target, gradient| {
            gradient[0].copy_from_slice(&target.values);
            // In double precision: 512 products of single-precision numbers lose digits otherwise.
            Ok(phi[0]
                .iter()
                .zip(&target.values)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum::<f64>() as f32)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_derivative_is_the_reference() {
        let phi = Tensor::new([1, 3], vec![1.0, -2.0, 0.5]).unwrap();
        let target = Target { values: vec![3.0, 1.0, 4.0], ..Target::unnamed() };
        let evaluation = DotProduct {}.evaluate(&[phi], &[&target]).unwrap();
        assert_eq!(evaluation.values, [3.0]);
        assert_eq!(evaluation.cotangents[0].data(), [3.0, 1.0, 4.0]);
    }
}
