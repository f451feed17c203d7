//! `InpaintingGame`: whether a map finds the region of a face that was replaced.

use fame_core::{
    Better, Claim, Error, Explanation, LayerChoices, NamedMap, Parameter, Result, Sample, Scores,
    Table,
    ask::Answer,
    contract::{ExplainContext, Measurement, Metric, MetricRow, means, scores},
    registry::{Assembly, BuildContext, Parameters, Plugin},
    text::Spec,
};

use super::{asking::Asking, fill::replace, masks::ranked, measured, plane};
use crate::{
    ask::{usual_layer, usual_loss},
    datasets::{GALLERY, HIDDEN, PROBE, SAME_FRAME},
    explainers::face::average_ranks,
};

fame_core::parameters! {
    /// The inpainting game (after XFR, Williford et al. 2020). A region of the probe was replaced by
    /// somebody else's; what explains why it does not match its mate (e−) must find that region.
    ///
    /// `region_auc`, 0..=1, is the area under the ROC of the map's values as a detector of the hidden
    /// pixels: 1 for a map of the region, 0 for one of everything else, 0.5 for chance. `found` at F is
    /// the share of the region among the pixels above the cut at which a share F of the pixels outside
    /// is wrongly named.
    ///
    /// Where the mate is the probe before it was replaced (`BlendedFaces(mate: Itself)`,
    /// `InpaintedPairs(same_frame: true)`), the game is played with the network: the pixels above each
    /// cut are put back, and `recovered` at F is how much of the similarity that the replacement took
    /// away is there again; `game` is its area over F, by the trapezoid rule. As outside pixels put back
    /// change nothing, it is 1 for a map of the region and 0 for its complement. High is good for all.
    ///
    /// Maps of what speaks for the match are left out. `game` weighs the pixels by what the network
    /// makes of them, `region_auc` all alike: a region of which the network uses a part is found by
    /// that part.
    pub struct InpaintingGame {
        /// Shares F of false alarms that `found` and `recovered` are left at, each in 0..=1.
        alarms: Vec<f64> = vec![0.01, 0.05, 0.1],
        /// Steps of F from 0 to 1 behind `game`.
        steps: usize = 20,
        /// Explainers that every other one is tested against, item by item, such as random maps.
        against: Vec<String> = Vec::new(),
        /// What is asked: a loss whose value is the similarity. Default: what the model's manifest
        /// asks for, else `Logit()`.
        loss: Spec = open,
        /// The layer the loss reads. Default: the one in the model's manifest, else its `Output`.
        layer: LayerChoices = open,
    }
}

impl Parameters for InpaintingGame {
    type Typed = typed::InpaintingGame;

    fn fill(
        typed: typed::InpaintingGame,
        with: &BuildContext<'_>,
        _: &mut Assembly,
    ) -> Option<Self> {
        Some(typed.or(usual_loss(with), usual_layer(with)))
    }
}

impl Plugin<dyn Metric> for InpaintingGame {
    const NAME: &'static str = "InpaintingGame";
    const SUMMARY: &'static str = "Whether a map finds the region of a face that was replaced";
    const EXAMPLE: &'static str = r#"InpaintingGame(alarms: [0.05], against: ["random"])"#;
    const REFERENCE: &'static str =
        "Williford, May & Byrne, Explainable Face Recognition, ECCV 2020, arXiv 2008.00916 (XFR)";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        let good = self.alarms.iter().all(|f| (0.0..=1.0).contains(f));
        assembly.check("alarms", good, "must hold shares from 0 to 1");
        assembly.check("steps", (1..=1000).contains(&self.steps), "must be between 1 and 1000");
    }

    fn build(self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Metric>> {
        let asking = Asking::build(&self.layer, &self.loss, Answer::Value, with, assembly)?;
        Some(Box::new(InpaintingGameMetric { parameters: self, asking }))
    }
}

fame_core::register!(Metric: InpaintingGame);

struct InpaintingGameMetric {
    parameters: InpaintingGame,
    asking: Asking,
}

