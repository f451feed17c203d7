//! The properties of the face, black-box and attention explainers (METHODS.md, section 15) on the
//! slim golden networks: no download, random weights.

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used)]

use fame_core::{
    Explanation, GradientPlace, LayerCotangent, Model, NamedMap, Picture, Result, Sample, Taps,
    Tensor,
    contract::{ExplainContext, Explainer, Silent},
    data::Value,
    data::{ChannelOrder, InputConvention},
    registry::{BuildContext, Registry},
    store::{Ask, ModelManifest},
    text::Spec,
};
use fame_plugins::backends::tract::Tract;
use fame_tests::{INPUT, noise, root};

const FEATURE_MAP: &str = "/body/body.23/Add_output_0";

fn slim(name: &str, side: usize, threads: usize) -> Model {
    let file = root().join(format!("tests/golden/nets/{name}.onnx"));
    // Unlike stds on purpose: they must enter gradients with respect to pixels.
    let input = InputConvention {
        channels: 3,
        height: side,
        width: side,
        order: ChannelOrder::Rgb,
        mean: vec![0.5, 0.45, 0.4],
        std: vec![0.5, 0.25, 0.4],
    };
    Model::load(
        ModelManifest::for_file(&file, input).unwrap(),
        file,
        String::new(),
        Vec::new(),
        &Tract { threads, ..Tract::default() },
    )
    .unwrap()
}

fn faces() -> Model {
    slim("iresnet50_slim", 56, 2)
}

/// A smooth picture of random waves: every pixel is different.
fn picture(number: u32, side: usize) -> Picture {
    let wave = |k: u32| noise(number * 100 + k, INPUT);
    let pixel = |i: usize| {
        let (c, y, x) = (i / (side * side), (i / side) % side, i % side);
        let phase = wave(c as u32)
            + 6.0 * wave(7) * y as f32 / side as f32
            + 8.0 * wave(8) * x as f32 / side as f32;
        0.5 + 0.4 * (3.0 * phase).sin() + 0.05 * noise(number * 100_000 + i as u32, INPUT)
    };
    Picture::new(
        Tensor::new([3, side, side], (0..3 * side * side).map(pixel).collect()).unwrap(),
        "noise",
    )
    .unwrap()
}

fn pair(number: u32) -> Sample {
    let pictures = vec![
        ("gallery".to_owned(), picture(2 * number, 56)),
        ("probe".to_owned(), picture(2 * number + 1, 56)),
    ];
    Sample { id: format!("pair{number}"), pictures, ..Sample::default() }
}

fn try_explain(
    model: &Model,
    explainer: &str,
    ask: &Ask,
    seed: u64,
    samples: &[Sample],
) -> Vec<Result<Explanation>> {
    let registry = Registry::builtin().unwrap();
    let with = BuildContext { ask, ..BuildContext::new(&registry, ".".as_ref()) };
    let built = registry
        .build::<dyn Explainer>(&Spec::from_text(explainer).unwrap(), &with)
        .unwrap_or_else(|p| panic!("{explainer}: {p:#?}"));
    built.plugin.check(model).unwrap();
    built.plugin.explain(&ExplainContext { model, seed, progress: &Silent }, samples)
}

fn explain(model: &Model, explainer: &str, samples: &[Sample]) -> Vec<Explanation> {
    try_explain(model, explainer, &fame_tests::faces(), 0, samples)
        .into_iter()
        .map(|e| e.unwrap())
        .collect()
}

fn map<'a>(explanation: &'a Explanation, name: &str) -> &'a NamedMap {
    explanation
        .maps
        .iter()
        .find(|m| m.name() == name)
        .unwrap_or_else(|| panic!("no {name}: {:?}", explanation.warnings))
}

