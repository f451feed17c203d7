//! `Lrp` against zennit, on the very same ONNX files.
//!
//! The goldens are made by `tests/oracles/lrp.py`, in f64; CI needs no Python. With
//! `FAME_LRP_PARITY` naming a folder the script wrote, those are compared instead.
//! `cargo test -p fame-tests --test lrp_parity -- --nocapture` prints the table.

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use fame_core::contract::{
    Backend, ExplainContext, Explainer, Network, Pass, RelevanceRules, Silent, WeightRule,
};
use fame_core::data::{Facts, Value};
use fame_core::registry::{Assembly, BuildContext, Plugin};
use fame_core::{
    Bias, Claim, GradientPlace, Layer, LoadRequest, Model, Picture, Result, Sample, Taps, Tensor,
};
use fame_plugins::{
    Preset,
    backends::tract::{Convolutions, Tract},
};
use fame_tests::{apart, build, classifier, noise_picture, root, sample_of, sampled, slim_fed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Rows and columns of the slim classifiers' input.
const SIZE: usize = 64;
/// The least correlation.
const ALIKE: f64 = 0.999;
/// The largest difference, as a share of the largest relevance. Zennit divides by `z + ε` with ε =
/// 1e-6 at sums and mean poolings too, where ours has nothing to divide: our algorithm, written in
/// PyTorch in f64, is 1.6e-4 away from it on these networks. The rest is for rounding in f32.
const APART: f32 = 1e-3;
/// The sum over pixels relative to itself or to the logit, whichever is larger (on
/// `mobilenet_v2_slim` the αβ rule makes −183 out of 1.4), and the logit.
const SUMS: f64 = 1e-3;

fn golden() -> PathBuf {
    std::env::var_os("FAME_LRP_PARITY")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/lrp"), PathBuf::from)
}

/// A network of the goldens, whose input lies between −1 (black) and 1 (white): for the box.
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
    let (class, logit) = (about["class"].as_u64().unwrap(), about["logit"].as_f64().unwrap());
    let (model, sample) = (model(network), picture());
    let with = ExplainContext { model: &model, seed: 0, progress: &Silent };
    let (mut rest, mut failed) = (all.as_slice(), vec![]);
    for method in about["methods"].as_array().unwrap() {
        let parameters = method["parameters"].as_str().unwrap();
        let theirs;
        (theirs, rest) = rest.split_at(method["values"].as_u64().unwrap() as usize);
        let spec = format!("Lrp({parameters}, loss: Logit(class: Index({class})))");
        let explainer = build::<dyn Explainer>(&spec, &classifier(), Preset::Authors);
        explainer.plugin.check(&model).unwrap();
        let samples = std::slice::from_ref(&sample);
        let explanation = explainer.plugin.explain(&with, samples).remove(0).unwrap();
        let map = explanation.maps.into_iter().next().unwrap();
        let (apart, correlation) = apart(&sampled(map.raw.data(), (SIZE, SIZE), stride), theirs);
        let theirs_sum = method["sum"].as_f64().unwrap();
        let sum = number(&map.facts, "relevance");
        let shared_out = number(&map.facts, "shared_out");
        println!("| {network} | {parameters} | {apart:.1e} | {correlation:.7} | {sum:.4} |");
        let off = (sum - theirs_sum).abs() / theirs_sum.abs().max(logit.abs());
        let top = (shared_out - logit).abs() / logit.abs();
        // A NaN does not hold.
        let holds = correlation >= ALIKE && apart <= APART && off <= SUMS && top <= SUMS;
        if !holds {
            failed.push(format!("{parameters}: {apart:e}, {correlation}, {sum}, {shared_out}"));
        }
    }
    assert!(rest.is_empty() && failed.is_empty(), "{network}: {failed:#?}");
}

#[test]
fn a_residual_network_is_zennits() {
    hold("resnet50_slim");
}

#[test]
fn a_chain_of_convolutions_and_dense_layers_is_zennits() {
    hold("vgg_slim");
}