impl Metric for InpaintingGameMetric {
    fn needs(&self) -> &'static str {
        "pairs of faces of which a region is replaced and known, as the dataset `BlendedFaces` has them"
    }

    fn measure(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let Some(hidden) = hidden(sample) else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        let wanted = |map: &NamedMap| map.id.role == PROBE && map.id.claim != Claim::For;
        for map in explanation.maps.iter().filter(|map| wanted(map)) {
            let values = plane(map)?;
            let found = region_auc(&values, &hidden);
            all.extend(found.map(|v| measured(map, "region_auc", Parameter::None, v)));
            let order = ranked(&values);
            for alarm in &self.parameters.alarms {
                let named = cut(&order, &hidden, *alarm);
                let share = named.iter().zip(&hidden).filter(|(n, h)| **n && **h).count() as f64
                    / hidden.iter().filter(|h| **h).count() as f64;
                all.push(measured(map, "found", at_alarm(*alarm), share));
            }
        }
        if sample.marks.get(&SAME_FRAME) == Some(true) {
            self.play(with, sample, explanation, &hidden, wanted, &mut all)?;
        }
        Ok(all)
    }

    fn named_explainers(&self) -> Vec<String> {
        self.parameters.against.clone()
    }

    fn only_for_tables(&self) -> &'static [&'static str] {
        &["against"]
    }

    fn scores(&self, rows: &[MetricRow]) -> Result<Scores> {
        Ok(scores(rows, |_| Some(Better::Higher)))
    }

    fn summarise(&self, name: &str, rows: &[MetricRow]) -> Result<Vec<Table>> {
        Ok(means(name, rows, |_| Some(Better::Higher), &self.parameters.against))
    }
}

impl InpaintingGameMetric {
    /// Puts the mate's pixels in place of those that the map names first, and asks how much of the
    /// similarity comes back.
    fn play(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
        hidden: &[bool],
        wanted: impl Fn(&NamedMap) -> bool,
        all: &mut Vec<Measurement>,
    ) -> Result<()> {
        let InpaintingGame { steps, alarms, .. } = &self.parameters;
        let mate = sample
            .picture(GALLERY)
            .ok_or_else(|| Error::bug(format!("sample `{}` has no mate.", sample.id)))?;
        let before = with.model.manifest.input.pixels(&mate.pixels)?;
        self.asking.each_map(with, sample, explanation, wanted, |map, question| {
            let order = ranked(&plane(map)?);
            let of_curve = (0..=*steps).map(|k| k as f64 / *steps as f64);
            let alarms: Vec<f64> = of_curve.chain(alarms.iter().copied()).collect();
            let count = alarms.len();
            let answers = question.ask_all(count + 2, |n, copy| {
                if n < count {
                    let named = cut(&order, hidden, alarms[n]);
                    replace(copy, &before, |pixel| named[pixel]);
                } else if n == count {
                    replace(copy, &before, |_| true);
                }
            })?;
            let (whole, blended) = (f64::from(answers[count]), f64::from(answers[count + 1]));
            let taken = whole - blended;
            // A replacement that the network does not see has nothing to give back.
            if taken.abs() < LEAST_TAKEN {
                return Ok(());
            }
            let back = |n: usize| (f64::from(answers[n]) - blended) / taken;
            let curve: Vec<(f64, f64)> = (0..=*steps).map(|n| (alarms[n], back(n))).collect();
            all.push(measured(map, "game", Parameter::None, super::area(&curve)));
            for (n, alarm) in alarms.iter().enumerate().skip(steps + 1) {
                all.push(measured(map, "recovered", at_alarm(*alarm), back(n)));
            }
            Ok(())
        })
    }
}

/// Below this a similarity of −1..=1 has not changed but for rounding.
const LEAST_TAKEN: f64 = 1e-4;

fn at_alarm(alarm: f64) -> Parameter {
    Parameter::at("F", "share of the pixels outside that are named", alarm)
}

/// Which pixels of the probe are hidden; `None` when the dataset knows no region, or none is left.
fn hidden(sample: &Sample) -> Option<Vec<bool>> {
    let picture = sample.picture(PROBE)?;
    let (height, width) = (picture.height(), picture.width());
    let known = picture.annotations.iter().find(|a| a.name == HIDDEN)?;
    let mut is_in = vec![false; height * width];
    for corners in known.points.chunks_exact(2) {
        let [a, b] = [picture.map_point(corners[0]), picture.map_point(corners[1])];
        let range = |axis: usize, extent: usize| {
            // A pixel is in a rectangle when its centre is.
            let at = |v: f32| ((v - 0.5).ceil().max(0.0) as usize).min(extent);
            at(a[axis].min(b[axis]))..at(a[axis].max(b[axis]))
        };
        for y in range(1, height) {
            is_in[y * width..(y + 1) * width][range(0, width)].fill(true);
        }
    }
    let count = is_in.iter().filter(|i| **i).count();
    (count > 0 && count < is_in.len()).then_some(is_in)
}

