//! `SensitivityN`: whether sets of n pixels matter as much as the map says, over many n.

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
    at_percent,
    correlation::pearson,
    faithfulness_correlation::drawn,
    fill::{Filling, replace},
    measured,
    reading::Reading,
};
use crate::ask::{usual_layer, usual_loss};
fame_core::parameters! {
    /// Ancona et al.'s Sensitivity-n: for sets of n random pixels, n being each of `percents` of all, `correlation`
    /// is Pearson's correlation over `sets` sets S of Σ_{i ∈ S} a_i with f(x) − f(x without S), from −1 to 1: high
    /// is good. `mean_correlation` is its mean over the percentages.
    ///
    /// It is meant for attributions with signs (`reading: Raw`) that add up; a finished map has lost both. Sets are
    /// scattered: what regions do together is seen at large n only.
    pub struct SensitivityN {
        /// Sizes n of the sets, in percent of the pixels.
        percents: Vec<f64> = vec![1.0, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0],
        /// Sets of each size.
        sets: usize = 50,
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

impl Parameters for SensitivityN {
    type Typed = typed::SensitivityN;

    fn fill(typed: typed::SensitivityN, with: &BuildContext<'_>, _: &mut Assembly) -> Option<Self> {
        Some(typed.or(usual_loss(with), usual_layer(with)))
    }
}

impl Plugin<dyn Metric> for SensitivityN {
    const NAME: &'static str = "SensitivityN";
    const SUMMARY: &'static str =
        "Correlation of the map over sets of n pixels with what the score loses, for many n";
    const EXAMPLE: &'static str = "SensitivityN(percents: [1, 10, 50], sets: 50)";
    const REFERENCE: &'static str = "Ancona et al., Towards better understanding of gradient-based attribution methods, ICLR 2018, arXiv 1711.06104";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        let good =
            !self.percents.is_empty() && self.percents.iter().all(|p| *p > 0.0 && *p < 100.0);
        assembly.check("percents", good, "must hold numbers between 0 and 100, at least one");
        assembly.check("sets", (3..=100_000).contains(&self.sets), "must be between 3 and 100000");
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Metric>> {
        let asking = Asking::build(&self.layer, &self.loss, self.answer, with, assembly)?;
        Some(Box::new(SensitivityNMetric { parameters: self, asking }))
    }
}

fame_core::register!(Metric: SensitivityN);

struct SensitivityNMetric {
    parameters: SensitivityN,
    asking: Asking,
}

impl Metric for SensitivityNMetric {
    fn measure(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let SensitivityN { percents, sets, fill, reading, .. } = &self.parameters;
        let mut all = Vec::new();
        self.asking.each_map(
            with,
            sample,
            explanation,
            |_| true,
            |map, question| {
                let values = reading.of(map)?;
                let filling = fill.picture(&question.pixels, &with.model.manifest.input)?;
                let seed =
                    seed_of(with.seed, &format!("{}/{}/sensitivity n", sample.id, map.id.role));
                let count = percents.len() * sets;
                let size = |n: usize| {
                    let share = percents[n / sets] / 100.0;
                    ((share * values.len() as f64).round() as usize).max(1)
                };
                let mut heights = Vec::with_capacity(count);
                let answers = question.ask_all(count + 1, |n, copy| {
                    if n < count {
                        let set = drawn(&mut Random::stream(seed, n), size(n), values.len());
                        let height =
                            |(v, is_in): (&f32, &bool)| if *is_in { f64::from(*v) } else { 0.0 };
                        heights.push(values.iter().zip(&set).map(height).sum::<f64>());
                        replace(copy, &filling, |pixel| set[pixel]);
                    }
                })?;
                let clean = f64::from(answers[count]);
                let drops: Vec<f64> =
                    answers[..count].iter().map(|a| clean - f64::from(*a)).collect();
                let mut found = Vec::new();
                for (percent, (heights, drops)) in
                    percents.iter().zip(heights.chunks(*sets).zip(drops.chunks(*sets)))
                {
                    let correlation = pearson(heights, drops);
                    if correlation.is_finite() {
                        found.push(correlation);
                        all.push(measured(map, "correlation", at_percent(*percent), correlation));
                    }
                }
                if !found.is_empty() {
                    let mean = found.iter().sum::<f64>() / found.len() as f64;
                    all.push(measured(map, "mean_correlation", Parameter::None, mean));
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
    // One column of the summary is enough.
    (quantity == "mean_correlation").then_some(Better::Higher)
}
