//! What this plugin promises, checked with fame's test kit.

use fame_core::{
    Tensor,
    contract::Metric,
    testkit::{self, SIZE, Trial, check_metric, check_plugin},
};
use scaffold_crate::Scaffold;

#[test]
fn it_is_a_plugin() {
    check_plugin::<dyn Metric, Scaffold>().unwrap();
}

/// Entropy and effective pixels of a map with these values.
fn measured(values: Vec<f32>) -> (f64, f64) {
    let (model, sample) =
        (testkit::model().unwrap(), testkit::sample("a", &["image"], SIZE).unwrap());
    let mut explanation = testkit::explanation(SIZE).unwrap();
    explanation.maps[0].finished = Tensor::new([SIZE, SIZE], values).unwrap();
    let found =
        check_metric(&Scaffold { effective_pixels: true }, &model, &sample, &explanation).unwrap();
    assert_eq!(
        found.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(),
        ["entropy", "effective_pixels"]
    );
    (found[0].value, found[1].value)
}

#[test]
fn one_pixel_has_none_and_an_even_map_has_all_of_it() {
    let pixels = SIZE * SIZE;
    let mut one = vec![0.0; pixels];
    one[3] = 0.7;
    assert_eq!(measured(one), (0.0, 1.0));
    let (entropy, effective) = measured(vec![0.2; pixels]);
    // A sum of 64 rounded logarithms.
    assert!((entropy - 1.0).abs() < 1e-9 && (effective - pixels as f64).abs() < 1e-6);
}

#[test]
fn a_recipe_with_it_leaves_rows() {
    let csv = Trial::run("metrics: [Scaffold()]").unwrap().read("metrics.csv").unwrap();
    assert_eq!(csv.lines().filter(|line| line.contains("entropy")).count(), 2, "{csv}");
}
