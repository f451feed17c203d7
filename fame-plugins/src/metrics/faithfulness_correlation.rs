//! `FaithfulnessCorrelation`: whether random sets of pixels matter as much as the map says.

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
    correlation::pearson,
    fill::{Filling, replace},
    measured,
    reading::Reading,
};
use crate::ask::{usual_layer, usual_loss};
fame_core::parameters! {
    /// Bhatt et al.'s faithfulness: of `runs` random sets S of `subset` pixels each, all replaced at once,
    /// `correlation` is Pearson's correlation of Σ_{i ∈ S} a_i with f(x) − f(x without S), from −1 to 1:
    /// high is good.
    ///
    /// Sets of scattered pixels hide little, and every set has nearly the same sum: the number is noisy for
    /// one picture (its standard error is about 1/√runs), and low for smooth maps even if they are right.
    pub struct FaithfulnessCorrelation {
        /// Sets.
        runs: usize = 100,
        /// Pixels in each set; all, where the picture has fewer.
        subset: usize = 224,
        /// What stands where pixels were taken away.
        fill: Filling = Filling::Black,
        /// `Finished`, or `Raw`: before the map steps.
        reading: Reading = Reading::default(),
        /// `Value` (a logit) or `Probability` (after softmax).
        answer: Answer = Answer::Value,
        /// Explainers that every other one is tested against, item by item, such as random maps.
        against: Vec<String> = Vec::new(),
        /// What is asked: any loss; its value counts. Default: what the model's manifest asks for,
        /// else `Logit()`, the class the network sees.
        loss: Spec = open,
        /// The layer the loss reads. Default: the one in the model's manifest, else its `Output`.
        layer: LayerChoices = open,
    }
}

impl Parameters for FaithfulnessCorrelation {
    type Typed = typed::FaithfulnessCorrelation;

    fn fill(
        typed: typed::FaithfulnessCorrelation,
        with: &BuildContext<'_>,
        _: &mut Assembly,
    ) -> Option<Self> {
        Some(typed.or(usual_loss(with), usual_layer(with)))
    }
}

impl Plugin<dyn Metric> for FaithfulnessCorrelation {
    const NAME: &'static str = "FaithfulnessCorrelation";
    const SUMMARY: &'static str =
        "Correlation of the map over random sets of pixels with what the score loses without them";
    const EXAMPLE: &'static str = "FaithfulnessCorrelation(runs: 100, subset: 224)";
    const REFERENCE: &'static str = "Bhatt, Weller & Moura, Evaluating and Aggregating Feature-based Model Explanations, IJCAI 2020, arXiv 2005.00631";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("runs", (3..=100_000).contains(&self.runs), "must be between 3 and 100000");
        assembly.check("subset", self.subset > 0, "must be at least 1 pixel");
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Metric>> {
        let asking = Asking::build(&self.layer, &self.loss, self.answer, with, assembly)?;
        Some(Box::new(FaithfulnessCorrelationMetric { parameters: self, asking }))
    }
}

fame_core::register!(Metric: FaithfulnessCorrelation);

struct FaithfulnessCorrelationMetric {
    parameters: FaithfulnessCorrelation,
    asking: Asking,
}

impl Metric for FaithfulnessCorrelationMetric {
    fn measure(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let FaithfulnessCorrelation { runs, subset, fill, reading, .. } = self.parameters;
        let mut all = Vec::new();
        self.asking.each_map(
            with,
            sample,
            explanation,
            |_| true,
            |map, question| {
                let values = reading.of(map)?;
                let filling = fill.picture(&question.pixels, &with.model.manifest.input)?;
                let name = format!("{}/{}/faithfulness correlation", sample.id, map.id.role);
                let seed = seed_of(with.seed, &name);
                let mut heights = Vec::with_capacity(runs);
                let answers = question.ask_all(runs + 1, |run, copy| {
                    if run < runs {
                        let set = drawn(&mut Random::stream(seed, run), subset, values.len());
                        let height =
                            |(v, is_in): (&f32, &bool)| if *is_in { f64::from(*v) } else { 0.0 };
                        heights.push(values.iter().zip(&set).map(height).sum::<f64>());
                        replace(copy, &filling, |pixel| set[pixel]);
                    }
                })?;
                let clean = f64::from(answers[runs]);
                let drops: Vec<f64> =
                    answers[..runs].iter().map(|a| clean - f64::from(*a)).collect();
                let found = pearson(&heights, &drops);
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

/// `count` of `n` pixels, each set as likely as any other (the first of a shuffle).
pub(super) fn drawn(random: &mut Random, count: usize, n: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..n).collect();
    let mut is_in = vec![false; n];
    for k in 0..count.min(n) {
        order.swap(k, k + random.below(n - k));
        is_in[order[k]] = true;
    }
    is_in
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_have_their_size_and_every_pixel_its_turn() {
        let mut random = Random::new(3);
        let mut seen = [0usize; 10];
        for _ in 0..1000 {
            let set = drawn(&mut random, 3, 10);
            assert_eq!(set.iter().filter(|is_in| **is_in).count(), 3);
            seen.iter_mut().zip(set).for_each(|(n, is_in)| *n += usize::from(is_in));
        }
        // 300 each; five standard errors are 72.
        assert!(seen.iter().all(|n| n.abs_diff(300) < 72), "{seen:?}");
        assert!(drawn(&mut random, 99, 4).iter().all(|is_in| *is_in));
    }
}
