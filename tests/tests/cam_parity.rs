//! CAMs and gradient methods against pytorch-grad-cam and Captum, on the very same ONNX files.
//!
//! The goldens are made by `tests/oracles/cam_parity.py`; CI needs no Python. With
//! `FAME_CAM_PARITY` naming a folder the script wrote, those are compared instead.
//! `cargo test -p fame-tests --test cam_parity -- --nocapture` prints the table.

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used, clippy::case_sensitive_file_extension_comparisons)]

use std::path::{Path, PathBuf};

use fame_core::contract::{ExplainContext, Explainer, Silent};
use fame_plugins::Preset;
use fame_tests::{build, classifier, noise_picture, pearson, sample_of, slim};

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

fn golden() -> PathBuf {
    std::env::var_os("FAME_CAM_PARITY")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/cam"), PathBuf::from)
}

/// Every `stride`-th row and column of each plane.
fn sampled(values: &[f32], (height, width): (usize, usize), stride: usize) -> Vec<f32> {
    let kept = |plane: &[f32]| -> Vec<f32> {
        (0..height)
            .step_by(stride)
            .flat_map(|y| (0..width).step_by(stride).map(move |x| (y, x)))
            .map(|(y, x)| plane[y * width + x])
            .collect()
    };
    values.chunks_exact(height * width).flat_map(kept).collect()
}

/// Largest difference as a share of the largest value of `theirs`, and Pearson's correlation.
fn compare(ours: &[f32], theirs: &[f32]) -> (f32, f64) {
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let apart = ours.iter().zip(theirs).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    (apart / largest, pearson(ours, theirs))
}

/// The first map, finished and raw; `None` when there is nothing to show.
fn explain(network: &str, explainer: &str) -> Option<(Vec<f32>, Vec<f32>)> {
    let model = slim(network, classifier(), SIZE);
    let sample = sample_of("noise", noise_picture(0, SIZE));
    let explainer = build::<dyn Explainer>(explainer, &classifier(), Preset::Authors);
    explainer.plugin.check(&model).unwrap();
    let with = ExplainContext { model: &model, seed: 0, progress: &Silent };
    let explanation = explainer.plugin.explain(&with, &[sample]).remove(0).unwrap();
    let map = explanation.maps.into_iter().next()?;
    Some((map.finished.into_data(), map.raw.into_data()))
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
            assert!(explain(network, spec).is_none(), "{network}: {name}");
            continue;
        }
        // Captum's attributions are signed, and before any finishing; CAMs are compared as finished
        // maps. The libraries leave the sign of a principal component to chance, so either may be
        // met.
        let attribution = !spec.contains("finish:");
        let other = spec.replacen("finish:", "sign: Smallest, finish:", 1);
        let specs = if name.starts_with("Eigen") { vec![spec, &other] } else { vec![spec] };
        let compared = specs.into_iter().map(|spec| {
            let (finished, raw) =
                explain(network, spec).unwrap_or_else(|| panic!("{network}: {name} has no map"));
            compare(
                &sampled(if attribution { &raw } else { &finished }, (SIZE, SIZE), stride),
                theirs,
            )
        });
        let (apart, correlation) = compared.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        println!("| {network} | {name} | {apart:.1e} | {correlation:.7} |");
        if correlation < ALIKE
            || apart > (if name.starts_with("IntegratedGradients") { KINKED } else { APART })
            || correlation.is_nan()
        {
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
