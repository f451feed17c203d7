//! `DRise`: many soft random masks, each weighted by how much of the detection is left behind it.

use fame_core::{
    AttributionMap, Error, Explanation, LayerChoices, MapId, Model, NamedMap, Picture, Result, Sample, Taps, Tensor,
    contract::{ExplainContext, Explainer, MapStep},
    data::{Value, facts},
    registry::{Assembly, BuildContext, Built, Plugin},
    seed_of,
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::masks::SoftMasks;
use crate::{
    detections::{Detections, Wanted},
    head::Layout,
    matched::{wanted_annotations, wanted_facts},
    probe::Probe,
};

/// What stands behind the closed cells of a mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Fill {
    /// The model's mean colour: 0 after normalisation.
    #[default]
    Mean,
    /// 0 in pixels of 0..=1.
    Black,
}

/// What stands for the probability that a candidate is an object at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Objectness {
    /// The candidate's highest score. With one class the cosine says nothing, so something must.
    #[default]
    Score,
    /// 1: left out, as the paper does for detectors without one.
    One,
}

/// S(pixel) = mean over masks M of w(M)·M(pixel) / p, where w is the similarity of the target to
/// whatever matches it best behind the mask: the largest overlap (IoU) × cosine of the class scores
/// × objectness over all candidates, 0..=1. Masks are made as RISE's, and again when needed; all
/// targets of a picture share the same masks and passes. No gradient is asked for.
///
/// The map is min-max normalised: S has a floor that every mask adds to. The facts hold its
/// standard error and the correlation of the maps of even and odd masks (1: more masks would change
/// nothing). Boxes are left, top, right, bottom, as in `DetectionScore`: recorded in pixels of the
/// network's input, named by `which: Box(…)` in pixels of the picture as it was decoded.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DRise {
    /// Which detections: each becomes a map.
    pub of: Detections,
    /// The output layers in the head's order. Default: those the head usually has.
    #[serde(default)]
    pub layer: Option<LayerChoices>,
    /// How many masks; at least 2. The paper takes 5000.
    #[serde(default = "masks")]
    pub masks: usize,
    /// Cells of the grid along each side.
    #[serde(default = "grid")]
    pub grid: usize,
    /// Probability p that a cell is open, above 0 and below 1.
    #[serde(default = "half")]
    pub probability: f64,
    /// `Mean` or `Black`.
    #[serde(default)]
    pub fill: Fill,
    /// `Score` or `One`.
    #[serde(default)]
    pub objectness: Objectness,
    /// Seed of the masks. Default: the run's.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Steps to the map in place of min-max.
    #[serde(default)]
    pub map: Option<Vec<Spec>>,
}

fn masks() -> usize {
    5000
}

fn grid() -> usize {
    16
}

fn half() -> f64 {
    0.5
}

impl Plugin<dyn Explainer> for DRise {
    const NAME: &'static str = "DRise";
    const SUMMARY: &'static str = "Many soft random masks, each weighted by what the detector still sees of a detection";
    const CLAIM: &'static str = "Shows where random masks that keep a place keep a detection, its box and its class together; not for which of the two a place matters, and not fine detail.";
    const EXAMPLE: &'static str = "DRise(of: Detections(head: UltraFace(), which: All), masks: 1000, grid: 16)";
    const REFERENCE: &'static str = "Petsiuk et al., D-RISE, CVPR 2021, arXiv 2006.03204";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        self.of.check("of", assembly);
        self.layer.get_or_insert_with(|| self.of.head.usual_layers());
        assembly.check("masks", (2..=10_000_000).contains(&self.masks), "must be 2 to 10000000");
        assembly.check("grid", (1..=1000).contains(&self.grid), "must be 1 to 1000");
        assembly.check("probability", self.probability > 0.0 && self.probability < 1.0, "must be above 0 and below 1");
    }

    fn build(mut self, with: &BuildContext<'_>, assembly: &mut Assembly) -> Option<Box<dyn Explainer>> {
        let steps = self.map.take().map(|specs| assembly.build_all::<dyn MapStep>("map", &specs, with));
        let probe = Probe { of: self.of.clone(), layer: self.layer.take()? };
        Some(Box::new(DRiseExplainer { parameters: self, probe, steps }))
    }
}

