//! From rows to finished maps, for every gradient method alike.

use fame_core::{
    Error, GradientPlace, LayerCotangent, Result, Taps, Tensor,
    ask::Aim,
    contract::{ExplainContext, Pass, Target},
    data::Facts,
};

use super::{At, Completeness, Ended, Gradients, Sums, integrated_gradients::gauss_legendre};
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
        let taps = self.taps(aim);
        if taps.relevance.is_some() {
            return aim.model.network.check_relevance(&taps);
        }
        if taps.multipliers {
            return aim.model.network.check_multipliers(&taps);
        }
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
                shared_out: 0.0,
                first: vec![0.0; row.input.len()],
                second: Vec::new(),
            })
            .collect();
        let jobs: Vec<(usize, usize)> =
            (0..rows.len()).flat_map(|n| (0..self.0.points()).map(move |k| (n, k))).collect();
        let taps = self.taps(aim);
        let network = aim.model.network.as_ref();
        let mut done = 0;
        // A picture and its reference stay together.
        let together = if taps.multipliers { 2 } else { 1 };
        for some in jobs.chunks(network.preferred_rows().next_multiple_of(together).max(together)) {
            let points: Vec<Tensor> = some
                .iter()
                .map(|&(n, k)| self.0.point(&plans[n], k, &at_of(&rows[n], aim)))
                .collect();
            let pass = network.forward(&Tensor::stack(&points)?, &taps)?;
            let targets: Vec<&Target> = some.iter().map(|&(n, _)| &rows[n].aimed.target).collect();
            let evaluation = aim.evaluate(pass.as_ref(), &targets)?;
            let shared_out = match &taps.relevance {
                Some(_) => products(aim, pass.as_ref(), &evaluation.cotangents)?,
                None => vec![0.0; some.len()],
            };
            let cotangents = if taps.multipliers {
                along(aim, pass.as_ref(), &targets)?
            } else {
                evaluation.cotangents
            };
            let gradient = pass.gradient(&aim.layer_cotangents(cotangents))?.swap_remove(0);
            for (i, &(n, k)) in some.iter().enumerate() {
                sums[n].values.push(evaluation.values[i]);
                sums[n].shared_out += shared_out[i];
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

/// The target layers' values times their cotangents, summed, for each row.
fn products(aim: &Aim<'_>, pass: &dyn Pass, cotangents: &[Tensor]) -> Result<Vec<f64>> {
    let mut sums = vec![0.0; cotangents.first().map_or(0, Tensor::rows)];
    for (layer, cotangent) in aim.layers.iter().zip(cotangents) {
        let output = pass.output(layer)?;
        for (n, sum) in sums.iter_mut().enumerate() {
            let pairs = output.row(n).iter().zip(cotangent.row(n));
            *sum += pairs.map(|(y, g)| f64::from(*y) * f64::from(*g)).sum::<f64>();
        }
    }
    Ok(sums)
}

/// How many points the loss's derivative is taken at on its way from a reference's outputs: exact
/// for polynomials of degree 15, and for a cosine between embeddings that are not opposite to each
/// other to single precision.
const POINTS: usize = 8;

/// The cotangents that tell a loss's difference between two rows: its derivative's mean on the
/// straight way from the reference's outputs to the picture's. For a loss that is linear in the
/// outputs, such as a logit, that is the derivative.
fn along(aim: &Aim<'_>, pass: &dyn Pass, targets: &[&Target]) -> Result<Vec<Tensor>> {
    let ends = aim.layers.iter().map(|layer| pass.output(layer)).collect::<Result<Vec<_>>>()?;
    let mut means: Vec<Vec<f64>> = ends.iter().map(|end| vec![0.0; end.len()]).collect();
    for (at, weight) in gauss_legendre(POINTS) {
        let outputs = ends.iter().map(|end| between(end, at as f32)).collect();
        let way = Way { layers: &aim.layers, outputs };
        let cotangents = aim.evaluate(&way, targets)?.cotangents;
        for (mean, cotangent) in means.iter_mut().zip(&cotangents) {
            let each = mean.iter_mut().zip(cotangent.data());
            each.for_each(|(mean, c)| *mean += weight * f64::from(*c));
        }
    }
    let rounded = |(end, mean): (&Tensor, Vec<f64>)| {
        Tensor::new(end.shape(), mean.into_iter().map(|v| v as f32).collect())
    };
    ends.iter().zip(means).map(rounded).collect()
}

/// Both rows of each pair of `end`'s put at `at` on the way from the second to the first.
fn between(end: &Tensor, at: f32) -> Tensor {
    let mut all = end.clone();
    for first in (0..end.rows().saturating_sub(1)).step_by(2) {
        let ends = end.row(first).iter().zip(end.row(first + 1));
        let row: Vec<f32> =
            ends.map(|(own, reference)| reference + at * (own - reference)).collect();
        all.row_mut(first).copy_from_slice(&row);
        all.row_mut(first + 1).copy_from_slice(&row);
    }
    all
}

/// What a loss is asked about: outputs that no pass has made.
struct Way<'a> {
    layers: &'a [String],
    outputs: Vec<Tensor>,
}

impl Pass for Way<'_> {
    fn output(&self, layer: &str) -> Result<Tensor> {
        let known = self.layers.iter().position(|known| known == layer);
        known.and_then(|at| self.outputs.get(at)).cloned().ok_or_else(|| {
            Error::bug(format!("layer `{layer}` is asked of outputs that do not have it."))
        })
    }

    fn gradient(&self, _: &[LayerCotangent]) -> Result<Vec<Tensor>> {
        Err(Error::bug("no network made these outputs, so there is no gradient of them."))
    }
}

impl<G: Gradients> AtPoints<G> {
    fn taps(&self, aim: &Aim<'_>) -> Taps {
        Taps {
            relu: self.0.relu(),
            relevance: self.0.relevance(&aim.model.manifest.input),
            multipliers: self.0.compares(),
            ..aim.taps().with_gradient(GradientPlace::Input)
        }
    }

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
            let y = sums.values[0];
            Err(match self.0.relevance(&aim.model.manifest.input) {
                Some(_) => format!("no relevance of y (y = {y}) reaches a pixel."),
                None if self.0.compares() => format!(
                    "no pixel moves y (y = {y}): it is what it is at the reference, or the picture \
                     is the reference."
                ),
                None => format!("no pixel moves y (y = {y}): the gradient is zero."),
            })
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
                "attributions miss the difference they should add up to by {:.0} %: {}.",
                100.0 * share,
                self.0.mend()
            )
        });
        let warnings = self.0.warning(aim.model).into_iter().chain(incomplete).collect();
        Ok(MethodOutcome { raw, shown, facts: about, warnings })
    }
}
