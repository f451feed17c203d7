//! `Sign`: Steps of equal size in every component, along the sign of the gradient.

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

/// x ← x − η·sign(g): every pixel with any gradient moves by the full step (FGSM and PGD move so).
/// The map it leaves is flatter than that of [`super::Lots`]: how much a pixel matters no longer
/// shows in how far it moves per step.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sign {
    /// Step size η in the units of `space`; above 0.
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

impl Default for Sign {
    fn default() -> Self {
        Self { step: 1.0 / 255.0, iterations: 500, space: None, clamp: Clamp::Off, stop: None }
    }
}

impl Plugin<dyn Perturbation> for Sign {
    const NAME: &'static str = "Sign";
    const SUMMARY: &'static str =
        "Steps of equal size in every component, along the sign of the gradient";
    const EXAMPLE: &'static str =
        "Sign(step: 0.00392157, iterations: 100, stop: [RelativeDrop(0.9)])";
    const REFERENCE: &'static str = "Madry et al., PGD, ICLR 2018 (as a descent)";

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

fame_core::register!(Perturbation: Sign);

impl Perturbation for Sign {
    fn start(&self, from: &Start<'_>) -> Result<Box<dyn Walk>> {
        let (space, stop) =
            (self.space.unwrap_or(Space::Pixel), self.stop.as_deref().unwrap_or_default());
        Descent::begin(from, direction, self.step, space, self.clamp, stop)
    }

    fn max_steps(&self) -> usize {
        self.iterations
    }
}

/// η·sign(g), with sign(0) = 0.
fn direction(gradient: &mut [f32], step: f32) -> Option<()> {
    if fame_core::max_abs(gradient) < NO_GRADIENT {
        return None;
    }
    gradient.iter_mut().for_each(|g| *g = if *g == 0.0 { 0.0 } else { g.signum() * step });
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{super::descent::tests, *};

    #[test]
    fn every_component_moves_equally() {
        let field = tests::one_step(&Sign { step: 0.25, ..Sign::default() });
        assert_eq!(
            field.data().iter().map(|f| (f * 4.0).round()).collect::<Vec<_>>(),
            [-1.0, 1.0, 0.0, -1.0, -1.0, 1.0]
        );
    }
}