/// The area under the ROC: how often a hidden pixel has a higher value than another one, equals
/// counted half. `None` where the map has another size than the picture.
fn region_auc(values: &[f32], hidden: &[bool]) -> Option<f64> {
    if values.len() != hidden.len() {
        return None;
    }
    let inside = hidden.iter().filter(|h| **h).count() as f64;
    let outside = hidden.len() as f64 - inside;
    let ranks = average_ranks(values);
    let sum: f64 = ranks.iter().zip(hidden).filter(|(_, h)| **h).map(|(r, _)| *r).sum();
    // The hidden pixels would have ranks 1, 2, … if all were lowest.
    let least = inside * (inside + 1.0) / 2.0;
    Some((sum - least) / (inside * outside))
}

/// The pixels above the cut at which a share `alarm` of those outside is named, rounded down: all
/// that stand in `order` before the first outside pixel that is one too many.
fn cut(order: &[usize], hidden: &[bool], alarm: f64) -> Vec<bool> {
    let outside = hidden.iter().filter(|h| !**h).count();
    let allowed = (alarm * outside as f64 + 1e-9).floor() as usize;
    let (mut named, mut wrong) = (vec![false; hidden.len()], 0);
    for pixel in order {
        if !hidden[*pixel] {
            wrong += 1;
            if wrong > allowed {
                break;
            }
        }
        named[*pixel] = true;
    }
    named
}

#[cfg(test)]
mod tests {
    use fame_core::{Annotation, Picture, Random, Tensor};

    use super::*;

    const HIDDEN_PIXELS: [bool; 6] = [false, true, true, false, false, false];

    #[test]
    fn a_map_of_the_region_scores_one_and_its_complement_none() {
        let of = |values: &[f32]| region_auc(values, &HIDDEN_PIXELS).unwrap();
        assert!((of(&[0.0, 1.0, 1.0, 0.0, 0.0, 0.0]) - 1.0).abs() < 1e-12);
        assert!(of(&[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]).abs() < 1e-12);
        assert!((of(&[0.3; 6]) - 0.5).abs() < 1e-12, "nothing but ties");
        // Pixel 1 is above two of the four outside, pixel 2 above all: (2 + 4) / 8.
        assert!((of(&[0.5, 0.4, 0.9, 0.6, 0.1, 0.2]) - 0.75).abs() < 1e-12);
        assert_eq!(region_auc(&[1.0], &HIDDEN_PIXELS), None);
    }

    #[test]
    fn chance_is_a_half() {
        let mut random = Random::new(4);
        let values: Vec<f32> = (0..4000).map(|_| random.uniform() as f32).collect();
        let hidden: Vec<bool> = (0..4000).map(|i| i % 4 == 0).collect();
        // The standard error is √((1000 + 3000 + 1) / (12·1000·3000)) = 0.011.
        assert!((region_auc(&values, &hidden).unwrap() - 0.5).abs() < 0.04);
    }

    #[test]
    fn false_alarms_are_counted_outside_alone() {
        let order = [2, 0, 1, 3, 4, 5];
        let named = |alarm| cut(&order, &HIDDEN_PIXELS, alarm);
        assert_eq!(named(0.0), [false, false, true, false, false, false]);
        // One of four may be wrong.
        assert_eq!(named(0.25), [true, true, true, false, false, false]);
        assert_eq!(named(1.0), [true; 6]);
    }

    #[test]
    fn the_region_is_taken_along_by_the_geometry() {
        let mut picture = Picture::new(Tensor::zeros([3, 2, 4]), "face").unwrap();
        picture.geometry = fame_core::Affine::scale_shift(0.5, 0.5, 0.0, 0.0);
        let points = vec![[2.0, 0.0], [6.0, 2.0], [0.0, 2.0], [2.0, 4.0]];
        picture.annotations = vec![Annotation { name: HIDDEN.into(), label: None, points }];
        let pictures = vec![(PROBE.to_owned(), picture)];
        let mut sample = Sample { pictures, ..Sample::default() };
        assert_eq!(hidden(&sample).unwrap(), [false, true, true, false, true, false, false, false]);
        sample.pictures[0].1.annotations.clear();
        assert_eq!(hidden(&sample), None);
    }
}
