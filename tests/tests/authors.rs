//! Every method of `preset: Authors` against the formulas of the authors' code.
//!
//! The goldens are made by `tests/oracles/authors.py`, from the same networks and the same drawn
//! pictures; CI needs no Python. `cargo test -p fame-tests --test authors -- --nocapture` prints the
//! table.

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use fame_core::{
    Claim, Model, Picture, Sample, Tensor,
    contract::{ExplainContext, Explainer, Silent},
    data::{ChannelOrder, InputConvention},
    store::{Ask, ModelManifest},
};
use fame_plugins::{Preset, backends::tract::Tract};
use fame_tests::{build, classifier, faces, pearson};

/// The least correlation.
const ALIKE: f64 = 0.9999;
/// The largest difference, as a share of the full scale. Both sides are f32 with another order of
/// sums, and a walk of six steps adds up what that makes of its gradients.
const APART: f32 = 1e-4;

/// The picture that `authors.py` draws: stripes, and a disc where they are inverted.
fn drawn(size: i64, shade: i64) -> Picture {
    let value = |c: i64, y: i64, x: i64| {
        let disc = (2 * x - size).pow(2) + (2 * y - size - shade).pow(2) < size * size / 3;
        let stripes = (x * shade * (c + 1) / 4 + y * (7 - c)) % 256;
        (if disc { 255 - stripes } else { stripes }) as f32 / 255.0
    };
    let data = (0..3)
        .flat_map(|c| (0..size).flat_map(move |y| (0..size).map(move |x| value(c, y, x))))
        .collect();
    let side = size as usize;
    Picture::new(Tensor::new([3, side, side], data).unwrap(), format!("shade {shade}")).unwrap()
}

fn model(network: &str, ask: Ask, input: InputConvention) -> Model {
    let nets = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/nets");
    let file = nets.join(format!("{network}.onnx"));
    let mut manifest = ModelManifest::for_file(&file, input).unwrap();
    manifest.ask = ask;
    Model::load(manifest, file, String::new(), Vec::new(), &Tract::default()).unwrap()
}

fn convention(size: usize, order: ChannelOrder, mean: [f32; 3], std: [f32; 3]) -> InputConvention {
    let (mean, std) = (mean.to_vec(), std.to_vec());
    InputConvention { channels: 3, height: size, width: size, order, mean, std }
}

/// The map that the golden `name` is about, as the recipe's `spec` makes it under the preset.
fn explain(name: &str, spec: &str, model: &Model, sample: &Sample) -> Vec<f32> {
    let explainer = build::<dyn Explainer>(spec, &model.manifest.ask, Preset::Authors);
    explainer.plugin.check(model).unwrap();
    let with = ExplainContext { model, seed: 0, progress: &Silent };
    let explanation =
        explainer.plugin.explain(&with, std::slice::from_ref(sample)).remove(0).unwrap();
    let claim = if name.ends_with("dissimilar") { Claim::Against } else { Claim::For };
    let mut maps = explanation.maps;
    if maps.len() > 1 {
        maps.retain(|map| map.id.claim == claim);
    }
    let [map] = &maps[..] else { panic!("{name}: {} maps", maps.len()) };
    map.finished.data().to_vec()
}

fn hold(golden: &str, model: &Model, sample: &Sample) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/authors");
    let file = |ending: &str| -> PathBuf { folder.join(format!("{golden}.{ending}")) };
    let about: serde_json::Value =
        serde_json::from_slice(&std::fs::read(file("json")).unwrap()).unwrap();
    let all: Vec<f32> =
        npyz::NpyFile::new(std::fs::File::open(file("npy")).unwrap()).unwrap().into_vec().unwrap();
    let number = |value: &serde_json::Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let (size, stride) = (number(&about["size"]), number(&about["stride"]));
    let (mut rest, mut failed) = (all.as_slice(), Vec::new());
    for method in about["methods"].as_array().unwrap() {
        let text = |field: &str| method[field].as_str().unwrap();
        let theirs;
        (theirs, rest) = rest.split_at(number(&method["values"]));
        let whole = explain(text("name"), text("explainer"), model, sample);
        let ours: Vec<f32> = (0..size)
            .step_by(stride)
            .flat_map(|y| (0..size).step_by(stride).map(move |x| y * size + x))
            .map(|at| whole[at])
            .collect();
        let apart = ours.iter().zip(theirs).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        let alike = pearson(&ours, theirs);
        println!("| {golden} | {} | {apart:.1e} | {alike:.7} |", text("name"));
        if apart > APART || alike < ALIKE || alike.is_nan() {
            failed.push(format!("{}: {apart:e}, {alike}", text("name")));
        }
    }
    assert!(rest.is_empty() && failed.is_empty(), "{golden}: {failed:#?}");
}

#[test]
fn maps_of_pairs_are_the_authors() {
    let input = convention(56, ChannelOrder::Bgr, [0.5; 3], [0.5; 3]);
    let model = model("iresnet50_slim", faces(), input);
    let pictures = [("gallery", 3), ("probe", 5)];
    let sample = Sample {
        id: "pair".into(),
        pictures: pictures.map(|(role, shade)| (role.to_owned(), drawn(56, shade))).into(),
        ..Sample::default()
    };
    hold("faces", &model, &sample);
}

#[test]
fn maps_of_classes_are_the_authors() {
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let model = model("resnet50_slim", classifier(), convention(64, ChannelOrder::Rgb, mean, std));
    let pictures = vec![("image".to_owned(), drawn(64, 3))];
    hold("classes", &model, &Sample { id: "class".into(), pictures, ..Sample::default() });
}

/// The authors differentiate norms where FAME walks, and freeze them where a CAM explains the
/// similarity; what the recipe says itself is kept.
#[test]
fn norms_are_said_for_each_use() {
    let norms = |spec: &str| {
        let built = build::<dyn Explainer>(spec, &faces(), Preset::Authors);
        let loss = built.parameters.get("loss").and_then(|loss| loss.get("Similarity"));
        loss.and_then(|loss| loss.get("norms")).and_then(|v| v.as_str()).unwrap().to_owned()
    };
    assert_eq!(norms("Fame(layer: Output, loss: Similarity())"), "Live");
    for method in ["GradCam", "GradCamElementwise", "LayerCam", "FullGrad", "Saliency"] {
        assert_eq!(norms(&format!("{method}()")), "Frozen", "{method}");
    }
    assert_eq!(norms("GradCam(loss: Similarity(norms: Live))"), "Live");
    assert_eq!(norms("Fame(layer: Output, loss: Similarity(norms: Frozen))"), "Frozen");
}
