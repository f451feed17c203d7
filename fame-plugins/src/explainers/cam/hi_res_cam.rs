//! `HiResCam`: gradient times activation, place by place.

use fame_core::Result;

use super::{Cam, LayerMap, cam, planes::Planes, probe::Probe};

cam! {
    /// HiResCAM: Σ_c G_c ⊙ a_c with G = dy/da, then ReLU.
    ///
    /// Equal to Grad-CAM where the gradient is the same at all places of a channel (global average pooling and a linear layer behind it), and faithful where it is
    /// not: for a piecewise linear rest of the network the map before ReLU adds up to y less what the biases give. The map of a face pair is Zhu et al.'s RGrad-CAM.
    HiResCam {}
    summary: "Gradient times activation, place by place",
    example: "HiResCam(layer: LastConv)",
    reference: "Draelos & Carin, HiResCAM, 2020, arXiv 2011.08891",
}

impl Cam for HiResCam {
    fn map(&self, a: &Planes, g: &Planes, _: &dyn Probe) -> Result<LayerMap> {
        Ok(a.sum_with(g, |a, g| a * g).into())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::map, *};

    #[test]
    fn places_keep_their_own_gradient() {
        assert_eq!(map(&HiResCam::default(), &[&[1., 2.], &[3., 1.]], &[&[4., 0.], &[-1., -2.]]), [1., -2.]);
    }
}
