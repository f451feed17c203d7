//! Decoding a face detector: scored boxes, overlaps removed, one face chosen.

use fame_core::{Error, LayerChoice, Model, Result, Taps, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Filter, resample};

/// A detected face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Face {
    /// The detector's score, in 0..=1 for a softmax output.
    pub score: f32,
    /// Left, top, right, bottom in pixels from the picture's outer corner; it may reach beyond the
    /// picture.
    pub bounds: [f64; 4],
}

impl Face {
    /// Width.
    pub fn width(&self) -> f64 {
        self.bounds[2] - self.bounds[0]
    }

    /// Height.
    pub fn height(&self) -> f64 {
        self.bounds[3] - self.bounds[1]
    }

    /// The middle.
    pub fn centre(&self) -> [f64; 2] {
        [self.bounds[0].midpoint(self.bounds[2]), self.bounds[1].midpoint(self.bounds[3])]
    }

    /// The area of its box.
    pub(super) fn area(&self) -> f64 {
        self.width() * self.height()
    }

    /// How much the face stands out: its area, times how far its score lies between `least`, which
    /// counts 0, and one. Boxes of background are a little less certain than faces: one of score 0.964 must be 14 %
    /// larger than a face of score 1 to outweigh it, where 0.7 is the least.
    pub(super) fn prominence(&self, least: f32) -> f64 {
        let certainty = f64::from((self.score - least) / (1.0 - least).max(f32::EPSILON));
        self.area() * certainty.clamp(0.0, 1.0)
    }

    /// Intersection over union with `other`, 0..=1.
    fn overlap(&self, other: &Face) -> f64 {
        let side = |low: usize| {
            (self.bounds[low + 2].min(other.bounds[low + 2])
                - self.bounds[low].max(other.bounds[low]))
            .max(0.0)
        };
        let both = side(0) * side(1);
        both / (self.area() + other.area() - both)
    }
}

impl std::fmt::Display for Face {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [left, top, right, bottom] = self.bounds;
        write!(f, "score {:.3} at ({left:.0}, {top:.0})–({right:.0}, {bottom:.0})", self.score)
    }
}

/// The choice among several faces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Choose {
    /// The most prominent: size, score and how well the landmarks fit a face are weighed together.
    #[default]
    Best,
    /// The only one; several are an error that lists them.
    Only,
    /// The one whose box has the largest area.
    Largest,
    /// The one whose box's middle is nearest to the picture's.
    MostCentral,
    /// The one with the highest score.
    MostConfident,
    /// The n-th by score, from 0, as the error of `Only` numbers them.
    Index(usize),
}

/// The faces that a detector found in one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Faces from the highest score down.
    pub faces: Vec<Face>,
    /// The best score of all candidates, also those not taken.
    pub best: f32,
    /// Width and height of the picture.
    pub size: [usize; 2],
}

impl Found {
    /// The indices of the faces that `choose` means, the first one first; the others are for when
    /// what looks like a face there is none. `least` is the lowest score that counts.
    ///
    /// # Errors
    /// `fame::prepare::no_face`, `fame::prepare::several_faces` and `fame::prepare::no_such_face`.
    pub fn choose(&self, choose: Choose, least: f32) -> Result<Vec<usize>> {
        if self.faces.is_empty() {
            let message =
                format!("no face was found: the best of all candidates scored {:.3}.", self.best);
            return Err(Error::new("fame::prepare::no_face", message).with_help(
                "Give the five points (AlignFace(points: […])), lower `min_score`, or, when the picture is an aligned crop already, write `prepare: []`.",
            ));
        }
        let by = |key: &dyn Fn(&Face) -> f64| {
            let mut order: Vec<usize> = (0..self.faces.len()).collect();
            // Of equals the one with the higher score comes first: faces are sorted by it.
            order.sort_by(|a, b| key(&self.faces[*a]).total_cmp(&key(&self.faces[*b])));
            order
        };
        let middle = self.size.map(|s| s as f64 / 2.0);
        match choose {
            Choose::Only if self.faces.len() > 1 => Err(Error::new(
                "fame::prepare::several_faces",
                format!("{} faces were found, and `choose` is `Only`: {}.", self.faces.len(), self.list()),
            )
            .with_help("Say which: AlignFace(choose: Best), Largest, MostCentral, MostConfident or Index(n) with n from this list.")),
            Choose::Index(n) if n >= self.faces.len() => Err(Error::new(
                "fame::prepare::no_such_face",
                format!("`choose` is `Index({n})`, but the faces found are {}.", self.list()),
            )
            .with_help("Faces are numbered from 0 by score; lower `min_score` to find more.")),
            Choose::Only => Ok(vec![0]),
            Choose::Index(n) => Ok(vec![n]),
            Choose::MostConfident => Ok(by(&|f| -f64::from(f.score))),
            Choose::Best => Ok(by(&|f| -f.prominence(least))),
            Choose::Largest => Ok(by(&|f| -f.area())),
            Choose::MostCentral => Ok(by(&|f| {
                let [x, y] = f.centre();
                (x - middle[0]).hypot(y - middle[1])
            })),
        }
    }

