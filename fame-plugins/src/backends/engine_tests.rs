//! The two engines against one another, on the small network of the fixtures and on the slim ones
//! of `tests/golden`.

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use fame_core::contract::{Backend, LoadRequest, Network, ReluRule};
use fame_core::{GradientPlace, Taps, Tensor};
use prost::Message as _;

use super::onnx::fixtures::{assert_close, batch, seed, small};
use super::tch::{Precision, Tch};
use super::tract::Tract;

/// Between the engines, relative L2, over a whole network in f32: measured 1e-6 to 2e-5, the larger
/// where a ReLU's input is nearly zero.
const RELATIVE: f64 = 1e-4;
/// bfloat16 has 8 bits: 0.4 % for each rounding, a few of them adding up.
const BF16: f64 = 5e-2;
/// Gradients in bfloat16, relative L2, twice the worst measured on the networks of `SMOOTH` (0.15,
/// IResNet): rounding pushes inputs of ReLUs over zero, and a narrow random network has few others
/// to average over. Where kinks abound (MobileNetV2: 1.3) no bound of ours would mean anything.
const BF16_GRADIENT: f64 = 0.3;

fn relative(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.shape(), want.shape());
    let sum = |f: &dyn Fn(f64, f64) -> f64| {
        got.data()
            .iter()
            .zip(want.data())
            .map(|(g, w)| f(f64::from(*g), f64::from(*w)))
            .sum::<f64>()
    };
    (sum(&|g, w| (g - w).powi(2)) / sum(&|_, w| w * w).max(1e-30)).sqrt()
}

#[test]
fn layers_are_those_of_the_other_engine() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("net.onnx");
    std::fs::copy(golden("mobilenet_v2_slim"), &file).unwrap();
    let request = LoadRequest::new(file).with_input_shape(vec![3, 64, 64]);
    let (tract, tch) =
        (Tract::default().load(&request).unwrap(), Tch::default().load(&request).unwrap());
    assert_eq!(tract.layers(), tch.layers());
    assert_eq!(tract.biases().unwrap(), tch.biases().unwrap());
    assert!(
        tch.notes().iter().any(|note| note.contains("libtorch 2.13.0 on the CPU")),
        "{:?}",
        tch.notes()
    );
}

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/nets").join(format!("{name}.onnx"))
}

/// The two engines on one model: outputs and input gradients of a batch of two.
fn compare(
    file: &Path,
    shape: [usize; 3],
    options: Tch,
    relu: ReluRule,
    gradient_to: &[GradientPlace],
) -> (f64, f64) {
    let request = LoadRequest::new(file.to_owned()).with_input_shape(shape.to_vec());
    let (tract, tch) = (Tract::default().load(&request).unwrap(), options.load(&request).unwrap());
    let output = tract.layers().iter().find(|l| l.is_output).unwrap();
    let mut taps = Taps::of([output.name.clone()]);
    taps.gradients = gradient_to.to_vec();
    taps.relu = relu;
    let x = batch(&[2, shape[0], shape[1], shape[2]], 11);
    let cotangent = batch(&[&[2], output.shape.as_slice()].concat(), 5);
    let run = |network: &dyn Network| {
        let pass = network.forward(&x, &taps).unwrap();
        (
            pass.output(&output.name).unwrap(),
            pass.gradient(&[seed(&output.name, cotangent.clone())]).unwrap(),
        )
    };
    let (want, got) = (run(tract.as_ref()), run(tch.as_ref()));
    let gradient = got.1.iter().zip(&want.1).map(|(g, w)| relative(g, w)).fold(0.0, f64::max);
    (relative(&got.0, &want.0), gradient)
}

const SLIM: [(&str, usize); 6] = [
    ("convnext_slim", 64),
    ("densenet_slim", 64),
    ("iresnet50_slim", 56),
    ("mobilenet_v2_slim", 64),
    ("resnet50_slim", 64),
    ("vit_slim", 64),
];

#[test]
fn the_slim_networks_agree_with_tract() {
    for (name, size) in SLIM {
        let (forward, gradient) = compare(
            &golden(name),
            [3, size, size],
            Tch::default(),
            ReluRule::Standard,
            &[GradientPlace::Input],
        );
        println!("{name}: forward {forward:.1e}, gradient {gradient:.1e}");
        assert!(
            forward <= RELATIVE && gradient <= RELATIVE,
            "{name}: forward {forward:.1e}, gradient {gradient:.1e}"
        );
    }
}

/// The networks whose gradients bfloat16 does not tear at kinks. On the others (MobileNetV2's
/// clipped ReLUs, say) PyTorch's own bfloat16 is as far from its f32: the conformance suite puts
/// theirs beside what PyTorch gives (`tests/oracles/bf16.py`).
const SMOOTH: [&str; 3] = ["convnext_slim", "iresnet50_slim", "vit_slim"];

#[test]
fn bfloat16_is_close_to_it() {
    for (name, size) in SLIM.into_iter().filter(|(name, _)| SMOOTH.contains(name)) {
        let options = Tch { precision: Precision::Bf16, ..Tch::default() };
        let (forward, gradient) = compare(
            &golden(name),
            [3, size, size],
            options,
            ReluRule::Standard,
            &[GradientPlace::Input],
        );
        println!("{name}: forward {forward:.1e}, gradient {gradient:.1e}");
        assert!(
            forward <= BF16 && gradient <= BF16_GRADIENT,
            "{name}: forward {forward:.1e}, gradient {gradient:.1e}"
        );
        // It is another number format, and says so.
        assert!(forward > 1e-5, "{name}");
    }
}

#[test]
fn guided_backpropagation_agrees_with_tract() {
    for (name, size) in [("resnet50_slim", 64), ("mobilenet_v2_slim", 64)] {
        let (_, guided) = compare(
            &golden(name),
            [3, size, size],
            Tch::default(),
            ReluRule::Guided,
            &[GradientPlace::Input],
        );
        assert!(guided <= RELATIVE, "{name}: {guided:.1e}");
    }
}

#[test]
fn guided_backpropagation_agrees_in_front_of_at_and_behind_a_relu() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("net.onnx");
    std::fs::write(&file, small().encode_to_vec()).unwrap();
    let request = LoadRequest::new(file);
    let x = batch(&[2, 2, 8, 8], 0);
    let mut taps = Taps::of(["y", "act2"]);
    taps.gradients = vec![
        GradientPlace::Layer("act2".into()),
        GradientPlace::Layer("sum".into()),
        GradientPlace::Input,
    ];
    taps.relu = ReluRule::Guided;
    let seeds = [seed("y", batch(&[2, 5], 1)), seed("act2", batch(&[2, 6, 8, 8], 4))];
    let pull = |backend: &dyn Backend| {
        backend.load(&request).unwrap().forward(&x, &taps).unwrap().gradient(&seeds).unwrap()
    };
    let (got, want) = (pull(&Tch::default()), pull(&Tract::default()));
    got.iter().zip(&want).for_each(|(g, w)| assert_close(g, w));
}
