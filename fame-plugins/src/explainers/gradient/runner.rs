//! From rows to finished maps, for every gradient method alike.

use fame_core::{
    AttributionMap, Place, Result, Taps, Tensor,
    ask::Aim,
    contract::{ExplainContext, MapStep, Target},
    data::{Facts, Value, facts},
    registry::Built,
};

use super::{At, Gradients, Sums};
use crate::explainers::{
    aimed::{InputRow, Made, Method},
    fame::{channel_names, flat},
};

/// Attributions that should add up and miss by more than this share are reported.
const INCOMPLETE: f64 = 0.05;

/// A method with the steps that finish its maps.
pub(crate) struct AtPoints<G> {
    pub(super) method: G,
    pub(super) steps: Vec<Built<dyn MapStep>>,
}

impl<G: Gradients> Method for AtPoints<G> {
    fn check(&self, aim: &Aim<'_>) -> Result<()> {
        aim.layers
            .iter()
            .try_for_each(|target| aim.model.network.check_gradient(target, &Place::Input))
    }

    fn facts(&self, _: &Aim<'_>) -> Result<Facts> {
        Ok(facts([("map_steps", Value::List(self.steps.iter().map(Built::record).collect()))]))
    }

    fn explain(
        &self,
        with: &ExplainContext<'_>,
        aim: &Aim<'_>,
        rows: &[InputRow],
    ) -> Result<Vec<Result<Made>>> {
        let plans = rows
            .iter()
            .map(|row| self.method.plan(&at_of(row, aim)))
            .collect::<Result<Vec<_>>>()?;
        let mut sums: Vec<Sums> = rows
            .iter()
            .map(|row| Sums {
                values: Vec::new(),
                first: vec![0.0; row.input.len()],
                second: Vec::new(),
            })
            .collect();
        let jobs: Vec<(usize, usize)> =
            (0..rows.len()).flat_map(|n| (0..self.method.points()).map(move |k| (n, k))).collect();
        let taps = Taps { relu: self.method.relu(), ..aim.taps().with_gradient(Place::Input) };
        let network = aim.model.network.as_ref();
        let mut done = 0;
        for some in jobs.chunks(network.preferred_rows().max(1)) {
            let points: Vec<Tensor> = some
                .iter()
                .map(|&(n, k)| self.method.point(&plans[n], k, &at_of(&rows[n], aim)))
                .collect();
            let pass = network.forward(&Tensor::stack(&points)?, &taps)?;
            let targets: Vec<&Target> = some.iter().map(|&(n, _)| &rows[n].aimed.target).collect();
            let evaluation = aim.evaluate(pass.as_ref(), &targets)?;
            let gradient = pass.gradient(&aim.seeds(evaluation.cotangents))?.swap_remove(0);
            for (i, &(n, k)) in some.iter().enumerate() {
                sums[n].values.push(evaluation.values[i]);
                self.method.add(&plans[n], k, gradient.row(i), &mut sums[n]);
            }
            done += some.len();
            with.progress.advance(done, jobs.len());
        }
        Ok(rows
            .iter()
            .zip(plans)
            .zip(sums)
            .map(|((row, plan), sums)| self.made(aim, row, &plan, &sums))
            .collect())
    }
}

fn at_of<'a>(row: &'a InputRow, aim: &Aim<'a>) -> At<'a> {
    At { input: &row.input, convention: &aim.model.manifest.input, seed: row.seed }
}

impl<G: Gradients> AtPoints<G> {
    fn made(&self, aim: &Aim<'_>, row: &InputRow, plan: &G::Plan, sums: &Sums) -> Result<Made> {
        let (attribution, mut about) = self.method.end(plan, sums, &at_of(row, aim));
        about.insert("value".into(), sums.values.first().copied().into());
        let raw = Tensor::new(row.input.shape(), attribution)?;
        let finished = if !raw.is_finite() || sums.values.iter().any(|v| !v.is_finite()) {
            Err("y or its gradient is NaN or infinite.".to_owned())
        } else if raw.max_abs() == 0.0 {
            Err(format!("no pixel moves y (y = {}): the gradient is zero.", sums.values[0]))
        } else {
            let mut map = AttributionMap {
                values: raw.clone(),
                channels: channel_names(aim.model.manifest.input.order),
            };
            for step in &self.steps {
                map =
                    step.plugin.apply(map).map_err(|e| e.at(format!("map step {}", step.name)))?;
            }
            Ok(flat(map.values)?)
        };
        let missing =
            about.get("completeness").and_then(Value::as_f64).filter(|share| *share > INCOMPLETE);
        let incomplete = missing.map(|share| {
            format!(
                "attributions miss the difference they should add up to by {:.0} %: take more steps, or a loss with live norms.",
                100.0 * share
            )
        });
        let warnings = self.method.warning(aim.model).into_iter().chain(incomplete).collect();
        Ok(Made { raw, finished, facts: about, warnings })
    }
}
