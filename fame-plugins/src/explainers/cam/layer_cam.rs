//! `LayerCam`: activation weighted by the positive gradient, place by place.

use fame_core::Result;

use super::{Cam, LayerMap, cam, planes::Planes, probe::Probe};

cam! {
    /// LayerCAM: Σ_c ReLU(G_c) ⊙ a_c with G = dy/da, then ReLU. MethodOutcome for early layers as well as
    /// late ones.
    LayerCam {}
    summary: "Activation weighted by the positive gradient, place by place",
    claim: "Shows which cells of one layer raise the asked value, keeping only positive gradients; not evidence against.",
    example: "LayerCam(layer: [BeforePooling, LastConv])",
    reference: "Jiang et al., LayerCAM, IEEE TIP 30, 2021",
}

impl Cam for LayerCam {
    fn map(&self, a: &Planes, g: &Planes, _: &dyn Probe) -> Result<LayerMap> {
        Ok(a.sum_with(g, |a, g| g.max(0.0) * a).into())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::map, *};

    #[test]
    fn negative_gradients_count_for_nothing() {
        assert_eq!(map::<LayerCam>(&[&[1., -2.]], &[&[-4., 3.]]), [0., -6.]);
    }
}
