//! Tiles of a picture as features that are kept, taken away or faded, and one value for each of
//! them from the network's answers: what the methods over tiles share.

use fame_core::{
    Error, Explanation, LayerChoices, Model, Result, Sample, Tensor,
    ask::{Aim, AimedRow, Answer, Question, broken},
    contract::{ExplainContext, Explainer, Loss},
    data::{Facts, facts},
    registry::{Assembly, BuildContext, Built},
    seed_of,
    text::Spec,
};

use super::super::{
    finish::{Draft, Finish, no_map, part, plane},
    meter::{Meter, per_sample},
};
use crate::maps::Towards;

/// How a picture is cut into tiles.
#[derive(Clone, Copy)]
pub(super) enum Tiling {
    /// Squares with a side of so many pixels, at the right and lower border less.
    Side(usize),
    /// A grid of so many cells along each side, each as large as the others up to a pixel.
    Grid(usize),
}

impl Tiling {
    /// The tile of every pixel of a picture of `height` × `width`, row-major, and how many there
    /// are. A pixel belongs to the cell of a grid that its centre lies in.
    ///
    /// # Errors
    /// `fame::explain::grid_too_fine` where cells have no pixel.
    fn of(self, height: usize, width: usize) -> Result<(Vec<usize>, usize)> {
        if let Tiling::Grid(cells) = self
            && cells > height.min(width)
        {
            let message = format!(
                "a grid of {cells} × {cells} cells is finer than a picture of {width} × {height}."
            );
            return Err(Error::new("fame::explain::grid_too_fine", message)
                .with_help("Give a smaller `grid`."));
        }
        let along = |pixel: usize, extent: usize| match self {
            Tiling::Side(side) => pixel / side,
            Tiling::Grid(cells) => (2 * pixel + 1) * cells / (2 * extent),
        };
        let axis = |extent| (0..extent).map(|pixel| along(pixel, extent)).collect::<Vec<usize>>();
        let (rows, columns) = (axis(height), axis(width));
        let count = |axis: &[usize]| axis.last().map_or(0, |last| last + 1);
        let across = count(&columns);
        let tiles = rows.iter().flat_map(|row| columns.iter().map(move |c| row * across + c));
        Ok((tiles.collect(), count(&rows) * across))
    }
}

/// Masks over tiles.
pub(super) trait Masks {
    /// How many there are.
    fn count(&self) -> usize;

    /// How much of `tile` mask `mask` keeps, 0..=1; the rest is the plainer picture's.
    fn share(&self, mask: usize, tile: usize) -> f32;
}

/// Sets of tiles: for each of them whether each tile is there.
impl Masks for Vec<Vec<bool>> {
    fn count(&self) -> usize {
        self.len()
    }

    fn share(&self, mask: usize, tile: usize) -> f32 {
        f32::from(u8::from(self[mask][tile]))
    }
}

/// How masks over tiles are drawn, and what their answers come to.
pub(super) trait OfTiles: Send + Sync {
    /// The method's name, which its random numbers depend on.
    const NAME: &'static str;

    /// What it draws.
    type Masks: Masks;

    /// Masks over `tiles` tiles.
    fn masks(&self, seed: u64, tiles: usize) -> Self::Masks;

    /// The value of each tile, from the masks, the answers to them, and those to the whole picture
    /// and to none of it.
    ///
    /// # Errors
    /// Masks that determine no values.
    fn values(
        &self,
        masks: &Self::Masks,
        answers: &[f64],
        whole: f64,
        none: f64,
    ) -> Result<Vec<f64>>;

    /// What a reader should know of the masks and `values`: of sets of tiles, how many they are.
    fn facts(&self, masks: &Self::Masks, _answers: &[f64], _values: &[f64]) -> Facts {
        facts([("sets", masks.count().into())])
    }

    /// The value of each tile with the facts: in one go, for methods whose facts come out of the
    /// same sums.
    ///
    /// # Errors
    /// As [`OfTiles::values`].
    fn measured(
        &self,
        masks: &Self::Masks,
        answers: &[f64],
        whole: f64,
        none: f64,
    ) -> Result<(Vec<f64>, Facts)> {
        let values = self.values(masks, answers, whole, none)?;
        let facts = self.facts(masks, answers, &values);
        Ok((values, facts))
    }
}

/// What is asked of the network: the parameters that every method over tiles has.
pub(super) struct Asked {
    pub(super) layer: LayerChoices,
    pub(super) loss: Spec,
    pub(super) answer: Answer,
    pub(super) map: Vec<Spec>,
    pub(super) roles: Option<Vec<String>>,
}

impl Asked {
    /// The explainer that asks this with the masks of `method`, over tiles of `tiling`; what they
    /// take away is replaced by `towards`.
    pub(super) fn explainer<M: OfTiles + 'static>(
        self,
        method: M,
        tiling: Tiling,
        towards: Towards,
        with: &BuildContext<'_>,
        assembly: &mut Assembly,
    ) -> Option<Box<dyn Explainer>> {
        let loss = assembly.build::<dyn Loss>("loss", &self.loss, with);
        let finish = Finish::build(assembly, &self.map, with);
        let Asked { layer, answer, roles, .. } = self;
        let loss = loss?;
        Some(Box::new(TileExplainer {
            method,
            tiling,
            towards,
            layer,
            loss,
            answer,
            roles,
            finish,
        }))
    }
}

