//! `Selectivity`: how fast the answer falls while squares are taken away.

use fame_core::{
    Better, Explanation, LayerChoices, Parameter, Result, Sample, Scores, Table,
    ask::Answer,
    contract::{ExplainContext, Measurement, Metric, MetricRow, means, scores},
    registry::{Assembly, BuildContext, Parameters, Plugin},
    text::Spec,
};

use super::{
    area,
    asking::Asking,
    fill::Filling,
    measured,
    reading::Reading,
    removal::{by_sum, one_after_the_other, squares, sums},
};
use crate::ask::{usual_layer, usual_loss};
fame_core::parameters! {
    /// Montavon et al.'s explanation selectivity: the squares of the picture are taken away one after the
    /// other, those with the highest sums of the map first, and `auc` is the area under the network's
    /// answer over the share of the squares that is gone, by the trapezoid rule, in the answer's unit:
    /// low is good. Unlike `RegionPerturbation` it goes on until nothing is left, and does not subtract
    /// the first answer, so that it can only be compared between maps of the same pictures.
    ///
    /// What the filling does to the network is in the area too: compare with random maps.
    pub struct Selectivity {
        /// Side of the squares in pixels.
        side: usize = 8,
        /// What stands where squares were taken away.
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

impl Parameters for Selectivity {
    type Typed = typed::Selectivity;

    fn fill(typed: typed::Selectivity, with: &BuildContext<'_>, _: &mut Assembly) -> Option<Self> {
        Some(typed.or(usual_loss(with), usual_layer(with)))
    }
}

impl Plugin<dyn Metric> for Selectivity {
    const NAME: &'static str = "Selectivity";
    const SUMMARY: &'static str =
        "Area under the score while all squares are taken away, most relevant first";
    const EXAMPLE: &'static str = "Selectivity(side: 8, fill: Black)";
    const REFERENCE: &'static str = "Montavon, Samek & Müller, Methods for interpreting and understanding deep neural networks, DSP 2018, arXiv 1706.07979";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("side", self.side > 0, "must be at least 1 pixel");
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Metric>> {
        let asking = Asking::build(&self.layer, &self.loss, self.answer, with, assembly)?;
        Some(Box::new(SelectivityMetric { parameters: self, asking }))
    }
}

fame_core::register!(Metric: Selectivity);

struct SelectivityMetric {
    parameters: Selectivity,
    asking: Asking,
}

impl Metric for SelectivityMetric {
    fn measure(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let Selectivity { side, fill, reading, .. } = self.parameters;
        let mut all = Vec::new();
        self.asking.each_map(
            with,
            sample,
            explanation,
            |_| true,
            |map, question| {
                let (height, width) = question.size();
                let (of_pixel, count) = squares(height, width, side);
                let place = by_sum(&sums(&reading.of(map)?, &of_pixel, count), &of_pixel);
                let filling = fill.picture(&question.pixels, &with.model.manifest.input)?;
                let answers = one_after_the_other(question, &place, count, &filling)?;
                let points = answers.iter().enumerate().map(|(k, a)| (k as f64, *a));
                let auc = area(&points.collect::<Vec<_>>());
                all.push(measured(map, "auc", Parameter::None, auc));
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
    (quantity == "auc").then_some(Better::Lower)
}
