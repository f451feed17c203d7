//! `Logit`: a class score, descended: which pixels carry this class?

use fame_core::{
    Claim, Error, Random, Result, Subject, Target, TargetRequest, Tensor,
    ask::softmax,
    contract::{Evaluation, Loss, per_row},
    data::facts,
    registry::{Assembly, BuildContext, Plugin},
    seed_of,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which class is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Class {
    /// The one with the highest score on the clean picture.
    #[default]
    Predicted,
    /// The one the dataset labels the sample with.
    Label,
    /// The one with this index, from 0.
    Index(usize),
    /// Any but the one with the highest score, drawn from the sample's id: for the random-class
    /// check, whether a map of another class is another map.
    Other,
}

/// Descends the score z_o of one class (the paper's L_cls), or |z_o|, which the authors' original
/// script descended: the same while z_o > 0, but it stops at 0 instead of going below. The value is
/// a raw logit: any number.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Logit {
    /// Which class: `Predicted`, `Label`, `Index(n)` or `Other`.
    pub class: Class,
    /// Descend |z_o| instead of z_o.
    pub absolute: bool,
}

impl Plugin<dyn Loss> for Logit {
    const NAME: &'static str = "Logit";
    const SUMMARY: &'static str = "A class logit z_o, descended: which pixels carry this class";
    const EXAMPLE: &'static str = "Logit(class: Index(281), absolute: false)";
    const REFERENCE: &'static str =
        "Zhang & Günther, FAME (2026), section 3.2; |z_o|: the authors' code";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Loss>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Loss: Logit);

impl Loss for Logit {
    fn targets(&self, about: &TargetRequest<'_>) -> Result<Vec<Target>> {
        let logits = about.clean.first().map(Tensor::data).unwrap_or_default();
        let class = match self.class {
            Class::Index(n) => n,
            Class::Predicted => argmax(logits).ok_or_else(|| {
                Error::new("fame::loss::not_finite", "the clean logits are not finite.")
            })?,
            Class::Other => {
                let top = argmax(logits).ok_or_else(|| {
                    Error::new("fame::loss::not_finite", "the clean logits are not finite.")
                })?;
                let drawn = Random::new(seed_of(0, &format!("{}/other class", about.sample.id)))
                    .below(logits.len().saturating_sub(1));
                // Counted without the highest.
                if drawn < top { drawn } else { drawn + 1 }
            }
            Class::Label => about.sample.label.ok_or_else(|| {
                Error::new(
                    "fame::loss::no_label",
                    format!(
                        "sample `{}` has no label, but the loss asks for Label.",
                        about.sample.id
                    ),
                )
                .with_help(
                    "Use Logit(class: Predicted), Logit(class: Index(n)) or a dataset with labels.",
                )
            })?,
        };
        if class >= logits.len() {
            let layers = about.layers.join("`, `");
            return Err(Error::new(
                "fame::loss::class_range",
                format!(
                    "class {class} does not exist: layer `{layers}` has {} values.",
                    logits.len()
                ),
            )
            .with_help(format!(
                "Classes are counted from 0 to {}.",
                logits.len().saturating_sub(1)
            )));
        }
        let mut about_class =
            facts([("class", class.into()), ("logit_before", logits[class].into())]);
        if let Some(name) = about.labels.get(class) {
            about_class.insert("class_name".into(), name.as_str().into());
        }
        about_class.insert("probability_before".into(), (softmax(logits)[class] as f32).into());
        Ok(vec![Target {
            subject: Subject::Class(class),
            claim: Claim::For,
            values: vec![class as f32],
            frame: None,
            annotations: Vec::new(),
            facts: about_class,
        }])
    }

    fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation> {
        per_row(outputs, targets, |logits, target, gradient| {
            let class = target.values[0] as usize;
            let z = logits[0][class];
            // The derivative of |z| at 0 is taken as 0: the walk has arrived.
            let (value, slope) = if self.absolute {
                (z.abs(), if z == 0.0 { 0.0 } else { z.signum() })
            } else {
                (z, 1.0)
            };
            gradient[0][class] = slope;
            Ok(value)
        })
    }
}

/// The index of the largest value; `None` when there is none or one is NaN.
fn argmax(values: &[f32]) -> Option<usize> {
    if values.iter().any(|v| v.is_nan()) {
        return None;
    }
    // The first of equals wins, as numpy's argmax.
    values.iter().enumerate().reduce(|best, v| if v.1 > best.1 { v } else { best }).map(|(i, _)| i)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(absolute: bool, z: f32) -> (f32, Vec<f32>) {
        let target = Target { values: vec![1.0], ..Target::default() };
        let outputs = [Tensor::new([1, 3], vec![9.0, z, -9.0]).unwrap()];
        let e = Logit { class: Class::Predicted, absolute }.evaluate(&outputs, &[&target]).unwrap();
        (e.values[0], e.cotangents[0].data().to_vec())
    }

    #[test]
    fn the_absolute_form_turns_round_below_zero() {
        assert_eq!(evaluate(false, -2.0), (-2.0, vec![0.0, 1.0, 0.0]));
        assert_eq!(evaluate(true, -2.0), (2.0, vec![0.0, -1.0, 0.0]));
        assert_eq!(evaluate(true, 2.0), evaluate(false, 2.0));
        assert_eq!(evaluate(true, 0.0), (0.0, vec![0.0, 0.0, 0.0]));
    }

    #[test]
    fn the_first_of_equal_classes_wins_and_nan_has_no_class() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), Some(1));
        assert_eq!(argmax(&[1.0, f32::NAN]), None);
    }
}
