use fame_core::Result;
use fame_core::contract::{Perturbation, Start, Walk, pixel_walk};
use fame_core::registry::{Assembly, BuildContext, Plugin};

/// Each step moves the pixels with the steepest gradients by `step` against them, and leaves all
/// others alone.
#[derive(serde::Deserialize, serde::Serialize, schemars::JsonSchema, Clone)]
#[serde(deny_unknown_fields)]
pub struct Steepest {
    /// How far, in pixels of 0..=1.
    pub step: f32,
    /// How many steps.
    pub iterations: usize,
}
impl Plugin<dyn Perturbation> for Steepest {
    const NAME: &'static str = "Steepest";
    const SUMMARY: &'static str = "Only the steepest values move";
    const EXAMPLE: &'static str = "Steepest(step: 0.01, iterations: 100)";
    fn build(self, _: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Perturbation>> {
        assembly.check("step", self.step > 0.0, "must be above 0");
        Some(Box::new(self))
    }
}
fame_core::register!(Perturbation: Steepest);

impl Perturbation for Steepest {
    fn start(&self, from: &Start<'_>) -> Result<Box<dyn Walk>> {
        let step = self.step;
        pixel_walk(from, move |gradient| {
            let half = fame_core::max_abs(gradient) / 2.0;
            gradient
                .iter_mut()
                .for_each(|g| *g = if g.abs() < half { 0.0 } else { g.signum() * step });
        })
    }
    fn max_steps(&self) -> usize {
        self.iterations
    }
}
