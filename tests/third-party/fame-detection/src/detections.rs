//! From scored candidates to detections, and from detections to the ones that are explained.

use std::collections::BTreeMap;

use fame_core::{Error, Picture, Result, Subject, data::safe_name, registry::Assembly, text::suggestion};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    head::{Head, Layout},
    rect::Rect,
};

/// Which detections of the clean picture are meant; each becomes a target and a map of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
pub enum Which {
    /// The one with the highest score.
    #[default]
    Best,
    /// Every one.
    All,
    /// The n-th by score, from 0.
    Index(usize),
    /// What the detector says of this box (left, top, right, bottom, in pixels of the picture as
    /// decoded), detected or not: a missed object can be asked about too.
    Box(f32, f32, f32, f32),
    /// What the detector says of each box the dataset knows of this picture, detected or not.
    Annotations,
}

/// Of which class.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
pub enum Class {
    /// Of any: the one that scores highest.
    #[default]
    Any,
    /// The one with this index, from 0, as the model counts them.
    Index(usize),
    /// The one the model's manifest gives this label.
    Label(String),
}

/// Which detections a question is about.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Detections {
    /// What the outputs mean: `UltraFace()`, `CenterNet()`, `Yolo()` or `Detr()`.
    pub head: Head,
    /// `Best`, `All`, `Index(n)`, `Box(left, top, right, bottom)` or `Annotations`.
    #[serde(default)]
    pub which: Which,
    /// `Any`, `Index(n)` or `Label("face")`.
    #[serde(default)]
    pub class: Class,
    /// The lowest score of a detection.
    #[serde(default = "half")]
    pub min_score: f32,
    /// The largest overlap (IoU, 0..=1) of two detections of one class; of those that overlap more,
    /// the best stays.
    #[serde(default = "max_overlap")]
    pub max_overlap: f32,
    /// At most this many detections, the best ones.
    #[serde(default = "limit")]
    pub limit: usize,
}

fn half() -> f32 {
    0.5
}

fn max_overlap() -> f32 {
    0.45
}

fn limit() -> usize {
    100
}

/// A box the detector drew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Its box.
    pub rect: Rect,
    /// Its class.
    pub class: usize,
    /// Its score.
    pub score: f32,
    /// The candidate it came from.
    pub candidate: usize,
}

/// A box to explain, and the candidate that speaks for it on the clean picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Unique among those of a picture, safe in a file name: `face_0`.
    pub name: String,
    /// The box asked about.
    pub rect: Rect,
    /// The class asked about.
    pub class: usize,
    /// The candidate that matches best: for a detection its own, for a given box that with the
    /// highest score × overlap.
    pub candidate: usize,
    /// The candidate's score for the class.
    pub score: f32,
    /// The candidate's overlap with the box.
    pub overlap: f64,
}

impl Wanted {
    /// What a map of it is about.
    pub fn subject(&self) -> Subject {
        Subject::Named(self.name.clone())
    }
}

/// What a detector says of a clean picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// All detections, best first.
    pub detections: Vec<Detection>,
    /// Those asked about.
    pub wanted: Vec<Wanted>,
}

impl Detections {
    /// The best detection of a detector with this head, of any class: all else as it is when left
    /// out.
    pub fn of(head: Head) -> Self {
        let (which, class) = (Which::default(), Class::default());
        Self { head, which, class, min_score: half(), max_overlap: max_overlap(), limit: limit() }
    }

    /// Reports what is out of range, in parameter `field`.
    pub(crate) fn check(&self, field: &str, assembly: &mut Assembly) {
        let unit = |v: f32| (0.0..=1.0).contains(&v);
        assembly.check(field, self.min_score.is_finite(), "needs a finite `min_score`");
        assembly.check(field, unit(self.max_overlap), "needs a `max_overlap` of 0 to 1");
        assembly.check(field, self.limit > 0, "needs a `limit` of at least 1");
        if let Which::Box(left, top, right, bottom) = self.which {
            let rect = Rect([left, top, right, bottom].map(f64::from));
            assembly.check(field, rect.is_proper(), "needs a box of (left, top, right, bottom) with left < right and top < bottom");
        }
        if let Some(fault) = self.head.fault() {
            assembly.check(field, false, fault);
        }
    }

