//! CAMs, gradient methods and `LeGrad` against pytorch-grad-cam, Captum, scikit-learn and LeGrad's
//! own program, on the very same networks.
//!
//! The goldens are made by `tests/oracles/cam_parity.py`; CI needs no Python. With
//! `FAME_CAM_PARITY` naming a folder the script wrote, those are compared instead.
//! `cargo test -p fame-tests --test cam_parity -- --nocapture` prints the table.

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used, clippy::case_sensitive_file_extension_comparisons)]

use std::path::{Path, PathBuf};

use fame_core::{
    NamedMap,
    contract::{ExplainContext, Explainer, Silent},
    data::Value,
};
use fame_plugins::Preset;
use fame_tests::{apart, build, classifier, noise_picture, sample_of, sampled, slim};

/// Rows and columns of the slim classifiers' input.
const SIZE: usize = 64;
/// The least correlation.
const ALIKE: f64 = 0.999;
/// The largest difference, as a share of the other map's largest value. Both sides are f32, with
/// another order of sums.
const APART: f32 = 1e-4;
/// The same for means over the way from a baseline: one of 50 points lies so near a kink that two
/// f32 programs take different sides of it.
const KINKED: f32 = 1e-2;
/// The same for factors of a layer, whose descent ends where its steps are small and not where they
/// are zero: a layer that is rounded otherwise may take a round more or less.
const DESCENDED: f32 = 1e-3;
/// The largest difference of a concept's score, as a share of its size or of 1: it is made of the
/// factors.
const SCORED: f64 = 1e-3;

fn golden() -> PathBuf {
    std::env::var_os("FAME_CAM_PARITY")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/cam"), PathBuf::from)
}

/// Map number `index`; `None` when there is nothing to show.
fn explain(network: &str, explainer: &str, index: usize) -> Option<NamedMap> {
    let model = slim(network, classifier(), SIZE);
    let sample = sample_of("noise", noise_picture(0, SIZE));
    let explainer = build::<dyn Explainer>(explainer, &classifier(), Preset::Authors);
    explainer.plugin.check(&model).unwrap();
    let with = ExplainContext { model: &model, seed: 0, progress: &Silent };
    let explanation = explainer.plugin.explain(&with, &[sample]).remove(0).unwrap();
    explanation.maps.into_iter().nth(index)
}

/// What is wrong with what fame says of a concept, which should be `wanted`; `None` if nothing.
fn hold_score(map: &NamedMap, wanted: f64) -> Option<String> {
    let Some(Value::Map(scores)) = map.facts.get("scores") else { panic!("no scores") };
    let found = scores.values().next().and_then(Value::as_f64).unwrap();
    let apart = (found - wanted).abs() / wanted.abs().max(1.0);
    (apart.is_nan() || apart > SCORED).then(|| format!("score {found} is not {wanted}"))
}

fn hold(network: &str) {
    let about: serde_json::Value =
        serde_json::from_slice(&std::fs::read(golden().join(format!("{network}.json"))).unwrap())
            .unwrap();
    let file = std::fs::File::open(golden().join(format!("{network}.npy"))).unwrap();
    let all: Vec<f32> = npyz::NpyFile::new(file).unwrap().into_vec().unwrap();
    let stride = about["stride"].as_u64().unwrap() as usize;
    let (mut rest, mut failed) = (all.as_slice(), vec![]);
    for method in about["methods"].as_array().unwrap() {
        let (name, spec) =
            (method["name"].as_str().unwrap(), method["explainer"].as_str().unwrap());
        let theirs;
        (theirs, rest) = rest.split_at(method["values"].as_u64().unwrap() as usize);
        if theirs.iter().all(|v| *v == 0.0) {
            // What they paint black, fame has no map of.
            println!("| {network} | {name} | no map | no map |");
            assert!(explain(network, spec, 0).is_none(), "{network}: {name}");
            continue;
        }
        let index = method["map"].as_u64().unwrap_or(0) as usize;
        // Captum's attributions are signed, and before any finishing, as factors are; CAMs and
        // LeGrad are compared as finished maps. The libraries leave the sign of a principal
        // component to chance, so either may be met.
        let attribution = !spec.contains("finish:") && method["finished"].as_bool() != Some(true);
        let other = spec.replacen("finish:", "sign: Smallest, finish:", 1);
        let specs = if name.starts_with("Eigen") { vec![spec, &other] } else { vec![spec] };
        let compared = specs.into_iter().map(|spec| {
            let map = explain(network, spec, index)
                .unwrap_or_else(|| panic!("{network}: {name} has no map"));
            if let Some(score) = method["score"].as_f64() {
                failed.extend(hold_score(&map, score).map(|why| format!("{name}: {why}")));
            }
            let values = if attribution { &map.raw } else { &map.finished };
            apart(&sampled(values.data(), (SIZE, SIZE), stride), theirs)
        });
        let (apart, correlation) = compared.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        println!("| {network} | {name} | {apart:.1e} | {correlation:.7} |");
        let allowed = match name.split(',').next() {
            Some("IntegratedGradients") => KINKED,
            Some("DeepFeatureFactorization") => DESCENDED,
            _ => APART,
        };
        if correlation < ALIKE || apart > allowed || correlation.is_nan() {
            failed.push(format!("{name}: {apart:e}, {correlation}"));
        }
    }
    assert!(rest.is_empty() && failed.is_empty(), "{network}: {failed:#?}");
}

#[test]
fn resnet_maps_are_the_libraries() {
    hold("resnet50_slim");
}

#[test]
fn densenet_maps_are_the_libraries() {
    hold("densenet_slim");
}

#[test]
fn vision_transformer_maps_are_the_libraries() {
    hold("vit_slim");
}