    fn list(&self) -> String {
        let each: Vec<String> =
            self.faces.iter().enumerate().map(|(i, f)| format!("{i}: {f}")).collect();
        each.join("; ")
    }
}

/// Runs an UltraFace-like `detector` on a picture `[3, H, W]` with values in 0..=1.
///
/// The whole picture is resized plainly, proportions not kept, to the size in the detector's
/// manifest. The manifest names two layers: `scores` `[anchors, classes]` (the label `face`, else
/// the last class, counts) and `boxes` `[anchors, 4]`: left, top, right, bottom in 0..1 of the
/// picture. Candidates that score at least `min_score` are taken from the best down, leaving out
/// those whose intersection over union with a taken one is above `max_overlap`.
///
/// # Errors
/// A detector without these layers or of other shapes, or what its backend says.
pub fn find_faces(
    detector: &Model,
    pixels: &Tensor,
    min_score: f32,
    max_overlap: f32,
) -> Result<Found> {
    let input = &detector.manifest.input;
    let layer =
        |name: &str| detector.layer(&LayerChoice::Named(name.to_owned())).map(|l| l.name.clone());
    let (scores, boxes) = (layer("scores")?, layer("boxes")?);
    let resized = resample(pixels, input.width, input.height, Filter::Bilinear, true)?;
    let batch = Tensor::stack([&input.to_input(&resized)?])?;
    let pass = detector.network.forward(&batch, &Taps::of([scores.as_str(), boxes.as_str()]))?;
    let (scores, boxes) = (pass.output(&scores)?, pass.output(&boxes)?);
    let classes = match (scores.shape(), boxes.shape()) {
        (&[1, anchors, classes], &[1, boxed, 4]) if classes > 0 && anchors == boxed => classes,
        _ => return Err(wrong_shape(detector, &scores, &boxes)),
    };
    let face = detector
        .labels
        .iter()
        .position(|l| l == "face")
        .filter(|i| *i < classes)
        .unwrap_or(classes - 1);
    let size = [pixels.shape()[2], pixels.shape()[1]];
    let candidates: Vec<Face> = (scores.data().chunks_exact(classes).map(|s| s[face]))
        .zip(boxes.data().chunks_exact(4))
        .map(|(score, b)| Face {
            score,
            bounds: std::array::from_fn(|i| f64::from(b[i]) * size[i % 2] as f64),
        })
        .filter(|f| {
            f.score.is_finite()
                && f.bounds.iter().all(|v| v.is_finite())
                && f.width() > 0.0
                && f.height() > 0.0
        })
        .collect();
    let best = candidates.iter().map(|f| f.score).fold(0.0, f32::max);
    Ok(Found { faces: without_overlaps(candidates, min_score, max_overlap), best, size })
}

/// Greedy non-maximum suppression, best score first.
fn without_overlaps(mut candidates: Vec<Face>, min_score: f32, max_overlap: f32) -> Vec<Face> {
    candidates.retain(|f| f.score >= min_score);
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut taken: Vec<Face> = Vec::new();
    for face in candidates {
        if taken.iter().all(|t| t.overlap(&face) <= f64::from(max_overlap)) {
            taken.push(face);
        }
    }
    taken
}

