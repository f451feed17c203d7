//! `ForwardCheck`: a second backend recomputes what an explanation rests on.
//!
//! A wrong kernel, a wrong memory layout or a bad GPU gives maps that look like any other map. So
//! after each explanation the target layers are computed again, by another engine, for the inputs
//! the explainer really fed ([`Explanation::witnesses`]: for FAME the clean picture and where its
//! walk ended), and compared with what the first engine gave *then*, not with what it would give
//! now.
//!
//! ```ron
//! check: ForwardCheck(backend: Tract(), tolerance: 1e-3)
//! ```

use fame_core::{
    Error, Explanation, Model, Result, Sample, Taps, Tensor, Witness,
    contract::{Backend, Check, Finding, LoadedCheck, Network, witnesses},
    data::{Value, facts},
    registry::{Assembly, BuildContext, Built, Plugin},
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Two f32 engines that sum in another order differ by about 1e-6 after fifty layers, and by 1e-5
/// near the end of a walk. A fault is far above. A backend of lower precision needs a larger
/// tolerance (bf16: about 5e-2).
const DEFAULT_TOLERANCE: f32 = 1e-3;

/// Recomputes the target layers with a second backend, for the inputs an explanation rests on, and
/// fails the item where the two differ.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardCheck {
    /// What recomputes. It should be another engine, or the same with other options.
    pub backend: Spec,
    /// The largest difference that passes, relative to the layer's largest value; at least 0.
    #[serde(default = "default_tolerance")]
    pub tolerance: f32,
}

fn default_tolerance() -> f32 {
    DEFAULT_TOLERANCE
}

impl Plugin<dyn Check> for ForwardCheck {
    const NAME: &'static str = "ForwardCheck";
    const SUMMARY: &'static str = "Recomputes the target layers with a second backend";
    const EXAMPLE: &'static str = "ForwardCheck(backend: Tract(), tolerance: 1e-3)";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check(
            "tolerance",
            self.tolerance.is_finite() && self.tolerance >= 0.0,
            "must be a number of at least 0",
        );
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Check>> {
        let backend = assembly.build::<dyn Backend>("backend", &self.backend, with)?;
        Some(Box::new(SecondBackend { backend, tolerance: self.tolerance }))
    }
}

fame_core::register!(Check: ForwardCheck);

/// A second backend and how far it may differ.
struct SecondBackend {
    backend: Built<dyn Backend>,
    tolerance: f32,
}

impl Check for SecondBackend {
    fn can_run(&self) -> Result<()> {
        self.backend.plugin.check().map_err(|e| e.at("forward check"))
    }

    /// A check by the recipe's own backend is not refused: it still finds a computation that is not
    /// the same twice, as on a broken device.
    fn doubts(&self, backend: &Value) -> Vec<String> {
        let own = self.backend.record();
        let doubt = format!(
            "recomputes with {}, as the recipe's own backend{}: it repeats the computation, and \
             finds no fault that is in both. Give its `backend` another engine, or other options.",
            self.backend.name,
            if own == *backend { " is set" } else { " does with another number of threads" }
        );
        if of_any_threads(&own) == of_any_threads(backend) { vec![doubt] } else { Vec::new() }
    }

    fn load<'c>(&'c self, model: &Model) -> Result<Box<dyn LoadedCheck + 'c>> {
        let request = model.load_request();
        let network = self.backend.plugin.load(&request).map_err(|e| e.at("forward check"))?;
        Ok(Box::new(SecondNetwork { check: self, network }))
    }
}

/// A backend's record without its parameter `threads`, which says who computes and not what.
fn of_any_threads(backend: &Value) -> Value {
    let mut backend = backend.clone();
    if let Value::Map(parts) = &mut backend {
        for parameters in parts.values_mut() {
            if let Value::Map(parameters) = parameters {
                parameters.remove("threads");
            }
        }
    }
    backend
}

/// The explained model, loaded by the second backend.
struct SecondNetwork<'c> {
    check: &'c SecondBackend,
    network: Box<dyn Network>,
}

/// The largest difference so far, with its layer and input.
struct Worst {
    difference: f32,
    layer: String,
    input: String,
}

impl LoadedCheck for SecondNetwork<'_> {
    fn compare(
        &self,
        model: &Model,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Finding> {
        let found = witnesses(model, sample, explanation).and_then(|all| self.found(&all));
        found.map_err(|e| e.at("forward check"))
    }
}

