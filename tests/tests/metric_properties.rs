//! What must hold of every metric, on a network whose evidence is known: a perfect map beats a
//! random and an inverted one.

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use fame_core::{
    Affine, Annotation, Bias, Claim, Explanation, GradientPlace, Layer, LayerCotangent, MapId,
    Marks, Model, NamedMap, Picture, Random, Result, Sample, Subject, Taps, Tensor,
    contract::{ExplainContext, Metric, MetricRow, Network, Pass, Silent},
    data::{ChannelOrder, InputConvention},
    sign_flip_p,
    store::{Ask, ModelManifest},
};
use fame_plugins::{Preset, datasets::GENUINE};
use fame_tests::{asks, build};

/// Side of the pictures, and of the square in their middle where the evidence lies.
const SIDE: usize = 24;
const BOX: std::ops::Range<usize> = 8..16;
/// Strength of the evidence.
const CONTRAST: f32 = 0.4;

fn inside(i: usize) -> bool {
    BOX.contains(&(i / SIDE)) && BOX.contains(&(i % SIDE))
}

/// Sees the square alone. `logits` [2]: how much of a checkerboard is in it, and half of that
/// negated. `embedding` [65]: its 64 pixels less the mean gray, and a small constant, so that
/// nothing at all is like nothing in particular.
struct Square {
    layers: Vec<Layer>,
}

impl Square {
    fn model(ask: &Ask) -> Model {
        let layer = |name: &str, shape: &[usize]| Layer {
            name: name.into(),
            op: "Known".into(),
            shape: shape.to_vec(),
            is_output: true,
            depends_on_input: true,
            reads: Vec::new(),
        };
        let network =
            Box::new(Self { layers: vec![layer("logits", &[2]), layer("embedding", &[65])] });
        let input = InputConvention {
            channels: 3,
            height: SIDE,
            width: SIDE,
            order: ChannelOrder::Rgb,
            mean: vec![0.0; 3],
            std: vec![1.0; 3],
        };
        let mut manifest = ModelManifest::for_file(Path::new("square.onnx"), input).unwrap();
        manifest.ask = ask.clone();
        Model {
            manifest,
            network,
            file: PathBuf::from("square.onnx"),
            sha256: String::new(),
            labels: Vec::new(),
            operators: fame_core::contract::Operators::default(),
            remembered: fame_core::contract::Remembered::default(),
        }
    }
}

impl Network for Square {
    fn input_shape(&self) -> &[usize] {
        &[3, SIDE, SIDE]
    }
    fn layers(&self) -> &[Layer] {
        &self.layers
    }
    fn check_gradient(&self, _: &str, _: &GradientPlace) -> Result<()> {
        Ok(())
    }
    fn preferred_rows(&self) -> usize {
        7
    }
    fn notes(&self) -> &[String] {
        &[]
    }
    fn forward<'n>(&'n self, batch: &Tensor, _: &Taps) -> Result<Box<dyn Pass + 'n>> {
        Ok(Box::new(FixedPass(batch.clone())))
    }
    fn forward_from<'n>(
        &'n self,
        _: &str,
        _: &Tensor,
        _: &Tensor,
        _: &Taps,
    ) -> Result<Box<dyn Pass + 'n>> {
        unreachable!("no metric starts inside")
    }
    fn biases(&self) -> Result<Vec<Bias>> {
        Ok(Vec::new())
    }
}

struct FixedPass(Tensor);

impl Pass for FixedPass {
    fn output(&self, layer: &str) -> Result<Tensor> {
        let mut all = Vec::new();
        for row in 0..self.0.rows() {
            let green = &self.0.row(row)[SIDE * SIDE..2 * SIDE * SIDE];
            let of_box: Vec<(usize, f32)> =
                (0..SIDE * SIDE).filter(|i| inside(*i)).map(|i| (i, green[i])).collect();
            if layer == "logits" {
                let sum: f32 = of_box.iter().map(|(i, v)| checker(*i) * v).sum();
                all.extend([sum, -sum / 2.0]);
            } else {
                all.extend(of_box.iter().map(|(_, v)| v - 0.5).chain([0.05]));
            }
        }
        Tensor::new([self.0.rows(), if layer == "logits" { 2 } else { 65 }], all)
    }
    fn gradient(&self, _: &[LayerCotangent]) -> Result<Vec<Tensor>> {
        unreachable!("metrics read outputs")
    }
}

