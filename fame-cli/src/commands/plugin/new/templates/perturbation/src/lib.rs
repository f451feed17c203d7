//! `Scaffold`: steps along the sign of a gradient that remembers.

use fame_core::{
    Error, Result, Tensor,
    contract::{Perturbation, Start, Stop, Walk},
    data::InputConvention,
    data::{Facts, facts},
    registry::{BuildContext, Assembly, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

// Makes the shared library loadable; in a program that links this crate it does nothing.
fame_core::export_plugin!();

/// Momentum: v ← μ·v + g / ‖g‖₁, x ← x − η·sign(v). A direction that many steps agree on
/// outlives the noise of single ones. Steps are in pixels of 0..=1, and the picture may leave
/// them; nothing moves by more than η per step.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scaffold {
    /// Step size η in pixels of 0..=1; above 0.
    pub step: f32,
    /// How much of the last direction is kept, μ: from 0 (nothing) to 1 (all, as published).
    pub momentum: f32,
    /// How many steps, at least 1.
    pub iterations: usize,
}

impl Default for Scaffold {
    fn default() -> Self {
        Self { step: 1.0 / 255.0, momentum: 1.0, iterations: 100 }
    }
}

impl Plugin<dyn Perturbation> for Scaffold {
    const NAME: &'static str = "Scaffold";
    const SUMMARY: &'static str = "Steps along the sign of a gradient that remembers";
    const EXAMPLE: &'static str = "Scaffold(step: 0.00392157, momentum: 0.9, iterations: 50)";
    const REFERENCE: &'static str =
        "Dong et al., Boosting adversarial attacks with momentum, CVPR 2018";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("step", self.step.is_finite() && self.step > 0.0, "must be a number above 0");
        assembly.check("momentum", (0.0..=1.0).contains(&self.momentum), "must be in 0..=1");
        assembly.check("iterations", self.iterations > 0, "must be at least 1");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Perturbation>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Perturbation: Scaffold);

impl Perturbation for Scaffold {
    fn start(&self, from: &Start<'_>) -> Result<Box<dyn Walk>> {
        Ok(Box::new(Walking {
            step: self.step,
            momentum: self.momentum,
            convention: from.convention.clone(),
            origin: from.pixels.clone(),
            now: from.pixels.clone(),
            direction: Tensor::zeros(from.pixels.shape()),
        }))
    }

    fn max_steps(&self) -> usize {
        self.iterations
    }
}

/// One row on its way.
struct Walking {
    step: f32,
    momentum: f32,
    convention: InputConvention,
    /// Where it began, in pixels.
    origin: Tensor,
    /// Where it is, in pixels.
    now: Tensor,
    /// v.
    direction: Tensor,
}

impl Walk for Walking {
    // The walk lives in pixels; the network sees (pixel − mean) / std.
    fn image(&self) -> Result<Tensor> {
        let mut image = self.now.clone();
        self.convention.normalise(&mut image)?;
        Ok(image)
    }

    // A stop rule would go here: `Some(Stop::LossBelow)` ends the walk before the next step.
    fn observe(&mut self, _loss: f32) -> Result<Option<Stop>> {
        Ok(None)
    }

    fn step(&mut self, gradient: &Tensor) -> Result<Option<Stop>> {
        if gradient.shape() != self.now.shape() {
            let message = format!(
                "a gradient {:?} cannot move a picture {:?}.",
                gradient.shape(),
                self.now.shape()
            );
            return Err(Error::bug(message));
        }
        // d/d(pixel) = d/d(input) / std, channel by channel.
        let mut gradient = gradient.clone();
        for channel in 0..gradient.rows() {
            let std = self.convention.std[channel];
            gradient.row_mut(channel).iter_mut().for_each(|g| *g /= std);
        }
        let length: f32 = gradient.data().iter().map(|g| g.abs()).sum();
        if !length.is_finite() {
            return Ok(Some(Stop::NotFinite));
        }
        if length == 0.0 {
            return Ok(Some(Stop::ZeroGradient));
        }
        let moves = self.direction.data_mut().iter_mut().zip(gradient.data());
        for (x, (v, g)) in self.now.data_mut().iter_mut().zip(moves) {
            *v = self.momentum * *v + g / length;
            // Not `signum`, which is 1 at 0.
            *x -= if *v == 0.0 { 0.0 } else { self.step * v.signum() };
        }
        Ok(None)
    }

    // What explains: |x̄ − x| is what FAME shows.
    fn field(&self) -> Result<Tensor> {
        let mut field = self.now.clone();
        field.data_mut().iter_mut().zip(self.origin.data()).for_each(|(x, o)| *x -= o);
        Ok(field)
    }

    fn facts(&self) -> Result<Facts> {
        Ok(facts([("largest_move", self.field()?.max_abs().into())]))
    }
}
