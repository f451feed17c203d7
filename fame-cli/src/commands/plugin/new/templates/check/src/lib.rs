//! `Scaffold`: does the network answer the same when it is asked again?

use fame_core::{
    Error, Explanation, Model, Result, Sample, Taps, Tensor, Witness,
    contract::{Check, Finding, LoadedCheck, witnesses},
    data::facts,
    registry::{BuildContext, Assembly, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

// Makes the shared library loadable; in a program that links this crate it does nothing.
fame_core::export_plugin!();

/// Runs the network again, `times` times, for every input that an explanation rests on, and compares
/// its layers with what the explainer saw. An engine that sums in another order each time, or a
/// device that drops a bit now and then, gives other numbers.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scaffold {
    /// How often each input is run again; at least 1.
    pub times: usize,
    /// The largest difference that passes, relative to the layer's largest value; at least 0.
    pub tolerance: f32,
}

/// Another batch may sum in another order, which f32 shows in its last digits.
const TOLERANCE: f32 = 1e-5;

impl Default for Scaffold {
    fn default() -> Self {
        Self { times: 1, tolerance: TOLERANCE }
    }
}

impl Plugin<dyn Check> for Scaffold {
    const NAME: &'static str = "Scaffold";
    const SUMMARY: &'static str = "Does the network answer the same when it is asked again?";
    const EXAMPLE: &'static str = "Scaffold(times: 2)";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("times", self.times > 0, "must be at least 1");
        let good = self.tolerance.is_finite() && self.tolerance >= 0.0;
        assembly.check("tolerance", good, "must be a number of at least 0");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Check>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Check: Scaffold);

impl Check for Scaffold {
    // What it needs is on every machine. A check with a backend of its own asks that.
    fn can_run(&self) -> Result<()> {
        Ok(())
    }

    // Called once a run. A check with a backend of its own loads `model.load_request()` with it.
    fn load<'c>(&'c self, _: &Model) -> Result<Box<dyn LoadedCheck + 'c>> {
        Ok(Box::new(Again(self)))
    }
}

/// The check at work on one model.
struct Again<'c>(&'c Scaffold);

impl LoadedCheck for Again<'_> {
    // Called after every explanation. What is said here stands in the item's record.
    fn compare(
        &self,
        model: &Model,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Finding> {
        let witnesses = witnesses(model, sample, explanation)?;
        let mut difference = 0f32;
        for witness in witnesses.iter() {
            for _ in 0..self.0.times {
                let apart = again(model, witness)?;
                // A NaN stays.
                if apart.is_nan() || apart > difference {
                    difference = apart;
                }
            }
        }
        // Not `>`: a difference that is NaN fails.
        let agrees = difference <= self.0.tolerance;
        let fault = (!agrees).then(|| {
            Error::new(
                "scaffold_crate::differs",
                format!("the network does not repeat itself: {difference:e} apart."),
            )
        });
        let facts = facts([
            ("inputs", witnesses.len().into()),
            ("tolerance", self.0.tolerance.into()),
        ]);
        Ok(Finding { difference, fault, facts })
    }
}

/// How far the layers of one input are from what the explainer saw, relative to each layer's
/// largest value; NaN where a value is not finite.
fn again(model: &Model, witness: &Witness) -> Result<f32> {
    let taps = Taps::of(witness.outputs.iter().map(|(layer, _)| layer.clone()));
    let pass = model.network.forward(&Tensor::stack([&witness.input])?, &taps)?;
    let mut worst = 0f32;
    for (layer, seen) in &witness.outputs {
        let now = pass.output(layer)?;
        for (a, b) in seen.data().iter().zip(now.row(0)) {
            let apart = (a - b).abs() / seen.max_abs().max(f32::MIN_POSITIVE);
            if apart.is_nan() || apart > worst {
                worst = apart;
            }
        }
    }
    Ok(worst)
}
