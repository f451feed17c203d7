//! `AblationCam`: channels weighted by what y loses without them.

use fame_core::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cam, LayerMap, cam, normalisation::range, planes::Planes, probe::Probe};
use crate::Preset;

/// How a channel is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Ablation {
    /// The channel becomes 0, w_c = (y − y_c) / |y|: what the paper says, with a sign that does not
    /// turn round where y < 0.
    Zero,
    /// As pytorch-grad-cam does: 0 if the layer's smallest value is exactly 0, else that value less
    /// 1e7 (which saturates whatever follows); w_c = (y − y_c) / y.
    PytorchGradCam,
}

impl Ablation {
    /// The preset's choice.
    fn of(preset: Preset) -> Self {
        match preset {
            Preset::Paper | Preset::Fast => Self::Zero,
            Preset::Authors => Self::PytorchGradCam,
        }
    }
}

/// How far below the smallest value pytorch-grad-cam puts an ablated channel.
const FAR_BELOW: f32 = 1e7;

cam! {
    /// Ablation-CAM: Σ_c w_c · a_c with w_c the share of y that is lost when channel c of the layer
    /// is taken away, then ReLU.
    ///
    /// No gradient: one forward pass from the layer for each channel, a few at a time.
    AblationCam {
        /// How a channel is taken away. Default: `Zero` (preset Paper), `PytorchGradCam` (preset
        /// Authors).
        ablation: Ablation = open,
    }
    open: Ablation::of,
    summary: "Channels weighted by what the score loses without them; no gradient",
    claim: "Shows which channels' places lower the asked value when the channel is switched off; not detail finer than a cell.",
    example: "AblationCam(layer: BeforePooling, ablation: Zero)",
    reference: "Desai & Ramaswamy, Ablation-CAM, WACV 2020",
}

impl Cam for AblationCam {
    const GRADIENT: bool = false;

    fn map(&self, a: &Planes, _: &Planes, ask: &dyn Probe) -> Result<LayerMap> {
        let y = ask.value();
        let (lowest, _) = range(&a.data);
        let (put, divisor) = match self.ablation {
            Ablation::PytorchGradCam if lowest == 0.0 => (0.0, y),
            Ablation::PytorchGradCam => (lowest - FAR_BELOW, y),
            Ablation::Zero => (0.0, y.abs()),
        };
        let without = ask.ablated(a.channels, put)?;
        let weights: Vec<f32> = without.iter().map(|y_c| (y - y_c) / divisor).collect();
        Ok(a.weighted_sum(&weights).into())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn weights(ablation: Ablation, y: f32, a: &Planes, ablated: fn(usize, f32) -> f32) -> Vec<f32> {
        let method = AblationCam { ablation, ..usual() };
        method.map(a, a, &Formula { value: y, ablated, ..Formula::default() }).unwrap().values
    }

    #[test]
    fn a_weight_is_the_share_of_y_that_is_lost() {
        let a = planes(&[&[1., 0.], &[0., 1.]]);
        // y = 4 becomes 3 without the first channel and 5 without the second.
        assert_eq!(weights(Ablation::Zero, 4.0, &a, |c, put| [3.0, 5.0][c] + put), [0.25, -0.25]);
        assert_eq!(weights(Ablation::Zero, -4.0, &a, |c, _| [-5.0, -3.0][c]), [0.25, -0.25]);
    }

    #[test]
    fn the_library_turns_the_sign_of_negative_scores_and_ablates_far_below() {
        let a = planes(&[&[1., 0.], &[0., 1.]]);
        assert_eq!(
            weights(Ablation::PytorchGradCam, -4.0, &a, |c, put| [-5.0, -3.0][c] + put),
            [-0.25, 0.25]
        );
        let signed = planes(&[&[1., -1.], &[0., 1.]]);
        assert_eq!(
            weights(Ablation::PytorchGradCam, 1.0, &signed, |_, put| f32::from(u8::from(
                put == -1.0 - FAR_BELOW
            ))),
            [0., 0.]
        );
    }
}
