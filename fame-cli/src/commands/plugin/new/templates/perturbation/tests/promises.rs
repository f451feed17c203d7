//! What this plugin promises, checked with fame's test kit.

use fame_core::{
    Tensor,
    contract::{Perturbation, Start},
    testkit::{self, SIZE, Trial, build, check_perturbation, check_plugin},
};
use scaffold_crate::Scaffold;

#[test]
fn it_is_a_plugin() {
    check_plugin::<dyn Perturbation, Scaffold>().unwrap();
    assert!(build::<dyn Perturbation>("Scaffold(momentum: 1.5)").is_err());
}

#[test]
fn it_starts_at_the_picture_keeps_its_bound_and_stops_without_a_gradient() {
    for momentum in [0.0, 0.5, 1.0] {
        check_perturbation(&Scaffold { step: 0.01, momentum, iterations: 8 }, true, Some(0.01))
            .unwrap();
    }
}

#[test]
fn a_direction_outlives_a_weaker_one_against_it() {
    let model = testkit::model().unwrap();
    let pixels = Tensor::filled([3, SIZE, SIZE], 0.5);
    let start = Start { pixels: &pixels, convention: &model.manifest.input, seed: 0 };
    let gradient = |first: f32| {
        let mut g = Tensor::filled([3, SIZE, SIZE], 1.0);
        g.data_mut()[0] = first;
        g
    };
    let moved = |momentum: f32| {
        let mut walk = Scaffold { step: 0.01, momentum, iterations: 2 }.start(&start).unwrap();
        walk.step(&gradient(3.0)).unwrap();
        walk.step(&gradient(-1.0)).unwrap();
        walk.field().unwrap().data()[0]
    };
    // Without memory there and back; with it, twice the same way. Two roundings of 0.5 ± 0.01.
    assert!(moved(0.0).abs() < 1e-6 && (moved(1.0) + 0.02).abs() < 1e-6);
}

#[test]
fn a_recipe_with_it_runs() {
    let recipe = r#"explain: {"mine": FakeWalk(perturbation: Scaffold(iterations: 3))}"#;
    assert_eq!(Trial::run(recipe).unwrap().summary.done, 2);
}
