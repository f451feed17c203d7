//! `PixelFlipping`: the answer while pixels go, the most and the least relevant first.

use fame_core::{
    Better, Explanation, LayerChoices, Parameter, Result, Sample, Scores, Table,
    ask::Answer,
    contract::{ExplainContext, Measurement, Metric, MetricRow, means, scores},
    registry::{Assembly, BuildContext, Parameters, Plugin},
    text::Spec,
};

use super::{
    asking::Asking,
    at_percent,
    fill::Filling,
    masks::ranked,
    measured,
    reading::Reading,
    removal::{aopc, by_rank, one_after_the_other},
};
use crate::ask::{usual_layer, usual_loss};
fame_core::parameters! {
    /// Pixel flipping: the pixels are replaced in equal parts, those of the highest map values first
    /// (MoRF) or those of the lowest (LeRF), and the network is asked after every part. With x⁰ the
    /// picture and x^k the one without the first k of L parts, the area over the perturbation curve is
    /// AOPC = (1/(L + 1)) Σ_{k=0..L} (f(x⁰) − f(x^k)), in the answer's unit. `morf_aopc`: high is good.
    /// `lerf_aopc`: low is good. `difference` = `morf_aopc` − `lerf_aopc` (the area between the curves):
    /// high is good, and what a network does with replaced pixels as such falls out of it.
    ///
    /// `morf_aopc` alone also measures how unlike a photograph the altered pictures are: compare it with
    /// that of random maps, or read `difference`.
    pub struct PixelFlipping {
        /// Parts L that the picture is cut into; Quantus' `features_in_step` is pixels / L.
        steps: usize = 20,
        /// What stands where pixels were taken away.
        fill: Filling = Filling::Mean,
        /// Whether the points of both curves are left in `metrics.csv`, and not only the areas.
        curves: bool = false,
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

impl Parameters for PixelFlipping {
    type Typed = typed::PixelFlipping;

    fn fill(
        typed: typed::PixelFlipping,
        with: &BuildContext<'_>,
        _: &mut Assembly,
    ) -> Option<Self> {
        Some(typed.or(usual_loss(with), usual_layer(with)))
    }
}

impl Plugin<dyn Metric> for PixelFlipping {
    const NAME: &'static str = "PixelFlipping";
    const SUMMARY: &'static str =
        "Area over the curve of the score while pixels go, most or least relevant first";
    const EXAMPLE: &'static str = "PixelFlipping(steps: 20, fill: Mean)";
    const REFERENCE: &'static str = "Bach et al., PLOS ONE 10(7), 2015; AOPC: Samek et al., TNNLS 2017, arXiv 1509.06321; both orders: Tomsett et al., AAAI 2020, arXiv 1912.01451";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("steps", (1..=10_000).contains(&self.steps), "must be between 1 and 10000");
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Metric>> {
        let asking = Asking::build(&self.layer, &self.loss, self.answer, with, assembly)?;
        Some(Box::new(PixelFlippingMetric { parameters: self, asking }))
    }
}

fame_core::register!(Metric: PixelFlipping);

struct PixelFlippingMetric {
    parameters: PixelFlipping,
    asking: Asking,
}

impl Metric for PixelFlippingMetric {
    fn measure(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let PixelFlipping { steps, fill, curves, reading, .. } = self.parameters;
        let mut all = Vec::new();
        self.asking.each_map(
            with,
            sample,
            explanation,
            |_| true,
            |map, question| {
                let values = reading.of(map)?;
                let filling = fill.picture(&question.pixels, &with.model.manifest.input)?;
                let mut order = ranked(&values);
                let mut areas = [0.0; 2];
                for (name, area) in ["morf", "lerf"].into_iter().zip(&mut areas) {
                    let part = by_rank(&order, steps);
                    let answers = one_after_the_other(question, &part, steps, &filling)?;
                    *area = aopc(&answers);
                    all.push(measured(map, &format!("{name}_aopc"), Parameter::None, *area));
                    if curves {
                        let at = |k: usize| at_percent(100.0 * k as f64 / steps as f64);
                        let points = answers.iter().enumerate();
                        all.extend(points.map(|(k, a)| measured(map, name, at(k), *a)));
                    }
                    order.reverse();
                }
                all.push(measured(map, "difference", Parameter::None, areas[0] - areas[1]));
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
    match quantity {
        "morf_aopc" | "difference" => Some(Better::Higher),
        "lerf_aopc" => Some(Better::Lower),
        _ => None,
    }
}