fn checker(i: usize) -> f32 {
    if (i / SIDE + i % SIDE).is_multiple_of(2) { 1.0 } else { -1.0 }
}

/// Gray noise with `pattern` in the square.
fn picture(seed: u64, pattern: impl Fn(usize) -> f32) -> Picture {
    let mut random = Random::new(seed);
    let plane: Vec<f32> = (0..SIDE * SIDE)
        .map(|i| {
            0.5 + 0.1 * (random.uniform() as f32 - 0.5)
                + if inside(i) { CONTRAST * pattern(i) } else { 0.0 }
        })
        .collect();
    let mut picture =
        Picture::new(Tensor::new([3, SIDE, SIDE], plane.repeat(3)).unwrap(), "made").unwrap();
    let corner = [BOX.start as f32, BOX.end as f32];
    picture.geometry = Affine::IDENTITY;
    picture.annotations = vec![Annotation {
        name: "box".into(),
        label: None,
        points: vec![[corner[0]; 2], [corner[1]; 2]],
    }];
    picture
}

/// The three maps: of the evidence, of chance, and of everything else.
const MAPS: [&str; 3] = ["perfect", "random", "inverted"];

fn map(which: &str, role: &str, seed: u64) -> NamedMap {
    let mut random = Random::new(seed ^ 0xABCD);
    // A little noise, so that the order within a region is chance and no reading order.
    let value = |i: usize, noise: f32| match which {
        "perfect" => f32::from(u8::from(inside(i))) * 0.9 + 0.1 * noise,
        "inverted" => f32::from(u8::from(!inside(i))) * 0.9 + 0.1 * noise,
        _ => noise,
    };
    let values = (0..SIDE * SIDE).map(|i| value(i, random.uniform() as f32)).collect();
    let values = Tensor::new([SIDE, SIDE], values).unwrap();
    NamedMap::new(MapId::new(role), values.clone(), values)
}

/// Pictures with the checkerboard.
fn pictures() -> Vec<Sample> {
    let one = |n: u64| Sample {
        id: format!("{n:02}"),
        pictures: vec![("image".into(), picture(n, checker))],
        ..Sample::default()
    };
    (0..12).map(one).collect()
}

/// Pairs: genuine ones share a pattern, impostors do not.
fn pairs() -> Vec<Sample> {
    let face = |who: u64| {
        move |i: usize| {
            let mut random = Random::stream(who, i);
            if random.uniform() < 0.5 { -0.5 } else { 0.5 }
        }
    };
    let one = |n: u64| {
        let genuine = n.is_multiple_of(2);
        let probe = if genuine { n } else { n + 100 };
        Sample {
            id: format!("{n:02}"),
            pictures: vec![
                ("gallery".into(), picture(2 * n, face(n))),
                ("probe".into(), picture(2 * n + 1, face(probe))),
            ],
            marks: Marks::default().with(&GENUINE, genuine),
            ..Sample::default()
        }
    };
    (0..12).map(one).collect()
}

/// Measures the three maps of every sample.
fn rows(metric: &dyn Metric, ask: &Ask, samples: &[Sample], role: &str) -> Vec<MetricRow> {
    let model = Square::model(ask);
    let with = ExplainContext { model: &model, seed: 0, progress: &Silent };
    let mut all = Vec::new();
    for which in MAPS {
        for (n, sample) in samples.iter().enumerate() {
            let explanation =
                Explanation { maps: vec![map(which, role, n as u64)], ..Explanation::default() };
            for m in metric.measure(&with, sample, &explanation).unwrap() {
                let (item, marks) = (sample.id.clone(), sample.marks.clone());
                let (explainer, map, quantity, parameter, value) =
                    (which.to_owned(), m.map, m.name, m.parameter, m.value);
                all.push(MetricRow { item, explainer, map, quantity, parameter, value, marks });
            }
        }
    }
    all
}

