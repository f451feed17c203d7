//! A plugin that fits. The tests of `fame-cli` link it and load it, and both must give the same
//! bytes.

#![forbid(unsafe_code)]

use fame_core::{
    Result, Target, TargetRequest, Tensor,
    contract::{Evaluation, Loss, per_row},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Descends half the squared length of the target layer.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FixtureLength {
    /// Multiplies the value; any number above 0.
    pub weight: f32,
}

impl Default for FixtureLength {
    fn default() -> Self {
        Self { weight: 1.0 }
    }
}

impl Plugin<dyn Loss> for FixtureLength {
    const NAME: &'static str = "FixtureLength";
    const SUMMARY: &'static str = "Half the squared length of the target layer";
    const EXAMPLE: &'static str = "FixtureLength(weight: 2.0)";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("weight", self.weight > 0.0, "must be above 0");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Loss>> {
        Some(Box::new(self))
    }
}

impl Loss for FixtureLength {
    fn targets(&self, _: &TargetRequest<'_>) -> Result<Vec<Target>> {
        Ok(vec![Target::unnamed()])
    }

    fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation> {
        per_row(outputs, targets, |outputs, _, cotangents| {
            for (c, y) in cotangents[0].iter_mut().zip(outputs[0]) {
                *c = self.weight * y;
            }
            Ok(0.5 * self.weight * outputs[0].iter().map(|y| y * y).sum::<f32>())
        })
    }
}

fame_core::register!(Loss: FixtureLength);

fame_core::export_plugin!();