#[test]
fn clipped_activations_and_values_of_either_sign_are_zennits() {
    hold("mobilenet_v2_slim");
}

#[test]
fn joined_branches_are_zennits() {
    hold("squeezenet_slim");
}

/// Where all contributions of a sign are zero, the αβ rule divides by next to nothing, which must
/// stay where it belongs: Winograd's kernels spread it over their tiles, and a stripe of such a
/// picture then was off by a quarter of the largest relevance.
#[test]
fn no_kernel_spreads_quotients_over_the_inputs_beside() {
    let relevance = |convolutions: Convolutions| {
        let mut model = model("resnet50_slim");
        let file = root().join("tests/golden/nets/resnet50_slim.onnx");
        let request = LoadRequest::new(file).with_input_shape(vec![3, SIZE, SIZE]);
        model.network = Tract { convolutions, ..Tract::default() }.load(&request).unwrap();
        let with = ExplainContext { model: &model, seed: 0, progress: &Silent };
        let spec = "Lrp(composite: EpsilonAlpha2Beta1, loss: Logit(class: Index(1)))";
        let explainer = build::<dyn Explainer>(spec, &classifier(), Preset::Authors);
        let explained = explainer.plugin.explain(&with, &[sample_of("stripes", stripes())]);
        explained.into_iter().next().unwrap().unwrap().maps.remove(0).raw.data().to_vec()
    };
    let (ours, theirs) = (relevance(Convolutions::Own), relevance(Convolutions::Tract));
    let (apart, correlation) = apart(&ours, &theirs);
    assert!(apart <= APART && correlation >= ALIKE, "{apart:e}, {correlation}");
}

/// The drawn picture of `authors.py`: stripes, and a disc where they are inverted.
fn stripes() -> Picture {
    let (size, shade) = (SIZE as i64, 5);
    let value = |c: i64, y: i64, x: i64| {
        let is_disc = (2 * x - size).pow(2) + (2 * y - size - shade).pow(2) < size * size / 3;
        let stripes = (x * shade * (c + 1) / 4 + y * (7 - c)) % 256;
        (if is_disc { 255 - stripes } else { stripes }) as f32 / 255.0
    };
    let rows = |c: i64| (0..size).flat_map(move |y| (0..size).map(move |x| value(c, y, x)));
    let pixels = (0..3).flat_map(rows).collect();
    Picture::new(Tensor::new([3, SIZE, SIZE], pixels).unwrap(), "stripes".to_owned()).unwrap()
}

/// The map claims what speaks for the class: channels cancel first, and then what is left below
/// zero is no part of it.
#[test]
fn a_pixel_of_negative_relevance_is_not_shown_as_for() {
    let (model, sample) = (model("squeezenet_slim"), picture());
    let with = ExplainContext { model: &model, seed: 0, progress: &Silent };
    let spec = "Lrp(composite: EpsilonGammaBox)";
    let explainer = build::<dyn Explainer>(spec, &classifier(), Preset::Authors);
    let mut all = explainer.plugin.explain(&with, &[sample]);
    let explanation = all.remove(0).unwrap();
    let [map] = explanation.maps.as_slice() else { panic!("{:?}", explanation.warnings) };
    assert_eq!(map.id.claim, Claim::For);
    let pixels = SIZE * SIZE;
    let sum = |pixel: usize| (0..3).map(|c| map.raw.data()[c * pixels + pixel]).sum::<f32>();
    let sums: Vec<f32> = (0..pixels).map(sum).collect();
    let most = sums.iter().fold(0.0f32, |m, v| m.max(*v));
    let wanted: Vec<f32> = sums.iter().map(|v| v.max(0.0) / most).collect();
    assert_eq!(map.finished.data(), wanted);
    // There are pixels against it, and some that are for it in one channel only.
    assert!(sums.iter().any(|v| *v < 0.0));
    assert!((0..pixels).any(|i| sums[i] < 0.0 && map.raw.data()[i] > 0.0));
}