    /// Detects on the clean picture and picks what is asked about. `outputs` are the target layers'
    /// values in the head's order, `labels` the class names, which may be missing.
    ///
    /// # Errors
    /// Nothing detected, no such detection, an unknown class, a box that no candidate touches.
    pub fn find(&self, layout: &Layout, outputs: &[&[f32]], picture: &Picture, labels: &[String]) -> Result<Found> {
        let class = self.class_index(layout, labels)?;
        let detections = self.detect(layout, outputs);
        let mut names = Names::default();
        let of_class = |d: &&Detection| class.is_none_or(|c| d.class == c);
        let wanted: Vec<Wanted> = match self.which {
            Which::Best => detections.iter().filter(of_class).take(1).map(|d| names.detection(d, labels)).collect(),
            Which::All => detections.iter().filter(of_class).map(|d| names.detection(d, labels)).collect(),
            Which::Index(n) => detections.iter().filter(of_class).map(|d| names.detection(d, labels)).skip(n).take(1).collect(),
            Which::Box(left, top, right, bottom) => {
                let rect = placed(picture, &[[left, top], [right, bottom]]);
                vec![Self::given(layout, outputs, rect, class, "box", picture)?]
            }
            Which::Annotations => Self::annotated(layout, outputs, picture, labels, class)?,
        };
        if wanted.is_empty() {
            return Err(self.nothing(layout, outputs, picture, labels, &detections));
        }
        Ok(Found { detections, wanted })
    }

    /// Non-maximum suppression: from the best candidate down, each stays unless it overlaps one of
    /// its class that stayed. Candidates whose score or box is not finite are left out.
    pub fn detect(&self, layout: &Layout, outputs: &[&[f32]]) -> Vec<Detection> {
        let mut candidates: Vec<Detection> = (0..layout.candidates)
            .filter_map(|candidate| {
                let (class, score) = layout.best_class(outputs, candidate);
                // NaN fails this too.
                (score >= self.min_score).then_some(())?;
                let rect = layout.rect(outputs, candidate);
                let good = score.is_finite() && rect.is_proper() && layout.is_peak(outputs, candidate, class);
                good.then_some(Detection { rect, class, score, candidate })
            })
            .collect();
        // A stable sort: of equals the first candidate comes first.
        candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut kept: Vec<Detection> = Vec::new();
        for next in candidates {
            if kept.len() == self.limit {
                break;
            }
            if kept.iter().all(|k| k.class != next.class || k.rect.overlap(&next.rect) <= f64::from(self.max_overlap)) {
                kept.push(next);
            }
        }
        kept
    }

    fn class_index(&self, layout: &Layout, labels: &[String]) -> Result<Option<usize>> {
        let index = match &self.class {
            Class::Any => return Ok(None),
            Class::Index(n) => *n,
            Class::Label(label) => labels.iter().position(|l| l == label).ok_or_else(|| {
                let known: Vec<&str> = labels.iter().map(String::as_str).collect();
                let mut e = Error::new("fame_detection::class", format!("the model has no class labelled `{label}`."));
                e.help = suggestion(label, &known, "class");
                e
            })?,
        };
        if layout.detectable().any(|c| c == index) {
            return Ok(Some(index));
        }
        Err(Error::new("fame_detection::class", format!("class {index} cannot be detected: the outputs have {} classes.", layout.classes))
            .with_help("Classes are counted from 0; a background class is none."))
    }

    /// What the detector says of a given box.
    fn given(layout: &Layout, outputs: &[&[f32]], rect: Rect, class: Option<usize>, name: &str, picture: &Picture) -> Result<Wanted> {
        let best = (0..layout.candidates)
            .filter_map(|candidate| {
                let overlap = layout.rect(outputs, candidate).overlap(&rect);
                (overlap > 0.0).then_some(())?;
                let (class, score) =
                    class.map_or_else(|| layout.best_class(outputs, candidate), |c| (c, layout.score(outputs, candidate, c)));
                score.is_finite().then_some((candidate, class, score, overlap))
            })
            .reduce(|best, next| if f64::from(next.2) * next.3 > f64::from(best.2) * best.3 { next } else { best });
        let (candidate, class, score, overlap) = best.ok_or_else(|| {
            let [left, top, right, bottom] = rect.0;
            Error::new(
                "fame_detection::no_candidate",
                format!(
                    "no candidate of the detector touches the box ({left:.0}, {top:.0})–({right:.0}, {bottom:.0}) of the prepared picture `{}`.",
                    picture.source
                ),
            )
            .with_help("Boxes are given in pixels of the picture as decoded; is it inside the part that the prepare steps leave?")
        })?;
        Ok(Wanted { name: name.to_owned(), rect, class, candidate, score, overlap })
    }

