//! What this plugin promises, checked with fame's test kit.

use fame_core::{
    contract::{ExplainContext, Explainer, Silent},
    testkit::{self, SIZE, Trial, build, check_explainer, check_plugin},
};
use scaffold_crate::Scaffold;

#[test]
fn it_is_a_plugin() {
    check_plugin::<dyn Explainer, Scaffold>().unwrap();
}

#[test]
fn its_maps_are_honest_and_a_batch_is_a_loop() {
    let explainer = build::<dyn Explainer>("Scaffold(loss: FakeLoss())").unwrap();
    let sample = |id: &str| testkit::sample(id, &["image"], SIZE).unwrap();
    let samples = [sample("a"), sample("b"), sample("c")];
    check_explainer(explainer.plugin.as_ref(), &testkit::model().unwrap(), &samples).unwrap();
}

#[test]
fn the_layer_the_loss_reads_may_be_an_inner_one_but_must_exist() {
    let model = testkit::model().unwrap();
    let at = |layer: &str| {
        let spec = format!("Scaffold(loss: FakeLoss(), layer: {layer:?})");
        build::<dyn Explainer>(&spec).unwrap().plugin.check(&model)
    };
    assert!(at("pooled").is_ok());
    assert!(at("poled").unwrap_err().help.unwrap().contains("did you mean `pooled`?"));
}

#[test]
fn what_has_no_gradient_has_no_map_but_a_warning() {
    let mut sample = testkit::sample("black", &["image"], SIZE).unwrap();
    let model = testkit::model().unwrap();
    // The picture whose network input is zero everywhere: x · g is zero.
    let mean = &model.manifest.input.mean;
    let pixels = &mut sample.pictures[0].1.pixels;
    for (channel, mean) in mean.iter().enumerate() {
        pixels.row_mut(channel).fill(*mean);
    }
    let explainer = build::<dyn Explainer>("Scaffold(loss: FakeLoss())").unwrap();
    let with = ExplainContext { model: &model, seed: 0, progress: &Silent };
    let explanation = explainer.plugin.explain(&with, &[sample]).remove(0).unwrap();
    assert!(explanation.maps.is_empty() && explanation.warnings.len() == 1);
}

#[test]
fn a_recipe_with_it_runs() {
    let trial =
        Trial::run(r#"explain: {"mine": Scaffold(loss: FakeLoss(), layer: "logits")}"#).unwrap();
    assert_eq!(trial.summary.done, 2);
}
