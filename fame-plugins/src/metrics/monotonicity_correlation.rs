//! `MonotonicityCorrelation`: whether parts with higher map values make the answer more uncertain.

use fame_core::{
    Better, Explanation, LayerChoices, Parameter, Random, Result, Sample, Scores, Table,
    ask::Answer,
    contract::{ExplainContext, Measurement, Metric, MetricRow, means, scores},
    registry::{Assembly, BuildContext, Parameters, Plugin},
    seed_of,
    text::Spec,
};

use super::{
    asking::Asking,
    correlation::spearman,
    masks::ranked,
    measured,
    reading::Reading,
    removal::{by_rank, sums},
};
use crate::ask::{usual_layer, usual_loss};
fame_core::parameters! {
    /// Nguyen & Martínez' monotonicity: the pixels are cut by |a| into equal parts. Of each part i the pixels
    /// are drawn anew, uniform in 0..=1, `samples` times, and v_i = mean (f(x_i) − f(x))² / f(x)² is how
    /// uncertain the answer is without knowing them. `correlation` is the rank correlation of v_i with the
    /// part's Σ|a|, from −1 to 1: high is good.
    ///
    /// Parts are replaced one at a time, so that what two parts say together is not seen.
    pub struct MonotonicityCorrelation {
        /// Parts that the picture is cut into.
        steps: usize = 50,
        /// Draws for each part.
        samples: usize = 10,
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

impl Parameters for MonotonicityCorrelation {
    type Typed = typed::MonotonicityCorrelation;

    fn fill(
        typed: typed::MonotonicityCorrelation,
        with: &BuildContext<'_>,
        _: &mut Assembly,
    ) -> Option<Self> {
        Some(typed.or(usual_loss(with), usual_layer(with)))
    }
}

impl Plugin<dyn Metric> for MonotonicityCorrelation {
    const NAME: &'static str = "MonotonicityCorrelation";
    const SUMMARY: &'static str =
        "Rank correlation of the map with how uncertain the score is without each part";
    const EXAMPLE: &'static str = "MonotonicityCorrelation(steps: 50, samples: 10)";
    const REFERENCE: &'static str = "Nguyen & Martínez, On quantitative aspects of model interpretability, 2020, arXiv 2007.07584";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("steps", (3..=10_000).contains(&self.steps), "must be between 3 and 10000");
        assembly.check(
            "samples",
            (1..=10_000).contains(&self.samples),
            "must be between 1 and 10000",
        );
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Metric>> {
        let asking = Asking::build(&self.layer, &self.loss, self.answer, with, assembly)?;
        Some(Box::new(MonotonicityCorrelationMetric { parameters: self, asking }))
    }
}

fame_core::register!(Metric: MonotonicityCorrelation);

struct MonotonicityCorrelationMetric {
    parameters: MonotonicityCorrelation,
    asking: Asking,
}

impl Metric for MonotonicityCorrelationMetric {
    fn measure(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let MonotonicityCorrelation { steps, samples, reading, .. } = self.parameters;
        let mut all = Vec::new();
        self.asking.each_map(
            with,
            sample,
            explanation,
            |_| true,
            |map, question| {
                let sizes: Vec<f32> = reading.of(map)?.into_iter().map(f32::abs).collect();
                let part = by_rank(&ranked(&sizes), steps);
                let name = format!("{}/{}/monotonicity correlation", sample.id, map.id.role);
                let seed = seed_of(with.seed, &name);
                let count = steps * samples;
                let answers = question.ask_all(count + 1, |n, copy| {
                    let mut random = Random::stream(seed, n);
                    for channel in 0..copy.rows() {
                        let plane = copy.row_mut(channel).iter_mut().zip(&part);
                        // The last copy is the picture itself.
                        plane
                            .filter(|(_, part)| n < count && **part == n / samples)
                            .for_each(|(pixel, _)| *pixel = random.uniform() as f32);
                    }
                })?;
                let clean = f64::from(answers[count]);
                let squares = |of: &[f32]| {
                    let sum: f64 = of.iter().map(|a| (f64::from(*a) - clean).powi(2)).sum();
                    // f(x)² is the same for all parts, and ranks do not see it.
                    (sum / samples as f64) as f32
                };
                let uncertain: Vec<f32> = answers[..count].chunks(samples).map(squares).collect();
                let heights: Vec<f32> =
                    sums(&sizes, &part, steps).into_iter().map(|sum| sum as f32).collect();
                let found = spearman(&heights, &uncertain);
                if found.is_finite() {
                    all.push(measured(map, "correlation", Parameter::None, found));
                }
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
    (quantity == "correlation").then_some(Better::Higher)
}
