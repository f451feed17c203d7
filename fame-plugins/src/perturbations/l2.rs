//! `L2`: Steps of a given Euclidean length along the gradient.

use fame_core::{
    Result,
    contract::{Perturbation, Start, Walk},
    registry::{BuildContext, Parts, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    descent::{Clamp, Descent, NO_GRADIENT, Space, resolve_common},
    stop::StopRule,
};

/// x ← x − η·g / ‖g‖₂: every step has the same Euclidean length η, however many pixels share it.
/// Invariant to the scale of the loss.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct L2 {
    /// Length of a step in the units of `space`; above 0.
    pub step: f32,
    /// The most steps to take.
    pub iterations: usize,
    /// `Pixel` or `Normalised`. Default: `Pixel`; for classifiers under preset Authors
    /// `Normalised`.
    pub space: Option<Space>,
    /// `Off`, or `Pixels` to keep the picture in 0..=1.
    pub clamp: Clamp,
    /// Reasons to end early. Default: none; for faces under preset Authors `[LossBelow(0.01)]`.
    pub stop: Option<Vec<StopRule>>,
}

impl Default for L2 {
    fn default() -> Self {
        Self { step: 0.1, iterations: 500, space: None, clamp: Clamp::Off, stop: None }
    }
}

impl Plugin<dyn Perturbation> for L2 {
    const NAME: &'static str = "L2";
    const SUMMARY: &'static str = "Steps of a given Euclidean length along the gradient";
    const EXAMPLE: &'static str = "L2(step: 0.1, iterations: 100, stop: [RelativeDrop(0.9)])";
    const REFERENCE: &'static str =
        "Rozsa, Günther & Boult, LOTS, IJCB 2017 (normalisation varied)";

    type Resolved = Self;

    fn resolve(mut self, with: &BuildContext<'_>, parts: &mut Parts) -> Option<Self> {
        resolve_common(with, parts, self.step, &mut self.space, &mut self.stop);
        parts.check("iterations", self.iterations > 0, "must be at least 1");
        Some(self)
    }

    fn build(parameters: Self, _: &BuildContext<'_>, _: &mut Parts) -> Option<Box<dyn Perturbation>> {
        Some(Box::new(parameters))
    }
}

fame_core::register!(Perturbation: L2);

impl Perturbation for L2 {
    fn start(&self, from: &Start<'_>) -> Result<Box<dyn Walk>> {
        let (space, stop) =
            (self.space.unwrap_or(Space::Pixel), self.stop.as_deref().unwrap_or_default());
        Descent::begin(from, direction, self.step, space, self.clamp, stop)
    }

    fn max_steps(&self) -> usize {
        self.iterations
    }
}

/// η·g / ‖g‖₂.
fn direction(gradient: &mut [f32], step: f32) -> Option<()> {
    let largest = fame_core::max_abs(gradient);
    if largest < NO_GRADIENT {
        return None;
    }
    // Squares of the scaled components can neither overflow nor all vanish.
    let length =
        gradient.iter().map(|g| f64::from(*g / largest).powi(2)).sum::<f64>().sqrt() as f32;
    gradient.iter_mut().for_each(|g| *g = *g / largest / length * step);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{super::descent::tests, *};

    #[test]
    fn every_step_is_equally_long() {
        let field = tests::one_step(&L2 { step: 0.5, ..L2::default() });
        let length = field.data().iter().map(|f| f * f).sum::<f32>().sqrt();
        assert!((length - 0.5).abs() < 1e-6, "{length}");
    }
}