/// A method over tiles, with what it asks.
struct TileExplainer<M> {
    method: M,
    tiling: Tiling,
    towards: Towards,
    layer: LayerChoices,
    loss: Built<dyn Loss>,
    answer: Answer,
    roles: Option<Vec<String>>,
    finish: Finish,
}

impl<M: OfTiles> Explainer for TileExplainer<M> {
    fn check(&self, model: &Model) -> Result<()> {
        let input = &model.manifest.input;
        self.tiling.of(input.height, input.width)?;
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
        let (of_pixel, tiles) = self.tiling.of(input.height, input.width)?;
        let seed = seed_of(with.seed, &format!("{}/{}", sample.id, M::NAME));
        let masks = self.method.masks(seed, tiles);
        meter.begin(rows.len() * (masks.count() + 2));
        for row in rows {
            self.row(aim, sample, &row, (&of_pixel, tiles, &masks), meter, &mut explanation)?;
        }
        Ok(explanation)
    }

    fn row(
        &self,
        aim: &Aim<'_>,
        sample: &Sample,
        row: &AimedRow,
        (of_pixel, tiles, masks): (&[usize], usize, &M::Masks),
        meter: &mut Meter<'_>,
        into: &mut Explanation,
    ) -> Result<()> {
        let question = Question::new(aim, sample, row, self.answer)?;
        let (height, width) = question.size();
        let plainer = self
            .towards
            .picture(&question.pixels, &aim.model.manifest.input)
            .map_err(|e| e.at("towards"))?;
        let count = masks.count();
        let alter = |n: usize, copy: &mut Tensor| {
            // Behind the masks come the whole picture and none of it.
            let share = |tile| match n {
                n if n < count => masks.share(n, tile),
                n if n == count => 1.0,
                _ => 0.0,
            };
            let shares: Vec<f32> = (0..tiles).map(share).collect();
            for channel in 0..copy.rows() {
                let pixels = copy.row_mut(channel).iter_mut().zip(plainer.row(channel));
                for ((x, b), tile) in pixels.zip(of_pixel) {
                    // Exact where the share is 1 or 0.
                    let share = shares[*tile];
                    *x = share * *x + (1.0 - share) * b;
                }
            }
        };
        let answers = question.ask(count + 2, alter, |n| meter.tick(n))?;
        if let Some(why) = broken(&answers) {
            no_map(&row.id, &why, into);
            return Ok(());
        }
        let answers: Vec<f64> = answers.into_iter().map(f64::from).collect();
        let (whole, none, answers) = (answers[count], answers[count + 1], &answers[..count]);
        let (values, of_method) = self.method.measured(masks, answers, whole, none)?;
        let of_pixels: Vec<f64> = of_pixel.iter().map(|tile| values[*tile]).collect();
        let raw = plane(&of_pixels, height, width)?;
        let shown = part(&raw, 1.0)?;
        let about = facts([
            ("value_before", whole.into()),
            ("value_without", none.into()),
            ("tiles", tiles.into()),
        ]);
        let draft = Draft::of_row(row, raw).showing(shown).with_facts(about);
        self.finish.finish(draft.with_facts(of_method), into)
    }
}

/// Whether `answers` differ by no more than the rounding of a network in single precision, so that
/// nothing can be learnt from them.
pub(super) fn unmoved(answers: &[f64]) -> bool {
    /// Units in the last place that sums of a deep network may be off.
    const ROUNDING: f64 = 8.0 * f32::EPSILON as f64;
    let (low, high) = answers
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), y| (low.min(*y), high.max(*y)));
    high - low <= ROUNDING * high.abs().max(low.abs())
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
    fn sides_count_from_the_corner_and_grids_share_the_picture_out() {
        let (tiles, count) = Tiling::Side(2).of(3, 5).unwrap();
        assert_eq!((tiles, count), (vec![0, 0, 1, 1, 2, 0, 0, 1, 1, 2, 3, 3, 4, 4, 5], 6));
        // The nearest-neighbour enlargement of three cells to eight pixels by TensorFlow 2.20.
        let (tiles, count) = Tiling::Grid(3).of(8, 3).unwrap();
        let rows: Vec<usize> = tiles.chunks(3).map(|row| row[0] / 3).collect();
        assert_eq!((rows, count), (vec![0, 0, 0, 1, 1, 2, 2, 2], 9));
        assert_eq!(tiles[..3], [0, 1, 2]);
        let error = Tiling::Grid(4).of(8, 3).unwrap_err();
        assert_eq!(error.code, "fame::explain::grid_too_fine");
    }

    #[test]
    fn answers_that_only_round_differently_are_no_answers() {
        assert!(unmoved(&[0.0, 0.0]) && unmoved(&[7.0, 7.000_001]) && unmoved(&[-7.0]));
        assert!(!unmoved(&[7.0, 7.001]) && !unmoved(&[0.0, 1e-9]));
    }

    #[test]
    fn a_system_is_solved_or_refused() {
        let a = vec![vec![4.0, 2.0], vec![2.0, 3.0]];
        let x = solve(a, vec![10.0, 9.0]).unwrap();
        assert!((x[0] - 1.5).abs() < 1e-12 && (x[1] - 2.0).abs() < 1e-12, "{x:?}");
        let error = solve(vec![vec![1.0, 1.0], vec![1.0, 1.0]], vec![1.0, 1.0]).unwrap_err();
        assert_eq!(error.code, "fame::explain::too_few_sets");
    }
}
