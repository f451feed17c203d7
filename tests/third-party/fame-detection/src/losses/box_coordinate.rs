//! `BoxCoordinate`: where a side of a detection's box lies.

use fame_core::{
    Result, Target, TargetRequest, Tensor,
    contract::{Evaluation, Loss},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::detection_score::check_matching;
use crate::{
    detections::Detections,
    matched::{Matching, evaluate, rematch, targets},
};

/// A number about a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Coordinate {
    /// Its left side.
    Left,
    /// Its top side.
    Top,
    /// Its right side.
    Right,
    /// Its bottom side.
    Bottom,
    /// Half of left plus right.
    CentreX,
    /// Half of top plus bottom.
    CentreY,
    /// Right minus left.
    Width,
    /// Bottom minus top.
    Height,
}

impl Coordinate {
    /// What each side counts.
    fn weights(self) -> [f64; 4] {
        match self {
            Coordinate::Left => [1.0, 0.0, 0.0, 0.0],
            Coordinate::Top => [0.0, 1.0, 0.0, 0.0],
            Coordinate::Right => [0.0, 0.0, 1.0, 0.0],
            Coordinate::Bottom => [0.0, 0.0, 0.0, 1.0],
            Coordinate::CentreX => [0.5, 0.0, 0.5, 0.0],
            Coordinate::CentreY => [0.0, 0.5, 0.0, 0.5],
            Coordinate::Width => [-1.0, 0.0, 1.0, 0.0],
            Coordinate::Height => [0.0, -1.0, 0.0, 1.0],
        }
    }
}

/// Which way the coordinate is to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Direction {
    /// Down: to the left, upwards, smaller.
    #[default]
    Decrease,
    /// Up: to the right, downwards, larger. The value is the negative coordinate.
    Increase,
}

/// Descends a coordinate of a detection's box: which pixels hold this side where it is? The value
/// is in pixels of the network's input, any number; negative for `Increase`.
///
/// Takes the target layers in the head's order: `layer: ["scores", "boxes"]`. Boxes are left, top,
/// right, bottom: x to the right and y down, from the outer corner of the first pixel. What is told
/// and recorded is in pixels of the network's input; `which: Box(left, top, right, bottom)` names a
/// box in pixels of the picture as it was decoded, before any prepare step.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BoxCoordinate {
    /// Which detections: each becomes a map.
    pub of: Detections,
    /// `Left`, `Top`, `Right`, `Bottom`, `CentreX`, `CentreY`, `Width` or `Height`.
    pub coordinate: Coordinate,
    /// `Decrease` or `Increase`.
    #[serde(default)]
    pub direction: Direction,
    /// `Frozen`, `Rematched` (the value then jumps where another candidate takes over) or
    /// `Cluster(0.5)`.
    #[serde(default)]
    pub matching: Matching,
}

impl Plugin<dyn Loss> for BoxCoordinate {
    const NAME: &'static str = "BoxCoordinate";
    const SUMMARY: &'static str = "A side of a detection's box, descended: which pixels hold it where it is?";
    const EXAMPLE: &'static str = "BoxCoordinate(of: Detections(head: CenterNet(stride: 4)), coordinate: Left, direction: Increase)";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        self.of.check("of", assembly);
        check_matching(self.matching, assembly);
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Loss>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Loss: BoxCoordinate);

impl Loss for BoxCoordinate {
    fn targets(&self, about: &TargetRequest<'_>) -> Result<Vec<Target>> {
        targets(&self.of, self.matching, about)
    }

    fn evaluate(&self, outputs: &[Tensor], of: &[&Target]) -> Result<Evaluation> {
        let sign = if self.direction == Direction::Decrease { 1.0 } else { -1.0 };
        evaluate(&self.of, outputs, of, |layout, values, aimed, gradients| {
            let speakers = match self.matching {
                Matching::Frozen => aimed.candidates[..1].to_vec(),
                Matching::Cluster(_) => aimed.candidates.clone(),
                Matching::Rematched => vec![rematch(layout, values, aimed)],
            };
            let share = sign / speakers.len() as f64;
            let mut value = 0.0;
            for candidate in speakers {
                let rect = layout.rect(values, candidate);
                for (side, weight) in self.coordinate.weights().into_iter().enumerate().filter(|(_, w)| *w != 0.0) {
                    value += share * weight * rect.0[side];
                    layout.add_side_slope(candidate, side, share * weight, gradients);
                }
            }
            value
        })
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
        matched::testing::*,
    };

    fn loss(coordinate: Coordinate, direction: Direction, matching: Matching) -> BoxCoordinate {
        BoxCoordinate { of: asked(Which::Best), coordinate, direction, matching }
    }

    fn value(loss: &BoxCoordinate) -> f32 {
        evaluate_at(loss, &targets_of(loss).unwrap()[0], &SCORES, &BOXES).0
    }

    #[test]
    fn coordinates_are_in_pixels() {
        use Coordinate as C;
        let all = [C::Left, C::Top, C::Right, C::Bottom, C::CentreX, C::CentreY, C::Width, C::Height];
        assert_eq!(all.map(|c| value(&loss(c, Direction::Decrease, Matching::Frozen))), [10.0, 10.0, 50.0, 50.0, 30.0, 30.0, 40.0, 40.0]);
        assert_eq!(value(&loss(C::Left, Direction::Increase, Matching::Frozen)), -10.0);
        // The two candidates on the left face begin at 10 and 15.
        assert_eq!(value(&loss(C::Left, Direction::Decrease, Matching::Cluster(0.5))), 12.5);
    }

    #[test]
    fn gradients_are_exact() {
        for coordinate in [Coordinate::Left, Coordinate::CentreY, Coordinate::Width] {
            for direction in [Direction::Decrease, Direction::Increase] {
                for matching in [Matching::Frozen, Matching::Rematched, Matching::Cluster(0.5)] {
                    let loss = loss(coordinate, direction, matching);
                    check_gradient(&loss, &targets_of(&loss).unwrap()[0], &SCORES, &BOXES);
                }
            }
        }
    }
}