    fn annotated(layout: &Layout, outputs: &[&[f32]], picture: &Picture, labels: &[String], class: Option<usize>) -> Result<Vec<Wanted>> {
        let mut names = Names::default();
        let mut all = Vec::new();
        for (label, rect) in annotated_boxes(picture) {
            // An annotation's label counts where the model knows it.
            let known = label.as_ref().and_then(|l| labels.iter().position(|k| k == l)).filter(|c| layout.detectable().any(|d| d == *c));
            if class.is_some() && known.is_some() && class != known {
                continue;
            }
            let name = names.next(&format!("annotated_{}", label.as_deref().unwrap_or("box")));
            all.push(Self::given(layout, outputs, rect, class.or(known), &name, picture)?);
        }
        Ok(all)
    }

    fn nothing(&self, layout: &Layout, outputs: &[&[f32]], picture: &Picture, labels: &[String], found: &[Detection]) -> Error {
        let source = &picture.source;
        if self.which == Which::Annotations {
            return Error::new("fame_detection::no_annotation", format!("the dataset knows no such box on picture `{source}`."))
                .with_help("Use a dataset with boxes, such as Coco(…) or Voc(…), or `which: Best`.");
        }
        if found.is_empty() {
            let best = (0..layout.candidates).map(|c| layout.best_class(outputs, c).1).filter(|s| s.is_finite()).reduce(f32::max);
            let best = best.map_or("none has a finite score".to_owned(), |s| format!("the best candidate scores {s:.3}"));
            let message = format!("nothing is detected on picture `{source}` with a score of at least {}: {best}.", self.min_score);
            return Error::new("fame_detection::nothing_detected", message)
                .with_help("Lower `min_score`, or ask about a place with `which: Box(left, top, right, bottom)`.");
        }
        let list: Vec<String> =
            found.iter().enumerate().map(|(i, d)| format!("{i}: {} {:.3}", label_of(d.class, labels), d.score)).collect();
        Error::new(
            "fame_detection::no_such_detection",
            format!("the detection asked for is not there on picture `{source}`; detected are {}.", list.join("; ")),
        )
        .with_help("`Index(n)` counts from 0, among those of the class that is asked for.")
    }
}

/// What class `class` is called: its label, or `class_3`.
pub(crate) fn label_of(class: usize, labels: &[String]) -> String {
    labels.get(class).cloned().unwrap_or_else(|| format!("class_{class}"))
}

/// The boxes the dataset knows of `picture`, with their labels, on its pixels as prepared.
pub(crate) fn annotated_boxes(picture: &Picture) -> impl Iterator<Item = (Option<String>, Rect)> {
    picture.annotations.iter().filter(|a| a.name == BOX).map(|a| (a.label.clone(), placed(picture, &a.points)))
}

/// The name of the annotation that holds a box: two opposite corners.
pub const BOX: &str = "box";

/// The upright rectangle around points of the picture as decoded, on its pixels as prepared.
fn placed(picture: &Picture, points: &[[f32; 2]]) -> Rect {
    let moved: Vec<[f32; 2]> = points.iter().map(|p| picture.map_point(*p)).collect();
    let range = |axis: usize| moved.iter().fold((f32::MAX, f32::MIN), |(l, h), p| (l.min(p[axis]), h.max(p[axis])));
    let ((left, right), (top, bottom)) = (range(0), range(1));
    Rect([left, top, right, bottom].map(f64::from))
}

/// Numbers each name's uses.
#[derive(Default)]
struct Names(BTreeMap<String, usize>);

impl Names {
    fn next(&mut self, name: &str) -> String {
        let count = self.0.entry(safe_name(name)).or_insert(0);
        *count += 1;
        format!("{}_{}", safe_name(name), *count - 1)
    }

