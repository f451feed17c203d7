//! `XGradCam`: Grad-CAM with gradients weighted by where the channel is active.

use fame_core::Result;

use super::{Cam, LayerMap, cam, planes::Planes, probe::Probe};

/// Keeps the denominator from zero, as in pytorch-grad-cam.
const EPSILON: f32 = 1e-7;

cam! {
    /// XGrad-CAM: Σ_c w_c · a_c with w_c = Σ_hw (G ⊙ a) / (Σ_hw a + 1e-7), then ReLU.
    ///
    /// Meant for activations ≥ 0. Where they are signed, a channel's sum can come near zero and its
    /// weight grow without bound; a warning says when it does.
    XGradCam {}
    summary: "Grad-CAM with gradients weighted by where the channel is active",
    claim: "Shows which cells of one layer raise the asked value, channels weighted by their share of it; not detail finer than a cell.",
    example: "XGradCam(layer: BeforePooling)",
    reference: "Fu et al., Axiom-based Grad-CAM, BMVC 2020, arXiv 2008.02312",
}

impl Cam for XGradCam {
    fn map(&self, a: &Planes, g: &Planes, _: &dyn Probe) -> Result<LayerMap> {
        // The sum cancelled to below a thousandth of its summands: what is left is rounding and
        // chance.
        let mut cancelled = 0;
        let mut weight = |(a, g): (&[f32], &[f32])| {
            let (sum, size) = a.iter().fold((0.0f32, 0.0f32), |(s, n), v| (s + v, n + v.abs()));
            cancelled += usize::from(sum.abs() < 1e-3 * size);
            a.iter().zip(g).map(|(a, g)| a * g).sum::<f32>() / (sum + EPSILON)
        };
        let weights: Vec<f32> = a.iter().zip(g.iter()).map(&mut weight).collect();
        let warning =
            (cancelled > 0).then(|| format!("{cancelled} channel(s) have activations that nearly cancel; XGrad-CAM divides by their sum."));
        Ok(LayerMap { warning, ..a.weighted_sum(&weights).into() })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    #[test]
    fn weights_are_gradients_averaged_over_the_activation() {
        let out = map::<XGradCam>(&[&[1., 3.], &[0., 0.]], &[&[4., 0.], &[5., 5.]]);
        // (1·4 + 3·0) / 4 = 1, less epsilon's share.
        assert!((out[0] - 1.0).abs() < 1e-6 && (out[1] - 3.0).abs() < 1e-6, "{out:?}");
    }

    #[test]
    fn a_cancelling_channel_is_reported() {
        let signed = planes(&[&[1.0, -1.0]]);
        assert!(
            usual::<XGradCam>()
                .map(&signed, &signed, &Formula::default())
                .unwrap()
                .warning
                .is_some()
        );
    }
}
