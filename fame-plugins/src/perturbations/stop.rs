//! When a walk may end before its last step.

use fame_core::contract::Stop;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A reason to stop early, checked before every step; the first that holds ends the walk.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum StopRule {
    /// The loss is below this value (the authors' code: 0.01 for faces). Any number.
    LossBelow(f32),
    /// The loss has lost this part of |its first value|, such as 0.9. Above 0.
    RelativeDrop(f32),
    /// In the last `window` steps the best loss improved by less than `tolerance` times |the first
    /// loss|.
    Plateau {
        /// Steps to look back; at least 1.
        window: usize,
        /// Smallest improvement that counts, relative to the first loss; at least 0.
        tolerance: f32,
    },
}

impl StopRule {
    /// What is wrong with its numbers, if anything.
    pub(super) fn fault(&self) -> Option<&'static str> {
        match self {
            Self::LossBelow(v) if !v.is_finite() => Some("needs a finite bound"),
            Self::RelativeDrop(p) if !(p.is_finite() && *p > 0.0) => Some("needs a drop above 0"),
            Self::Plateau { window: 0, .. } => Some("needs a window of at least 1 step"),
            Self::Plateau { tolerance, .. } if !(tolerance.is_finite() && *tolerance >= 0.0) => {
                Some("needs a tolerance of at least 0")
            }
            _ => None,
        }
    }
}

/// The losses seen so far, and the rules that read them.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    rules: Vec<StopRule>,
    /// Best loss up to and including each position.
    best: Vec<f32>,
    first: f32,
}

impl Watch {
    pub(super) fn new(rules: Vec<StopRule>) -> Self {
        Self { rules, best: Vec::new(), first: f32::NAN }
    }

    /// Notes `loss`; says whether to stop.
    pub(super) fn observe(&mut self, loss: f32) -> Option<Stop> {
        if self.best.is_empty() {
            self.first = loss;
        }
        let best = self.best.last().map_or(loss, |b| b.min(loss));
        self.best.push(best);
        let holds = |rule: &StopRule| match *rule {
            StopRule::LossBelow(bound) => (loss < bound).then_some(Stop::LossBelow),
            StopRule::RelativeDrop(part) => (self.first - loss >= part * self.first.abs()
                && self.best.len() > 1)
                .then_some(Stop::RelativeDrop),
            StopRule::Plateau { window, tolerance } => {
                let then = self.best.len().checked_sub(window + 1).map(|i| self.best[i]);
                then.is_some_and(|then| then - best < tolerance * self.first.abs())
                    .then_some(Stop::Plateau)
            }
        };
        self.rules.iter().find_map(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops_at(rule: StopRule, losses: &[f32]) -> Option<(usize, Stop)> {
        let mut watch = Watch::new(vec![rule]);
        losses.iter().enumerate().find_map(|(i, l)| watch.observe(*l).map(|s| (i, s)))
    }

    #[test]
    fn each_rule_stops_where_it_says() {
        assert_eq!(
            stops_at(StopRule::LossBelow(0.01), &[0.5, 0.01, 0.009]),
            Some((2, Stop::LossBelow))
        );
        assert_eq!(
            stops_at(StopRule::RelativeDrop(0.5), &[8.0, 5.0, 4.0]),
            Some((2, Stop::RelativeDrop))
        );
        // Also where the loss is negative: 50 % of |-2| below -2.
        assert_eq!(
            stops_at(StopRule::RelativeDrop(0.5), &[-2.0, -2.5, -3.0]),
            Some((2, Stop::RelativeDrop))
        );
        let plateau = StopRule::Plateau { window: 2, tolerance: 0.1 };
        assert_eq!(stops_at(plateau, &[1.0, 0.5, 0.45, 0.44, 0.43]), Some((3, Stop::Plateau)));
        assert_eq!(stops_at(plateau, &[1.0, 0.8, 0.6, 0.4, 0.2]), None);
    }
}
