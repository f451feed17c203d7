//! `DeepLift` against Captum, on the very same ONNX files; and what it promises beside:
//! attributions add up.
//!
//! The goldens are made by `tests/oracles/deep_lift.py`, in f64; CI needs no Python. With
//! `FAME_DEEP_LIFT_PARITY` naming a folder the script wrote, those are compared instead.
//! `cargo test -p fame-tests --test deep_lift_parity -- --nocapture` prints the table.

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use fame_core::contract::{Backend, ExplainContext, Explainer, Silent};
use fame_core::data::{Facts, Value};
use fame_core::{GradientPlace, LoadRequest, Model, NamedMap, Sample, Taps, Tensor};
use fame_plugins::Preset;
use fame_tests::{
    apart, build, classifier, faces, noise_picture, root, sample_of, sampled, slim, slim_fed,
};

/// Rows and columns of the slim classifiers' input.
const SIZE: usize = 64;
/// Rows and columns of the slim face network's.
const FACE: usize = 56;
/// The least correlation.
const ALIKE: f64 = 0.999;
/// The largest difference, as a share of the largest attribution: rounding in f32, and values so
/// near a kink that f32 and f64 take different sides of it.
const APART: f32 = 1e-3;
/// Where rounding costs Captum itself more than that (a pooling divides by what an input changes,
/// however little that is), so many times what it costs there: both round, in another order.
const TWO_ROUNDINGS: f32 = 3.0;
/// By how much attributions may miss the difference, as a share of the sizes of all: sums of ten
/// thousand products in f32, layer after layer.
const ROUNDING: f64 = 1e-4;

fn golden() -> PathBuf {
    std::env::var_os("FAME_DEEP_LIFT_PARITY").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/deep_lift"),
        PathBuf::from,
    )
}

/// A network of the goldens, whose input lies between −1 (black) and 1 (white).
fn model(network: &str) -> Model {
    slim_fed(network, classifier(), SIZE, 0.5, 0.5)
}

/// The picture that becomes the goldens' input, exactly.
fn picture() -> Sample {
    let mut picture = noise_picture(0, SIZE);
    picture.pixels.data_mut().iter_mut().for_each(|v| *v = f32::midpoint(*v, 1.0));
    sample_of("noise", picture)
}

fn number(facts: &Facts, name: &str) -> f64 {
    match &facts[name] {
        Value::Number(number) => *number,
        other => panic!("`{name}` is {other:?}"),
    }
}

fn hold(network: &str) {
    let about: serde_json::Value =
        serde_json::from_slice(&std::fs::read(golden().join(format!("{network}.json"))).unwrap())
            .unwrap();
    let file = std::fs::File::open(golden().join(format!("{network}.npy"))).unwrap();
    let all: Vec<f32> = npyz::NpyFile::new(file).unwrap().into_vec().unwrap();
    let stride = about["stride"].as_u64().unwrap() as usize;
    let class = about["class"].as_u64().unwrap();
    let (model, sample) = (model(network), picture());
    let with = ExplainContext { model: &model, seed: 0, progress: &Silent };
    let (mut rest, mut failed) = (all.as_slice(), vec![]);
    for reference in about["references"].as_array().unwrap() {
        let baseline = reference["baseline"].as_str().unwrap();
        let theirs;
        (theirs, rest) = rest.split_at(reference["values"].as_u64().unwrap() as usize);
        let spec = format!("DeepLift(baseline: {baseline}, loss: Logit(class: Index({class})))");
        let explainer = build::<dyn Explainer>(&spec, &classifier(), Preset::Authors);
        explainer.plugin.check(&model).unwrap();
        let samples = std::slice::from_ref(&sample);
        let explanation = explainer.plugin.explain(&with, samples).remove(0).unwrap();
        let map = explanation.maps.into_iter().next().unwrap();
        let (apart, correlation) = apart(&sampled(map.raw.data(), (SIZE, SIZE), stride), theirs);
        let (sum, sizes) = sums(&map);
        let difference = reference["difference"].as_f64().unwrap();
        let rounding = reference["captum_in_f32_apart"].as_f64().unwrap() as f32;
        let may_be_apart = APART.max(TWO_ROUNDINGS * rounding);
        println!("| {network} | {baseline} | {apart:.1e} | {correlation:.7} | {sum:.4} |");
        let missing = (sum - difference).abs() / sizes;
        // A NaN does not hold.
        let holds = correlation >= ALIKE && apart <= may_be_apart && missing <= ROUNDING;
        if !holds {
            failed.push(format!("{baseline}: {apart:e}, {correlation}, {sum} of {difference}"));
        }
    }
    assert!(rest.is_empty() && failed.is_empty(), "{network}: {failed:#?}");
}

