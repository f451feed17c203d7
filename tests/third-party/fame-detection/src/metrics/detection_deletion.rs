//! `DetectionDeletion`: what is left of the detection while the picture is taken away, or appears,
//! from the map's top down.

use fame_core::{
    Error, Explanation, LayerChoices, Parameter, Result, Sample, Taps, Tensor,
    contract::{ExplainContext, Measurement, Metric},
    data::InputConvention,
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Aimed, each_map, probe, ranked};
use crate::{detections::Detections, probe::Probe};

/// What stands where pixels were taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Filling {
    /// The model's mean colour: 0 after normalisation.
    #[default]
    Mean,
    /// 0 in pixels of 0..=1.
    Black,
    /// The mean of the picture within 10 pixels either way: shapes are gone, colours stay, and
    /// nothing gets a hard edge.
    Blur,
}

/// The matched score, the highest class score × overlap with the target box over all candidates,
/// 0..=1, with the top P percent of pixels taken away (deletion) or with only these there
/// (insertion). `deletion_auc` (the lower, the better) and `insertion_auc` (the higher, the better)
/// are the areas under the two curves over P from 0 to 100, by the trapezoid rule. `lost_at` is the
/// smallest P measured at which the score has fallen below half of its first value, 100 if never.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetectionDeletion {
    /// Which detections; the same as the explainers'.
    pub of: Detections,
    /// The output layers in the head's order. Default: those the head usually has.
    #[serde(default)]
    pub layer: Option<LayerChoices>,
    /// Steps from 0 to 100 percent.
    #[serde(default = "steps")]
    pub steps: usize,
    /// What deletion puts in a pixel's place.
    #[serde(default)]
    pub delete_to: Filling,
    /// What insertion begins with.
    #[serde(default = "blur")]
    pub insert_from: Filling,
    /// Whether the points of both curves are left in `metrics.csv`, and not only the areas.
    #[serde(default)]
    pub curves: bool,
}

fn steps() -> usize {
    20
}

fn blur() -> Filling {
    Filling::Blur
}

impl Plugin<dyn Metric> for DetectionDeletion {
    const NAME: &'static str = "DetectionDeletion";
    const SUMMARY: &'static str = "Deletion and insertion: the matched score while the map's top is taken away, or appears";
    const EXAMPLE: &'static str = "DetectionDeletion(of: Detections(head: UltraFace()), steps: 20)";
    const REFERENCE: &'static str = "Petsiuk et al., RISE, BMVC 2018, and D-RISE, CVPR 2021";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        self.of.check("of", assembly);
        assembly.check("steps", (1..=10_000).contains(&self.steps), "must be 1 to 10000");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Metric>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Metric: DetectionDeletion);

impl Metric for DetectionDeletion {
    fn needs(&self) -> &'static str {
        "a detection"
    }

    fn measure(&self, with: &ExplainContext<'_>, sample: &Sample, explanation: &Explanation) -> Result<Vec<Measurement>> {
        let probe = probe(&self.of, self.layer.as_ref());
        let percents: Vec<f64> = (0..=self.steps).map(|k| 100.0 * k as f64 / self.steps as f64).collect();
        let mut all = Vec::new();
        each_map(&probe, with, sample, &explanation.maps, |aimed| {
            let [deletion, insertion] = self.curves_of(with, &probe, aimed, &percents)?;
            all.push(aimed.measured("deletion_auc", Parameter::None, area(&percents, &deletion)));
            all.push(aimed.measured("insertion_auc", Parameter::None, area(&percents, &insertion)));
            let lost = percents.iter().zip(&deletion).find(|(_, v)| **v < deletion[0] / 2.0).map_or(100.0, |(p, _)| *p);
            all.push(aimed.measured("lost_at", Parameter::None, lost));
            if self.curves {
                for (name, curve) in [("deletion", &deletion), ("insertion", &insertion)] {
                    all.extend(
                        percents.iter().zip(curve).map(|(p, v)| aimed.measured(name, Parameter::at("P", "percent of the pixels", *p), *v)),
                    );
                }
            }
            Ok(())
        })?;
        Ok(all)
    }
}

