//! What this plugin promises, checked with fame's test kit.

use fame_core::{
    Tensor,
    contract::Loss,
    testkit::{Trial, build, check_loss, check_plugin},
};
use scaffold_crate::Scaffold;

#[test]
fn it_is_a_plugin() {
    check_plugin::<dyn Loss, Scaffold>().unwrap();
    assert!(build::<dyn Loss>("Scaffold(temperature: -1)").is_err());
}

#[test]
fn its_cotangent_is_the_derivative_of_its_value() {
    let scores = Tensor::vector(vec![2.0, -1.0, 0.5, 1.5]);
    for temperature in [0.5, 1.0, 4.0] {
        check_loss(&Scaffold { temperature }, &[scores.clone()]).unwrap();
    }
}

#[test]
fn two_equal_scores_count_as_one_that_is_higher_by_ln_2() {
    let target = fame_core::Target::unnamed();
    let scores = Tensor::new([1, 2], vec![3.0, 3.0]).unwrap();
    let found = Scaffold::default().evaluate(&[scores], &[&target]).unwrap();
    // Rounded once, to f32.
    assert!((found.values[0] - (3.0 + 2f32.ln())).abs() < 1e-6);
    assert_eq!(found.cotangents[0].data(), [0.5, 0.5]);
}

#[test]
fn a_recipe_with_it_runs_and_the_loss_falls() {
    let recipe = r#"explain: {"mine": FakeWalk(loss: Scaffold(), layer: "logits")}"#;
    let trial = Trial::run(recipe).unwrap();
    let record = trial.read("items/fake_1/item.json").unwrap();
    let number = |name: &str| -> f64 {
        let (_, rest) = record.split_once(&format!("\"{name}\": ")).unwrap();
        rest.split([',', '\n']).next().unwrap().parse().unwrap()
    };
    assert!(number("last_loss") < number("first_loss"));
}
