//! `Monotonicity`: whether every further part of the picture raises the answer.

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
    /// Arya et al.'s monotonicity: onto a filled picture come the true pixels in equal parts, those with
    /// the lowest map values first, and the network is asked after each part. `monotonic` is 1 if its
    /// answer never falls from one part to the next and else 0; `rising` is the share of the steps at which it
    /// does not fall, 0..=1. High is good for both.
    ///
    /// With pictures `monotonic` is nearly always 0: single parts of a photograph hurt whatever the map
    /// says. `rising` says how far it is from that. Both ask only whether the answer rises, not whether the
    /// later parts raise it more, though the paper's idea is that they should: see `MonotonicityCorrelation`.
    pub struct Monotonicity {
        /// Parts that the picture is cut into.
        steps: usize = 20,
        /// What stands where pixels are not there yet.
        fill: Filling = Filling::Black,
        /// `Finished`, or `Raw`: before the map steps.
        reading: Reading = Reading::default(),
        /// `Value` (a logit) or `Probability` (after softmax).
        answer: Answer = Answer::Probability,
        /// Explainers that every other one is tested against, item by item, such as random maps.
        against: Vec<String> = Vec::new(),
        /// What is asked: any loss; its value counts. Default: what the model's manifest asks for,
        /// else `Logit()`, the class the network sees.
        loss: Spec = open,
        /// The layer the loss reads. Default: the one in the model's manifest, else its `Output`.
        layer: LayerChoices = open,
    }
}

impl Parameters for Monotonicity {
    type Typed = typed::Monotonicity;

    fn fill(typed: typed::Monotonicity, with: &BuildContext<'_>, _: &mut Assembly) -> Option<Self> {
        Some(typed.or(usual_loss(with), usual_layer(with)))
    }
}

impl Plugin<dyn Metric> for Monotonicity {
    const NAME: &'static str = "Monotonicity";
    const SUMMARY: &'static str =
        "Whether the score rises with every part that comes, least relevant first";
    const EXAMPLE: &'static str = "Monotonicity(steps: 20, fill: Black)";
    const REFERENCE: &'static str =
        "Arya et al., One Explanation Does Not Fit All, 2019, arXiv 1909.03012 (AIX360)";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("steps", (2..=10_000).contains(&self.steps), "must be between 2 and 10000");
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Metric>> {
        let asking = Asking::build(&self.layer, &self.loss, self.answer, with, assembly)?;
        Some(Box::new(MonotonicityMetric { parameters: self, asking }))
    }
}

fame_core::register!(Metric: Monotonicity);

struct MonotonicityMetric {
    parameters: Monotonicity,
    asking: Asking,
}

impl Metric for MonotonicityMetric {
    fn measure(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let Monotonicity { steps, fill, reading, .. } = self.parameters;
        let mut all = Vec::new();
        self.asking.each_map(
            with,
            sample,
            explanation,
            |_| true,
            |map, question| {
                let mut order = ranked(&reading.of(map)?);
                order.reverse();
                let part = by_rank(&order, steps);
                let filling = fill.picture(&question.pixels, &with.model.manifest.input)?;
                // From the first part on, as published: what comes before is the filling alone.
                let answers = question.ask_all(steps, |k, copy| {
                    replace(copy, &filling, |pixel| part[pixel] > k);
                })?;
                let share = rising(&answers);
                let monotonic = f64::from(u8::from(share == 1.0));
                all.push(measured(map, "monotonic", Parameter::None, monotonic));
                all.push(measured(map, "rising", Parameter::None, share));
                Ok(())
            },
        )?;
        Ok(all)
    }

    fn named_explainers(&self) -> Vec<String> {
        self.parameters.against.clone()
    }

    fn only_for_tables(&self) -> &'static [&'static str] {
        &["against"]
    }

    fn scores(&self, rows: &[MetricRow]) -> Result<Scores> {
        Ok(scores(rows, better))
    }

    fn summarise(&self, name: &str, rows: &[MetricRow]) -> Result<Vec<Table>> {
        Ok(means(name, rows, better, &self.parameters.against))
    }
}

fn better(quantity: &str) -> Option<Better> {
    matches!(quantity, "monotonic" | "rising").then_some(Better::Higher)
}

/// The share of the steps that do not fall.
fn rising(answers: &[f32]) -> f64 {
    let steps = answers.len() - 1;
    answers.windows(2).filter(|w| w[1] >= w[0]).count() as f64 / steps as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_fall_is_one_step_less() {
        assert_eq!(rising(&[0.0, 0.0, 0.5, 1.0]), 1.0);
        assert_eq!(rising(&[0.0, 0.6, 0.5, 1.0, 1.0]), 0.75);
        assert_eq!(rising(&[3.0, 2.0]), 0.0);
    }
}