fame_core::register!(Explainer: DRise);

struct DRiseExplainer {
    parameters: DRise,
    probe: Probe,
    steps: Option<Vec<Built<dyn MapStep>>>,
}

impl Explainer for DRiseExplainer {
    fn check(&self, model: &Model) -> Result<()> {
        self.probe.fit(model).map(|_| ())
    }

    fn explain(&self, with: &ExplainContext<'_>, samples: &[Sample]) -> Vec<Result<Explanation>> {
        samples.iter().enumerate().map(|(n, sample)| self.sample(with, sample, n, samples.len())).collect()
    }
}

impl DRiseExplainer {
    fn sample(&self, with: &ExplainContext<'_>, sample: &Sample, number: usize, of: usize) -> Result<Explanation> {
        let mut explanation = Explanation { facts: facts([("detections", Value::of(&self.parameters.of))]), ..Explanation::default() };
        for (role, picture) in &sample.pictures {
            let id = MapId::new(role).alone(sample.pictures.len() == 1);
            self.picture(with, picture, &id, [number, of], &mut explanation)?;
        }
        Ok(explanation)
    }

    fn picture(
        &self,
        with: &ExplainContext<'_>,
        picture: &Picture,
        id: &MapId,
        progress: [usize; 2],
        into: &mut Explanation,
    ) -> Result<()> {
        let clean = self.probe.ask(with.model, picture)?;
        let (found, layout) = (&clean.found, &clean.layout);
        let outputs = clean.outputs();
        let mut sums: Vec<Sums> = found.wanted.iter().map(|w| Sums::new(profile(layout, &outputs, w), layout.size())).collect();
        self.collect(with, picture, layout, &found.wanted, &mut sums, progress)?;
        let (height, width) = layout.size();
        for (wanted, sums) in found.wanted.iter().zip(sums) {
            let id = id.clone().about(wanted.subject());
            let mut about = wanted_facts(wanted, found, &with.model.labels);
            about.append(&mut sums.confidence(self.parameters.masks));
            let raw = Tensor::new([1, height, width], sums.means(self.parameters.masks))?;
            match self.finish(raw.clone())? {
                Ok(finished) => {
                    let frame = wanted.rect.frame(height, width);
                    let annotations = wanted_annotations(wanted, found, &with.model.labels);
                    into.maps.push(NamedMap { frame, annotations, facts: about, ..NamedMap::new(id, raw, finished) });
                }
                Err(why) => into.warnings.push(format!("{} has no map: {why}", id.name())),
            }
        }
        Ok(())
    }

    /// Runs all masks and adds what each says of each target.
    fn collect(
        &self,
        with: &ExplainContext<'_>,
        picture: &Picture,
        layout: &Layout,
        wanted: &[Wanted],
        sums: &mut [Sums],
        [number, of]: [usize; 2],
    ) -> Result<()> {
        let DRise { masks: count, grid, probability, seed, fill, objectness, .. } = self.parameters;
        let (model, convention) = (with.model, &with.model.manifest.input);
        let (height, width) = layout.size();
        let masks = SoftMasks { seed: seed_of(seed.unwrap_or(with.seed), DRise::NAME), grid, probability, height, width };
        let layers = self.probe.names(model)?;
        let taps = Taps::of(layers.iter().cloned());
        let pixels = convention.pixels(&picture.pixels)?;
        let mut mask = vec![0.0; height * width];
        let rows = model.network.preferred_rows().max(1);
        for first in (0..count).step_by(rows) {
            let numbers = first..count.min(first + rows);
            let mut batch = Vec::with_capacity(numbers.len() * pixels.len());
            for index in numbers.clone() {
                masks.fill(index, &mut mask);
                for channel in 0..pixels.rows() {
                    let behind = if fill == Fill::Mean { convention.mean[channel] } else { 0.0 };
                    batch.extend(pixels.row(channel).iter().zip(&mask).map(|(x, m)| behind + m * (x - behind)));
                }
            }
            let mut batch = Tensor::new([&[numbers.len()], pixels.shape()].concat(), batch)?;
            convention.normalise(&mut batch)?;
            let pass = model.network.forward(&batch, &taps)?;
            let outputs = layers.iter().map(|l| pass.output(l)).collect::<Result<Vec<_>>>()?;
            for (n, index) in numbers.enumerate() {
                masks.fill(index, &mut mask);
                let row: Vec<&[f32]> = outputs.iter().map(|o| o.row(n)).collect();
                for (sums, wanted) in sums.iter_mut().zip(wanted) {
                    let likeness = similarity(layout, &row, wanted, &sums.profile, objectness);
                    if !likeness.is_finite() {
                        let message = format!("the detector's outputs are NaN or infinite behind mask {index}.");
                        return Err(Error::new("fame::explain::not_finite", message));
                    }
                    sums.add(index, likeness / probability, &mask);
                }
            }
            with.progress.advance(number * count + first + rows.min(count - first), of * count);
        }
        Ok(())
    }