/// The sum of a map's attributions, and of their sizes.
fn sums(map: &NamedMap) -> (f64, f64) {
    let each = map.raw.data().iter().map(|v| f64::from(*v));
    each.fold((0.0, 0.0), |(sum, sizes), v| (sum + v, sizes + v.abs()))
}

#[test]
fn a_residual_network_is_captums() {
    hold("resnet50_slim");
}

#[test]
fn a_chain_of_convolutions_and_dense_layers_is_captums() {
    hold("vgg_slim");
}

#[test]
fn clipped_activations_are_captums() {
    hold("mobilenet_v2_slim");
}

#[test]
fn joined_branches_are_captums() {
    hold("squeezenet_slim");
}

/// The one map of `spec`.
fn map(model: &Model, sample: &Sample, spec: &str) -> NamedMap {
    let with = ExplainContext { model, seed: 0, progress: &Silent };
    let explainer = build::<dyn Explainer>(spec, &model.manifest.ask, Preset::Authors);
    let mut explanation =
        explainer.plugin.explain(&with, std::slice::from_ref(sample)).remove(0).unwrap();
    assert!(!explanation.maps.is_empty(), "{spec}: {:?}", explanation.warnings);
    explanation.maps.swap_remove(0)
}

/// Of networks of convolutions, poolings, activations, gates, normalisations and attention what
/// attributions add up to is y(x) less y(x′), and the record says so.
#[test]
fn attributions_add_up_to_the_difference_from_the_reference() {
    for network in [
        "resnet50_slim",
        "vgg_slim",
        "mobilenet_v3_slim",
        "efficientnet_slim",
        "densenet_slim",
        "convnext_slim",
        "vit_slim",
    ] {
        let (model, sample) = (model(network), picture());
        let mut is_told = false;
        for baseline in ["Zero", "Black", "Mean"] {
            let map = map(&model, &sample, &format!("DeepLift(baseline: {baseline})"));
            let (sum, sizes) = sums(&map);
            let difference = number(&map.facts, "value") - number(&map.facts, "value_at_baseline");
            let missing = (sum - difference).abs() / sizes;
            assert!(missing <= ROUNDING, "{network}, {baseline}: {sum} of {difference} ({sizes})");
            is_told |= difference.abs() > 10.0 * ROUNDING * sizes;
            let delta = number(&map.facts, "completeness_delta");
            assert!((delta - (sum - difference)).abs() <= ROUNDING * sizes, "{network}: {delta}");
        }
        assert!(is_told, "{network}: nothing to add up");
    }
}

/// A cosine between embeddings is no sum of outputs: with live norms it adds up by the mean of its
/// derivative between both embeddings, which the derivative at the picture alone does not.
#[test]
fn the_similarity_of_two_faces_adds_up() {
    let model = slim("iresnet50_slim", faces(), FACE);
    let mut sample = sample_of("one", noise_picture(0, FACE));
    sample.pictures[0].0 = "probe".into();
    sample.pictures.push(("gallery".into(), noise_picture(5000, FACE)));
    let found = map(&model, &sample, "DeepLift(baseline: Black, loss: Similarity(norms: Live))");
    let (sum, sizes) = sums(&found);
    let difference = number(&found.facts, "value") - number(&found.facts, "value_at_baseline");
    let missing = (sum - difference).abs() / sizes;
    assert!(missing <= ROUNDING, "{sum} of {difference} ({sizes})");
    assert!(difference.abs() > 10.0 * ROUNDING * sizes, "nothing to add up: {difference} {sizes}");
}

