//! The house keeps the promises that the test kit asks of third parties: its own losses,
//! perturbations, steps, writers and its default backend pass the same checks.

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used)]

// Naming the crate keeps the linker from leaving its registrations out.
use fame_plugins as _;

use std::collections::BTreeSet;

use fame_core::{
    Tensor,
    contract::{Explainer, Loss, MapStep, Perturbation, PrepareStep, Writer},
    registry::{Kind, Registry},
    testkit::{
        SIZE, build, check_explainer, check_loss, check_map_step, check_network,
        check_perturbation, check_prepare, check_refuses_constant, check_writer, explanation,
        model, sample,
    },
};
use fame_tests::{classifier, slim};
use npyz::WriterBuilder as _;

/// A vector as a `.npy` file.
fn save(path: &std::path::Path, values: &[f32]) {
    let file = std::fs::File::create(path).unwrap();
    let options = npyz::WriteOptions::new().default_dtype().shape(&[values.len() as u64]);
    let mut writer = options.writer(file).begin_nd().unwrap();
    writer.extend(values.iter().copied()).unwrap();
    writer.finish().unwrap();
}

/// The clean output that a loss is tried on.
#[derive(Clone, Copy)]
enum Clean {
    Vector,
    Grid,
}

/// Every loss.
const LOSSES: [(&str, Clean); 12] = [
    ("Logit(class: Predicted)", Clean::Vector),
    ("Logit(class: Index(1), absolute: true)", Clean::Vector),
    ("Finer(class: Index(1), similar: 2)", Clean::Vector),
    ("Similarity(norms: Live)", Clean::Vector),
    ("Dissimilarity(norms: Live)", Clean::Vector),
    ("DotProduct()", Clean::Vector),
    ("Identification(norms: Live)", Clean::Vector),
    ("Target(towards: Zero)", Clean::Vector),
    ("Target(towards: OtherRole)", Clean::Grid),
    ("FeatureMapCell(cells: All)", Clean::Grid),
    ("SegmentClass(class: Predicted, region: Predicted)", Clean::Grid),
    ("SegmentClass(class: Index(1), region: Box(0.0, 0.0, 1.0, 0.5))", Clean::Grid),
];

/// The map steps that any map passes.
const MAP_STEPS: &[&str] = &[
    "Gray()",
    "Abs()",
    "Channels(reduce: Sum)",
    "Positive()",
    "GaussianBlur(kernel: 5, sigma: 1.0)",
    r#"Field(name: "recorded")"#,
    "Project(towards: Mean)",
    "Sum(of: [[Gray()], [Project(towards: Black)]])",
];

/// The map steps that scale, and must refuse a map in which nothing stands out.
const NORMALISATIONS: &[&str] = &["MaxNormalize()", "MinMaxNormalize()"];