/// The numbers of one map, item by item.
fn of<'a>(rows: &'a [MetricRow], which: &str, quantity: &str, parameter: &str) -> Vec<f64> {
    let wanted = |r: &&'a MetricRow| {
        r.explainer == which && r.quantity == quantity && r.parameter.to_string() == parameter
    };
    rows.iter().filter(wanted).map(|r| r.value).collect()
}

/// The perfect map is better than the random one and that than the inverted one: on average, and
/// beyond chance.
fn ordered(rows: &[MetricRow], quantity: &str, parameter: &str, sign: f64) {
    let [perfect, random, inverted] = MAPS.map(|which| of(rows, which, quantity, parameter));
    assert!(!perfect.is_empty(), "nothing was measured as {quantity} {parameter}");
    let apart = |a: &[f64], b: &[f64]| -> (f64, f64) {
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| sign * (a - b)).collect();
        (differences.iter().sum::<f64>() / differences.len() as f64, sign_flip_p(&differences))
    };
    for (what, (mean, p)) in
        [("random", apart(&perfect, &random)), ("inverted", apart(&perfect, &inverted))]
    {
        assert!(
            mean > 0.0 && p < 0.01,
            "{quantity} {parameter}: perfect against {what} {mean} (p {p})"
        );
    }
    let (mean, _) = apart(&random, &inverted);
    assert!(mean >= 0.0, "{quantity} {parameter}: random against inverted {mean}");
}

fn metric(spec: &str, ask: &Ask) -> fame_core::registry::Built<dyn Metric> {
    build::<dyn Metric>(spec, ask, Preset::Paper)
}