/// Pairs stand in a batch as they do alone.
#[test]
fn multipliers_do_not_depend_on_the_other_pairs() {
    let model = model("resnet50_slim");
    let shape = [1, 3, SIZE, SIZE];
    let [a, b] = [0, 50_000]
        .map(|from| Tensor::new(shape, noise_picture(from, SIZE).pixels.into_data()).unwrap());
    let zero = Tensor::zeros(shape);
    let output = model.network.layers().iter().find(|layer| layer.is_output).unwrap().name.clone();
    let taps = Taps {
        multipliers: true,
        ..Taps::of([output.as_str()]).with_gradient(GradientPlace::Input)
    };
    let multipliers = |rows: &[&Tensor]| -> Vec<Vec<f32>> {
        let values: Vec<f32> = rows.iter().flat_map(|row| row.data().to_vec()).collect();
        let batch = Tensor::new([rows.len(), 3, SIZE, SIZE], values).unwrap();
        let pass = model.network.forward(&batch, &taps).unwrap();
        let mut cotangent = Tensor::zeros(pass.output(&output).unwrap().shape());
        (0..rows.len()).for_each(|row| cotangent.row_mut(row)[1] = 1.0);
        let seed = fame_core::LayerCotangent { layer: output.clone(), cotangent };
        let found = pass.gradient(&[seed]).unwrap().remove(0);
        (0..rows.len()).map(|row| found.row(row).to_vec()).collect()
    };
    let together = multipliers(&[&a, &zero, &b, &a]);
    assert_eq!(together[0], together[1], "both rows of a pair have what is theirs");
    assert_eq!(together[..2], multipliers(&[&a, &zero]));
    assert_eq!(together[2..], multipliers(&[&b, &a]));
    assert_ne!(together[0], together[2]);
}

/// Of a picture and itself nothing differs: multipliers are derivatives.
#[test]
fn a_picture_beside_itself_has_its_gradient() {
    let model = model("vgg_slim");
    let pixels = noise_picture(0, SIZE).pixels.into_data();
    let batch = Tensor::new([2, 3, SIZE, SIZE], [pixels.as_slice(), &pixels].concat()).unwrap();
    let output = model.network.layers().iter().find(|layer| layer.is_output).unwrap().name.clone();
    let gradients = Taps::of([output.as_str()]).with_gradient(GradientPlace::Input);
    let of = |taps: &Taps| {
        let pass = model.network.forward(&batch, taps).unwrap();
        let cotangent = Tensor::filled(pass.output(&output).unwrap().shape(), 1.0);
        let seed = fame_core::LayerCotangent { layer: output.clone(), cotangent };
        pass.gradient(&[seed]).unwrap().remove(0)
    };
    let multipliers = of(&Taps { multipliers: true, ..gradients.clone() });
    let (apart, correlation) = apart(multipliers.data(), of(&gradients).data());
    assert!(apart <= APART && correlation >= ALIKE, "{apart} {correlation}");
}

#[test]
fn an_odd_number_of_rows_is_refused() {
    let file = root().join("tests/golden/nets/vgg_slim.onnx");
    let backend = build::<dyn Backend>("Tract()", &classifier(), Preset::Authors);
    let request = LoadRequest::new(file).with_input_shape(vec![3, SIZE, SIZE]);
    let network = backend.plugin.load(&request).unwrap();
    let output = network.layers().iter().find(|layer| layer.is_output).unwrap().name.clone();
    let taps = Taps {
        multipliers: true,
        ..Taps::of([output.as_str()]).with_gradient(GradientPlace::Input)
    };
    let forward = |rows: usize| {
        network
            .forward(&Tensor::zeros([rows, 3, SIZE, SIZE]), &taps)
            .map(drop)
            .map_err(|e| e.message)
    };
    assert!(forward(2).is_ok());
    assert!(forward(3).unwrap_err().contains("pairs of rows"));
}
