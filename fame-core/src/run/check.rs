//! The forward check: a second backend recomputes what an explanation rests on.
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

use serde::{Deserialize, Serialize};

use crate::{
    Error, Explanation, LoadRequest, Model, Result, Sample, Taps, Tensor, Witness,
    contract::{Backend, Network},
    data::{Facts, Value, facts},
    registry::{self, BuildContext, Built, Parts, Plugin},
    text::{Problem, Spec, suggestion},
};

/// Under this name a check stands among an explanation's facts.
pub(super) const FACT: &str = "forward_check";

/// Two f32 engines that sum in another order differ by about 1e-6 after fifty layers, and by 1e-5
/// near the end of a walk. A fault is far above. A backend of lower precision needs a larger
/// tolerance (bf16: about 5e-2).
const DEFAULT_TOLERANCE: f32 = 1e-3;

/// A second backend and how far it may differ: what the recipe's field `check` says.
pub struct ForwardCheck {
    backend: Built<dyn Backend>,
    tolerance: f32,
}

/// Recomputes the target layers with a second backend.
#[derive(Clone, Debug, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// What recomputes. It should be another engine, or the same with other options.
    backend: Spec,
    /// The largest difference that passes, relative to the layer's largest value.
    #[serde(default = "default_tolerance")]
    tolerance: f32,
}

fn default_tolerance() -> f32 {
    DEFAULT_TOLERANCE
}

impl Plugin<ForwardCheck> for Parameters {
    const NAME: &'static str = "ForwardCheck";
    const SUMMARY: &'static str = "Recomputes the target layers with a second backend";
    const EXAMPLE: &'static str = "ForwardCheck(backend: Tract(), tolerance: 1e-3)";

    fn resolve(&mut self, _: &BuildContext<'_>, parts: &mut Parts) {
        parts.check(
            "tolerance",
            self.tolerance.is_finite() && self.tolerance >= 0.0,
            "must be a number of at least 0",
        );
    }

    fn build(self, with: &BuildContext<'_>, parts: &mut Parts) -> Option<Box<ForwardCheck>> {
        let backend = parts.build::<dyn Backend>("backend", &self.backend, with)?;
        Some(Box::new(ForwardCheck { backend, tolerance: self.tolerance }))
    }
}

impl ForwardCheck {
    /// The check that `spec` describes.
    ///
    /// # Errors
    /// Every problem of the spec, placed in the text it was parsed from.
    pub fn build(
        spec: &Spec,
        with: &BuildContext<'_>,
    ) -> std::result::Result<Built<Self>, Vec<Problem>> {
        let name = <Parameters as Plugin<Self>>::NAME;
        if spec.name != name {
            let problem = Problem::new(
                registry::UNKNOWN_PLUGIN,
                format!("no check is named `{}`.", spec.name),
                spec.name_span.clone(),
            );
            let help = suggestion(&spec.name, &[name], "check");
            return Err(vec![
                problem
                    .with_label(format!("`{}` is the one there is", Parameters::EXAMPLE))
                    .with_help(help),
            ]);
        }
        registry::assemble::<Self, Parameters>(&spec.body, with)
            .map_err(|problems| problems.into_iter().map(|p| p.shifted(spec.body_at)).collect())
    }

    /// Whether the second backend can run on this machine.
    ///
    /// # Errors
    /// What the backend says.
    pub fn can_run(&self) -> Result<()> {
        self.backend.plugin.check().map_err(|e| e.at("forward check"))
    }

    /// Loads the second network.
    pub(super) fn load(&self, model: &Model) -> Result<Second<'_>> {
        let request = LoadRequest {
            file: model.file.clone(),
            input_shape: Some(model.network.input_shape().to_vec()),
        };
        let network = self.backend.plugin.load(&request).map_err(|e| e.at("forward check"))?;
        Ok(Second { about: self, network })
    }
}

/// A check with its network loaded.
pub(super) struct Second<'a> {
    about: &'a ForwardCheck,
    network: Box<dyn Network>,
}

/// The largest difference seen so far, and where.
struct Worst {
    difference: f32,
    layer: String,
    input: String,
}