fn number(map: &NamedMap, fact: &str) -> f64 {
    map.facts.get(fact).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {fact}"))
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

/// Everything that explains a pair, with few masks.
const ALL: &[&str] = &[
    "Fggb(threshold: 0.2)",
    "Xssab(threshold: 0.2)",
    "CorrRise(masks: 40, patch: 15, patches: 4)",
    r#"DotDecomposition(layer: "/body/body.23/Add_output_0")"#,
    "Rise(masks: 30)",
    "Occlusion(window: 20, stride: 18)",
];

#[test]
fn a_batch_is_a_loop_and_a_seed_is_a_map() {
    let model = faces();
    let pairs = [pair(1), pair(2)];
    for explainer in ALL {
        let together = explain(&model, explainer, &pairs);
        for (pair, batch) in pairs.iter().zip(&together) {
            let alone = &explain(&model, explainer, std::slice::from_ref(pair))[0];
            assert_eq!(alone.maps.len(), batch.maps.len(), "{explainer}");
            assert!(!alone.maps.is_empty(), "{explainer}: {:?}", alone.warnings);
            for (a, b) in alone.maps.iter().zip(&batch.maps) {
                assert_eq!(
                    (&a.id, &a.raw, &a.finished, &a.facts),
                    (&b.id, &b.raw, &b.finished, &b.facts),
                    "{explainer}"
                );
            }
        }
    }
    for explainer in ["CorrRise(masks: 40, patch: 15)", "Rise(masks: 30)"] {
        let at = |seed| {
            try_explain(&model, explainer, &fame_tests::faces(), seed, &pairs[..1])
                .remove(0)
                .unwrap()
                .maps
                .remove(0)
                .raw
        };
        assert_eq!(at(1), at(1), "{explainer}");
        assert_ne!(at(1), at(2), "{explainer}");
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    for explainer in ALL {
        let at = |threads| {
            explain(&slim("iresnet50_slim", 56, threads), explainer, &[pair(3)]).remove(0)
        };
        let (one, three) = (at(1), at(3));
        assert!(one.maps.iter().zip(&three.maps).all(|(a, b)| a.raw == b.raw), "{explainer}");
    }
}

#[test]
fn where_e_plus_speaks_e_minus_is_silent() {
    let model = faces();
    for explainer in ["Fggb(threshold: 0.3, map: [])", "CorrRise(masks: 60, patch: 15, map: [])"] {
        let explanation = &explain(&model, explainer, &[pair(1)])[0];
        for role in ["gallery", "probe"] {
            let of = |polarity: &str| map(explanation, &format!("{role}_{polarity}"));
            let (plus, minus) = (of("similar"), of("dissimilar"));
            assert!(
                plus.finished
                    .data()
                    .iter()
                    .zip(minus.finished.data())
                    .all(|(p, m)| p * m == 0.0 && *p >= 0.0 && *m >= 0.0)
            );
            assert_eq!(plus.raw, minus.raw, "one signed sum, shown in two halves");
        }
    }
}

#[test]
fn fggb_weights_sum_to_the_similarity_less_the_threshold() {
    // Sums of 48 products in double precision, of embeddings in single precision that were the same
    // bits.
    const ROUNDING: f64 = 1e-12;
    let model = faces();
    for threshold in ["0.0", "0.25"] {
        let explanation = &explain(&model, &format!("Fggb(threshold: {threshold})"), &[pair(1)])[0];
        for found in &explanation.maps {
            let expected = number(found, "similarity") - number(found, "threshold");
            assert!((number(found, "weight_sum") - expected).abs() < ROUNDING, "{}", found.name());
        }
    }
}

/// Clean embeddings of gallery and probe.
fn embeddings(model: &Model, pair: &Sample) -> [Vec<f64>; 2] {
    ["gallery", "probe"].map(|role| {
        let input = model.manifest.input.to_input(&pair.picture(role).unwrap().pixels).unwrap();
        let pass = model
            .network
            .forward(&Tensor::stack([&input]).unwrap(), &Taps::of(["embedding"]))
            .unwrap();
        pass.output("embedding").unwrap().row(0).iter().map(|v| f64::from(*v)).collect()
    })
}

fn length(v: &[f64]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// d(cotangent · φ(probe)) / d(pixels), `[C, H, W]`.
fn pulled(model: &Model, pair: &Sample, cotangent: &[f64]) -> Vec<f32> {
    let convention = &model.manifest.input;
    let input = convention.to_input(&pair.picture("probe").unwrap().pixels).unwrap();
    let taps = Taps::of(["embedding"]).with_gradient(GradientPlace::Input);
    let pass = model.network.forward(&Tensor::stack([&input]).unwrap(), &taps).unwrap();
    let cotangent =
        Tensor::new([1, cotangent.len()], cotangent.iter().map(|c| *c as f32).collect()).unwrap();
    let gradient = pass
        .gradient(&[LayerCotangent { layer: "embedding".into(), cotangent }])
        .unwrap()
        .remove(0);
    let area = convention.height * convention.width;
    gradient.data().iter().enumerate().map(|(i, g)| g / convention.std[i / area]).collect()
}

fn channel_mean(gradient: &[f32], area: usize) -> Vec<f64> {
    (0..area)
        .map(|p| (0..3).map(|c| f64::from(gradient[c * area + p].abs())).sum::<f64>() / 3.0)
        .collect()
}

#[test]
fn fggb_is_the_formula_with_all_maps_in_memory() {
    let (model, pair) = (faces(), pair(1));
    let [gallery, probe] = embeddings(&model, &pair);
    let (g, p) = (length(&gallery), length(&probe));
    let mut sum = vec![0.0; 56 * 56];
    for k in 0..probe.len() {
        // dφ̂_k/dφ = (e_k − φ̂_k·φ̂) / ‖φ‖.
        let cotangent: Vec<f64> = (0..probe.len())
            .map(|j| (f64::from(u8::from(j == k)) - probe[k] * probe[j] / (p * p)) / p)
            .collect();
        let mean = channel_mean(&pulled(&model, &pair, &cotangent), sum.len());
        let weight = probe[k] * gallery[k] / (p * g) - 0.2 / probe.len() as f64;
        sum.iter_mut().zip(&mean).for_each(|(s, m)| *s += weight * m / length(&mean));
    }
    let explanation = &explain(&model, "Fggb(threshold: 0.2)", std::slice::from_ref(&pair))[0];
    let expected: Vec<f32> = sum.iter().map(|s| *s as f32).collect();
    let found = map(explanation, "probe_similar").raw.data().to_vec();
    // Cotangents rounded to single precision on two ways; pulled back they differ in the last
    // digits.
    assert!(
        worst(&found, &expected) < 1e-5 * expected.iter().fold(0.0, |m: f32, v| m.max(v.abs()))
    );
}

#[test]
fn xssab_is_the_gradient_of_the_kept_shares() {
    const THRESHOLD: f64 = 0.25;
    let (model, pair) = (faces(), pair(1));
    let [gallery, probe] = embeddings(&model, &pair);
    let (g, p) = (length(&gallery), length(&probe));
    let explanation =
        &explain(&model, &format!("Xssab(threshold: {THRESHOLD})"), std::slice::from_ref(&pair))[0];
    for (name, positive) in [("probe_similar", true), ("probe_dissimilar", false)] {
        let share = |k: usize| gallery[k] * probe[k] / (g * p);
        let weight = |k: usize| {
            if (share(k) >= THRESHOLD / probe.len() as f64) == positive {
                gallery[k] / g
            } else {
                0.0
            }
        };
        let value: f64 = (0..probe.len()).map(|k| weight(k) * probe[k] / p).sum();
        // d(Σ w·φ̂)/dφ = (w − (w·φ̂)·φ̂) / ‖φ‖.
        let cotangent: Vec<f64> =
            (0..probe.len()).map(|k| (weight(k) - value * probe[k] / p) / p).collect();
        let expected: Vec<f32> = channel_mean(&pulled(&model, &pair, &cotangent), 56 * 56)
            .iter()
            .map(|v| *v as f32)
            .collect();
        let found = map(explanation, name).raw.data();
        // Cotangents rounded to single precision on two ways; pulled back they differ in the last
        // digits.
        assert!(
            worst(found, &expected) < 1e-5 * expected.iter().fold(0.0, |m: f32, v| m.max(*v)),
            "{name}"
        );
    }
    let combined = map(explanation, "probe_combined");
    assert!(
        combined
            .finished
            .data()
            .iter()
            .zip(combined.raw.data())
            .all(|(shown, raw)| (*shown - 0.5) * raw >= 0.0)
    );
}

#[test]
fn corr_rise_does_not_see_an_affine_change_of_scores() {
    let model = faces();
    let raw = |rest: &str| {
        explain(&model, &format!("CorrRise(masks: 60, patch: 15{rest})"), &[pair(1)])
            .remove(0)
            .maps
            .remove(0)
            .raw
    };
    let similar = raw("");
    // 1 − s is an affine change with a negative scale: the same correlations, turned round.
    let turned: Vec<f32> = raw(", loss: Dissimilarity()").data().iter().map(|v| -v).collect();
    // 1 − s rounds s to 2⁻²⁴ once more; scores vary by about 1e-1 here.
    assert!(worst(similar.data(), &turned) < 1e-5, "{}", worst(similar.data(), &turned));
    assert!(similar.data().iter().all(|v| (-1.0..=1.0).contains(v)) && similar.max_abs() > 0.2);
}

#[test]
fn cells_of_the_other_picture_add_up_to_the_whole() {
    let model = faces();
    let spec = |rest: &str| {
        format!("DotDecomposition(layer: {FEATURE_MAP:?}, roles: [\"probe\"], map: []{rest})")
    };
    let whole = explain(&model, &spec(""), &[pair(1)]).remove(0);
    let whole = map(&whole, "probe_similar");
    // Sums of a few hundred products in single precision.
    assert!(number(whole, "linear_gap") < 1e-5, "{}", number(whole, "linear_gap"));
    let mut sum = vec![0.0f32; 56 * 56];
    let Some(Value::List(grid)) = whole.facts.get("grid") else { panic!("no grid") };
    let [rows, columns] = [0, 1].map(|axis| grid[axis].as_f64().unwrap() as usize);
    assert!(rows * columns > 1);
    for cell in 0..rows * columns {
        let one = try_explain(
            &model,
            &spec(&format!(", cell: ({}, {})", cell / columns, cell % columns)),
            &fame_tests::faces(),
            0,
            &[pair(1)],
        )
        .remove(0);
        let one = one.unwrap_or_else(|e| panic!("{e}"));
        let found = one.maps.first().unwrap_or_else(|| panic!("{:?}", one.warnings));
        sum.iter_mut().zip(found.raw.data()).for_each(|(s, v)| *s += v);
    }
    // One embedding for each cell, each less the bias: the bias's rounding comes as often.
    let scale = whole.raw.max_abs();
    assert!(
        worst(&sum, whole.raw.data()) < 1e-4 * scale,
        "{} of {scale}",
        worst(&sum, whole.raw.data())
    );
}

/// The margin is that of the two nearest faces, found a pair at a time; only the picture that is
/// searched for has a map.
#[test]
fn identification_lowers_the_margin_of_the_nearest_face() {
    // Similarities in single precision, of embeddings that another batch may round otherwise.
    const ROUNDING: f64 = 1e-5;
    let model = faces();
    let people = ["ann", "bob", "cy"];
    let face = |n: usize| (people[n].to_owned(), picture(10 + n as u32, 56));
    let probe = || ("probe".to_owned(), picture(3, 56));
    let mut near: Vec<(f64, &str)> = (0..3)
        .map(|n| {
            let pictures = vec![("gallery".to_owned(), face(n).1), probe()];
            let pair = Sample { id: "pair".into(), pictures, ..Sample::default() };
            let [a, b] = embeddings(&model, &pair);
            let dot: f64 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
            (dot / (length(&a) * length(&b)), people[n])
        })
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let pictures = vec![probe(), face(0), face(1), face(2)];
    let sample = Sample { id: "search".into(), pictures, ..Sample::default() };
    let spec = r#"Fame(
        layer: "embedding",
        loss: Identification(norms: Live),
        perturbation: Lots(step: 0.001, iterations: 3),
        map: [Gray(), MaxNormalize()],
    )"#;
    let explanation = explain(&model, spec, &[sample]).remove(0);
    assert_eq!(explanation.maps.len(), 1);
    let map = map(&explanation, "probe_rank_1");
    let names = ["rank_1", "rival"].map(|fact| map.facts[fact].as_str().unwrap());
    assert_eq!(names, [near[0].1, near[1].1]);
    // Both similarities, as the item's line tells them.
    for (fact, near) in ["similarity_before", "rival_similarity"].into_iter().zip(&near) {
        assert!((number(map, fact) - near.0).abs() < ROUNDING, "{fact}: {near:?}");
    }
    let before = number(map, "loss_before");
    assert!((before - (near[0].0 - near[1].0)).abs() < ROUNDING, "{before} {near:?}");
    assert!(number(map, "loss_after") < before);
}

#[test]
fn a_similarity_that_nothing_changes_gives_a_warning_and_no_picture() {
    let model = faces();
    // A picture of the mean colour is the same behind every window of the mean colour.
    let flat = || {
        let mean = &model.manifest.input.mean;
        let data = mean.iter().flat_map(|m| vec![*m; 56 * 56]).collect();
        Picture::new(Tensor::new([3, 56, 56], data).unwrap(), "flat").unwrap()
    };
    let sample = Sample {
        id: "flat".into(),
        pictures: vec![("gallery".into(), picture(1, 56)), ("probe".into(), flat())],
        ..Sample::default()
    };
    for explainer in [
        "Occlusion(roles: [\"probe\"])",
        "CorrRise(masks: 20, patch: 15, fill: Mean, roles: [\"probe\"])",
    ] {
        let explanation = explain(&model, explainer, std::slice::from_ref(&sample)).remove(0);
        assert!(
            explanation.maps.is_empty()
                && explanation.warnings.iter().all(|w| w.contains("has no map")),
            "{explainer}"
        );
        assert!(!explanation.warnings.is_empty());
    }
}

#[test]
fn attention_rolls_out_over_the_tokens_of_a_transformer() {
    let model = slim("vit_slim", 64, 2);
    let sample = Sample {
        id: "image".into(),
        pictures: vec![("image".into(), picture(5, 64))],
        ..Sample::default()
    };
    let raw = |spec: &str| {
        let explained =
            try_explain(&model, spec, &Ask::default(), 0, std::slice::from_ref(&sample)).remove(0);
        explained.unwrap_or_else(|e| panic!("{spec}: {e}")).maps.remove(0).raw
    };
    let class = |heads: &str, class: usize| {
        raw(&format!("AttentionRollout(heads: {heads}, loss: Logit(class: Index({class})))"))
    };
    assert_eq!(class("Mean", 1), class("Mean", 2), "attention alone does not know the class");
    assert_ne!(class("GradientWeighted", 1), class("GradientWeighted", 2));
    let positive = class("Mean", 1);
    assert!(positive.is_finite() && positive.data().iter().all(|v| *v > 0.0));
    // No probability flows out of the class token's row: 16 picture tokens share at most 1.
    assert!(positive.data().iter().sum::<f32>() / 256.0 < 1.0);
}
