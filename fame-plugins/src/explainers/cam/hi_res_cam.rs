//! `HiResCam`: gradient times activation, place by place.

use fame_core::{Result, max_abs};

use super::{Cam, LayerMap, cam, planes::Planes, probe::Probe};

cam! {
    /// HiResCAM: Σ_c G_c ⊙ a_c with G = dy/da, then ReLU.
    ///
    /// Equal to Grad-CAM where the gradient is the same at all places of a channel (global average
    /// pooling and a linear layer behind it), and faithful where it is not: for a piecewise linear
    /// rest of the network the map before ReLU adds up to y less what the biases give. The map of a
    /// face pair is Zhu et al.'s RGrad-CAM.
    ///
    /// In a transformer with pre-normalisation the tokens entering the last block are only read
    /// through a layer normalisation, which is blind to their size: G ⊙ a then adds up to zero at
    /// every place, and a warning says so.
    HiResCam {}
    summary: "Gradient times activation, place by place",
    claim: "Shows which cells of one layer add to the asked value; exact for networks that end in a mean and a linear layer, an estimate for others, and no finer than a cell.",
    example: "HiResCam(layer: LastConv)",
    reference: "Draelos & Carin, HiResCAM, 2020, arXiv 2011.08891",
}

/// Sums below this share of their summands are rounding.
const ROUNDING: f32 = 1e-4;

impl Cam for HiResCam {
    fn map(&self, a: &Planes, g: &Planes, _: &dyn Probe) -> Result<LayerMap> {
        let map = a.sum_with(g, |a, g| a * g);
        let (left, summands) = (max_abs(&map), max_abs(&a.sum_with(g, |a, g| (a * g).abs())));
        let warning = (left < ROUNDING * summands).then(|| {
            "the channels' shares cancel at every place, and what is left is rounding: behind the layer stands a normalisation that ignores its size. \
             Look at the normalisation's output instead."
                .to_owned()
        });
        Ok(LayerMap { warning, ..map.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    #[test]
    fn places_keep_their_own_gradient() {
        assert_eq!(map::<HiResCam>(&[&[1., 2.], &[3., 1.]], &[&[4., 0.], &[-1., -2.]]), [1., -2.]);
    }

    #[test]
    fn shares_that_cancel_everywhere_are_reported() {
        let (a, g) = (planes(&[&[1.0], &[2.0]]), planes(&[&[-2.000_01], &[1.0]]));
        assert!(usual::<HiResCam>().map(&a, &g, &Formula::default()).unwrap().warning.is_some());
        assert!(usual::<HiResCam>().map(&a, &a, &Formula::default()).unwrap().warning.is_none());
    }
}