#[test]
fn a_perfect_map_beats_a_random_and_an_inverted_one_on_every_metric_of_pictures() {
    let ask = &asks(r#"(loss: Logit(), layer: "logits")"#);
    let all = |spec: &str| rows(metric(spec, ask).plugin.as_ref(), ask, &pictures(), "image");
    let iou = all("Iou(thresholds: [0.5])");
    ordered(&iou, "iou", "at=0.5", 1.0);
    ordered(&all("PointingGame()"), "hit", "", 1.0);
    let mass = all("RelevanceMass()");
    ordered(&mass, "mass", "", 1.0);
    ordered(&mass, "rank", "", 1.0);
    // The square is 64 of 576 pixels: with 10 % all that is removed lies inside, with 30 % all of
    // it is gone.
    for imputer in ["NoisyLinear", "Black"] {
        let road =
            all(&format!("Road(percents: [10, 30, 50], orders: [MoRF, LeRF], imputer: {imputer})"));
        for p in ["P=10", "P=30", "P=50"] {
            ordered(&road, "morf_drop", p, 1.0);
            ordered(&road, "lerf_drop", p, -1.0);
            ordered(&road, "combined", p, 1.0);
        }
    }
    for answer in ["Value", "Probability"] {
        let curves = all(&format!("DeletionInsertion(answer: {answer})"));
        ordered(&curves, "deletion_auc", "", -1.0);
        ordered(&curves, "insertion_auc", "", 1.0);
        // A probability so near 1 that half of the evidence leaves it there drops by nothing.
        if answer == "Value" {
            ordered(&curves, "average_drop", "", -1.0);
        }
    }
}

/// The newer metrics that ask the network. The square is 64 of 576 pixels.
#[test]
fn a_perfect_map_beats_a_random_and_an_inverted_one_on_metrics_of_faithfulness() {
    let ask = &asks(r#"(loss: Logit(), layer: "logits")"#);
    let all = |spec: &str| rows(metric(spec, ask).plugin.as_ref(), ask, &pictures(), "image");
    let flipping = all("PixelFlipping(steps: 18)");
    ordered(&flipping, "morf_aopc", "", 1.0);
    ordered(&flipping, "lerf_aopc", "", -1.0);
    ordered(&flipping, "difference", "", 1.0);
    let regions = all("RegionPerturbation(side: 4, regions: 8)");
    ordered(&regions, "aopc", "", 1.0);
    ordered(&regions, "against_lerf", "", 1.0);
    ordered(&all("Selectivity(side: 4)"), "auc", "", -1.0);
    ordered(&all("SaCo(groups: 9, answer: Value)"), "saco", "", 1.0);
    ordered(&all("MonotonicityCorrelation(steps: 9, answer: Value)"), "correlation", "", 1.0);
    ordered(&all("FaithfulnessCorrelation(subset: 60)"), "correlation", "", 1.0);
    ordered(&all("SensitivityN(percents: [5, 20])"), "mean_correlation", "", 1.0);
    ordered(&all("EffectiveComplexity(steps: 18)"), "needed", "", -1.0);
    let square = "change: Square(side: 6, fill: Black), samples: 60";
    ordered(&all(&format!("Infidelity({square})")), "infidelity_scaled", "", -1.0);
}

#[test]
fn a_perfect_map_beats_a_random_and_an_inverted_one_in_verification() {
    let ask = &asks(r#"(loss: Similarity(), layer: "embedding")"#);
    for parameters in ["fill: Black", "fill: Mean, masks: Percentile", "fill: Blur"] {
        let metric = metric(&format!("Verification({parameters}, against: [\"random\"])"), ask);
        let rows = rows(metric.plugin.as_ref(), ask, &pairs(), "probe");
        let tables = metric.plugin.summarise("Verification", &rows).unwrap();
        assert!(tables[0].title.contains("clean accuracy 100.00 %"), "{}", tables[0].title);
        let number = |row: usize, column: usize| -> f64 {
            tables[0].rows[row][column].split(' ').next().unwrap().parse().unwrap()
        };
        let (delete, insert) = ([0, 1, 2].map(|r| number(r, 2)), [0, 1, 2].map(|r| number(r, 3)));
        assert!(delete[0] < delete[1] && delete[1] < delete[2], "{parameters}: Delete {delete:?}");
        assert!(insert[0] > insert[1] && insert[1] > insert[2], "{parameters}: Insert {insert:?}");
    }
}

/// Most methods have no e+ of two strangers. Such a pair counts as an empty map, or Delete and
/// Insert of methods would be over different pairs.
#[test]
fn a_method_that_is_silent_about_a_pair_is_counted() {
    let ask = &asks(r#"(loss: Similarity(), layer: "embedding")"#);
    let (model, metric) = (Square::model(ask), metric("Verification()", ask));
    let with = ExplainContext { model: &model, seed: 0, progress: &Silent };
    let id = MapId::new("probe").about(Subject::Match).claiming(Claim::Against);
    let against = NamedMap { id, ..map("perfect", "probe", 0) };
    let explanation = Explanation { maps: vec![against], ..Explanation::default() };
    for sample in pairs() {
        let rows = metric.plugin.measure(&with, &sample, &explanation).unwrap();
        let of = |name: &str| {
            rows.iter().filter(|m| m.name == name).map(|m| m.value).collect::<Vec<_>>()
        };
        let (delete, insert) = (of("delete"), of("insert"));
        assert_eq!((delete.len(), insert.len()), (11, 11));
        assert!(delete.iter().all(|v| *v == delete[0]) && insert.iter().all(|v| *v == insert[0]));
        assert_eq!(sample.marks.get(&GENUINE) == Some(true), delete[0] > 0.5, "the clean score");
    }
}

/// What the curves take away and what they leave are complements: on a linear score, with black in
/// both places, the two add up to the clean score at every P.
#[test]
fn delete_and_insert_are_complements() {
    /// Single precision of sums of 64 numbers below 1.
    const ROUNDING: f64 = 1e-4;
    for masks in ["Rank", "Percentile"] {
        let ask = &asks(r#"(loss: Logit(), layer: "logits")"#);
        let spec = format!(
            "DeletionInsertion(steps: 10, delete_to: Black, insert_from: Black, masks: {masks}, answer: Value, curves: true)"
        );
        let rows = rows(metric(&spec, ask).plugin.as_ref(), ask, &pictures(), "image");
        for which in MAPS {
            let clean = of(&rows, which, "deletion", "P=0");
            for percent in (0..=100).step_by(10) {
                let at = |curve: &str| of(&rows, which, curve, &format!("P={percent}"));
                for ((d, i), clean) in at("deletion").iter().zip(at("insertion")).zip(&clean) {
                    assert!(
                        (d + i - clean).abs() < ROUNDING,
                        "{masks} {which} P={percent}: {d} + {i} is not {clean}"
                    );
                }
            }
        }
    }
}
