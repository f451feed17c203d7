//! What this plugin promises, checked with fame's test kit.

use fame_core::{
    contract::PrepareStep,
    testkit::{Trial, check_plugin, check_prepare},
};
use scaffold_crate::Scaffold;

#[test]
fn it_is_a_plugin() {
    check_plugin::<dyn PrepareStep, Scaffold>().unwrap();
}

#[test]
fn points_follow_the_pixels() {
    check_prepare(&Scaffold::default()).unwrap();
    // A role that the picture does not have: nothing changes, and the geometry says so.
    check_prepare(&Scaffold { role: Some("left".to_owned()) }).unwrap();
}

#[test]
fn a_recipe_with_it_runs_and_the_record_says_so() {
    let recipe = r#"prepare: [Scaffold(role: "left")], data: FakePictures(items: 1, pairs: true)"#;
    let item = Trial::run(recipe).unwrap().read("items/fake_1/item.json").unwrap();
    assert_eq!(item.matches("\"Scaffold\": true").count(), 1, "{item}");
}
