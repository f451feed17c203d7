//! What this plugin promises, checked with fame's test kit.

use fame_core::{
    Tensor,
    contract::{Attribute, Attributes, Operator},
    testkit::{Trial, build, check_operator, check_operator_rows, check_plugin},
};
use scaffold_crate::Scaffold;

fn node(cap: f32) -> Attributes {
    [("cap", Attribute::Float(cap))].into_iter().collect()
}

fn scores() -> Tensor {
    Tensor::new([2, 3], vec![2.0, -1.0, 0.5, 12.0, -7.0, 1.5]).unwrap()
}

#[test]
fn it_is_a_plugin() {
    check_plugin::<dyn Operator, Scaffold>().unwrap();
}

#[test]
fn its_cotangent_is_the_derivative_of_its_output_and_rows_stay_apart() {
    let operator = build::<dyn Operator>("Scaffold()").unwrap().plugin;
    for attributes in [Attributes::default(), node(5.0), node(0.7)] {
        check_operator(operator.as_ref(), &attributes, &[scores()]).unwrap();
        check_operator_rows(operator.as_ref(), &attributes, &[scores()], &[0]).unwrap();
    }
}

#[test]
fn no_score_passes_the_bound_and_small_ones_hardly_change() {
    let y = Scaffold::default().forward(&node(5.0), &[scores()]).unwrap().remove(0);
    assert!(y.data().iter().all(|y| y.abs() <= 5.0));
    // tanh(x) = x − x³/3 + …: at 0.5 / 5 it is short of x by 1/300 of it.
    assert!((y.data()[2] - 0.5 * (1.0 - 1.0 / 300.0)).abs() < 1e-4, "{y:?}");
}

#[test]
fn a_node_that_is_not_its_own_is_refused() {
    let operator = Scaffold::default();
    assert!(operator.output_shapes(&node(-1.0), &[vec![1, 3]]).is_err());
    assert!(operator.output_shapes(&node(1.0), &[vec![1, 3], vec![3]]).is_err());
}

#[test]
fn models_are_loaded_with_it() {
    let record = Trial::run("").unwrap().read("run.json").unwrap();
    assert!(record.contains("\"Scaffold\": \"scaffold-crate.Scaffold\""), "{record}");
}
