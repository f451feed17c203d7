//! The matched candidate: who speaks for a target while the picture changes.

use fame_core::{
    Annotation, Error, Result, Target, TargetRequest, Tensor,
    contract::Evaluation,
    data::{Value, facts},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    detections::{Detections, Found, Wanted, label_of},
    head::Layout,
    rect::{Rect, scored_fact},
};

/// Who speaks for the target box when the picture has changed and the detector's candidates with
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
pub enum Matching {
    /// The candidate that matched on the clean picture, whatever becomes of it: smooth, but its
    /// neighbours may go on seeing the object when it has stopped.
    #[default]
    Frozen,
    /// At every evaluation the candidate that matches best then, as D-RISE does. The value is
    /// continuous where it is score × overlap, but its derivative jumps where another candidate
    /// takes over.
    Rematched,
    /// The mean over all candidates that overlap the target box by at least this (IoU, above 0) on
    /// the clean picture: the detection is gone when all of them are.
    Cluster(f32),
}

/// A target as a loss finds it again in [`Target::values`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Aimed {
    /// Height and width of the network's input.
    pub(crate) size: (usize, usize),
    /// The class asked about.
    pub(crate) class: usize,
    /// The box asked about.
    pub(crate) rect: Rect,
    /// The candidates that speak for it while frozen; the best match comes first.
    pub(crate) candidates: Vec<usize>,
}

// A candidate's number survives an f32 up to 2²⁴; detectors have 10⁴ to 10⁵ candidates.
const MOST_CANDIDATES: usize = 1 << 24;

impl Aimed {
    fn encode(&self) -> Vec<f32> {
        let head = [self.size.0 as f32, self.size.1 as f32, self.class as f32];
        head.into_iter().chain(self.rect.0.map(|v| v as f32)).chain(self.candidates.iter().map(|c| *c as f32)).collect()
    }

    /// # Errors
    /// When the values are not those of a target made here.
    pub(crate) fn decode(target: &Target) -> Result<Self> {
        let [height, width, class, left, top, right, bottom, candidates @ ..] = &target.values[..] else {
            return Err(Error::bug(format!("target `{}` was not made by a loss about detections.", target.subject)));
        };
        Ok(Self {
            size: (*height as usize, *width as usize),
            class: *class as usize,
            rect: Rect([*left, *top, *right, *bottom].map(f64::from)),
            candidates: candidates.iter().map(|c| *c as usize).collect(),
        })
    }
}

/// The targets of a loss about detections, from the clean outputs.
pub(crate) fn targets(of: &Detections, matching: Matching, about: &TargetRequest<'_>) -> Result<Vec<Target>> {
    let shapes: Vec<&[usize]> = about.clean.iter().map(Tensor::shape).collect();
    let layout = of.head.layout(&shapes, about.input_size)?;
    if layout.candidates > MOST_CANDIDATES {
        return Err(Error::new(
            "fame_detection::outputs",
            format!("the detector has {} candidates; at most {MOST_CANDIDATES} can be told apart.", layout.candidates),
        ));
    }
    let outputs: Vec<&[f32]> = about.clean.iter().map(Tensor::data).collect();
    let picture = about.sample.picture(about.role).ok_or_else(|| Error::bug(format!("role `{}` vanished.", about.role)))?;
    let found = of.find(&layout, &outputs, picture, about.labels)?;
    let target = |wanted: &Wanted| {
        let rect = wanted.rect;
        let mut candidates = vec![wanted.candidate];
        if let Matching::Cluster(overlap) = matching {
            let near = |c: &usize| *c != wanted.candidate && layout.rect(&outputs, *c).overlap(&rect) >= f64::from(overlap);
            candidates.extend((0..layout.candidates).filter(near));
        }
        let aimed = Aimed { size: about.input_size, class: wanted.class, rect, candidates };
        let mut facts = wanted_facts(wanted, &found, about.labels);
        facts.insert("candidates".into(), aimed.candidates.len().into());
        Target {
            subject: wanted.subject(),
            values: aimed.encode(),
            frame: rect.frame(about.input_size.0, about.input_size.1),
            annotations: wanted_annotations(wanted, &found, about.labels),
            facts,
            ..Target::default()
        }
    };
    Ok(found.wanted.iter().map(target).collect())
}

/// What the writer draws over a target's map, in pixels of the network's input: its box, with class
/// and score, and the boxes of everything that was detected.
pub(crate) fn wanted_annotations(wanted: &Wanted, found: &Found, labels: &[String]) -> Vec<Annotation> {
    let label = format!("{} {:.3}", label_of(wanted.class, labels), wanted.score);
    let target = wanted.rect.annotation(TARGET_BOX, Some(label));
    let detections = found.detections.iter().map(|d| d.rect.annotation(DETECTED_BOX, Some(label_of(d.class, labels))));
    [target].into_iter().chain(detections).collect()
}

/// What the record is told about a target: its box in pixels of the network's input, its class, and
/// everything else that was detected.
pub(crate) fn wanted_facts(wanted: &Wanted, found: &Found, labels: &[String]) -> fame_core::data::Facts {
    let detections = found.detections.iter().map(|d| scored_fact(&d.rect, &label_of(d.class, labels), d.score)).collect();
    facts([
        ("box", wanted.rect.fact()),
        ("class", wanted.class.into()),
        ("label", label_of(wanted.class, labels).into()),
        ("score_before", wanted.score.into()),
        ("overlap_before", wanted.overlap.into()),
        ("candidate", wanted.candidate.into()),
        ("detections", Value::List(detections)),
    ])
}

