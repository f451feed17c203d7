//! `EffectiveComplexity`: how many of its pixels a map needs.

use fame_core::{
    Better, Explanation, LayerChoices, Parameter, Result, Sample, Scores, Table,
    ask::Answer,
    contract::{ExplainContext, Measurement, Metric, MetricRow, means, scores},
    registry::{Assembly, BuildContext, Parameters, Plugin},
    text::Spec,
};

use super::{
    asking::Asking,
    fill::{Filling, replace},
    masks::ranked,
    measured,
    reading::Reading,
    removal::by_rank,
};
use crate::ask::{usual_layer, usual_loss};

fame_core::parameters! {
    /// Two numbers of 0..=1, low is good. `needed` (Nguyen & Martínez 2020) is the smallest share of
    /// the pixels, the highest |a| first, with which alone the network answers nearly as for the
    /// whole picture: |f(kept) − f(x)| ≤ `tolerance`·|f(x)|; all other pixels are filled. `above` is
    /// the share of the pixels with |a| > `least`·max|a|, which needs no network: it is what
    /// Quantus calls by this name.
    ///
    /// The paper takes the expected loss over what the other pixels may be; here one filling stands
    /// for it, so that the number depends on the filling. `above` says nothing of the network, and
    /// depends on how the map was finished.
    pub struct EffectiveComplexity {
        /// How far the answer may be off, as a share of it; above 0.
        tolerance: f64 = 0.1,
        /// Steps from no pixel to all.
        steps: usize = 50,
        /// What stands where pixels are not kept.
        fill: Filling = Filling::Mean,
        /// Values up to this share of the largest do not count in `above`, 0..1.
        least: f32 = 1e-5,
        /// `Finished`, or `Raw`: before the map steps.
        reading: Reading = Reading::default(),
        /// `Value` or `Probability` (after softmax).
        answer: Answer = Answer::Value,
        /// What is asked: any loss; its value counts. Default: what the model's manifest asks for,
        /// else `Logit()`, the class the network sees.
        loss: Spec = open,
        /// The layer the loss reads. Default: the one in the model's manifest, else its `Output`.
        layer: LayerChoices = open,
    }
}

impl Parameters for EffectiveComplexity {
    type Typed = typed::EffectiveComplexity;

    fn fill(
        typed: typed::EffectiveComplexity,
        with: &BuildContext<'_>,
        _: &mut Assembly,
    ) -> Option<Self> {
        Some(typed.or(usual_loss(with), usual_layer(with)))
    }
}

impl Plugin<dyn Metric> for EffectiveComplexity {
    const NAME: &'static str = "EffectiveComplexity";
    const SUMMARY: &'static str = "The share of the pixels that the network, or the map, needs";
    const EXAMPLE: &'static str = "EffectiveComplexity(tolerance: 0.1, fill: Mean)";
    const REFERENCE: &'static str = "Nguyen & Martínez, On quantitative aspects of model interpretability, 2020, arXiv 2007.07584";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        let good = self.tolerance.is_finite() && self.tolerance > 0.0;
        assembly.check("tolerance", good, "must be above 0");
        assembly.check("steps", (1..=10_000).contains(&self.steps), "must be between 1 and 10000");
        assembly.check("least", (0.0..1.0).contains(&self.least), "must be from 0 to below 1");
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Metric>> {
        let asking = Asking::build(&self.layer, &self.loss, self.answer, with, assembly)?;
        Some(Box::new(EffectiveComplexityMetric { parameters: self, asking }))
    }
}

fame_core::register!(Metric: EffectiveComplexity);

struct EffectiveComplexityMetric {
    parameters: EffectiveComplexity,
    asking: Asking,
}

impl Metric for EffectiveComplexityMetric {
    fn measure(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let EffectiveComplexity { tolerance, steps, fill, least, reading, .. } = self.parameters;
        let mut all = Vec::new();
        self.asking.each_map(
            with,
            sample,
            explanation,
            |_| true,
            |map, question| {
                let values: Vec<f32> = reading.of(map)?.into_iter().map(f32::abs).collect();
                let filling = fill.picture(&question.pixels, &with.model.manifest.input)?;
                let part = by_rank(&ranked(&values), steps);
                let answers = question.ask_all(steps + 1, |kept, copy| {
                    replace(copy, &filling, |pixel| part[pixel] >= kept);
                })?;
                let needed = first_near(&answers, tolerance) as f64 / steps as f64;
                all.push(measured(map, "needed", Parameter::None, needed));
                all.push(measured(map, "above", Parameter::None, above(&values, least)));
                Ok(())
            },
        )?;
        Ok(all)
    }

    fn scores(&self, rows: &[MetricRow]) -> Result<Scores> {
        Ok(scores(rows, |_| Some(Better::Lower)))
    }

    fn summarise(&self, name: &str, rows: &[MetricRow]) -> Result<Vec<Table>> {
        Ok(means(name, rows, |_| Some(Better::Lower), &[]))
    }
}

/// The place of the first answer that is near the last one, that of the whole picture.
fn first_near(answers: &[f32], tolerance: f64) -> usize {
    let last = answers.len() - 1;
    let whole = f64::from(answers[last]);
    let near = |a: &f32| (f64::from(*a) - whole).abs() <= tolerance * whole.abs();
    answers.iter().position(near).unwrap_or(last)
}

/// The share of sizes above `least` times the largest.
fn above(sizes: &[f32], least: f32) -> f64 {
    let cut = least * sizes.iter().copied().fold(0.0, f32::max);
    sizes.iter().filter(|size| **size > cut).count() as f64 / sizes.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_near_answer_counts() {
        assert_eq!(first_near(&[0.0, 5.0, 9.5, 8.0, 10.0], 0.1), 2);
        assert_eq!(first_near(&[0.0, 0.0, -1.0], 0.1), 2);
        assert_eq!(first_near(&[10.0, 0.0, 10.0], 0.1), 0, "a network that needs no pixel");
    }

    #[test]
    fn values_that_count_are_a_share_of_the_largest() {
        assert_eq!(above(&[0.0, 0.5, 1e-7, 1.0], 1e-5), 0.5);
        assert_eq!(above(&[0.0, 50.0, 1e-5, 100.0], 1e-5), 0.5);
        assert_eq!(above(&[0.0; 2], 1e-5), 0.0);
    }
}