#[test]
fn every_losss_cotangent_is_the_derivative_of_its_value() {
    let vector = Tensor::vector(vec![1.2, -0.7, 0.4, 2.1, -1.5]);
    let grid = Tensor::new([2, 2, 2], vec![1.0, -2.0, 0.5, 1.5, -0.8, 0.9, 2.2, -1.1]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.npy");
    save(&text, &[0.3, 1.1, -0.4, 0.9, 0.2]);
    let to_a_file = format!("Similarity(norms: Live, to: {:?})", text.display().to_string());
    for (spec, form) in LOSSES.into_iter().chain([(to_a_file.as_str(), Clean::Vector)]) {
        let clean = match form {
            Clean::Vector => &vector,
            Clean::Grid => &grid,
        };
        let loss = build::<dyn Loss>(spec).unwrap();
        let check = check_loss(loss.plugin.as_ref(), std::slice::from_ref(clean))
            .unwrap_or_else(|e| panic!("{spec}: {e}"));
        println!("{spec}: {check}");
    }
    // The paper differentiates the cosine with its lengths held constant. That is not the
    // derivative of the value, and the kit must see it.
    for spec in [
        "Similarity(norms: Frozen)",
        "Dissimilarity(norms: Frozen)",
        "Identification(norms: Frozen)",
    ] {
        let loss = build::<dyn Loss>(spec).unwrap();
        let error = check_loss(loss.plugin.as_ref(), std::slice::from_ref(&vector)).unwrap_err();
        assert!(
            error.message.contains("the cotangent is not the derivative of the value"),
            "{spec}: {error}"
        );
    }
}

#[test]
fn every_walk_starts_at_the_picture_keeps_its_bound_and_stops_without_a_gradient() {
    for (spec, bound) in [
        ("Lots(step: 0.01, iterations: 8, space: Pixel)", Some(0.01)),
        ("Lots(step: 0.01, iterations: 8, space: Normalised)", Some(0.01)),
        ("Lots(step: 0.01, iterations: 8, clamp: Pixels)", Some(0.01)),
        ("Sign(step: 0.01, iterations: 8)", Some(0.01)),
        // A step of this length moves no component further.
        ("L2(step: 0.1, iterations: 8)", Some(0.1)),
        // The way from one picture of 0..=1 to another is at most 1 long.
        ("MaskWalk(towards: Mean, step: 0.1, gradient_blur: 0.5)", Some(0.1)),
        ("Noise(of: Sign(step: 0.01, iterations: 8), sigma: 0)", Some(0.01)),
    ] {
        let walk = build::<dyn Perturbation>(spec).unwrap();
        check_perturbation(walk.plugin.as_ref(), true, bound)
            .unwrap_or_else(|e| panic!("{spec}: {e}"));
    }
}

#[test]
fn no_map_step_hides_a_nan_and_normalisations_refuse_an_empty_map() {
    for spec in MAP_STEPS.iter().chain(NORMALISATIONS) {
        let step = build::<dyn MapStep>(spec).unwrap();
        check_map_step(step.plugin.as_ref()).unwrap_or_else(|e| panic!("{spec}: {e}"));
    }
    for spec in NORMALISATIONS {
        let step = build::<dyn MapStep>(spec).unwrap();
        check_refuses_constant(step.plugin.as_ref()).unwrap_or_else(|e| panic!("{spec}: {e}"));
    }
}

#[test]
fn no_loss_and_no_map_step_is_left_out() {
    let registry = Registry::builtin().unwrap();
    let held = |kind: Kind, specs: &[&str]| {
        let named: BTreeSet<&str> =
            specs.iter().map(|spec| spec.split('(').next().unwrap_or_default()).collect();
        let missing: Vec<&str> =
            registry.names(kind).into_iter().filter(|name| !named.contains(name)).collect();
        assert!(missing.is_empty(), "not held to the promises of {}: {missing:?}", kind.a_noun());
    };
    held(Kind::Loss, &LOSSES.map(|(spec, _)| spec));
    held(Kind::Map, &[MAP_STEPS, NORMALISATIONS].concat());
}

#[test]
fn points_follow_the_pixels_through_every_prepare_step() {
    for spec in [
        "Resize(width: 45, height: 50)",
        "ResizeShorter(size: 32)",
        "CenterCrop(width: 40, height: 36)",
        "Letterbox(width: 50, height: 41, fill: (0.0, 0.0, 0.0))",
    ] {
        let step = build::<dyn PrepareStep>(spec).unwrap();
        let check = check_prepare(step.plugin.as_ref()).unwrap_or_else(|e| panic!("{spec}: {e}"));
        println!("{spec}: {check}");
    }
}

#[test]
fn every_writer_names_exactly_the_files_it_writes() {
    let (sample, explanation) =
        (sample("a", &["image"], SIZE).unwrap(), explanation(SIZE).unwrap());
    for spec in [
        "Npy(raw: true)",
        "Heatmap()",
        "Overlay()",
        "Picture()",
        "Sheet()",
        "Report()",
        "MeanMap()",
        "FiftyOne()",
        "Safetensors()",
    ] {
        let writer = build::<dyn Writer>(spec).unwrap();
        let files = check_writer(writer.plugin.as_ref(), &sample, &explanation)
            .unwrap_or_else(|e| panic!("{spec}: {e}"));
        assert!(!files.is_empty(), "{spec}");
    }
}

#[test]
fn explainers_explain_a_batch_as_a_loop() {
    let samples = ["a", "b", "c"].map(|id| sample(id, &["image"], SIZE).unwrap());
    for spec in [
        "Fame(layer: Output, loss: Logit(), perturbation: Lots(iterations: 5), map: [Gray(), MaxNormalize()])",
        "RandomMap(map: [MaxNormalize()])",
        "Sum(of: [RandomMap(), RandomMap(map: [MaxNormalize()])])",
        "Product(of: [RandomMap(), RandomMap(map: [MaxNormalize()])])",
        "Smooth(of: RandomMap(), n: 3)",
    ] {
        let explainer = build::<dyn Explainer>(spec).unwrap();
        let check = check_explainer(explainer.plugin.as_ref(), &model().unwrap(), &samples)
            .unwrap_or_else(|e| panic!("{spec}: {e}"));
        println!("{spec}: {check}");
    }
}

#[test]
fn the_default_backend_conforms() {
    // Gradients of all small networks are held to PyTorch's in `conformance`.
    let model = slim("squeezenet_slim", classifier(), 64);
    for check in check_network(model.network.as_ref()).unwrap_or_else(|e| panic!("{e}")) {
        println!("{check}");
    }
}