    /// The finished map, or why there is none.
    fn finish(&self, raw: Tensor) -> Result<std::result::Result<Tensor, String>> {
        let Some(steps) = &self.steps else {
            let (low, high) = raw.data().iter().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
            if high <= low {
                return Ok(Err("no mask made a difference: the detection is never matched, or always the same.".to_owned()));
            }
            let values = raw.data().iter().map(|v| (v - low) / (high - low)).collect();
            return Tensor::new(&raw.shape()[1..], values).map(Ok);
        };
        let mut map = AttributionMap { values: raw, channels: vec!["Y".into()] };
        for step in steps {
            map = step.plugin.apply(map).map_err(|e| e.at(format!("map step {}", step.name)))?;
        }
        let shape = map.values.shape().to_vec();
        if shape.first() == Some(&1) { map.values.reshaped(&shape[1..]).map(Ok) } else { Ok(Ok(map.values)) }
    }
}

/// The class scores the target is compared by: those of its candidate; of a given box, whose
/// candidate may see something else, its class alone.
fn profile(layout: &Layout, outputs: &[&[f32]], wanted: &Wanted) -> Vec<f64> {
    let own = |class: usize| f64::from(layout.score(outputs, wanted.candidate, class));
    let given = |class: usize| if class == wanted.class { 1.0 } else { 0.0 };
    let is_detection = wanted.overlap >= 1.0;
    (0..layout.classes).map(|c| if is_detection { own(c) } else { given(c) }).collect()
}

/// max over candidates of IoU × cosine × objectness; NaN if a candidate that overlaps is not
/// finite.
fn similarity(layout: &Layout, outputs: &[&[f32]], wanted: &Wanted, profile: &[f64], objectness: Objectness) -> f64 {
    let length = profile.iter().map(|p| p * p).sum::<f64>().sqrt();
    let mut best = 0.0f64;
    for candidate in 0..layout.candidates {
        let overlap = layout.rect(outputs, candidate).overlap(&wanted.rect);
        // Cosine and objectness are at most 1, so this one cannot win.
        if overlap <= best {
            continue;
        }
        let (mut dot, mut square) = (0.0, 0.0);
        for (p, score) in profile.iter().zip(layout.scores(outputs, candidate)) {
            let score = f64::from(score);
            dot += p * score;
            square += score * score;
        }
        // No score at all is like nothing; a NaN goes on.
        let cosine = if square == 0.0 { 0.0 } else { dot / (square.sqrt() * length) };
        let object = if objectness == Objectness::Score { f64::from(layout.best_class(outputs, candidate).1) } else { 1.0 };
        let value = overlap * cosine * object;
        if value.is_nan() {
            return value;
        }
        best = best.max(value);
    }
    best
}

/// Running sums of w·M / p at each pixel, for even and odd masks.
struct Sums {
    profile: Vec<f64>,
    halves: [Vec<f64>; 2],
    squares: Vec<f64>,
}

impl Sums {
    fn new(profile: Vec<f64>, (height, width): (usize, usize)) -> Self {
        let zeros = vec![0.0; height * width];
        Self { profile, halves: [zeros.clone(), zeros.clone()], squares: zeros }
    }

    fn add(&mut self, index: usize, weight: f64, mask: &[f32]) {
        for ((sum, square), m) in self.halves[index % 2].iter_mut().zip(&mut self.squares).zip(mask) {
            let value = weight * f64::from(*m);
            *sum += value;
            *square += value * value;
        }
    }