    fn detection(&mut self, d: &Detection, labels: &[String]) -> Wanted {
        let name = self.next(&label_of(d.class, labels));
        Wanted { name, rect: d.rect, class: d.class, candidate: d.candidate, score: d.score, overlap: 1.0 }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use fame_core::{Affine, Annotation, Picture, Tensor};

    use super::*;

    /// Four candidates of an UltraFace-like head on a picture of 100 × 100: two on the same face,
    /// one on another, one on nothing.
    pub(crate) const SCORES: [f32; 8] = [0.1, 0.9, 0.2, 0.8, 0.4, 0.6, 0.9, 0.1];
    pub(crate) const BOXES: [f32; 16] = [0.1, 0.1, 0.5, 0.5, 0.15, 0.1, 0.55, 0.5, 0.6, 0.6, 0.9, 0.9, 0.0, 0.6, 0.3, 0.9];

    pub(crate) fn outputs() -> [&'static [f32]; 2] {
        [&SCORES, &BOXES]
    }

    pub(crate) fn layout() -> Layout {
        head().layout(&[&[4, 2], &[4, 4]], (100, 100)).unwrap()
    }

    pub(crate) fn head() -> Head {
        Head::UltraFace { background: Some(0) }
    }

    pub(crate) fn asked(which: Which) -> Detections {
        Detections { head: head(), which, class: Class::Any, min_score: 0.5, max_overlap: 0.45, limit: 100 }
    }

    pub(crate) fn labels() -> Vec<String> {
        vec!["background".into(), "face".into()]
    }

    /// A picture of 200 × 200 scaled to 100 × 100 with one annotated box, the left face's.
    pub(crate) fn picture() -> Picture {
        let mut picture = Picture::new(Tensor::filled([3, 100, 100], 0.5), "test.png").unwrap();
        picture.geometry = Affine::scale_shift(0.5, 0.5, 0.0, 0.0);
        picture.annotations = vec![Annotation { name: BOX.into(), label: Some("face".into()), points: vec![[20.0, 20.0], [100.0, 100.0]] }];
        picture
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::*, *};

    fn find(detections: &Detections) -> Result<Vec<(String, usize, f32)>> {
        let found = detections.find(&layout(), &outputs(), &picture(), &labels())?;
        Ok(found.wanted.into_iter().map(|w| (w.name, w.candidate, w.score)).collect())
    }

    #[test]
    fn of_overlapping_candidates_the_best_stays() {
        let kept = |max_overlap: f32, min_score: f32| {
            let d = Detections { min_score, max_overlap, ..asked(Which::All) };
            d.detect(&layout(), &outputs()).iter().map(|d| d.candidate).collect::<Vec<_>>()
        };
        assert_eq!(kept(0.45, 0.5), [0, 2]);
        // 35/45 = 0.78 of the two on the left face.
        assert_eq!(kept(0.9, 0.5), [0, 1, 2]);
        assert_eq!(kept(0.45, 0.0), [0, 2, 3]);
        assert_eq!(Detections { limit: 1, ..asked(Which::All) }.detect(&layout(), &outputs()).len(), 1);
    }

    #[test]
    fn broken_candidates_are_no_detections() {
        let (mut scores, mut boxes) = (SCORES, BOXES);
        scores[1] = f32::NAN;
        boxes[4] = f32::INFINITY;
        let left = asked(Which::All).detect(&layout(), &[&scores, &boxes]);
        assert_eq!(left.iter().map(|d| d.candidate).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn each_choice_means_what_it_says() {
        assert_eq!(find(&asked(Which::Best)).unwrap(), [("face_0".to_owned(), 0, 0.9)]);
        assert_eq!(find(&asked(Which::All)).unwrap(), [("face_0".to_owned(), 0, 0.9), ("face_1".to_owned(), 2, 0.6)]);
        assert_eq!(find(&asked(Which::Index(1))).unwrap(), [("face_1".to_owned(), 2, 0.6)]);
        // In pixels of the decoded picture, twice as large: the lower left corner, where nothing
        // was detected.
        assert_eq!(find(&asked(Which::Box(0.0, 120.0, 60.0, 180.0))).unwrap(), [("box".to_owned(), 3, 0.1)]);
        assert_eq!(find(&asked(Which::Annotations)).unwrap(), [("annotated_face_0".to_owned(), 0, 0.9)]);
        let of_class = |class| find(&Detections { class, ..asked(Which::Best) });
        assert_eq!(of_class(Class::Label("face".into())).unwrap().len(), 1);
        assert_eq!(of_class(Class::Label("fase".into())).unwrap_err().help.unwrap(), "did you mean `face`?");
        assert!(of_class(Class::Index(0)).unwrap_err().message.contains("class 0 cannot be detected"));
    }

    #[test]
    fn what_is_not_there_is_said() {
        let says = |d: Detections| find(&d).unwrap_err().message;
        let none = says(Detections { min_score: 0.95, ..asked(Which::Best) });
        assert_eq!(none, "nothing is detected on picture `test.png` with a score of at least 0.95: the best candidate scores 0.900.");
        let index = says(asked(Which::Index(2)));
        assert_eq!(index, "the detection asked for is not there on picture `test.png`; detected are 0: face 0.900; 1: face 0.600.");
        assert!(says(asked(Which::Box(190.0, 0.0, 199.0, 9.0))).contains("no candidate of the detector touches the box (95, 0)–(100, 4)"));
        let mut bare = picture();
        bare.annotations.clear();
        let e = asked(Which::Annotations).find(&layout(), &outputs(), &bare, &labels()).unwrap_err();
        assert_eq!(e.code, "fame_detection::no_annotation");
    }
}
