//! `EigenGradCam`: the first principal component of gradient times activation.

use fame_core::Result;

use super::{
    Cam, LayerMap, cam,
    planes::Planes,
    principal::{Sign, first_component},
    probe::Probe,
};

cam! {
    /// EigenGradCAM: EigenCAM on G ⊙ a with G = dy/da, so that it depends on y; then ReLU.
    EigenGradCam {
        /// Which end of the component is shown.
        sign: Sign = Sign::default(),
    }
    summary: "The first principal component of gradient times activation",
    claim: "Shows the main direction of activations times gradients in one layer; not how much a cell adds to the asked value.",
    example: "EigenGradCam(layer: BeforePooling, sign: Activation)",
    reference: "pytorch-grad-cam, EigenGradCAM; after Muhammad & Yeasin, IJCNN 2020",
}

impl Cam for EigenGradCam {
    fn map(&self, a: &Planes, g: &Planes, _: &dyn Probe) -> Result<LayerMap> {
        let data = a.data.iter().zip(&g.data).map(|(a, g)| a * g).collect();
        Ok(first_component(&Planes { data, ..*a }, self.sign))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::EigenCam, super::testing::map, *};

    #[test]
    fn it_is_eigen_cam_of_the_product() {
        let product = map::<EigenCam>(&[&[2., 0., 1.], &[0., 3., 1.]], &[&[0.; 3], &[0.; 3]]);
        assert_eq!(
            map::<EigenGradCam>(&[&[1., 4., 1.], &[5., 3., 1.]], &[&[2., 0., 1.], &[0., 1., 1.]]),
            product
        );
    }
}
