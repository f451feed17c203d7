//! What this plugin promises, checked with fame's test kit.

use fame_core::{
    contract::Writer,
    testkit::{self, SIZE, Trial, build, check_plugin, check_writer},
};
use scaffold_crate::Scaffold;

#[test]
fn it_is_a_plugin() {
    check_plugin::<dyn Writer, Scaffold>().unwrap();
    assert!(build::<dyn Writer>("Scaffold(pixels: 0)").is_err());
}

#[test]
fn it_names_exactly_the_files_it_writes_highest_pixel_first() {
    let sample = testkit::sample("a", &["image"], SIZE).unwrap();
    let mut explanation = testkit::explanation(SIZE).unwrap();
    let values = explanation.maps[0].finished.data_mut();
    values.fill(0.25);
    values[2 * SIZE + 5] = 1.0;
    let files = check_writer(&Scaffold { pixels: 3 }, &sample, &explanation).unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].0, "testkit.image.top.csv");
    assert_eq!(
        String::from_utf8_lossy(&files[0].1),
        "rank,x,y,value\n1,5,2,1\n2,0,0,0.25\n3,1,0,0.25\n"
    );
}

#[test]
fn a_recipe_with_it_runs() {
    let trial = Trial::run("write: [Scaffold(pixels: 5)]").unwrap();
    let table = trial.read("items/fake_1/walk.image.top.csv").unwrap();
    assert_eq!(table.lines().count(), 6, "{table}");
}
