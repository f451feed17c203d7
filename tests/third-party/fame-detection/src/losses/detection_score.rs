//! `DetectionScore`: how much of a detection is left.

use fame_core::{
    Result, Target, TargetRequest, Tensor,
    contract::{Evaluation, Loss},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    detections::Detections,
    head::Layout,
    matched::{Aimed, Matching, evaluate, targets},
};

/// How class score s and overlap o (the IoU of the matched box with the target box) become one
/// number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Form {
    /// s · o, as D-RISE's similarity.
    #[default]
    Product,
    /// s + o, as pytorch-grad-cam's target for Faster R-CNN.
    Sum,
    /// s alone: where the box goes does not matter.
    Score,
}

/// Descends the score of a detection: its class score and how well its box still fits, over the
/// candidates that speak for it. The target, a box and a class, is frozen on the clean picture. The
/// value is 0..=1 for `Product`, 0..=2 for `Sum`; scores are taken as the outputs give them, so
/// after a layer before the sigmoid it is any number.
///
/// Takes the target layers in the head's order: `layer: ["scores", "boxes"]`. Boxes are left, top,
/// right, bottom: x to the right and y down, from the outer corner of the first pixel. What is told
/// and recorded is in pixels of the network's input; `which: Box(left, top, right, bottom)` names a
/// box in pixels of the picture as it was decoded, before any prepare step.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetectionScore {
    /// Which detections: each becomes a map.
    pub of: Detections,
    /// `Frozen`, `Rematched` or `Cluster(0.5)`.
    #[serde(default)]
    pub matching: Matching,
    /// `Product`, `Sum` or `Score`.
    #[serde(default)]
    pub form: Form,
    /// For `Sum` and `Score` when rematched: the least overlap (IoU) of a candidate that may speak
    /// for the target. If there is none the value is 0.
    #[serde(default = "half")]
    pub min_overlap: f32,
}

fn half() -> f32 {
    0.5
}

impl Plugin<dyn Loss> for DetectionScore {
    const NAME: &'static str = "DetectionScore";
    const SUMMARY: &'static str = "The score of a detection, class × overlap, descended: which pixels make this detection?";
    const EXAMPLE: &'static str = "DetectionScore(of: Detections(head: UltraFace(), which: Best))";
    const REFERENCE: &'static str = "Petsiuk et al., D-RISE, CVPR 2021, arXiv 2006.03204; pytorch-grad-cam, FasterRCNNBoxScoreTarget";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        self.of.check("of", assembly);
        check_matching(self.matching, assembly);
        assembly.check("min_overlap", self.min_overlap > 0.0 && self.min_overlap <= 1.0, "must be above 0 and at most 1");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Loss>> {
        Some(Box::new(self))
    }
}

/// Reports a cluster without bounds.
pub(super) fn check_matching(matching: Matching, assembly: &mut Assembly) {
    if let Matching::Cluster(overlap) = matching {
        assembly.check("matching", overlap > 0.0 && overlap <= 1.0, "needs an overlap above 0 and at most 1");
    }
}

fame_core::register!(Loss: DetectionScore);

impl Loss for DetectionScore {
    fn targets(&self, about: &TargetRequest<'_>) -> Result<Vec<Target>> {
        targets(&self.of, self.matching, about)
    }

    fn evaluate(&self, outputs: &[Tensor], of: &[&Target]) -> Result<Evaluation> {
        evaluate(&self.of, outputs, of, |layout, values, aimed, gradients| {
            let speakers = match self.matching {
                Matching::Frozen => &aimed.candidates[..1],
                Matching::Cluster(_) => &aimed.candidates[..],
                Matching::Rematched => match self.rematch(layout, values, aimed) {
                    Some(candidate) => &[candidate][..],
                    None => return 0.0,
                },
            };
            let share = 1.0 / speakers.len() as f64;
            speakers.iter().map(|c| share * self.candidate(layout, values, aimed, *c, share, gradients)).sum()
        })
    }
}

impl DetectionScore {
    fn value(&self, score: f64, overlap: f64) -> f64 {
        match self.form {
            Form::Product => score * overlap,
            Form::Sum => score + overlap,
            Form::Score => score,
        }
    }

