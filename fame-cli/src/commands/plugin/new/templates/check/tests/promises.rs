//! What this plugin promises, checked with fame's test kit.

use fame_core::{
    Explanation, Model, Taps, Tensor, Witness,
    contract::{Check, Finding},
    testkit::{self, SIZE, Trial, build, check_plugin},
};
use scaffold_crate::Scaffold;

#[test]
fn it_is_a_plugin() {
    check_plugin::<dyn Check, Scaffold>().unwrap();
    assert!(build::<dyn Check>("Scaffold(times: 0)").is_err());
    assert!(build::<dyn Check>("Scaffold(tolerance: -1)").is_err());
}

/// An explanation that rests on one input, for which the explainer saw the logits times `factor`.
fn explanation(model: &Model, factor: f32) -> Explanation {
    let input = Tensor::filled([3, SIZE, SIZE], 0.3);
    let batch = Tensor::stack([&input]).unwrap();
    let pass = model.network.forward(&batch, &Taps::of(["logits"])).unwrap();
    let mut logits = pass.output("logits").unwrap().row_tensor(0);
    logits.data_mut().iter_mut().for_each(|v| *v *= factor);
    let outputs = vec![("logits".to_owned(), logits)];
    let witness = Witness { name: "image".to_owned(), input, outputs };
    Explanation { witnesses: vec![witness], ..testkit::explanation(SIZE).unwrap() }
}

fn finding(factor: f32) -> Finding {
    let model = testkit::model().unwrap();
    let sample = testkit::sample("a", &["image"], SIZE).unwrap();
    let check = build::<dyn Check>("Scaffold(times: 2)").unwrap();
    let loaded = check.plugin.load(&model).unwrap();
    loaded.compare(&model, &sample, &explanation(&model, factor)).unwrap()
}

#[test]
fn a_network_that_repeats_itself_passes_and_another_one_fails() {
    let same = finding(1.0);
    assert!(same.fault.is_none() && same.difference == 0.0, "{same:?}");
    let apart = finding(1.25);
    // 1.25 times a value is a fifth of itself away from that value.
    assert!((apart.difference - 0.2).abs() < 1e-6, "{apart:?}");
    assert!(apart.fault.is_some());
    let broken = finding(f32::NAN);
    assert!(broken.fault.is_some() && broken.difference.is_nan(), "{broken:?}");
}

#[test]
fn a_recipe_with_it_runs() {
    let record = Trial::run("check: Scaffold()").unwrap().read("items/fake_1/item.json").unwrap();
    assert!(record.contains("\"verdict\": \"agrees\""), "{record}");
}