impl Second<'_> {
    /// Recomputes what `explanation` rests on, and records the verdict in its facts.
    ///
    /// # Errors
    /// Beyond the tolerance, or when a network cannot be run: an error, and what to say about it in
    /// the record.
    pub(super) fn check(
        &self,
        model: &Model,
        sample: &Sample,
        mut explanation: Explanation,
    ) -> Result<Explanation, (Error, Facts)> {
        let witnesses = if explanation.witnesses.is_empty() {
            clean_witnesses(model, sample)
        } else {
            Ok(std::mem::take(&mut explanation.witnesses))
        };
        let worst = witnesses
            .and_then(|w| self.worst(&w).map(|worst| (w.len(), worst)))
            .map_err(|e| (e.at("forward check"), Facts::new()))?;
        let (inputs, worst) = worst;
        // Not `>`: a difference that is NaN fails.
        let agrees = worst.difference <= self.about.tolerance;
        let found = facts([
            ("backend", self.about.backend.record()),
            ("tolerance", self.about.tolerance.into()),
            ("inputs", inputs.into()),
            ("difference", worst.difference.into()),
            ("layer", worst.layer.as_str().into()),
            ("input", worst.input.as_str().into()),
            ("verdict", if agrees { "agrees" } else { "differs" }.into()),
        ]);
        if agrees {
            explanation.facts.insert(FACT.to_owned(), Value::Map(found));
            return Ok(explanation);
        }
        let error = Error::new(
            "fame::check::differs",
            format!(
                "forward check: for `{}` the backend {} gives layer `{}` another value: they differ by {:.3e} of its largest value, and {:e} is tolerated.",
                worst.input,
                self.about.backend.name,
                worst.layer,
                worst.difference,
                self.about.tolerance
            ),
        );
        Err((error.with_help("One of the two backends computes something else: do not trust this map. A backend of low precision needs a larger tolerance."), found))
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

/// The clean pictures, and what the first backend gives for them at its outputs.
fn clean_witnesses(model: &Model, sample: &Sample) -> Result<Vec<Witness>> {
    let layers: Vec<String> = model
        .network
        .layers()
        .iter()
        .filter(|l| l.is_output && l.depends_on_input)
        .map(|l| l.name.clone())
        .collect();
    let witness = |(role, picture): &(String, crate::Picture)| {
        let input = model.manifest.input.to_input(&picture.pixels)?;
        let pass =
            model.network.forward(&Tensor::stack([&input])?, &Taps::of(layers.iter().cloned()))?;
        let outputs = layers
            .iter()
            .map(|layer| Ok((layer.clone(), pass.output(layer)?.row_tensor(0))))
            .collect::<Result<_>>()?;
        Ok(Witness { name: role.clone(), input, outputs })
    };
    sample.pictures.iter().map(witness).collect()
}

/// What the checks of a whole run came to, from its items: `None` when nothing was checked.
pub(super) fn tally(items: &[Value]) -> Option<Value> {
    let explained = items.iter().filter_map(|item| item.get("explanations"));
    let checks: Vec<&Value> = explained
        .flat_map(|e| if let Value::Map(all) = e { all.values().collect() } else { Vec::new() })
        .filter_map(|e| e.get(FACT))
        .collect();
    let differing = checks
        .iter()
        .filter(|c| c.get("verdict").and_then(Value::as_str) != Some("agrees"))
        .count();
    let largest = checks
        .iter()
        .filter_map(|c| c.get("difference").and_then(Value::as_f64))
        .fold(0.0, f64::max);
    let about = facts([
        ("checked", checks.len().into()),
        ("differing", differing.into()),
        ("largest_difference", largest.into()),
    ]);
    (!checks.is_empty()).then_some(Value::Map(about))
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_run_is_told_how_many_checks_differ() {
        let item = |verdict: &str, difference: f64| {
            let check =
                Value::Map(facts([("verdict", verdict.into()), ("difference", difference.into())]));
            let fame = Value::Map([(FACT.to_owned(), check)].into());
            Value::Map(facts([("explanations", Value::Map(facts([("fame", fame)])))]))
        };
        let told =
            tally(&[item("agrees", 1e-6), item("differs", 0.5), Value::Map(Facts::new())]).unwrap();
        assert_eq!(
            told,
            Value::Map(facts([
                ("checked", 2usize.into()),
                ("differing", 1usize.into()),
                ("largest_difference", 0.5.into())
            ]))
        );
        assert!(tally(&[Value::Map(Facts::new())]).is_none());
    }
}
