//! `GradCamElementwise`: gradient times activation, rectified before channels are added.

use fame_core::Result;

use super::{Cam, LayerMap, cam, planes::Planes, probe::Probe};

cam! {
    /// Grad-CAM-Elementwise: Σ_c ReLU(G_c ⊙ a_c) with G = dy/da.
    ///
    /// The ReLU stands inside the sum, so channels that speak against y cancel nothing. Where a ≥ 0
    /// (behind a ReLU) it is LayerCAM.
    GradCamElementwise {}
    summary: "Gradient times activation, rectified before channels are added",
    claim: "Shows which cells of one layer raise the asked value, each value weighted by its own gradient; not detail finer than a cell, nor evidence against.",
    example: "GradCamElementwise(layer: BeforePooling)",
    reference: "pytorch-grad-cam, GradCAMElementWise; used in Zhang & Günther, FAME (2026)",
}

impl Cam for GradCamElementwise {
    fn map(&self, a: &Planes, g: &Planes, _: &dyn Probe) -> Result<LayerMap> {
        Ok(a.sum_with(g, |a, g| (a * g).max(0.0)).into())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::LayerCam, super::testing::map, *};

    #[test]
    fn it_is_layer_cam_where_activations_are_positive_and_only_there() {
        let g: [&[f32]; 2] = [&[4., 0.], &[-1., 2.]];
        let positive: [&[f32]; 2] = [&[1., 2.], &[3., 1.]];
        assert_eq!(map::<GradCamElementwise>(&positive, &g), [4., 2.]);
        assert_eq!(map::<LayerCam>(&positive, &g), [4., 2.]);
        let signed: [&[f32]; 2] = [&[1., 2.], &[-3., -1.]];
        assert_eq!(map::<GradCamElementwise>(&signed, &g), [7., 0.]);
        assert_eq!(map::<LayerCam>(&signed, &g), [4., -2.]);
    }
}
