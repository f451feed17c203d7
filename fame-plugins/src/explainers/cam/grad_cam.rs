//! `GradCam`: channels weighted by their mean gradient.

use fame_core::Result;

use super::{Cam, LayerMap, cam, planes::Planes, probe::Probe};

cam! {
    /// Grad-CAM: Σ_c mean_hw(G_c) · a_c with G = dy/da, then ReLU.
    ///
    /// The mean over places has a meaning where the network itself averages over places (global
    /// average pooling). Behind a flattening layer, as in IResNet, it mixes gradients that belong
    /// to different places: use `HiResCam` there.
    GradCam {}
    summary: "Channels weighted by their mean gradient",
    claim: "Shows which cells of one layer raise the asked value, each channel weighted by its mean gradient; not detail finer than a cell, nor what other layers see.",
    example: "GradCam(layer: BeforePooling, loss: Logit(class: Label))",
    reference: "Selvaraju et al., Grad-CAM, ICCV 2017, arXiv 1610.02391",
}

impl Cam for GradCam {
    fn map(&self, a: &Planes, g: &Planes, _: &dyn Probe) -> Result<LayerMap> {
        let mean = |plane: &[f32]| {
            (plane.iter().map(|v| f64::from(*v)).sum::<f64>() / plane.len() as f64) as f32
        };
        Ok(a.weighted_sum(&g.iter().map(mean).collect::<Vec<_>>()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::map, *};

    #[test]
    fn weights_are_means_of_the_gradient() {
        // Means 2 and -1.
        assert_eq!(map::<GradCam>(&[&[1., 0.], &[3., 1.]], &[&[4., 0.], &[-1., -1.]]), [-1., -1.]);
    }
}
