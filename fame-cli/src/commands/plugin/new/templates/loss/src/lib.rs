//! `Scaffold`: the energy of all scores together, descended.

use fame_core::{
    Result, Target, TargetRequest, Tensor,
    contract::{Evaluation, Loss, per_row},
    registry::{BuildContext, Assembly, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

// Makes the shared library loadable; in a program that links this crate it does nothing.
fame_core::export_plugin!();

/// Descends E(z) = T · ln Σₖ exp(zₖ / T), the (negative free) energy of the target layer's
/// scores: what raises any of them, the high ones most. Its derivative is softmax(z / T).
/// A small T looks at the highest score only, a large one at all alike.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scaffold {
    /// The temperature T; above 0.
    pub temperature: f32,
}

impl Default for Scaffold {
    fn default() -> Self {
        Self { temperature: 1.0 }
    }
}

impl Plugin<dyn Loss> for Scaffold {
    const NAME: &'static str = "Scaffold";
    const SUMMARY: &'static str = "The energy of all scores together, descended";
    const EXAMPLE: &'static str = "Scaffold(temperature: 2.0)";
    const REFERENCE: &'static str =
        "Liu et al., Energy-based out-of-distribution detection, NeurIPS 2020";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        let good = self.temperature.is_finite() && self.temperature > 0.0;
        assembly.check("temperature", good, "must be a number above 0");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Loss>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Loss: Scaffold);

impl Loss for Scaffold {
    // One row and one map per picture. A loss about classes, cells or another picture makes
    // its targets here, once, from the clean outputs; they are frozen from then on.
    fn targets(&self, _: &TargetRequest<'_>) -> Result<Vec<Target>> {
        Ok(vec![Target::unnamed()])
    }

    // The value of each row, and its derivative with respect to the layer's output.
    fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation> {
        per_row(outputs, targets, |scores, _target, cotangents| {
            let t = f64::from(self.temperature);
            let top = scores[0].iter().copied().fold(f32::NEG_INFINITY, f32::max);
            // Relative to the highest score, so that nothing overflows.
            let weight = |z: f32| (f64::from(z - top) / t).exp();
            let sum: f64 = scores[0].iter().map(|z| weight(*z)).sum();
            for (cotangent, z) in cotangents[0].iter_mut().zip(scores[0]) {
                *cotangent = (weight(*z) / sum) as f32;
            }
            Ok((f64::from(top) + t * sum.ln()) as f32)
        })
    }
}
