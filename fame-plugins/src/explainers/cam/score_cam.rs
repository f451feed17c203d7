//! `ScoreCam`: channels weighted by y of the picture seen through them.

use fame_core::{Result, ask::softmax};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    super::enlarge::{Corners, bilinear},
    Cam, LayerMap, cam,
    normalisation::min_max,
    planes::Planes,
    probe::Probe,
};

/// Keeps the denominator from zero, as in pytorch-grad-cam.
const EPSILON: f32 = 1e-8;

/// How a channel is enlarged to a mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Enlarge {
    /// Corner samples coincide (`align_corners`), as pytorch-grad-cam and the authors do.
    #[default]
    Aligned,
    /// Pixel centres at half steps, as everywhere else in fame.
    HalfPixel,
}

cam! {
    /// Score-CAM: Σ_c w_c · a_c with w = softmax_c y(x ⊙ M_c), then ReLU; M_c is channel c enlarged
    /// to the picture and stretched to 0..=1.
    ///
    /// No gradient: one forward pass for each channel, a few at a time. The mask multiplies the
    /// network's input, so what it hides has the model's mean colour. A channel that is the same
    /// everywhere hides everything. The softmax makes the map depend on y's scale: with
    /// similarities in −1..=1 all channels weigh nearly the same.
    ScoreCam {
        /// How channels are enlarged to masks.
        enlarge: Enlarge = Enlarge::default(),
    }
    summary: "Channels weighted by the score of the picture seen through them; no gradient",
    claim: "Shows which channels' places let the asked value through when all else is covered; not what two places do together.",
    example: "ScoreCam(layer: BeforePooling)",
    reference: "Wang et al., Score-CAM, CVPR workshops 2020, arXiv 1910.01279",
}

impl Cam for ScoreCam {
    const GRADIENT: bool = false;

    fn map(&self, a: &Planes, _: &Planes, ask: &dyn Probe) -> Result<LayerMap> {
        let corners = match self.enlarge {
            Enlarge::Aligned => Corners::Aligned,
            Enlarge::HalfPixel => Corners::HalfPixel,
        };
        let mask = |c: usize| {
            let plane = &a.data[c * a.area()..(c + 1) * a.area()];
            let mut mask = bilinear(plane, (a.height, a.width), ask.size(), corners);
            min_max(&mut mask, EPSILON);
            mask
        };
        let scores = ask.masked(a.channels, &mask)?;
        let weights: Vec<f32> = softmax(&scores).into_iter().map(|w| w as f32).collect();
        Ok(a.weighted_sum(&weights).into())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    #[test]
    fn weights_are_the_softmax_of_masked_scores() {
        // y is what the mask lets through on the left, times ln 3: scores 0 and ln 3, so weights
        // 1/4 and 3/4.
        let ask = Formula { masked: |mask| mask[0] * 3.0f32.ln(), ..Formula::default() };
        let a = planes(&[&[1., 1., 1., 5.], &[4., 0., 0., 0.]]);
        let map = usual::<ScoreCam>().map(&a, &a, &ask).unwrap().values;
        // Rounding of the exponential, and epsilon's share of the mask.
        assert!((map[0] - 3.25).abs() < 1e-5 && (map[3] - 1.25).abs() < 1e-5, "{map:?}");
    }
}