impl SecondNetwork<'_> {
    fn found(&self, witnesses: &[Witness]) -> Result<Finding> {
        let worst = self.worst(witnesses)?;
        // Not `>`: a difference that is NaN fails.
        let agrees = worst.difference <= self.check.tolerance;
        let facts = facts([
            ("backend", self.check.backend.record()),
            ("tolerance", self.check.tolerance.into()),
            ("inputs", witnesses.len().into()),
            ("layer", worst.layer.as_str().into()),
            ("input", worst.input.as_str().into()),
        ]);
        let fault = (!agrees).then(|| self.fault(&worst));
        Ok(Finding { difference: worst.difference, fault, facts })
    }

    fn fault(&self, worst: &Worst) -> Error {
        let SecondBackend { backend, tolerance } = self.check;
        let message = format!(
            "forward check: for `{}` the backend {} gives layer `{}` another value: they differ by {:.3e} of its largest value, and {tolerance:e} is tolerated.",
            worst.input, backend.name, worst.layer, worst.difference
        );
        Error::new("fame::check::differs", message).with_help("One of the two backends computes something else: do not trust this map. A backend of low precision needs a larger tolerance.")
    }

    fn worst(&self, witnesses: &[Witness]) -> Result<Worst> {
        let mut worst: Option<Worst> = None;
        // A few inputs at a time: an explanation may rest on many.
        let rows = self.network.preferred_rows().max(1);
        let same_layers = |a: &Witness, b: &Witness| {
            a.outputs.iter().map(|(name, _)| name).eq(b.outputs.iter().map(|(name, _)| name))
        };
        for chunk in witnesses.chunk_by(same_layers).flat_map(|group| group.chunks(rows)) {
            let layers: Vec<&str> =
                chunk[0].outputs.iter().map(|(name, _)| name.as_str()).collect();
            let batch = Tensor::stack(chunk.iter().map(|w| &w.input))?;
            let pass = self.network.forward(&batch, &Taps::of(layers.iter().copied()))?;
            for (ix, layer) in layers.into_iter().enumerate() {
                let again = pass.output(layer)?;
                for (row, witness) in chunk.iter().enumerate() {
                    let difference = relative(witness.outputs[ix].1.data(), again.row(row));
                    // A NaN is worse than any number, and stays.
                    let worse = worst.as_ref().is_none_or(|w| {
                        !w.difference.is_nan() && (difference.is_nan() || difference > w.difference)
                    });
                    if worse {
                        worst = Some(Worst {
                            difference,
                            layer: layer.to_owned(),
                            input: witness.name.clone(),
                        });
                    }
                }
            }
        }
        worst.ok_or_else(|| Error::bug("a forward check had nothing to compare."))
    }
}

/// The largest difference over the largest value of the second; NaN where the lengths or any value
/// differ in being a number.
fn relative(first: &[f32], second: &[f32]) -> f32 {
    if first.len() != second.len() {
        return f32::NAN;
    }
    let (mut apart, mut scale) = (0f32, 0f32);
    for (a, b) in first.iter().zip(second) {
        if !(a.is_finite() && b.is_finite()) {
            return f32::NAN;
        }
        apart = apart.max((a - b).abs());
        scale = scale.max(b.abs());
    }
    if apart == 0.0 { 0.0 } else { apart / scale.max(f32::MIN_POSITIVE) }
}

#[cfg(test)]
mod tests {
    use fame_core::testkit;

    use super::*;

    #[test]
    fn another_number_of_threads_is_no_second_opinion() {
        let backend = |spec: &str| testkit::build::<dyn Backend>(spec).unwrap().record();
        let check = r"ForwardCheck(backend: Tract(threads: 1))";
        let check = testkit::build::<dyn Check>(check).unwrap();
        let doubts = |spec: &str| check.plugin.doubts(&backend(spec));
        assert!(doubts("Tract(threads: 1)")[0].contains("backend is set: it repeats"));
        assert!(doubts("Tract(threads: 2)")[0].contains("another number of threads: it repeats"));
        assert_eq!(doubts("Tract(threads: 2, precision: Bf16)"), Vec::<String>::new());
        assert_eq!(doubts("Ort()"), Vec::<String>::new());
    }

    #[test]
    fn differences_are_relative_to_the_layer_and_nothing_unfinite_passes() {
        assert_eq!(relative(&[1.0, -4.0], &[1.5, -4.0]), 0.125);
        assert_eq!(relative(&[0.0, 0.0], &[0.0, 0.0]), 0.0);
        assert_eq!(relative(&[1e-9], &[0.0]), 1e-9 / f32::MIN_POSITIVE);
        for odd in [f32::NAN, f32::INFINITY] {
            assert!(relative(&[odd], &[1.0]).is_nan() && relative(&[1.0], &[odd]).is_nan());
        }
        assert!(relative(&[1.0], &[1.0, 1.0]).is_nan());
    }
}
