//! Square tiles of a picture as features that are there or not, and a linear model of the network's
//! answers over them: what LIME and Kernel SHAP share.

use fame_core::{
    Error, Explanation, LayerChoices, Model, Result, Sample, Tensor,
    ask::{Aim, AimedRow, Answer, Question, broken},
    contract::{ExplainContext, Explainer, Loss},
    data::facts,
    registry::Built,
    seed_of,
};

use super::{
    super::{
        finish::{Draft, Finish, no_map, part, plane},
        meter::{Meter, per_sample},
    },
    answers::Fill,
};

/// How sets of tiles are drawn, and what their answers come to.
pub(super) trait OfTiles: Send + Sync {
    /// The method's name, which its random numbers depend on.
    const NAME: &'static str;

    /// For each of the sets whether each of `tiles` is there.
    fn sets(&self, seed: u64, tiles: usize) -> Vec<Vec<bool>>;

    /// The weight of each tile, from the sets, the answers to them, and those to the whole picture
    /// and to none of it.
    ///
    /// # Errors
    /// Sets that determine no weights.
    fn weights(
        &self,
        sets: &[Vec<bool>],
        answers: &[f64],
        whole: f64,
        none: f64,
    ) -> Result<Vec<f64>>;
}

/// A method over tiles, with what it asks.
pub(super) struct TileExplainer<M> {
    pub(super) method: M,
    pub(super) layer: LayerChoices,
    pub(super) loss: Built<dyn Loss>,
    pub(super) answer: Answer,
    /// Side of the tiles in pixels.
    pub(super) side: usize,
    pub(super) fill: Fill,
    pub(super) roles: Option<Vec<String>>,
    pub(super) finish: Finish,
}

impl<M: OfTiles> Explainer for TileExplainer<M> {
    fn check(&self, model: &Model) -> Result<()> {
        Aim::new(model, &self.layer, self.loss.plugin.as_ref()).map(|_| ())
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        match Aim::new(with.model, &self.layer, self.loss.plugin.as_ref()) {
            Ok(aim) => {
                per_sample(with, samples, |sample, meter| self.sample(with, &aim, sample, meter))
            }
            Err(e) => samples.iter().map(|_| Err(e.clone())).collect(),
        }
    }
}

impl<M: OfTiles> TileExplainer<M> {
    fn sample(
        &self,
        with: &ExplainContext<'_>,
        aim: &Aim<'_>,
        sample: &Sample,
        meter: &mut Meter<'_>,
    ) -> Result<Explanation> {
        let rows = aim
            .rows(sample, self.roles.as_deref())
            .map_err(|e| e.at(format!("loss {}", self.loss.name)))?;
        let about = facts([("layers", aim.layer_facts()), ("loss", self.loss.record())]);
        let mut explanation = Explanation { facts: about, ..Explanation::default() };
        let input = &aim.model.manifest.input;
        let columns = input.width.div_ceil(self.side);
        let tiles = input.height.div_ceil(self.side) * columns;
        let tile = |p: usize| (p / input.width / self.side) * columns + p % input.width / self.side;
        let of_pixel: Vec<usize> = (0..input.height * input.width).map(tile).collect();
        let seed = seed_of(with.seed, &format!("{}/{}", sample.id, M::NAME));
        let sets = self.method.sets(seed, tiles);
        meter.begin(rows.len() * (sets.len() + 2));
        for row in rows {
            self.row(aim, sample, &row, (&of_pixel, &sets), meter, &mut explanation)?;
        }
        Ok(explanation)
    }

