//! From rows to finished maps, for every gradient method alike.

use fame_core::{
    GradientPlace, Result, Taps, Tensor,
    ask::Aim,
    contract::{ExplainContext, Target},
    data::Facts,
};

use super::{At, Completeness, Ended, Gradients, Sums};
use crate::explainers::{
    aimed::{InputRow, Method, MethodOutcome},
    finish::model_channels,
};

/// Attributions that should add up and miss by more than this share are reported.
const INCOMPLETE: f64 = 0.05;

/// A method at its points.
pub(crate) struct AtPoints<G>(pub(super) G);

impl<G: Gradients> Method for AtPoints<G> {
    fn check(&self, aim: &Aim<'_>) -> Result<()> {
        aim.layers
            .iter()
            .try_for_each(|target| aim.model.network.check_gradient(target, &GradientPlace::Input))
    }

    fn facts(&self, _: &Aim<'_>) -> Result<Facts> {
        Ok(Facts::new())
    }

    fn explain(
        &self,
        with: &ExplainContext<'_>,
        aim: &Aim<'_>,
        rows: &[InputRow],
    ) -> Result<Vec<Result<MethodOutcome>>> {
        let plans =
            rows.iter().map(|row| self.0.plan(&at_of(row, aim))).collect::<Result<Vec<_>>>()?;
        let mut sums: Vec<Sums> = rows
            .iter()
            .map(|row| Sums {
                values: Vec::new(),
                first: vec![0.0; row.input.len()],
                second: Vec::new(),
            })
            .collect();
        let jobs: Vec<(usize, usize)> =
            (0..rows.len()).flat_map(|n| (0..self.0.points()).map(move |k| (n, k))).collect();
        let taps = Taps { relu: self.0.relu(), ..aim.taps().with_gradient(GradientPlace::Input) };
        let network = aim.model.network.as_ref();
        let mut done = 0;
        for some in jobs.chunks(network.preferred_rows().max(1)) {
            let points: Vec<Tensor> = some
                .iter()
                .map(|&(n, k)| self.0.point(&plans[n], k, &at_of(&rows[n], aim)))
                .collect();
            let pass = network.forward(&Tensor::stack(&points)?, &taps)?;
            let targets: Vec<&Target> = some.iter().map(|&(n, _)| &rows[n].aimed.target).collect();
            let evaluation = aim.evaluate(pass.as_ref(), &targets)?;
            let gradient =
                pass.gradient(&aim.layer_cotangents(evaluation.cotangents))?.swap_remove(0);
            for (i, &(n, k)) in some.iter().enumerate() {
                sums[n].values.push(evaluation.values[i]);
                self.0.add(&plans[n], k, gradient.row(i), &mut sums[n]);
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
    fn made(
        &self,
        aim: &Aim<'_>,
        row: &InputRow,
        plan: &G::Plan,
        sums: &Sums,
    ) -> Result<MethodOutcome> {
        let Ended { attribution, completeness, facts: mut about } =
            self.0.end(plan, sums, &at_of(row, aim));
        about.insert("value".into(), sums.values.first().copied().into());
        let raw = Tensor::new(row.input.shape(), attribution)?;
        let shown = if !raw.is_finite() || sums.values.iter().any(|v| !v.is_finite()) {
            Err("y or its gradient is NaN or infinite.".to_owned())
        } else if raw.max_abs() == 0.0 {
            Err(format!("no pixel moves y (y = {}): the gradient is zero.", sums.values[0]))
        } else {
            Ok(model_channels(raw.clone(), aim.model.manifest.input.order))
        };
        if let Some(Completeness { delta, share }) = completeness {
            about.insert("completeness_delta".into(), delta.into());
            about.insert("completeness".into(), share.into());
        }
        let missing = completeness.map(|c| c.share).filter(|share| *share > INCOMPLETE);
        let incomplete = missing.map(|share| {
            format!(
                "attributions miss the difference they should add up to by {:.0} %: take more steps, or a loss with live norms.",
                100.0 * share
            )
        });
        let warnings = self.0.warning(aim.model).into_iter().chain(incomplete).collect();
        Ok(MethodOutcome { raw, shown, facts: about, warnings })
    }
}
