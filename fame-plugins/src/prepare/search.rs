//! Which face of a picture is meant: detected, weighed with its landmarks, and looked for in the
//! turned picture where the upright one shows none.

use std::sync::Arc;

use fame_core::{
    Error, Model, Result, Tensor,
    data::{Facts, Value, facts},
};

use super::{
    AlignFace, Choose, Face, Point, Similarity, extent, find_faces, five_points, landmarks_of,
};

/// Beyond this share of the template's own spread, the five points are not those of a face in the
/// right order. Left and right exchanged give more than 0.9.
pub(super) const WORST_FIT: f64 = 0.5;

/// Beyond this share the face may be another thing, cut off, or turned. Of 34 portraits the worst,
/// cut through the face, has 0.23.
pub(super) const DOUBTFUL_FIT: f64 = 0.23;

/// Beyond this share, or below [`SURE`], the face may lie on its side, and the turned picture is
/// tried. Of 28 upright portraits the worst has 0.19, and the least sure a score of 0.999. Lying on
/// their side, nine of them were found as they lay, with points that fitted nothing: with less
/// score than that, or a worse fit.
const PERHAPS_TURNED_FIT: f64 = 0.2;

/// See [`PERHAPS_TURNED_FIT`].
const SURE: f32 = 0.999;

/// How much more evidence a turned picture must have to be believed; see [`evidence`].
const CLEARLY_BETTER: f64 = 1.0;

/// A misfit of this share (a pixel at 112 × 112) takes away as much evidence as a factor e in the
/// detector's doubt.
const MISFIT_UNIT: f64 = 0.043;

/// Doubts below this are noise of a softmax in single precision.
const LEAST_DOUBT: f64 = 1e-5;

/// What speaks for an upright face: the detector's certainty, as the logarithm of its doubt, less
/// what its landmarks miss a face by.
fn evidence(score: f32, misfit: f64) -> f64 {
    -(1.0 - f64::from(score)).max(LEAST_DOUBT).ln() - misfit / MISFIT_UNIT
}

/// Faces of this part of the greatest prominence are compared by their landmarks too.
const COMPARED: f64 = 0.5;

/// So many faces at most: each of them costs a pass of the landmark model.
const MOST_COMPARED: usize = 3;

/// A second face of this part of the chosen one's prominence is told.
const NEARLY_AS_PROMINENT: f64 = 0.8;

/// The face that is meant.
pub(super) struct ChosenFace {
    /// Its five points in the picture.
    pub(super) points: [Point; 5],
    /// All points that the landmark model found, in the picture.
    pub(super) outline: Vec<Point>,
    /// Where it came from, for the record.
    pub(super) story: Facts,
    /// What a reader must know.
    pub(super) warnings: Vec<String>,
    /// Its misfit, as a share of the template's spread.
    misfit: f64,
    /// The detector's score.
    score: f32,
}

impl ChosenFace {
    fn evidence(&self) -> f64 {
        evidence(self.score, self.misfit)
    }
}

/// The search for a face by a detector and a landmark model.
pub(super) struct Search<'a> {
    pub(super) step: &'a AlignFace,
    pub(super) detector: Arc<Model>,
    pub(super) landmarks: Arc<Model>,
    /// Where the five points go.
    pub(super) goal: [Point; 5],
}

/// A face with its landmarks.
struct Measured {
    index: usize,
    points: [Point; 5],
    outline: Vec<Point>,
    misfit: f64,
}