    fn row(
        &self,
        aim: &Aim<'_>,
        sample: &Sample,
        row: &AimedRow,
        (of_pixel, sets): (&[usize], &[Vec<bool>]),
        meter: &mut Meter<'_>,
        into: &mut Explanation,
    ) -> Result<()> {
        let input = &aim.model.manifest.input;
        let question = Question::new(aim, sample, row, self.answer)?;
        let (height, width) = question.size();
        let count = sets.len();
        // Behind the sets come the whole picture and none of it.
        let alter = |n: usize, copy: &mut Tensor| {
            let is_there = |tile: usize| sets.get(n).map_or(n == count, |set| set[tile]);
            for channel in 0..input.channels {
                let value = self.fill.value(input, channel);
                let plane = copy.row_mut(channel).iter_mut().zip(of_pixel);
                plane.filter(|(_, tile)| !is_there(**tile)).for_each(|(pixel, _)| *pixel = value);
            }
        };
        let answers = question.ask(count + 2, alter, |n| meter.tick(n))?;
        if let Some(why) = broken(&answers) {
            no_map(&row.id, &why, into);
            return Ok(());
        }
        let answers: Vec<f64> = answers.into_iter().map(f64::from).collect();
        let (whole, none) = (answers[count], answers[count + 1]);
        let weights = self.method.weights(sets, &answers[..count], whole, none)?;
        let values: Vec<f64> = of_pixel.iter().map(|tile| weights[*tile]).collect();
        let raw = plane(&values, height, width)?;
        let shown = part(&raw, 1.0)?;
        let about = facts([
            ("value_before", whole.into()),
            ("value_without", none.into()),
            ("tiles", weights.len().into()),
            ("sets", count.into()),
        ]);
        self.finish.finish(Draft::of_row(row, raw).showing(shown).with_facts(about), into)
    }
}

/// The solution of a symmetric positive definite system by Cholesky's factors; `b` becomes it.
///
/// # Errors
/// `fame::explain::too_few_sets` for a matrix that is not positive definite.
pub(super) fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Result<Vec<f64>> {
    let n = b.len();
    for j in 0..n {
        let scale = a[j][j].abs();
        for k in 0..j {
            a[j][j] -= a[j][k] * a[j][k];
        }
        // What is left of the diagonal when a tile is a mixture of those before it: rounding.
        if a[j][j] <= 1e-12 * scale || a[j][j].is_nan() {
            return Err(Error::new(
                "fame::explain::too_few_sets",
                format!("the sets of tiles do not tell {n} tiles apart."),
            )
            .with_help("Ask more `samples`, or make the tiles larger."));
        }
        a[j][j] = a[j][j].sqrt();
        for i in j + 1..n {
            for k in 0..j {
                a[i][j] -= a[i][k] * a[j][k];
            }
            a[i][j] /= a[j][j];
        }
    }
    for i in 0..n {
        for k in 0..i {
            b[i] -= a[i][k] * b[k];
        }
        b[i] /= a[i][i];
    }
    for i in (0..n).rev() {
        for k in i + 1..n {
            b[i] -= a[k][i] * b[k];
        }
        b[i] /= a[i][i];
    }
    Ok(b)
}

#[cfg(test)]
pub(super) mod testing {
    use fame_core::{Explanation, Result, contract::ExplainContext, contract::Silent, testkit};

    /// What an explainer with these parameters says of a picture of the test kit, and of the first
    /// class that some of it speaks for.
    pub(crate) fn shown(name: &str, parameters: &str) -> Explanation {
        let of = |class: usize| {
            explained(&format!(
                "{name}(layer: Output, loss: Logit(class: Index({class})), {parameters})"
            ))
        };
        let said = (0..testkit::CLASSES).map(of).map(Result::unwrap);
        said.into_iter().find(|said| !said.maps.is_empty()).expect("something speaks for a class")
    }

    /// What `spec` says of a picture of the test kit.
    pub(crate) fn explained(spec: &str) -> Result<Explanation> {
        let explainer = testkit::build::<dyn fame_core::contract::Explainer>(spec)?;
        let (model, sample) = (testkit::model()?, testkit::sample("a", &["image"], testkit::SIZE)?);
        let with = ExplainContext { model: &model, seed: 7, progress: &Silent };
        explainer.plugin.explain(&with, &[sample]).swap_remove(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved_or_refused() {
        let a = vec![vec![4.0, 2.0], vec![2.0, 3.0]];
        let x = solve(a, vec![10.0, 9.0]).unwrap();
        assert!((x[0] - 1.5).abs() < 1e-12 && (x[1] - 2.0).abs() < 1e-12, "{x:?}");
        let error = solve(vec![vec![1.0, 1.0], vec![1.0, 1.0]], vec![1.0, 1.0]).unwrap_err();
        assert_eq!(error.code, "fame::explain::too_few_sets");
    }
}