fn wrong_shape(detector: &Model, scores: &Tensor, boxes: &Tensor) -> Error {
    Error::new(
        "fame::prepare::detector",
        format!(
            "`{}` is no face detector AlignFace can read: `scores` has shape {:?} and `boxes` {:?}, not [1, anchors, classes] and [1, anchors, 4].",
            detector.manifest.name,
            scores.shape(),
            boxes.shape()
        ),
    )
    .with_help("Name the right tensors `scores` and `boxes` under `layers` in its manifest.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(score: f32, bounds: [f64; 4]) -> Face {
        Face { score, bounds }
    }

    #[test]
    fn of_overlapping_boxes_the_best_stays() {
        let faces = vec![
            face(0.90, [10.0, 10.0, 50.0, 60.0]),
            face(0.99, [12.0, 11.0, 52.0, 62.0]),
            face(0.80, [100.0, 10.0, 140.0, 60.0]),
            face(0.60, [200.0, 10.0, 240.0, 60.0]),
            face(0.75, [118.0, 10.0, 158.0, 60.0]), // 22/58 of the third: above 0.3
        ];
        let scores = |f: Vec<Face>| f.iter().map(|f| f.score).collect::<Vec<_>>();
        assert_eq!(scores(without_overlaps(faces.clone(), 0.7, 0.3)), [0.99, 0.80]);
        assert_eq!(scores(without_overlaps(faces.clone(), 0.7, 0.5)), [0.99, 0.80, 0.75]);
        assert_eq!(scores(without_overlaps(faces, 0.5, 0.3)), [0.99, 0.80, 0.60]);
    }

    #[test]
    fn a_slightly_larger_box_of_less_certainty_does_not_outweigh_a_face() {
        let (area, larger) = (100.0, 108.0);
        let real = face(1.0, [0.0, 0.0, area, 1.0]).prominence(0.7);
        assert!(face(0.964, [0.0, 0.0, larger, 1.0]).prominence(0.7) < real);
        assert!(face(0.964, [0.0, 0.0, 2.0 * area, 1.0]).prominence(0.7) > real);
        assert_eq!(face(0.5, [0.0, 0.0, area, 1.0]).prominence(0.7), 0.0);
    }

    #[test]
    fn each_choice_takes_the_face_it_names() {
        let found = Found {
            faces: vec![
                face(0.99, [0.0, 0.0, 20.0, 20.0]),
                face(0.95, [40.0, 35.0, 60.0, 65.0]),
                face(0.90, [50.0, 0.0, 100.0, 40.0]),
            ],
            best: 0.99,
            size: [100, 100],
        };
        assert_eq!(found.choose(Choose::MostConfident, 0.7).unwrap()[0], 0);
        assert_eq!(found.choose(Choose::MostCentral, 0.7).unwrap()[0], 1);
        assert_eq!(found.choose(Choose::Largest, 0.7).unwrap()[0], 2);
        assert_eq!(found.choose(Choose::Index(1), 0.7).unwrap()[0], 1);
        // 400 pixels of certainty 0.97, 600 of 0.83, 2000 of 0.67.
        assert_eq!(found.choose(Choose::Best, 0.7).unwrap(), [2, 1, 0]);
        let several = found.choose(Choose::Only, 0.7).unwrap_err();
        assert_eq!(
            several.message,
            "3 faces were found, and `choose` is `Only`: 0: score 0.990 at (0, 0)–(20, 20); 1: score 0.950 at (40, 35)–(60, 65); 2: score 0.900 at \
             (50, 0)–(100, 40)."
        );
        assert_eq!(
            found.choose(Choose::Index(3), 0.7).unwrap_err().code,
            "fame::prepare::no_such_face"
        );
        let none = Found { faces: vec![], best: 0.31, size: [9, 9] }
            .choose(Choose::Only, 0.7)
            .unwrap_err();
        assert!(none.message.contains("0.310") && none.help.unwrap().contains("prepare: []"));
    }
}
