//! What this plugin promises, checked with fame's test kit.

use fame_core::{
    AttributionMap, Tensor,
    contract::MapStep,
    testkit::{Trial, build, check_map_step, check_plugin, check_refuses_constant},
};
use scaffold_crate::Scaffold;

#[test]
fn it_is_a_plugin() {
    check_plugin::<dyn MapStep, Scaffold>().unwrap();
    assert!(build::<dyn MapStep>("Scaffold(gamma: 0)").is_err());
}

#[test]
fn it_keeps_size_and_channels_hides_no_nan_and_refuses_an_empty_map() {
    for gamma in [0.5, 1.0, 3.0] {
        check_map_step(&Scaffold { gamma }).unwrap();
        check_refuses_constant(&Scaffold { gamma }).unwrap();
    }
}

#[test]
fn the_ends_stay_and_what_is_faint_is_lifted() {
    let values = Tensor::new([1, 2, 2], vec![0.0, 1.0, -4.0, 4.0]).unwrap();
    let map = AttributionMap { values, channels: vec!["Y".to_owned()] };
    let out = Scaffold { gamma: 0.5 }.apply(map).unwrap();
    // 4 · √(1/4) = 2.
    assert_eq!(out.values.data(), [0.0, 2.0, -4.0, 4.0]);
}

#[test]
fn a_recipe_with_it_runs() {
    let recipe = r#"explain: {"mine": FakeWalk(map: [Scaffold(gamma: 2)])}"#;
    assert_eq!(Trial::run(recipe).unwrap().summary.done, 2);
}
