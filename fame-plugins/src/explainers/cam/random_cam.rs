//! `RandomCam`: channels weighted at random, the floor every CAM must beat.

use fame_core::Result;

use super::{Cam, LayerMap, cam, planes::Planes, probe::Probe};
use crate::explainers::random::Random;

cam! {
    /// RandomCAM: Σ_c w_c · a_c with w_c uniform in −1..1, then ReLU. It knows where the layer is
    /// active and nothing of y.
    ///
    /// Weights follow from the run's seed, the item's id, the row's name and the layer's.
    RandomCam {}
    summary: "Channels weighted at random: the floor to beat",
    claim: "Shows activations with weights drawn at random: what a CAM looks like that knows nothing, for comparison; it shows nothing about the answer.",
    example: "RandomCam(layer: BeforePooling)",
    reference: "pytorch-grad-cam, RandomCAM",
}

impl Cam for RandomCam {
    const GRADIENT: bool = false;

    fn map(&self, a: &Planes, _: &Planes, ask: &dyn Probe) -> Result<LayerMap> {
        let mut random = Random::new(ask.seed());
        let weights: Vec<f32> =
            (0..a.channels).map(|_| (2.0 * random.uniform() - 1.0) as f32).collect();
        Ok(a.weighted_sum(&weights).into())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::map, *};

    #[test]
    fn the_same_seed_gives_the_same_map() {
        let a: [&[f32]; 2] = [&[1., 0.], &[0., 1.]];
        let out = map::<RandomCam>(&a, &a);
        assert_eq!(out, map::<RandomCam>(&a, &a));
        assert!(out[0] != out[1] && out.iter().all(|v| v.abs() <= 1.0));
    }
}
