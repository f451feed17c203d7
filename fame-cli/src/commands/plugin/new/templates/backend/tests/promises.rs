//! What this plugin promises, checked with fame's test kit.

use std::path::PathBuf;

use fame_core::{
    LoadRequest, Taps, Tensor,
    contract::{Backend, Network},
    testkit::{SIZE, Trial, build, check_network, check_plugin},
};
use scaffold_crate::Scaffold;

/// The kit's network behind the noise.
fn network(spec: &str) -> Box<dyn Network> {
    let request =
        LoadRequest::new(PathBuf::from("net.onnx")).with_input_shape(vec![3, SIZE, SIZE]);
    build::<dyn Backend>(spec).unwrap().plugin.load(&request).unwrap()
}

#[test]
fn it_is_a_plugin() {
    check_plugin::<dyn Backend, Scaffold>().unwrap();
    assert!(build::<dyn Backend>("Scaffold(inner: Fake(), noise: -1)").is_err());
}

#[test]
fn its_network_conforms() {
    for check in check_network(network("Scaffold(inner: Fake(), noise: 0.2)").as_ref()).unwrap() {
        println!("{check}");
    }
}

#[test]
fn without_noise_it_is_the_inner_backend_and_with_it_another() {
    let logits = |spec: &str| {
        let network = network(spec);
        let batch = Tensor::filled([2, 3, SIZE, SIZE], 0.3);
        network.forward(&batch, &Taps::of(["logits"])).unwrap().output("logits").unwrap()
    };
    let plain = logits("Fake()");
    assert_eq!(logits("Scaffold(inner: Fake(), noise: 0)"), plain);
    let noisy = logits("Scaffold(inner: Fake(), noise: 0.2)");
    assert!(noisy != plain && noisy.row(0) == noisy.row(1), "the pattern is every row's");
}

#[test]
fn a_recipe_with_it_runs() {
    let record = Trial::run("backend: Scaffold(inner: Fake())").unwrap().read("run.json").unwrap();
    assert!(record.contains("Noise of standard deviation 0.05"), "{record}");
}