/// The annotation that is the box a map is about.
pub(crate) const TARGET_BOX: &str = "target";
/// The annotations that are the detections of the clean picture.
pub(crate) const DETECTED_BOX: &str = "detection";

/// Evaluates a loss row by row: `one(layout, outputs, target, weight-carrying gradients) -> value`.
pub(crate) fn evaluate(
    of: &Detections,
    outputs: &[Tensor],
    targets: &[&Target],
    one: impl Fn(&Layout, &[&[f32]], &Aimed, &mut [&mut [f32]]) -> f64,
) -> Result<Evaluation> {
    let shapes: Vec<&[usize]> = outputs.iter().map(Tensor::row_shape).collect();
    fame_core::contract::per_row(outputs, targets, |values, target, gradients| {
        let aimed = Aimed::decode(target)?;
        let layout = of.head.layout(&shapes, aimed.size)?;
        if aimed.class >= layout.classes || aimed.candidates.iter().any(|c| *c >= layout.candidates) {
            return Err(Error::bug(format!("target `{}` was made for other outputs.", target.subject)));
        }
        Ok(one(&layout, values, &aimed, gradients) as f32)
    })
}

/// The candidate that matches the target best: the highest score × overlap; the first of equals,
/// and the frozen one if none overlaps at all.
pub(crate) fn rematch(layout: &Layout, outputs: &[&[f32]], aimed: &Aimed) -> usize {
    let worth = |c: usize| f64::from(layout.score(outputs, c, aimed.class)) * layout.rect(outputs, c).overlap(&aimed.rect);
    let best = (0..layout.candidates).map(|c| (c, worth(c))).filter(|(_, w)| *w > 0.0);
    best.reduce(|best, next| if next.1 > best.1 { next } else { best }).map_or(aimed.candidates[0], |(c, _)| c)
}

#[cfg(test)]
pub(crate) mod testing {
    use fame_core::{Sample, contract::Loss};

    use super::*;
    use crate::detections::testing::{BOXES, SCORES, labels, picture};

    /// The targets that `loss` makes of the four candidates.
    pub(crate) fn targets_of(loss: &dyn Loss) -> Result<Vec<Target>> {
        let sample = Sample { id: "s".into(), pictures: vec![("image".into(), picture())], ..Sample::default() };
        let clean = [Tensor::new([4, 2], SCORES.to_vec()).unwrap(), Tensor::new([4, 4], BOXES.to_vec()).unwrap()];
        let layers = ["scores".to_owned(), "boxes".to_owned()];
        let labels = labels();
        loss.targets(&TargetRequest {
            sample: &sample,
            role: "image",
            layers: &layers,
            clean: &clean,
            reference: &[],
            input_size: (100, 100),
            labels: &labels,
            holds_probabilities: false,
            layout: None,
        })
    }

    /// Value and gradients for one row.
    pub(crate) fn evaluate_at(loss: &dyn Loss, target: &Target, scores: &[f32], boxes: &[f32]) -> (f32, Vec<f32>) {
        let outputs = [Tensor::new([1, 4, 2], scores.to_vec()).unwrap(), Tensor::new([1, 4, 4], boxes.to_vec()).unwrap()];
        let e = loss.evaluate(&outputs, &[target]).unwrap();
        (e.values[0], e.cotangents.iter().flat_map(|c| c.data().to_vec()).collect())
    }

    /// Compares the loss's gradient with central differences at a point away from kinks.
    pub(crate) fn check_gradient(loss: &dyn Loss, target: &Target, scores: &[f32], boxes: &[f32]) {
        // A value in f32 is good to 6e-8 of itself: divided by 2h that is 3e-5; truncation is about
        // h².
        const H: f32 = 1.0 / 1024.0;
        const TOLERANCE: f32 = 2e-3;
        let (_, gradient) = evaluate_at(loss, target, scores, boxes);
        let scale = gradient.iter().fold(1.0f32, |m, g| m.max(g.abs()));
        for i in 0..scores.len() + boxes.len() {
            let moved = |by: f32| {
                let (mut s, mut b) = (scores.to_vec(), boxes.to_vec());
                if i < s.len() {
                    s[i] += by;
                } else {
                    b[i - scores.len()] += by;
                }
                evaluate_at(loss, target, &s, &b).0
            };
            let numeric = (moved(H) - moved(-H)) / (2.0 * H);
            assert!((gradient[i] - numeric).abs() < TOLERANCE * scale, "value {i}: {} against {numeric}", gradient[i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_survives_its_encoding() {
        let aimed = Aimed { size: (240, 320), class: 1, rect: Rect([1.5, 2.0, 3.0, 4.25]), candidates: vec![4419, 7] };
        let target = Target { values: aimed.encode(), ..Target::default() };
        assert_eq!(Aimed::decode(&target).unwrap(), aimed);
        assert_eq!(Aimed::decode(&Target::unnamed()).unwrap_err().code, "fame::bug");
    }
}