impl Search<'_> {
    /// The face of the picture `pixels`.
    ///
    /// # Errors
    /// What [`find_faces`] and [`landmarks_of`] say; `fame::prepare::no_face` when there is none.
    pub(super) fn face(&self, pixels: &Tensor) -> Result<ChosenFace> {
        let upright = self.upright(pixels);
        let may_be_turned = match &upright {
            Ok(face) => face.misfit > PERHAPS_TURNED_FIT || face.score < SURE,
            Err(e) => e.code == "fame::prepare::no_face",
        };
        if !may_be_turned {
            return upright;
        }
        let turned = [1, 2, 3].into_iter().filter_map(|quarters| self.turned(pixels, quarters));
        let best = turned.max_by(|a, b| a.evidence().total_cmp(&b.evidence()));
        let is_better = |face: &ChosenFace| match &upright {
            Ok(upright) => face.evidence() > upright.evidence() + CLEARLY_BETTER,
            Err(_) => face.misfit <= DOUBTFUL_FIT,
        };
        best.filter(is_better).map_or(upright, Ok)
    }

    /// The face of the picture after `quarters` quarter turns clockwise; `None` where it shows
    /// none.
    fn turned(&self, pixels: &Tensor, quarters: usize) -> Option<ChosenFace> {
        let (height, width) = extent(pixels).ok()?;
        let mut face = self.upright(&turn(pixels, quarters).ok()?).ok()?;
        face.points = face.points.map(|p| turned_back(p, quarters, width, height));
        face.outline.iter_mut().for_each(|p| *p = turned_back(*p, quarters, width, height));
        let degrees = quarters * 90;
        face.story.insert("turned_degrees".to_owned(), degrees.into());
        face.warnings.insert(
            0,
            format!("the face was found after turning the picture by {degrees} degrees clockwise."),
        );
        Some(face)
    }

    /// The face of the picture as it is.
    fn upright(&self, pixels: &Tensor) -> Result<ChosenFace> {
        let AlignFace { choose, min_score, max_overlap, .. } = *self.step;
        let found = find_faces(&self.detector, pixels, min_score, max_overlap)?;
        let order = found.choose(choose, min_score)?;
        let prominence = |index: usize| found.faces[index].prominence(min_score);
        let first = order.first().map_or(0.0, |index| prominence(*index));
        let compared = match choose {
            Choose::Best => order
                .iter()
                .take(MOST_COMPARED)
                .filter(|index| prominence(**index) >= COMPARED * first)
                .count(),
            _ => 1,
        };
        let (near, rest) = order.split_at(compared.max(1).min(order.len()));
        let mut measured = Vec::new();
        for index in near {
            measured.push(self.measured(pixels, *index, &found.faces[*index])?);
        }
        let weight = |m: &Measured| prominence(m.index) * (1.0 - m.misfit / WORST_FIT).max(0.0);
        // Of equals the first: the order says which is meant.
        measured.reverse();
        let best = measured.into_iter().max_by(|a, b| weight(a).total_cmp(&weight(b)));
        let mut best = best.ok_or_else(|| Error::bug("a search for faces looked at none."))?;
        let mut warnings = Vec::new();
        for index in rest {
            if best.misfit <= WORST_FIT {
                break;
            }
            // What is no face by its landmarks makes room for the next.
            let next = self.measured(pixels, *index, &found.faces[*index])?;
            if next.misfit <= WORST_FIT {
                warnings.push(format!(
                    "what was found at first, {}, is no face by its landmarks, and the next was taken.",
                    found.faces[best.index]
                ));
                best = next;
            }
        }
        let rival = found.faces.iter().enumerate().find(|(index, face)| {
            *index != best.index
                && face.prominence(min_score) >= NEARLY_AS_PROMINENT * prominence(best.index)
        });
        if let Some((index, face)) = rival {
            warnings.push(format!(
                "another face is nearly as prominent: {face}. `choose: Index({index})` takes it."
            ));
        }
        let face = &found.faces[best.index];
        let story = facts([
            ("points_from", "detector".into()),
            ("faces", found.faces.len().into()),
            ("choose", Value::of(&choose)),
            ("chosen", best.index.into()),
            ("score", face.score.into()),
            ("box", face.bounds.to_vec().into()),
        ]);
        let Measured { points, outline, misfit, .. } = best;
        Ok(ChosenFace { points, outline, story, warnings, misfit, score: face.score })
    }

    fn measured(&self, pixels: &Tensor, index: usize, face: &Face) -> Result<Measured> {
        let outline = landmarks_of(&self.landmarks, pixels, face)?;
        let points = five_points(&outline)?;
        // Points that determine no alignment fit nothing.
        let fit = Similarity::fit(&points, &self.goal);
        let misfit = fit.map_or(f64::INFINITY, |fit| fit.residual / fit.spread);
        Ok(Measured { index, points, outline, misfit })
    }
}

/// The picture `[3, H, W]` after `quarters` quarter turns clockwise.
fn turn(pixels: &Tensor, quarters: usize) -> Result<Tensor> {
    let (height, width) = extent(pixels)?;
    let (rows, columns) =
        if quarters.is_multiple_of(2) { (height, width) } else { (width, height) };
    let source = |row: usize, column: usize| match quarters % 4 {
        1 => (height - 1 - column, row),
        2 => (height - 1 - row, width - 1 - column),
        3 => (column, width - 1 - row),
        _ => (row, column),
    };
    let mut data = Vec::with_capacity(pixels.data().len());
    for plane in pixels.data().chunks_exact(height * width) {
        for row in 0..rows {
            data.extend((0..columns).map(|column| {
                let (y, x) = source(row, column);
                plane[y * width + x]
            }));
        }
    }
    Tensor::new([3, rows, columns], data)
}

/// Where a point of the turned picture lies in the picture of this size.
fn turned_back([x, y]: Point, quarters: usize, width: usize, height: usize) -> Point {
    let (width, height) = (width as f64, height as f64);
    match quarters % 4 {
        1 => [y, height - x],
        2 => [width - x, height - y],
        3 => [width - y, x],
        _ => [x, y],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::testing::picture;

    #[test]
    fn points_go_back_where_their_pixels_came_from() {
        let (height, width) = (3, 5);
        let original = picture(height, width, |c, y, x| (100 * c + 10 * y + x) as f32).pixels;
        for quarters in 0..4 {
            let turned = turn(&original, quarters).unwrap();
            let (rows, columns) = extent(&turned).unwrap();
            for (row, column) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
                let centre = [column as f64 + 0.5, row as f64 + 0.5];
                let [x, y] = turned_back(centre, quarters, width, height);
                let pixel = (y as usize) * width + x as usize;
                assert_eq!(turned.row(2)[row * columns + column], original.row(2)[pixel]);
            }
        }
        // A quarter clockwise brings the lower left corner to the upper left.
        assert_eq!(turn(&original, 1).unwrap().row(0)[0], 20.0);
    }
}
