//! What the two plugins promise, checked with fame's test kit.

use fame_core::{
    Tensor,
    contract::{Loss, Perturbation},
    testkit::{Trial, build, check_loss, check_perturbation, check_plugin, targets},
};
use fame_tiny::{Rather, Steepest};

#[test]
fn both_are_plugins() {
    check_plugin::<dyn Loss, Rather>().unwrap();
    check_plugin::<dyn Perturbation, Steepest>().unwrap();
    assert!(build::<dyn Perturbation>("Steepest(step: -1, iterations: 5)").is_err());
}

#[test]
fn the_cotangent_is_the_derivative_and_a_class_must_exist() {
    let scores = [Tensor::vector(vec![2.0, -1.0, 0.5])];
    check_loss(&Rather { classes: (0, 2) }, &scores).unwrap();
    let error = targets(&Rather { classes: (0, 3) }, &scores, &[]).unwrap_err();
    assert_eq!(error.message, "there are 3 classes, counted from 0.");
}

#[test]
fn the_walk_starts_at_the_picture_and_keeps_its_bound() {
    check_perturbation(&Steepest { step: 0.01, iterations: 6 }, true, Some(0.01)).unwrap();
}

#[test]
fn both_run_in_one_recipe() {
    let recipe = r#"explain: {"rather": FakeWalk(loss: Rather(classes: (0, 1)), perturbation: Steepest(step: 0.02, iterations: 4))}"#;
    assert_eq!(Trial::run(recipe).unwrap().summary.done, 2);
}
