//! `RegionPerturbation`: the answer while whole regions are made unreadable, most relevant first.

use fame_core::{
    Better, Explanation, LayerChoices, Parameter, Random, Result, Sample, Scores, Table,
    ask::Answer,
    contract::{ExplainContext, Measurement, Metric, MetricRow, means, scores},
    registry::{Assembly, BuildContext, Parameters, Plugin},
    seed_of,
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    asking::Asking,
    fill::Filling,
    measured,
    reading::Reading,
    removal::{aopc, by_sum, one_after_the_other, squares, sums},
};
use crate::ask::{usual_layer, usual_loss};

/// What makes a region unreadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Unreadable {
    /// Every pixel and channel uniform in 0..=1, as published.
    Noise,
    /// The filling.
    Fill(Filling),
}
fame_core::parameters! {
    /// Samek et al.'s region perturbation: the picture is cut into squares, the squares with the highest
    /// sums of the map are replaced first, and the network is asked after each. `aopc` = (1/(L + 1))
    /// Σ_{k=0..L} (f(x⁰) − f(x^k)) over the first L squares, in the answer's unit: high is good. `against_lerf`
    /// is that less the same with the lowest squares first: high is good.
    ///
    /// It judges the order of squares, not of the pixels in them, so that smooth maps lose nothing by
    /// being smooth. Noise takes a picture far from photographs: compare with random maps.
    pub struct RegionPerturbation {
        /// Side of the squares in pixels.
        side: usize = 9,
        /// How many squares L are replaced; all, where the picture has fewer.
        regions: usize = 100,
        /// `Noise`, or `Fill(Black)`, `Fill(Mean)`, `Fill(Blur)`.
        by: Unreadable = Unreadable::Noise,
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

impl Parameters for RegionPerturbation {
    type Typed = typed::RegionPerturbation;

    fn fill(
        typed: typed::RegionPerturbation,
        with: &BuildContext<'_>,
        _: &mut Assembly,
    ) -> Option<Self> {
        Some(typed.or(usual_loss(with), usual_layer(with)))
    }
}

impl Plugin<dyn Metric> for RegionPerturbation {
    const NAME: &'static str = "RegionPerturbation";
    const SUMMARY: &'static str =
        "Area over the curve of the score while squares are replaced, most relevant first";
    const EXAMPLE: &'static str = "RegionPerturbation(side: 9, regions: 100, by: Noise)";
    const REFERENCE: &'static str = "Samek et al., Evaluating the visualization of what a deep neural network has learned, TNNLS 2017, arXiv 1509.06321";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("side", self.side > 0, "must be at least 1 pixel");
        assembly.check("regions", self.regions > 0, "must be at least 1");
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Metric>> {
        let asking = Asking::build(&self.layer, &self.loss, self.answer, with, assembly)?;
        Some(Box::new(RegionPerturbationMetric { parameters: self, asking }))
    }
}

fame_core::register!(Metric: RegionPerturbation);

struct RegionPerturbationMetric {
    parameters: RegionPerturbation,
    asking: Asking,
}

impl Metric for RegionPerturbationMetric {
    fn measure(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let RegionPerturbation { side, regions, by, reading, .. } = self.parameters;
        let mut all = Vec::new();
        self.asking.each_map(
            with,
            sample,
            explanation,
            |_| true,
            |map, question| {
                let values = reading.of(map)?;
                let filling = match by {
                    Unreadable::Fill(fill) => {
                        fill.picture(&question.pixels, &with.model.manifest.input)?
                    }
                    Unreadable::Noise => {
                        let mut noise = question.pixels.clone();
                        let seed = format!("{}/{}/region perturbation", sample.id, map.id.role);
                        let mut random = Random::new(seed_of(with.seed, &seed));
                        noise.data_mut().iter_mut().for_each(|v| *v = random.uniform() as f32);
                        noise
                    }
                };
                let (height, width) = question.size();
                let (of_pixel, count) = squares(height, width, side);
                let upwards = sums(&values, &of_pixel, count);
                let downwards: Vec<f64> = upwards.iter().map(|sum| -sum).collect();
                let area = |sums: &[f64]| -> Result<f64> {
                    let place = by_sum(sums, &of_pixel);
                    let parts = regions.min(count);
                    Ok(aopc(&one_after_the_other(question, &place, parts, &filling)?))
                };
                let (morf, lerf) = (area(&upwards)?, area(&downwards)?);
                all.push(measured(map, "aopc", Parameter::None, morf));
                all.push(measured(map, "against_lerf", Parameter::None, morf - lerf));
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
    matches!(quantity, "aopc" | "against_lerf").then_some(Better::Higher)
}
