//! Asking the network about altered copies of one picture: what black-box explainers and metrics
//! do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Aim, AimedRow};
use crate::{Error, Result, Sample, Target, Tensor};

/// What the network is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Answer {
    /// The loss's value: a logit, a similarity.
    Value,
    /// The softmax probability of the loss's class, 0..=1. For losses about a class only. Of a layer
    /// that holds probabilities already, its value.
    Probability,
}

/// One picture and what is asked about it.
pub struct Question<'a> {
    /// The loss at its layers.
    aim: &'a Aim<'a>,
    /// What the loss is measured against.
    target: &'a Target,
    /// The class whose probability is wanted, or `None` for the loss's value.
    class: Option<usize>,
    /// The picture, `[C, H, W]`, values in 0..=1, the model's channels.
    pub pixels: Tensor,
}

impl<'a> Question<'a> {
    /// The question that `row` asks of its picture.
    ///
    /// # Errors
    /// A picture of the wrong size, or a probability asked of a loss that is not about a class.
    pub fn new(
        aim: &'a Aim<'a>,
        sample: &Sample,
        row: &'a AimedRow,
        answer: Answer,
    ) -> Result<Self> {
        let role = &row.id.role;
        let picture = sample
            .picture(role)
            .ok_or_else(|| Error::bug(format!("sample `{}` has no role `{role}`.", sample.id)))?;
        let pixels = aim.model.manifest.input.pixels(&picture.pixels)?;
        let class = match answer {
            Answer::Value => None,
            Answer::Probability => Some(row.target.subject.class().ok_or_else(no_class)?),
        };
        Ok(Self { aim, target: &row.target, class, pixels })
    }

    /// Height and width.
    pub fn size(&self) -> (usize, usize) {
        let input = &self.aim.model.manifest.input;
        (input.height, input.width)
    }

    /// The answers about `count` altered copies: `alter(i, copy)` changes copy i's pixels. Copies
    /// are made batch by batch and thrown away; `done` is told how many more are.
    ///
    /// # Errors
    /// What the network or the loss says. An answer may be NaN or infinite: see [`broken`].
    pub fn ask(
        &self,
        count: usize,
        mut alter: impl FnMut(usize, &mut Tensor),
        mut done: impl FnMut(usize),
    ) -> Result<Vec<f32>> {
        let width = self.aim.model.network.preferred_rows().max(1);
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
            answers.extend(self.batch(Tensor::new(shape, batch)?, rows)?);
            done(rows);
        }
        Ok(answers)
    }

    /// [`Question::ask`] where every answer counts.
    ///
    /// # Errors
    /// As [`Question::ask`], and an answer that is NaN or infinite.
    pub fn ask_all(&self, count: usize, alter: impl FnMut(usize, &mut Tensor)) -> Result<Vec<f32>> {
        let answers = self.ask(count, alter, |_| {})?;
        match broken(&answers) {
            Some(why) => Err(Error::new("fame::explain::not_finite", why)),
            None => Ok(answers),
        }
    }

    /// The answers about `rows` pictures of 0..=1.
    fn batch(&self, mut pixels: Tensor, rows: usize) -> Result<Vec<f32>> {
        let model = self.aim.model;
        model.manifest.input.normalise(&mut pixels)?;
        let pass = model.network.forward(&pixels, &self.aim.taps())?;
        let Some(class) = self.class else {
            return Ok(self.aim.evaluate(pass.as_ref(), &vec![self.target; rows])?.values);
        };
        let scores = pass.output(&self.aim.layers[0])?;
        let squashed = self.aim.holds_probabilities();
        (0..rows).map(|n| probability(scores.row(n), class, squashed)).collect()
    }
}

fn no_class() -> Error {
    Error::new(
        "fame::explain::no_class",
        "a probability was asked for, but the loss is not about a class.",
    )
    .with_help("Use answer: Value, or a loss whose target is a class.")
}

/// Why no map can be made of `answers`, if so. Ranks and sums would hide a NaN.
pub fn broken(answers: &[f32]) -> Option<String> {
    let at = answers.iter().position(|a| !a.is_finite())?;
    Some(format!(
        "the network's answer is {} for altered copy {at} of {}.",
        answers[at],
        answers.len()
    ))
}

/// softmax: exp(z_i − max z) / Σ_j exp(z_j − max z), in double precision; they add up to 1.
pub fn softmax(values: &[f32]) -> Vec<f64> {
    let top = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = values.iter().map(|z| f64::from(z - top).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// softmax(scores)[class], or scores[class] where they are probabilities already.
fn probability(scores: &[f32], class: usize, squashed: bool) -> Result<f32> {
    let one = if squashed {
        scores.get(class).copied()
    } else {
        softmax(scores).get(class).map(|p| *p as f32)
    };
    one.ok_or_else(|| Error::bug(format!("class {class} of {} scores.", scores.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_do_not_overflow() {
        assert!((probability(&[1000.0, 1000.0], 0, false).unwrap() - 0.5).abs() < 1e-7);
        assert_eq!(probability(&[0.9, 0.1], 0, true).unwrap(), 0.9);
        assert!(probability(&[f32::NAN, 1.0], 1, false).unwrap().is_nan());
        assert!(
            broken(&[1.0, f32::NAN]).unwrap().contains("copy 1 of 2") && broken(&[1.0]).is_none()
        );
        assert!(probability(&[0.0], 1, false).is_err());
    }
}