#[test]
fn attention_is_refused_by_name() {
    let model = model("vit_slim");
    let explainer = build::<dyn Explainer>("Lrp()", &classifier(), Preset::Authors);
    let error = explainer.plugin.check(&model).unwrap_err();
    assert_eq!(error.code, "fame::backend::no_relevance_rule");
    assert!(error.message.contains("relevance does not pass node `"), "{}", error.message);
}

/// A backend of somebody who has never heard of relevance.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Unknowing {}

impl Plugin<dyn Backend> for Unknowing {
    const NAME: &'static str = "Unknowing";
    const SUMMARY: &'static str = "gradients whatever is asked";
    const EXAMPLE: &'static str = "Unknowing()";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Backend>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Backend: Unknowing);

impl Backend for Unknowing {
    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn load(&self, request: &LoadRequest) -> Result<Box<dyn Network>> {
        Ok(Box::new(UnknowingNetwork(Tract::default().load(request)?)))
    }
}

struct UnknowingNetwork(Box<dyn Network>);

impl Network for UnknowingNetwork {
    fn input_shape(&self) -> &[usize] {
        self.0.input_shape()
    }

    fn layers(&self) -> &[Layer] {
        self.0.layers()
    }

    fn check_gradient(&self, layer: &str, to: &GradientPlace) -> Result<()> {
        self.0.check_gradient(layer, to)
    }

    fn preferred_rows(&self) -> usize {
        self.0.preferred_rows()
    }

    fn notes(&self) -> &[String] {
        self.0.notes()
    }

    fn forward<'n>(&'n self, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>> {
        self.0.forward(batch, &Taps { relevance: None, ..taps.clone() })
    }

    fn forward_from<'n>(
        &'n self,
        layer: &str,
        value: &Tensor,
        batch: &Tensor,
        taps: &Taps,
    ) -> Result<Box<dyn Pass + 'n>> {
        self.0.forward_from(layer, value, batch, &Taps { relevance: None, ..taps.clone() })
    }

    fn biases(&self) -> Result<Vec<Bias>> {
        self.0.biases()
    }
}

#[test]
fn a_backend_that_would_answer_with_derivatives_is_refused() {
    let file = root().join("tests/golden/nets/vgg_slim.onnx");
    let backend = build::<dyn Backend>("Unknowing()", &classifier(), Preset::Authors);
    let request = LoadRequest::new(file).with_input_shape(vec![3, SIZE, SIZE]);
    let network = backend.plugin.load(&request).unwrap();
    let output = network.layers().iter().find(|layer| layer.is_output).unwrap().name.clone();
    let rules = RelevanceRules {
        first: None,
        convolution: WeightRule::Epsilon,
        dense: WeightRule::Epsilon,
        epsilon: 1e-6.into(),
        stabilizer: 1e-6.into(),
    };
    let gradients = Taps::of([output.as_str()]).with_gradient(GradientPlace::Input);
    let relevance = Taps { relevance: Some(rules), ..gradients.clone() };
    let batch = Tensor::zeros([1, 3, SIZE, SIZE]);
    assert!(network.forward(&batch, &gradients).is_ok());
    let refused = network.forward(&batch, &relevance).map(drop).unwrap_err();
    assert_eq!(refused.code, "fame::backend::no_relevance");
    let refused = network.forward_from(&output, &Tensor::zeros([1]), &batch, &relevance);
    assert_eq!(refused.map(drop).unwrap_err().code, "fame::backend::no_relevance");
    // So are multipliers, of a picture and its reference.
    let multipliers = Taps { multipliers: true, ..gradients };
    let pair = Tensor::zeros([2, 3, SIZE, SIZE]);
    let refused = network.forward(&pair, &multipliers).map(drop).unwrap_err();
    assert_eq!(refused.code, "fame::backend::no_multipliers");
    assert!(refused.help.unwrap().contains("IntegratedGradients"));
}
