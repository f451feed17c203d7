//! `Road`: what the class loses when the map's top pixels are taken away, without their absence
//! giving them away.

use fame_core::{
    Better, Explanation, LayerChoices, Random, Result, Sample, Scores, Table,
    ask::Answer,
    contract::{ExplainContext, Measurement, Metric, MetricRow, means, scores},
    registry::{Assembly, BuildContext, Parameters, Plugin},
    seed_of,
    text::Spec,
};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    asking::Asking,
    at_percent,
    fill::{Filling, replace},
    impute::impute,
    masks::{Masks, ranked, top},
    measured, plane,
};
use crate::ask::{usual_layer, usual_loss};

/// What stands where pixels were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Imputer {
    /// Rong et al.'s: each removed pixel is the weighted mean of its neighbours, solved exactly,
    /// plus noise of σ = 0.01, in pixels of 0..=1.
    #[default]
    NoisyLinear,
    /// Black, as the paper's ROAD-Delete. For parity only: scattered black pixels hurt a network
    /// whatever they hide.
    Black,
}

/// Which pixels go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Order {
    /// Most relevant first.
    MoRF,
    /// Least relevant first.
    LeRF,
}

fame_core::parameters! {
    /// ROAD (Rong et al. 2022): the top P percent of the map's pixels are removed and imputed, and
    /// the network is asked again. `morf_drop` is the answer before less the answer after: the
    /// higher, the more the map had found. `lerf_drop` is the same with the lowest P percent: the
    /// lower, the better. With both, `combined` is their difference halved.
    ///
    /// Its table is to be read beside that of a random map: see `RandomMap`.
    pub struct Road {
        /// Percentages removed, each above 0 and at most 100.
        percents: Vec<f64> = vec![10.0, 30.0, 50.0],
        /// `NoisyLinear` or `Black`.
        imputer: Imputer = Imputer::default(),
        /// `[MoRF]`, `[LeRF]` or both.
        orders: Vec<Order> = vec![Order::MoRF],
        /// `Rank` or `Percentile` (the authors').
        masks: Masks = Masks::default(),
        /// `Value` (a logit, as the paper) or `Probability` (after softmax).
        answer: Answer = Answer::Value,
        /// Explainers that every other one is tested against, item by item, such as random maps.
        against: Vec<String> = Vec::new(),
        /// What is asked: any loss; its value counts. Default: what the model's manifest asks for,
        /// else `Logit()`, the class the network sees. `Logit(class: Label)` is the labelled class.
        loss: Spec = open,
        /// The layer the loss reads. Default: the one in the model's manifest, else its `Output`.
        layer: LayerChoices = open,
    }
}

impl Parameters for Road {
    type Typed = typed::Road;

    fn fill(typed: typed::Road, with: &BuildContext<'_>, _: &mut Assembly) -> Option<Self> {
        Some(typed.or(usual_loss(with), usual_layer(with)))
    }
}

impl Plugin<dyn Metric> for Road {
    const NAME: &'static str = "Road";
    const SUMMARY: &'static str =
        "The drop of the score when the top pixels are removed and imputed";
    const EXAMPLE: &'static str = "Road(percents: [10, 30, 50], orders: [MoRF, LeRF])";
    const REFERENCE: &'static str = "Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods, ICML 2022, arXiv 2202.00449";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        let good =
            !self.percents.is_empty() && self.percents.iter().all(|p| *p > 0.0 && *p <= 100.0);
        assembly.check("percents", good, "must hold numbers above 0 and at most 100, at least one");
        assembly.check(
            "orders",
            !self.orders.is_empty() && self.orders.len() <= 2,
            "must be [MoRF], [LeRF] or both",
        );
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Metric>> {
        let asking = Asking::build(&self.layer, &self.loss, self.answer, with, assembly)?;
        Some(Box::new(RoadMetric { parameters: self, asking }))
    }
}

fame_core::register!(Metric: Road);

struct RoadMetric {
    parameters: Road,
    asking: Asking,
}

impl Metric for RoadMetric {
    fn measure(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let Road { percents, imputer, orders, masks, .. } = &self.parameters;
        let mut all = Vec::new();
        self.asking.each_map(
            with,
            sample,
            explanation,
            |_| true,
            |map, question| {
                let values = plane(map)?;
                let lowest: Vec<f32> = values.iter().map(|v| -v).collect();
                let jobs: Vec<(Order, f64)> =
                    orders.iter().flat_map(|o| percents.iter().map(|p| (*o, *p))).collect();
                let black = Filling::Black.picture(&question.pixels, &with.model.manifest.input)?;
                // The noise belongs to the item and the job, not to the map: methods meet the same
                // noise.
                let seed = seed_of(with.seed, &format!("{}/{}/road", sample.id, map.id.role));
                let altered = |(n, (order, percent)): (usize, &(Order, f64))| {
                    let by = if *order == Order::MoRF { &values } else { &lowest };
                    let away = top(by, &ranked(by), *percent, *masks);
                    match imputer {
                        Imputer::NoisyLinear => {
                            impute(&question.pixels, &away, Some(&mut Random::stream(seed, n)))
                        }
                        Imputer::Black => {
                            let mut copy = question.pixels.clone();
                            replace(&mut copy, &black, |i| away[i]);
                            copy
                        }
                    }
                };
                let pictures: Vec<_> = jobs.par_iter().enumerate().map(altered).collect();
                let answers = question.ask_all(pictures.len() + 1, |i, copy| {
                    if let Some(picture) = i.checked_sub(1).and_then(|i| pictures.get(i)) {
                        *copy = picture.clone();
                    }
                })?;
                let drop = |n: usize| f64::from(answers[0]) - f64::from(answers[n + 1]);
                for (n, (order, percent)) in jobs.iter().enumerate() {
                    let name = if *order == Order::MoRF { "morf_drop" } else { "lerf_drop" };
                    all.push(measured(map, name, at_percent(*percent), drop(n)));
                }
                if orders.len() == 2 && orders[0] != orders[1] {
                    for (n, percent) in percents.iter().enumerate() {
                        let (first, second) = (drop(n), drop(n + percents.len()));
                        let (morf, lerf) = if orders[0] == Order::MoRF {
                            (first, second)
                        } else {
                            (second, first)
                        };
                        all.push(measured(
                            map,
                            "combined",
                            at_percent(*percent),
                            (morf - lerf) / 2.0,
                        ));
                    }
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
    match quantity {
        "morf_drop" | "combined" => Some(Better::Higher),
        "lerf_drop" => Some(Better::Lower),
        _ => None,
    }
}
