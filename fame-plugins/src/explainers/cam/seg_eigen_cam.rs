//! `SegEigenCam`: the first principal component of activations weighted by the size of the
//! gradient.

use fame_core::Result;

use super::{
    Cam, LayerMap, cam,
    planes::Planes,
    principal::{Sign, first_component},
    probe::Probe,
};

cam! {
    /// Seg-Eigen-CAM: EigenCAM on |G| ⊙ a with G = dy/da, the end that is farther from zero up; then
    /// ReLU.
    ///
    /// The size of the gradient says where y looks, and not which way: evidence against y is shown
    /// like evidence for it. Made for segmentations (`loss: SegmentClass(…)`), it works for any loss.
    SegEigenCam {
        /// Which end of the component is shown. `Largest` is the published one.
        sign: Sign = Sign::default(),
    }
    summary: "The first principal component of activations times the size of their gradient",
    claim: "Shows the main direction of one layer's activations, weighted by how much the asked value depends on them either way; not whether a cell speaks for or against it.",
    example: "SegEigenCam(layer: BeforePooling)",
    reference: "Chung & Ying, Seg-Eigen-CAM, Applied Sciences 15(13), 2025; pytorch-grad-cam 1.5.7",
}

impl Cam for SegEigenCam {
    fn map(&self, a: &Planes, g: &Planes, _: &dyn Probe) -> Result<LayerMap> {
        let data = a.data.iter().zip(&g.data).map(|(a, g)| a * g.abs()).collect();
        Ok(first_component(&Planes { data, ..*a }, self.sign))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::EigenCam, super::testing::map, *};

    #[test]
    fn it_is_eigen_cam_of_the_product_whatever_the_gradients_sign() {
        let product = map::<EigenCam>(&[&[2., 0., 1.], &[0., 3., 1.]], &[&[0.; 3], &[0.; 3]]);
        let (a, g) = ([&[1., 4., 1.][..], &[5., 3., 1.]], [&[2., 0., 1.][..], &[0., 1., 1.]]);
        assert_eq!(map::<SegEigenCam>(&a, &g), product);
        let turned = [&[-2., 0., 1.][..], &[0., -1., -1.]];
        assert_eq!(map::<SegEigenCam>(&a, &turned), product);
    }
}
