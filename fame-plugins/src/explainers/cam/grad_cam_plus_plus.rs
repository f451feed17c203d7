//! `GradCamPlusPlus`: channels weighted so that several objects of a class count alike.

use fame_core::Result;

use super::{Cam, LayerMap, cam, planes::Planes, probe::Probe};

/// Keeps the denominator of alpha from zero, as in pytorch-grad-cam.
const EPSILON: f32 = 1e-6;

cam! {
    /// Grad-CAM++: Σ_c w_c · a_c with w_c = Σ_hw α ReLU(G) and α = G² / (2G² + (Σ_hw a) G³ + 1e-6),
    /// 0 where G = 0; then ReLU.
    ///
    /// G = dy/da of y itself: the exponential of the paper, which would make the higher derivatives
    /// these powers, is dropped as in pytorch-grad-cam. Unlike the other maps this one changes when
    /// y is scaled.
    GradCamPlusPlus {}
    summary: "Grad-CAM with places weighted by higher powers of the gradient",
    claim: "Shows which cells of one layer raise the asked value, with weights that favour several places of the same thing; not how much each of them adds.",
    example: "GradCamPlusPlus(layer: BeforePooling)",
    reference: "Chattopadhyay et al., Grad-CAM++, WACV 2018, arXiv 1710.11063",
}

impl Cam for GradCamPlusPlus {
    fn map(&self, a: &Planes, g: &Planes, _: &dyn Probe) -> Result<LayerMap> {
        let weight = |(a, g): (&[f32], &[f32])| {
            let sum: f32 = a.iter().sum();
            let alpha = |g: f32| {
                if g == 0.0 { 0.0 } else { g * g / (2.0 * g * g + sum * g * g * g + EPSILON) }
            };
            g.iter().map(|g| g.max(0.0) * alpha(*g)).sum()
        };
        let weights: Vec<f32> = a.iter().zip(g.iter()).map(weight).collect();
        Ok(a.weighted_sum(&weights).into())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::map, *};

    #[test]
    fn alpha_is_the_formula_and_zero_gradients_weigh_nothing() {
        // sum a = 3; G = 1: alpha = 1 / (2 + 3), weight 1/5.
        let out = map::<GradCamPlusPlus>(&[&[1., 2.]], &[&[1., 0.]]);
        // The tolerance is epsilon's share.
        assert!((out[0] - 0.2).abs() < 1e-6 && (out[1] - 0.4).abs() < 1e-6, "{out:?}");
    }
}
