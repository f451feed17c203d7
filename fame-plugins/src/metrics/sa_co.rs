//! `SaCo`: whether groups of pixels matter as much as the map says, compared pair by pair.

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
    removal::{by_rank, sums},
};
use crate::ask::{usual_layer, usual_loss};
fame_core::parameters! {
    /// The salience-guided faithfulness coefficient: the pixels are cut by the map into K groups of equal
    /// size, G_1 with the highest values; s_i is the map's sum over G_i and d_i what the answer loses when
    /// G_i alone is replaced. Over all pairs i < j the weight s_i − s_j counts for the map where d_i ≥ d_j
    /// and against it where not: `saco` = Σ ±(s_i − s_j) / Σ (s_i − s_j), from −1 to 1, high is good.
    ///
    /// Unlike deletion it uses how much higher a group is, not only that it is; so it changes with the map
    /// steps, and a map stretched by a power is another map. A network that answers the same whatever is
    /// replaced gives 1: d_i ≥ d_j holds for equals, as published.
    pub struct SaCo {
        /// Groups K.
        groups: usize = 10,
        /// What stands where a group was taken away.
        fill: Filling = Filling::Mean,
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

impl Parameters for SaCo {
    type Typed = typed::SaCo;

    fn fill(typed: typed::SaCo, with: &BuildContext<'_>, _: &mut Assembly) -> Option<Self> {
        Some(typed.or(usual_loss(with), usual_layer(with)))
    }
}

impl Plugin<dyn Metric> for SaCo {
    const NAME: &'static str = "SaCo";
    const SUMMARY: &'static str =
        "Whether groups of pixels matter as much as the map says, pair by pair";
    const EXAMPLE: &'static str = "SaCo(groups: 10, fill: Mean)";
    const REFERENCE: &'static str = "Wu et al., On the Faithfulness of Vision Transformer Explanations, CVPR 2024, arXiv 2404.01415";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("groups", (2..=1000).contains(&self.groups), "must be between 2 and 1000");
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Metric>> {
        let asking = Asking::build(&self.layer, &self.loss, self.answer, with, assembly)?;
        Some(Box::new(SaCoMetric { parameters: self, asking }))
    }
}

fame_core::register!(Metric: SaCo);

struct SaCoMetric {
    parameters: SaCo,
    asking: Asking,
}

impl Metric for SaCoMetric {
    fn measure(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let SaCo { groups, fill, reading, .. } = self.parameters;
        let mut all = Vec::new();
        self.asking.each_map(
            with,
            sample,
            explanation,
            |_| true,
            |map, question| {
                let values = reading.of(map)?;
                let part = by_rank(&ranked(&values), groups);
                let filling = fill.picture(&question.pixels, &with.model.manifest.input)?;
                let answers = question.ask_all(groups + 1, |i, copy| {
                    // The last copy is the picture itself.
                    replace(copy, &filling, |pixel| part[pixel] == i);
                })?;
                let drop = |i: usize| f64::from(answers[groups]) - f64::from(answers[i]);
                let drops: Vec<f64> = (0..groups).map(drop).collect();
                let found = coefficient(&sums(&values, &part, groups), &drops);
                all.extend(found.map(|v| measured(map, "saco", Parameter::None, v)));
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
    (quantity == "saco").then_some(Better::Higher)
}

/// The coefficient of groups with these sums (falling) and drops; `None` where all sums are equal.
fn coefficient(sums: &[f64], drops: &[f64]) -> Option<f64> {
    let (mut signed, mut total) = (0.0, 0.0);
    for i in 0..sums.len() {
        for j in i + 1..sums.len() {
            let weight = sums[i] - sums[j];
            signed += if drops[i] >= drops[j] { weight } else { -weight };
            total += weight.abs();
        }
    }
    (total > 0.0).then(|| signed / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_in_the_right_order_give_one_and_in_the_wrong_one_minus_one() {
        let sums = [6.0, 3.0, 1.0];
        assert_eq!(coefficient(&sums, &[0.9, 0.5, 0.1]), Some(1.0));
        assert_eq!(coefficient(&sums, &[0.1, 0.5, 0.9]), Some(-1.0));
        // Weights 3, 5 and 2; the first pair is wrong: (−3 + 5 + 2) / 10.
        assert!((coefficient(&sums, &[0.5, 0.9, 0.1]).unwrap() - 0.4).abs() < 1e-12);
        assert_eq!(coefficient(&sums, &[0.0; 3]), Some(1.0), "equals count for the map");
        assert_eq!(coefficient(&[1.0; 3], &[0.3, 0.2, 0.1]), None);
    }
}
