//! Asking a network about altered copies of a picture.

use fame_core::{Error, Result, Sample, Target, Tensor, ask::Aim, data::InputConvention};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::meter::Meter;

/// What stands where pixels were taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Fill {
    /// 0 in pixels of 0..=1, before normalisation.
    Black,
    /// The model's mean colour: 0 after normalisation.
    Mean,
}

impl Fill {
    /// The value of `channel`, in pixels of 0..=1.
    pub(crate) fn value(self, convention: &InputConvention, channel: usize) -> f32 {
        match self {
            Fill::Black => 0.0,
            Fill::Mean => convention.mean[channel],
        }
    }
}

/// What the network is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Answer {
    /// The loss's value: a logit, a similarity.
    Value,
    /// The softmax probability of the loss's class, 0..=1. For losses about a class only.
    Probability,
}

/// One picture and what is asked about it.
pub(crate) struct Question<'a> {
    /// The loss at its layers.
    pub(crate) aim: &'a Aim<'a>,
    /// What the loss is measured against.
    pub(crate) target: &'a Target,
    /// What to return.
    pub(crate) answer: Answer,
    /// The picture, `[C, H, W]`, values in 0..=1, the model's channels.
    pub(crate) pixels: Tensor,
}

impl<'a> Question<'a> {
    /// About the picture in `role`.
    pub(crate) fn new(
        aim: &'a Aim<'a>,
        sample: &Sample,
        role: &str,
        target: &'a Target,
        answer: Answer,
    ) -> Result<Self> {
        let picture = sample
            .picture(role)
            .ok_or_else(|| Error::bug(format!("sample `{}` has no role `{role}`.", sample.id)))?;
        let pixels = aim.model.manifest.input.pixels(&picture.pixels)?;
        if answer == Answer::Probability {
            class(target)?;
        }
        Ok(Self { aim, target, answer, pixels })
    }

    /// Height and width.
    pub(crate) fn size(&self) -> (usize, usize) {
        let input = &self.aim.model.manifest.input;
        (input.height, input.width)
    }

    /// [`Question::ask`] with nobody watching.
    ///
    /// # Errors
    /// As [`Question::ask`], and an answer that is NaN or infinite.
    pub(crate) fn ask_silently(
        &self,
        count: usize,
        alter: impl FnMut(usize, &mut Tensor),
    ) -> Result<Vec<f32>> {
        let answers = self.ask(count, alter, &mut Meter::silent())?;
        match broken(&answers) {
            Some(why) => Err(Error::new("fame::explain::not_finite", why)),
            None => Ok(answers),
        }
    }

    /// The answers about `count` altered copies: `alter(i, copy)` changes copy i's pixels. Copies
    /// are made batch by batch and thrown away.
    ///
    /// # Errors
    /// What the network or the loss says. An answer may be NaN or infinite: see [`broken`].
    pub(in crate::explainers) fn ask(
        &self,
        count: usize,
        mut alter: impl FnMut(usize, &mut Tensor),
        meter: &mut Meter<'_>,
    ) -> Result<Vec<f32>> {
        let (model, taps) = (self.aim.model, self.aim.taps());
        let width = model.network.preferred_rows().max(1);
        let mut answers = Vec::with_capacity(count);
        for first in (0..count).step_by(width) {
            let rows = width.min(count - first);
            let mut shape = vec![rows];
            shape.extend(self.pixels.shape());
            let mut batch = Vec::with_capacity(rows * self.pixels.len());
            for index in first..first + rows {
                let mut copy = self.pixels.clone();
                alter(index, &mut copy);
                batch.extend_from_slice(copy.data());
            }
            let mut batch = Tensor::new(shape, batch)?;
            model.manifest.input.normalise(&mut batch)?;
            let pass = model.network.forward(&batch, &taps)?;
            answers.extend(match self.answer {
                Answer::Value => self.aim.evaluate(pass.as_ref(), &vec![self.target; rows])?.values,
                Answer::Probability => {
                    let logits = pass.output(&self.aim.layers[0])?;
                    let class = class(self.target)?;
                    (0..rows)
                        .map(|n| probability(logits.row(n), class))
                        .collect::<Result<Vec<_>>>()?
                }
            });
            meter.tick(rows);
        }
        Ok(answers)
    }
}

/// Why no map can be made of `answers`, if so. Ranks and sums would hide a NaN.
pub(crate) fn broken(answers: &[f32]) -> Option<String> {
    let at = answers.iter().position(|a| !a.is_finite())?;
    Some(format!(
        "the network's answer is {} for altered copy {at} of {}.",
        answers[at],
        answers.len()
    ))
}

/// The class a target is about; losses that have one put it into their facts.
fn class(target: &Target) -> Result<usize> {
    let class = target.facts.get("class").and_then(fame_core::data::Value::as_f64);
    class.map(|c| c as usize).ok_or_else(|| {
        Error::new(
            "fame::explain::no_class",
            "a probability was asked for, but the loss is not about a class.",
        )
        .with_help("Use answer: Value, or a loss about a class such as Logit().")
    })
}

/// softmax(logits)[class].
fn probability(logits: &[f32], class: usize) -> Result<f32> {
    let z = logits
        .get(class)
        .ok_or_else(|| Error::bug(format!("class {class} of {} logits.", logits.len())))?;
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|z| f64::from(z - top).exp()).sum();
    Ok((f64::from(z - top).exp() / sum) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_do_not_overflow() {
        assert!((probability(&[1000.0, 1000.0], 0).unwrap() - 0.5).abs() < 1e-7);
        assert!(probability(&[f32::NAN, 1.0], 1).unwrap().is_nan());
        assert!(
            broken(&[1.0, f32::NAN]).unwrap().contains("copy 1 of 2") && broken(&[1.0]).is_none()
        );
        assert!(probability(&[0.0], 1).is_err());
    }
}