impl DetectionDeletion {
    /// The matched score at each percentage, for deletion and insertion.
    fn curves_of(&self, with: &ExplainContext<'_>, probe: &Probe, aimed: &Aimed<'_>, percents: &[f64]) -> Result<[Vec<f64>; 2]> {
        let convention = &with.model.manifest.input;
        let pixels = convention.pixels(&aimed.picture.pixels)?;
        let (gone, base) = (self.delete_to.picture(&pixels, convention)?, self.insert_from.picture(&pixels, convention)?);
        let order = ranked(&aimed.plane()?);
        // How early each pixel goes: exact counts, whatever the ties.
        let mut rank = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, pixel)| rank[*pixel] = place);
        let top = |percent: f64| (percent / 100.0 * order.len() as f64).round() as usize;
        let altered = |percent: f64, delete: bool| {
            let (count, other) = (top(percent), if delete { &gone } else { &base });
            let mut copy = pixels.clone();
            for channel in 0..copy.rows() {
                let from = other.row(channel);
                copy.row_mut(channel).iter_mut().enumerate().filter(|(i, _)| (rank[*i] < count) == delete).for_each(|(i, p)| *p = from[i]);
            }
            copy
        };
        let jobs: Vec<(f64, bool)> = [true, false].into_iter().flat_map(|delete| percents.iter().map(move |p| (*p, delete))).collect();
        let names = probe.names(with.model)?;
        let taps = Taps::of(names.iter().cloned());
        let mut answers = Vec::with_capacity(jobs.len());
        for some in jobs.chunks(with.model.network.preferred_rows().max(1)) {
            let copies: Vec<Tensor> = some.iter().map(|(p, delete)| altered(*p, *delete)).collect();
            let mut batch = Tensor::stack(&copies)?;
            convention.normalise(&mut batch)?;
            let pass = with.model.network.forward(&batch, &taps)?;
            let outputs = names.iter().map(|n| pass.output(n)).collect::<Result<Vec<_>>>()?;
            for n in 0..some.len() {
                let row: Vec<&[f32]> = outputs.iter().map(|o| o.row(n)).collect();
                answers.push(matched_score(aimed, &row)?);
            }
        }
        let insertion = answers.split_off(percents.len());
        Ok([answers, insertion])
    }
}

/// The highest class score × overlap.
fn matched_score(aimed: &Aimed<'_>, outputs: &[&[f32]]) -> Result<f64> {
    let (layout, wanted) = (&aimed.clean.layout, aimed.wanted);
    let worth = |c: usize| {
        let overlap = layout.rect(outputs, c).overlap(&wanted.rect);
        if overlap > 0.0 { overlap * f64::from(layout.score(outputs, c, wanted.class)) } else { 0.0 }
    };
    let mut best = 0.0f64;
    for value in (0..layout.candidates).map(worth) {
        if !value.is_finite() {
            return Err(Error::new(
                "fame::explain::not_finite",
                "the detector's outputs are NaN or infinite for a picture with pixels taken away.",
            ));
        }
        best = best.max(value);
    }
    Ok(best)
}

impl Filling {
    /// A whole picture of it, in the shape of `pixels` `[C, H, W]`.
    fn picture(self, pixels: &Tensor, convention: &InputConvention) -> Result<Tensor> {
        let &[_, height, width] = pixels.shape() else { return Err(Error::bug("pixels must be [C, H, W].")) };
        let mut filled = pixels.clone();
        for channel in 0..filled.rows() {
            match self {
                Filling::Mean => filled.row_mut(channel).fill(convention.mean[channel]),
                Filling::Black => filled.row_mut(channel).fill(0.0),
                Filling::Blur => box_blur(filled.row_mut(channel), height, width, 10),
            }
        }
        Ok(filled)
    }
}