    /// The candidate with the highest value among those that may speak.
    fn rematch(&self, layout: &Layout, values: &[&[f32]], aimed: &Aimed) -> Option<usize> {
        let least = if self.form == Form::Product { 0.0 } else { f64::from(self.min_overlap) };
        let all = (0..layout.candidates).filter_map(|c| {
            let overlap = layout.rect(values, c).overlap(&aimed.rect);
            (overlap > 0.0 && overlap >= least).then(|| (c, self.value(f64::from(layout.score(values, c, aimed.class)), overlap)))
        });
        // A NaN must not win silently, nor vanish: it is taken if it comes first, and ends the
        // walk.
        all.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(c, _)| c)
    }

    /// The value of one candidate; adds `share` times its derivative.
    fn candidate(
        &self,
        layout: &Layout,
        values: &[&[f32]],
        aimed: &Aimed,
        candidate: usize,
        share: f64,
        gradients: &mut [&mut [f32]],
    ) -> f64 {
        let score = f64::from(layout.score(values, candidate, aimed.class));
        let (overlap, slopes) = layout.rect(values, candidate).overlap_and_slopes(&aimed.rect);
        let (by_score, by_overlap) = match self.form {
            Form::Product => (overlap, score),
            Form::Sum => (1.0, 1.0),
            Form::Score => (1.0, 0.0),
        };
        layout.add_score_slope(values, candidate, aimed.class, share * by_score, gradients);
        for (side, slope) in slopes.into_iter().enumerate() {
            layout.add_side_slope(candidate, side, share * by_overlap * slope, gradients);
        }
        self.value(score, overlap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        detections::{
            Which,
            testing::{BOXES, SCORES, asked},
        },
        head::Head,
        matched::testing::*,
        rect::Rect,
    };

    fn loss(which: Which, matching: Matching, form: Form) -> DetectionScore {
        DetectionScore { of: asked(which), matching, form, min_overlap: 0.5 }
    }

    /// The four candidates, none of whose sides coincides with the clean ones.
    fn moved() -> Vec<f32> {
        BOXES.iter().enumerate().map(|(i, b)| b + 0.01 * ((i * 7 % 5) as f32 - 2.3)).collect()
    }

    #[test]
    fn the_gradient_is_that_of_the_value_for_every_matching_and_form() {
        for matching in [Matching::Frozen, Matching::Rematched, Matching::Cluster(0.4)] {
            for form in [Form::Product, Form::Sum, Form::Score] {
                let loss = loss(Which::All, matching, form);
                for target in targets_of(&loss).unwrap() {
                    check_gradient(&loss, &target, &SCORES, &moved());
                }
            }
        }
    }

    #[test]
    fn the_clean_value_is_the_detections_score() {
        let value = |matching, form| {
            let loss = loss(Which::Best, matching, form);
            evaluate_at(&loss, &targets_of(&loss).unwrap()[0], &SCORES, &BOXES)
        };
        assert_eq!(value(Matching::Frozen, Form::Product).0, 0.9);
        assert_eq!(value(Matching::Frozen, Form::Sum).0, 1.9);
        // Two candidates on the left face: 0.9 · 1 and 0.8 · 35/45.
        assert!((value(Matching::Cluster(0.5), Form::Product).0 - f32::midpoint(0.9, 0.8 * 35.0 / 45.0)).abs() < 1e-6);
        // Nothing can fit better than itself: only the score has a slope, and it is 1.
        let (_, gradient) = value(Matching::Frozen, Form::Product);
        assert_eq!(gradient.iter().enumerate().filter(|(_, g)| **g != 0.0).collect::<Vec<_>>(), [(1, &1.0)]);
    }

    #[test]
    fn a_frozen_candidate_stays_and_a_rematched_one_is_replaced() {
        let mut scores = SCORES;
        scores[1] = 0.05;
        let value = |matching| {
            let loss = loss(Which::Best, matching, Form::Product);
            evaluate_at(&loss, &targets_of(&loss).unwrap()[0], &scores, &BOXES).0
        };
        assert_eq!(value(Matching::Frozen), 0.05);
        assert!((value(Matching::Rematched) - 0.8 * 35.0 / 45.0).abs() < 1e-6, "the neighbour still sees it");
    }

    #[test]
    fn when_nobody_fits_any_more_the_value_is_zero() {
        let loss = loss(Which::Index(1), Matching::Rematched, Form::Sum);
        let target = &targets_of(&loss).unwrap()[0];
        let away: Vec<f32> = BOXES.iter().map(|b| b / 10.0).collect();
        let (value, gradient) = evaluate_at(&loss, target, &SCORES, &away);
        assert!(value == 0.0 && gradient.iter().all(|g| *g == 0.0));
    }

    #[test]
    fn targets_say_what_they_are_about() {
        let targets = targets_of(&loss(Which::All, Matching::Frozen, Form::Product)).unwrap();
        assert_eq!(targets.iter().map(|t| t.subject.to_string()).collect::<Vec<_>>(), ["face_0", "face_1"]);
        let facts = &targets[0].facts;
        assert_eq!(Rect::between(&targets[0].annotations[0]), Some(Rect([10.0, 10.0, 50.0, 50.0])));
        assert_eq!((facts["label"].as_str(), facts["candidate"].as_f64()), (Some("face"), Some(0.0)));
        assert_eq!(targets[0].frame.map(|f| [f.left, f.top, f.right, f.bottom]), Some([10, 10, 50, 50]));
    }

    #[test]
    fn gradients_of_every_other_head_are_right_too() {
        use fame_core::{Picture, Sample, Tensor};
        // Each layer's shape and values.
        type Layers = Vec<(Vec<usize>, Vec<f32>)>;

        // Sides that no step of the differences brings together with those of the clean box.
        let queries = (vec![2, 4], vec![0.6, 0.4, 0.4, 0.6, 0.8, 0.2, 0.2, 0.2]);
        let cases: [(Head, Layers); 4] = [
            (Head::Detr { sigmoid: false }, vec![(vec![2, 3], vec![3.0, 0.5, 0.2, 0.1, 0.2, 2.0]), queries.clone()]),
            (Head::Detr { sigmoid: true }, vec![(vec![2, 2], vec![2.0, -1.0, -2.0, -1.5]), queries]),
            (
                Head::CenterNet { stride: 4.0, offset: 0.0 },
                vec![
                    (vec![2, 2, 2], vec![0.1, 0.2, 0.7, 0.1, 0.3, 0.1, 0.2, 0.1]),
                    (vec![4, 2, 2], vec![3.3, 2.1, 3.7, 2.2, 3.1, 2.4, 3.2, 2.9, 4.3, 2.6, 4.1, 2.2, 3.9, 2.1, 2.8, 2.3]),
                ],
            ),
            (
                Head::Yolo { objectness: true, anchors_first: false, corners: false, classes: None },
                vec![(vec![6, 2], vec![10.1, 20.3, 12.2, 18.4, 8.3, 9.1, 7.7, 6.4, 0.9, 0.8, 0.85, 0.7])],
            ),
        ];
        for (head, outputs) in cases {
            let mut of = asked(Which::Best);
            of.head = head;
            let loss = DetectionScore { of, matching: Matching::Frozen, form: Form::Product, min_overlap: 0.5 };
            let clean: Vec<Tensor> = outputs.iter().map(|(s, v)| Tensor::new(s.clone(), v.clone()).unwrap()).collect();
            let picture = Picture::new(Tensor::zeros([3, 32, 32]), "test").unwrap();
            let sample = Sample { pictures: vec![("image".into(), picture)], ..Sample::default() };
            let about = TargetRequest {
                sample: &sample,
                role: "image",
                layers: &[],
                clean: &clean,
                reference: &[],
                input_size: (32, 32),
                labels: &[],
                holds_probabilities: false,
                layout: None,
            };
            let target = loss.targets(&about).unwrap().remove(0);
            // Away from the clean outputs, where sides coincide.
            let at: Vec<Vec<f32>> = outputs
                .iter()
                .map(|(_, v)| v.iter().enumerate().map(|(i, x)| x * (1.0 + 0.05 * ((i % 3) as f32 - 0.7))).collect())
                .collect();
            let value = |at: &[Vec<f32>]| {
                let batch: Vec<Tensor> =
                    outputs.iter().zip(at).map(|((s, _), v)| Tensor::new([&[1], &s[..]].concat(), v.clone()).unwrap()).collect();
                loss.evaluate(&batch, &[&target]).unwrap()
            };
            let exact = value(&at);
            for layer in 0..at.len() {
                for i in 0..at[layer].len() {
                    // As in `check_gradient`; a box side moves by hundredths of pixels here.
                    const H: f32 = 1.0 / 256.0;
                    let moved = |by: f32| {
                        let mut there = at.clone();
                        there[layer][i] += by;
                        value(&there).values[0]
                    };
                    let numeric = (moved(H) - moved(-H)) / (2.0 * H);
                    let given = exact.cotangents[layer].data()[i];
                    assert!((given - numeric).abs() < 2e-3, "{head:?} layer {layer} value {i}: {given} against {numeric}");
                }
            }
        }
    }
}
