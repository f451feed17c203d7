//! `Sum`: several explainers of the same thing, added.

use fame_core::{
    contract::Explainer,
    registry::{Assembly, BuildContext, Plugin},
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::terms::{self, Terms};

/// Σ wᵢ · minmax(mᵢ) / Σ wᵢ over the finished maps mᵢ of several explainers: a pixel counts when
/// any of them names it, and most when all do. Values in 0..=1. Maps are matched by role and name,
/// so all explainers must be given the same loss and class. One that has no map for a picture adds
/// nothing, and a warning says so.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sum {
    /// The explainers, at least one.
    pub of: Vec<Spec>,
    /// Their weights, each above 0. Default: all the same.
    #[serde(default)]
    pub weights: Vec<f32>,
    /// Steps from the sum to the map. Default: none.
    #[serde(default)]
    pub map: Vec<Spec>,
}

impl Plugin<dyn Explainer> for Sum {
    const NAME: &'static str = "Sum";
    const SUMMARY: &'static str = "Several explainers' maps, min-max each, added";
    const CLAIM: &'static str = "Shows where one or another of several methods is high; what each of them does not show holds for it too.";
    const EXAMPLE: &'static str = "Sum(of: [Saliency(), GradientTimesInput()], weights: [2, 1])";
    const REFERENCE: &'static str = "Our own";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        terms::resolve(&self.of, &mut self.weights, assembly);
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let terms = Terms::build(&self.of, &self.weights, &self.map, combine, with, assembly);
        Some(Box::new(terms))
    }
}

fame_core::register!(Explainer: Sum);

/// Σ wᵢ·mᵢ; nothing where a term is silent.
pub(super) fn combine(terms: &[(f32, Option<f32>)]) -> f32 {
    terms.iter().map(|(weight, value)| weight * value.unwrap_or(0.0)).sum()
}

#[cfg(test)]
mod tests {
    use super::{
        super::terms::tests::{explained, walk},
        *,
    };
    use crate::maps::stretch;

    #[test]
    fn the_sum_of_one_is_its_min_max_and_bytes_repeat() {
        let (mut alone, _) = explained(&walk(1)).unwrap();
        let (name, map) = alone.remove(0);
        let mut stretched = map;
        stretch(&mut stretched, 0.0).unwrap();
        let spec = format!("Sum(of: [{}])", walk(1));
        assert_eq!(explained(&spec).unwrap().0, [(name, stretched)]);
        let noisy = walk(1).replace("Lots(iterations: 3)", "Noise(of: Lots(iterations: 3))");
        let spec = format!("Sum(of: [{}, {noisy}], weights: [1, 3])", walk(1));
        assert_eq!(explained(&spec).unwrap(), explained(&spec).unwrap());
    }

    #[test]
    fn weights_are_shares() {
        assert_eq!(combine(&[(0.75, Some(1.0)), (0.25, Some(0.5))]), 0.875);
        assert_eq!(combine(&[(0.75, None), (0.25, Some(1.0))]), 0.25);
    }
}