/// The mean over the pixels within `radius` rows and columns that are on the picture.
fn box_blur(plane: &mut [f32], height: usize, width: usize, radius: usize) {
    // Sums over all pixels above and to the left: any rectangle is four of them.
    let mut sums = vec![0.0f64; (height + 1) * (width + 1)];
    for y in 0..height {
        let mut row = 0.0;
        for x in 0..width {
            row += f64::from(plane[y * width + x]);
            sums[(y + 1) * (width + 1) + x + 1] = sums[y * (width + 1) + x + 1] + row;
        }
    }
    for y in 0..height {
        let (top, bottom) = (y.saturating_sub(radius), (y + radius + 1).min(height));
        for x in 0..width {
            let (left, right) = (x.saturating_sub(radius), (x + radius + 1).min(width));
            let at = |y: usize, x: usize| sums[y * (width + 1) + x];
            let sum = at(bottom, right) - at(top, right) - at(bottom, left) + at(top, left);
            plane[y * width + x] = (sum / ((bottom - top) * (right - left)) as f64) as f32;
        }
    }
}

/// Area under the curve by the trapezoid rule, over the width of x: the mean height.
fn area(x: &[f64], y: &[f64]) -> f64 {
    let sum: f64 = x.windows(2).zip(y.windows(2)).map(|(x, y)| (x[1] - x[0]) * (y[0] + y[1]) / 2.0).sum();
    sum / (x[x.len() - 1] - x[0])
}

#[cfg(test)]
mod tests {
    use fame_core::Random;

    use super::*;
    use crate::testing::*;

    #[test]
    fn a_perfect_map_beats_noise_and_noise_beats_its_opposite() {
        let (model, sample) = (blob_model(), blob_sample());
        let spec = "DetectionDeletion(of: (head: CenterNet(stride: 8, offset: 0.5)), steps: 16, delete_to: Black, insert_from: Black)";
        let of = |map: &Explanation| {
            let m = measure(spec, &model, &sample, map).unwrap();
            let by = |name: &str| m.iter().find(|m| m.name == name).unwrap().value;
            [by("deletion_auc"), by("insertion_auc"), by("lost_at")]
        };
        let mut random = Random::new(3);
        let noise: Vec<f32> = (0..1024).map(|_| random.uniform() as f32).collect();
        let within = |y: usize, x: usize| (8..16).contains(&y) && (16..24).contains(&x);
        let perfect = of(&map_of(|y, x| if within(y, x) { 1.0 } else { 0.0 }));
        let chance = of(&map_of(|y, x| noise[y * 32 + x]));
        let inverted = of(&map_of(|y, x| if within(y, x) { 0.0 } else { 1.0 }));
        assert!(perfect[0] < chance[0] && chance[0] < inverted[0], "{perfect:?} {chance:?} {inverted:?}");
        assert!(perfect[1] > chance[1] && chance[1] > inverted[1], "{perfect:?} {chance:?} {inverted:?}");
        // The blob is 1/16 of the picture: the perfect map takes it away in one step, its opposite
        // in the last.
        assert_eq!((perfect[2], inverted[2]), (6.25, 100.0));
        // 16 steps: 1, then 0 | 0, then 1.
        assert!((perfect[0] - 1.0 / 32.0).abs() < 1e-6 && (perfect[1] - 31.0 / 32.0).abs() < 1e-6, "{perfect:?}");
    }

    #[test]
    fn blurring_keeps_the_mean_of_a_constant_and_spreads_a_point() {
        let mut flat = vec![0.3; 30];
        box_blur(&mut flat, 5, 6, 2);
        assert!(flat.iter().all(|v| (v - 0.3).abs() < 1e-6));
        let mut point = vec![0.0; 25];
        point[12] = 9.0;
        box_blur(&mut point, 5, 5, 1);
        // The ring of nine sees it; two of them at a distance do not.
        assert_eq!((point[6], point[12], point[0]), (1.0, 1.0, 0.0));
    }
}
