//! `DeletionInsertion`: the score while the picture is taken away, or appears, from the map's top
//! down.

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
    at_percent,
    fill::{Filling, replace},
    masks::{Masks, ranked, top},
    measured, plane,
};
use crate::ask::{usual_layer, usual_loss};

fame_core::parameters! {
    /// RISE's deletion and insertion for one picture. `deletion` and `insertion` are the network's
    /// answer with the top P percent of pixels taken away, or with only these there; `deletion_auc`
    /// (the lower, the better) and `insertion_auc` (the higher, the better) are the areas under the
    /// two curves over P from 0 to 100 percent, by the trapezoid rule, in the answer's unit.
    /// `average_drop`, 0..=1, is what the answer loses, as a share, when the picture is multiplied
    /// by the map, and `increase` whether it gains.
    pub struct DeletionInsertion {
        /// Steps from 0 to 100 percent; the original takes 224 pixels at a time.
        steps: usize = 20,
        /// What stands where pixels were taken away.
        delete_to: Filling = Filling::Mean,
        /// What insertion begins with.
        insert_from: Filling = Filling::Blur,
        /// `Rank` or `Percentile`.
        masks: Masks = Masks::default(),
        /// `Probability` (after softmax, the original) or `Value`.
        answer: Answer = Answer::Probability,
        /// Whether the points of both curves are left in `metrics.csv`, and not only the areas.
        curves: bool = false,
        /// Explainers that every other one is tested against, item by item, such as random maps.
        against: Vec<String> = Vec::new(),
        /// What is asked: any loss; its value counts. Default: what the model's manifest asks for,
        /// else `Logit()`, the class the network sees.
        loss: Spec = open,
        /// The layer the loss reads. Default: the one in the model's manifest, else its `Output`.
        layer: LayerChoices = open,
    }
}

impl Parameters for DeletionInsertion {
    type Typed = typed::DeletionInsertion;

    fn fill(
        typed: typed::DeletionInsertion,
        with: &BuildContext<'_>,
        _: &mut Assembly,
    ) -> Option<Self> {
        Some(typed.or(usual_loss(with), usual_layer(with)))
    }
}

impl Plugin<dyn Metric> for DeletionInsertion {
    const NAME: &'static str = "DeletionInsertion";
    const SUMMARY: &'static str = "Areas under the score while the top pixels go, or come";
    const EXAMPLE: &'static str = "DeletionInsertion(steps: 20, answer: Value)";
    const REFERENCE: &'static str = "Petsiuk, Das & Saenko, RISE, BMVC 2018, arXiv 1806.07421; average drop: Chattopadhyay et al., Grad-CAM++, 2018";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("steps", (1..=10_000).contains(&self.steps), "must be between 1 and 10000");
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Metric>> {
        let asking = Asking::build(&self.layer, &self.loss, self.answer, with, assembly)?;
        Some(Box::new(DeletionInsertionMetric { parameters: self, asking }))
    }
}

fame_core::register!(Metric: DeletionInsertion);

struct DeletionInsertionMetric {
    parameters: DeletionInsertion,
    asking: Asking,
}

impl Metric for DeletionInsertionMetric {
    fn measure(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let DeletionInsertion { steps, delete_to, insert_from, masks, curves, .. } =
            self.parameters;
        let percents: Vec<f64> = (0..=steps).map(|k| 100.0 * k as f64 / steps as f64).collect();
        let mut all = Vec::new();
        self.asking.each_map(
            with,
            sample,
            explanation,
            |_| true,
            |map, question| {
                let values = plane(map)?;
                let order = ranked(&values);
                let convention = &with.model.manifest.input;
                let (gone, base) = (
                    delete_to.picture(&question.pixels, convention)?,
                    insert_from.picture(&question.pixels, convention)?,
                );
                let count = percents.len();
                let answers = question.ask_all(2 * count + 1, |i, copy| {
                    if i == 2 * count {
                        (0..copy.rows()).for_each(|c| {
                            copy.row_mut(c).iter_mut().zip(&values).for_each(|(p, v)| *p *= v);
                        });
                        return;
                    }
                    let is_top = top(&values, &order, percents[i % count], masks);
                    if i < count {
                        replace(copy, &gone, |p| is_top[p]);
                    } else {
                        replace(copy, &base, |p| !is_top[p]);
                    }
                })?;
                let curve = |from: usize| -> Vec<(f64, f64)> {
                    percents
                        .iter()
                        .zip(&answers[from..from + count])
                        .map(|(p, a)| (*p, f64::from(*a)))
                        .collect()
                };
                for (name, points) in [("deletion", curve(0)), ("insertion", curve(count))] {
                    all.push(measured(map, &format!("{name}_auc"), Parameter::None, area(&points)));
                    if curves {
                        all.extend(
                            points.iter().map(|(p, a)| measured(map, name, at_percent(*p), *a)),
                        );
                    }
                }
                let (clean, seen) = (f64::from(answers[0]), f64::from(answers[2 * count]));
                // A share of what is not above zero means nothing.
                if clean > 0.0 {
                    all.push(measured(
                        map,
                        "average_drop",
                        Parameter::None,
                        ((clean - seen) / clean).clamp(0.0, 1.0),
                    ));
                }
                all.push(measured(
                    map,
                    "increase",
                    Parameter::None,
                    f64::from(u8::from(seen > clean)),
                ));
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
        // The points of the curves are drawn and listed; in the table they would only be wide.
        let is_point = |r: &&MetricRow| r.quantity == "deletion" || r.quantity == "insertion";
        let (points, numbers): (Vec<&MetricRow>, Vec<&MetricRow>) = rows.iter().partition(is_point);
        let owned = |rows: Vec<&MetricRow>| rows.into_iter().cloned().collect::<Vec<_>>();
        let mut tables = means(name, &owned(numbers), better, &self.parameters.against);
        if !points.is_empty() {
            let list = means(&format!("{name}_curves"), &owned(points), |_| None, &[]);
            tables.extend(list.into_iter().map(|t| Table { is_list: true, ..t }));
        }
        Ok(tables)
    }
}

fn better(quantity: &str) -> Option<Better> {
    match quantity {
        "deletion_auc" | "average_drop" => Some(Better::Lower),
        "insertion_auc" | "increase" => Some(Better::Higher),
        _ => None,
    }
}
