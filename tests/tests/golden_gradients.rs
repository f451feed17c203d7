//! Gradients of whole networks against PyTorch's, committed under `tests/golden` (see the README there).
//!
//! The slim networks are always compared. With `FAME_MODELS` naming a folder of the real ONNX files, those found there are too.

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used, clippy::case_sensitive_file_extension_comparisons)]

use std::path::{Path, PathBuf};

use fame_core::contract::{Backend, LoadRequest};
use fame_core::{Place, Seed, Taps, Tensor};
use fame_plugins::backends::tract::Tract;

/// Relative L2 distance allowed. f32 and f64 differ by less than 1e-5 on these networks; the rest is room for another order of sums.
const TOLERANCE: f64 = 1e-4;
/// ResNet-50's input gradient: 8 ReLU inputs lie so near zero that f32 and f64 take different sides (golden README).
const KINKED: f64 = 2e-2;
/// `fr_expression`: moving the input by 3e-7 to 1e-6, the rounding of f32, moves PyTorch's own f64 gradient by up to 4e-3, since some
/// unit then crosses its kink.
const NEARLY_KINKED: f64 = 1e-2;

const SLIM: [&str; 6] = ["resnet50_slim", "iresnet50_slim", "mobilenet_v2_slim", "convnext_slim", "vit_slim", "densenet_slim"];
const FULL: [(&str, f64); 5] = [
    ("fr_feature", TOLERANCE),
    ("efficientnet_lite0", TOLERANCE),
    ("iresnet50", TOLERANCE),
    ("fr_expression", NEARLY_KINKED),
    ("resnet50", KINKED),
];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn noise(i: u32, multiplier: u32) -> f32 {
    let h = i.wrapping_mul(multiplier);
    let h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    let h = h ^ (h >> 12);
    (h >> 8) as f32 / 8_388_608.0 - 1.0
}

fn read(path: &Path) -> Vec<f32> {
    npyz::NpyFile::new(std::fs::File::open(path).unwrap()).unwrap().into_vec().unwrap()
}

fn relative_l2(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |v: f32| f64::from(v) * f64::from(v);
    let apart: f64 = got.iter().zip(want).map(|(a, b)| square(a - b)).sum();
    (apart / want.iter().map(|b| square(*b)).sum::<f64>()).sqrt()
}

/// The values the goldens keep of a large tensor.
fn sample(tensor: &Tensor) -> Vec<f32> {
    let (n, data) = (tensor.len(), tensor.data());
    if n <= 4096 { data.to_vec() } else { (0..2048).map(|j| data[j * n / 2048 + j % 2]).collect() }
}

/// Means over square blocks of a `[1, C, H, W]` tensor: they see every pixel.
fn blocks(tensor: &Tensor, side: usize) -> Vec<f32> {
    let &[_, channels, height, width] = tensor.shape() else { panic!("not a picture") };
    let mut means = vec![];
    for (c, by, bx) in (0..channels * (height / side) * (width / side))
        .map(|i| (i / (height / side * (width / side)), i / (width / side) % (height / side), i % (width / side)))
    {
        let pixels = (0..side * side).map(|k| (by * side + k / side, bx * side + k % side));
        let sum: f64 = pixels.map(|(y, x)| f64::from(tensor.data()[(c * height + y) * width + x])).sum();
        means.push((sum / (side * side) as f64) as f32);
    }
    means
}

fn compare(name: &str, model: &Path, tolerance: f64) {
    let folder = golden().join(name);
    let facts: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("golden.json")).unwrap()).unwrap();
    let network = Tract { threads: 1 }.load(&LoadRequest { file: model.to_owned(), input_shape: None }).unwrap();
    let start = facts["input_start"].as_u64().unwrap() as u32;
    let in_unit_range = facts["input_in_unit_range"].as_bool().unwrap();
    let mut shape = vec![1];
    shape.extend(network.input_shape());
    let volume: u32 = shape.iter().product::<usize>() as u32;
    let value = |k: u32| {
        let v = noise(start + k, 2_654_435_761);
        if in_unit_range { f32::midpoint(v, 1.0) } else { v }
    };
    let batch = Tensor::new(shape, (0..volume).map(value).collect()).unwrap();

    let output = facts["output_name"].as_str().unwrap();
    let layer = facts["layer_name"].as_str();
    let mut taps = Taps::of([output]).with_gradient(Place::Input);
    if let Some(layer) = layer {
        taps.layers.push(layer.to_owned());
        taps = taps.with_gradient(Place::Layer(layer.to_owned()));
    }
    let pass = network.forward(&batch, &taps).unwrap();
    let given = pass.output(output).unwrap();
    let cotangent = Tensor::new(given.shape(), (0..given.len() as u32).map(|k| noise(k, 2_246_822_519)).collect()).unwrap();
    let gradients = pass.gradient(&[Seed { layer: output.to_owned(), cotangent }]).unwrap();

    let check = |what: &str, got: &[f32], tolerance: f64| {
        let apart = relative_l2(got, &read(&folder.join(format!("{what}.npy"))));
        println!("{name} {what}: {apart:.1e}");
        assert!(apart <= tolerance, "{name}: {what} is {apart:.2e} from PyTorch, more than {tolerance:.0e}");
    };
    check("output_head", &given.data()[..given.len().min(64)], TOLERANCE);
    check("input_gradient_sample", &sample(&gradients[0]), tolerance);
    check("input_gradient_blocks", &blocks(&gradients[0], facts["block_side"].as_u64().unwrap() as usize), tolerance);
    if let Some(layer) = layer {
        check("layer_sample", &sample(&pass.output(layer).unwrap()), TOLERANCE);
        check("layer_gradient_sample", &sample(&gradients[1]), TOLERANCE);
    }
}

#[test]
fn slim_networks_agree_with_pytorch() {
    for name in SLIM {
        compare(name, &golden().join("nets").join(format!("{name}.onnx")), TOLERANCE);
    }
}

#[test]
fn real_networks_agree_with_pytorch_where_their_files_are() {
    let Some(models) = std::env::var_os("FAME_MODELS").map(PathBuf::from) else {
        println!("FAME_MODELS is not set: the real networks are skipped.");
        return;
    };
    for (name, tolerance) in FULL {
        let file = models.join(format!("{name}.onnx"));
        if file.exists() {
            compare(name, &file, tolerance);
        }
    }
}