    fn means(&self, count: usize) -> Vec<f32> {
        let [even, odd] = &self.halves;
        even.iter().zip(odd).map(|(a, b)| ((a + b) / count as f64) as f32).collect()
    }

    /// How far the map may be from that of infinitely many masks.
    fn confidence(&self, count: usize) -> fame_core::data::Facts {
        let n = count as f64;
        let errors: f64 =
            self.means(count).iter().zip(&self.squares).map(|(m, s)| ((s / n - f64::from(*m).powi(2)).max(0.0) / (n - 1.0)).sqrt()).sum();
        facts([
            ("masks", count.into()),
            ("standard_error_mean", (errors / self.squares.len() as f64).into()),
            ("split_half_correlation", correlation(&self.halves[0], &self.halves[1]).into()),
        ])
    }
}

/// Pearson's correlation; `None` when one of the two is flat.
fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(x, y)| f(x - ma, y - mb)).sum::<f64>();
    let (aa, bb) = (sum(&|x, _| x * x), sum(&|_, y| y * y));
    (aa > 0.0 && bb > 0.0).then(|| sum(&|x, y| x * y) / (aa * bb).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        detections::testing::{BOXES, SCORES, layout, outputs},
        rect::Rect,
        testing::{blob_model, blob_sample, explain},
    };

    fn left_face(overlap: f64) -> Wanted {
        Wanted { name: "face_0".into(), rect: Rect([10.0, 10.0, 50.0, 50.0]), class: 1, candidate: 0, score: 0.9, overlap }
    }

    #[test]
    fn similarity_is_overlap_times_cosine_times_objectness_of_the_best() {
        let wanted = left_face(1.0);
        let own = profile(&layout(), &outputs(), &wanted);
        // Its own candidate matches perfectly: 1 · 1 · 0.9.
        assert!((similarity(&layout(), &outputs(), &wanted, &own, Objectness::Score) - 0.9).abs() < 1e-6);
        assert!((similarity(&layout(), &outputs(), &wanted, &own, Objectness::One) - 1.0).abs() < 1e-6);
        // Against a one-hot class the cosine is 0.9 / √(0.9² + 0.1²).
        let hot = profile(&layout(), &outputs(), &left_face(0.8));
        assert_eq!(hot, [0.0, 1.0]);
        assert!((similarity(&layout(), &outputs(), &wanted, &hot, Objectness::One) - 0.9 / 0.82f64.sqrt()).abs() < 1e-6);
        let mut broken = SCORES;
        broken[1] = f32::NAN;
        assert!(similarity(&layout(), &[&broken, &BOXES], &wanted, &hot, Objectness::One).is_nan());
    }

    #[test]
    fn the_map_points_at_the_blob_the_detector_sees() {
        let model = blob_model();
        let text = "DRise(of: (head: CenterNet(stride: 8, offset: 0.5), which: All), masks: 400, grid: 4)";
        let of = |spec: &str| explain(spec, &model, &blob_sample()).unwrap();
        let explanation = of(text);
        assert_eq!(explanation.maps.len(), 2, "two blobs");
        for map in &explanation.maps {
            let frame = map.frame.unwrap();
            let inside = |i: &usize| (frame.top..frame.bottom).contains(&(i / 32)) && (frame.left..frame.right).contains(&(i % 32));
            let mean = |of: &dyn Fn(&usize) -> bool| {
                let values: Vec<f32> = (0..1024).filter(|i| of(i)).map(|i| map.finished.data()[i]).collect();
                values.iter().sum::<f32>() / values.len() as f32
            };
            // The floor of a random map is equality; soft masks smear over about a cell of 8
            // pixels.
            assert!(mean(&inside) > 2.0 * mean(&|i| !inside(i)), "{}: {} {}", map.name(), mean(&inside), mean(&|i| !inside(i)));
            assert!(map.facts["split_half_correlation"].as_f64().unwrap() > 0.5);
        }
        let again = of(text);
        assert_eq!(explanation.maps[1].finished, again.maps[1].finished, "the seed decides");
        assert_ne!(explanation.maps[1].finished, of(&text.replace("grid: 4", "grid: 4, seed: 9")).maps[1].finished);
    }
}
