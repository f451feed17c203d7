//! `Product`: several explainers of the same thing, multiplied.

use fame_core::{
    contract::Explainer,
    registry::{Assembly, BuildContext, Plugin},
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::terms::{self, Terms};

/// Π minmax(mᵢ)^(wᵢ / Σ w), the geometric mean of the finished maps mᵢ of several explainers: a
/// pixel counts only when all of them name it. Values in 0..=1. Maps are matched by role and name,
/// so all explainers must be given the same loss and class. Where one of them has no map for a
/// picture there is none at all, and a warning says so.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// The explainers, at least one.
    pub of: Vec<Spec>,
    /// Their weights, each above 0. Default: all the same.
    #[serde(default)]
    pub weights: Vec<f32>,
    /// Steps from the product to the map. Default: none.
    #[serde(default)]
    pub map: Vec<Spec>,
}

impl Plugin<dyn Explainer> for Product {
    const NAME: &'static str = "Product";
    const SUMMARY: &'static str = "Several explainers' maps, min-max each, multiplied";
    const CLAIM: &'static str = "Shows only where all of several methods are high; a place that one of them misses is dark, however much it matters.";
    const EXAMPLE: &'static str = "Product(of: [Saliency(), GradientTimesInput()])";
    const REFERENCE: &'static str = "Our own";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        terms::resolve(&self.of, &mut self.weights, assembly);
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let terms = Terms::build(&self.of, &self.weights, &self.map, combine, with, assembly);
        Some(Box::new(terms))
    }
}

fame_core::register!(Explainer: Product);

/// Π mᵢ^wᵢ; zero where a term is silent.
fn combine(terms: &[(f32, Option<f32>)]) -> f32 {
    terms.iter().map(|(weight, value)| value.unwrap_or(0.0).powf(*weight)).product()
}

#[cfg(test)]
mod tests {
    use super::{
        super::terms::tests::{explained, walk},
        *,
    };

    #[test]
    fn a_product_with_itself_is_itself() {
        // Square roots of single-precision numbers, multiplied.
        const ROUNDING: f32 = 1e-6;
        let once = explained(&format!("Sum(of: [{}])", walk(0))).unwrap().0;
        let twice = explained(&format!("Product(of: [{}, {}])", walk(0), walk(0))).unwrap().0;
        for (a, b) in once[0].1.data().iter().zip(twice[0].1.data()) {
            assert!((a - b).abs() <= ROUNDING, "{a} {b}");
        }
    }

    #[test]
    fn a_pixel_that_one_term_does_not_name_does_not_count() {
        assert_eq!(combine(&[(0.5, Some(0.0)), (0.5, Some(1.0))]), 0.0);
        assert_eq!(combine(&[(0.5, Some(0.25)), (0.5, Some(1.0))]), 0.5);
        assert_eq!(combine(&[(0.5, None), (0.5, Some(1.0))]), 0.0);
    }
}
