//! `EigenCam`: the first principal component of the layer.

use fame_core::Result;

use super::{
    Cam, LayerMap, cam,
    planes::Planes,
    principal::{Sign, first_component},
    probe::Probe,
};

cam! {
    /// EigenCAM: the layer's cells, centred, projected on the direction of channel space in which
    /// they vary most; then ReLU.
    ///
    /// It knows nothing of y: every class has the same map. The singular vector's sign is
    /// arbitrary, and libraries leave it to chance; here `sign` decides.
    EigenCam {
        /// Which end of the component is shown.
        sign: Sign = Sign::default(),
    }
    summary: "The first principal component of the layer; knows no class",
    claim: "Shows where one layer is active in its main direction; not what the asked value rests on: it does not know what was asked.",
    example: "EigenCam(layer: BeforePooling, sign: Largest)",
    reference: "Muhammad & Yeasin, Eigen-CAM, IJCNN 2020, arXiv 2008.00299",
}

impl Cam for EigenCam {
    const GRADIENT: bool = false;

    fn map(&self, a: &Planes, _: &Planes, _: &dyn Probe) -> Result<LayerMap> {
        Ok(first_component(a, self.sign))
    }
}
