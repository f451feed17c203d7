//! A check of one operator's gradient rule against central differences, and of every other engine
//! against that rule.
//!
//! The scalar differentiated is `Σ cotangent · f(x)`, summed in f64. Linear operators are exact
//! under any step, so theirs is 1; for curved ones the step balances truncation against the
//! rounding of f32; piecewise-linear ones get inputs whose distance from every kink is larger than
//! the step.

// tract's own prelude is made to be imported whole.
#![allow(clippy::wildcard_imports)]

use fame_core::contract::ReluRule;
use tract_onnx::tract_core::internal::*;

use super::tract::differentiate;

/// A linear operator: only rounding.
pub(in crate::backends) const LINEAR: Probe =
    Probe { step: 1.0, tolerance: 1e-5, inputs: Inputs::Smooth };
/// A curved operator: truncation (step²) and rounding (1e-7 / step) are both near 1e-4.
pub(in crate::backends) const CURVED: Probe =
    Probe { step: 1e-2, tolerance: 2e-3, inputs: Inputs::Smooth };
/// As `CURVED`, for functions of positive numbers.
pub(in crate::backends) const POSITIVE: Probe =
    Probe { step: 1e-2, tolerance: 2e-3, inputs: Inputs::Positive };
/// A piecewise-linear operator, at inputs 0.1 apart and 0.05 from zero.
pub(in crate::backends) const KINKED: Probe =
    Probe { step: 1e-2, tolerance: 1e-4, inputs: Inputs::Apart };

/// How an operator is probed: the step of the differences, the tolerance relative to one plus the
/// derivative, and the inputs.
pub(in crate::backends) struct Probe {
    step: f32,
    tolerance: f64,
    inputs: Inputs,
}

/// The numbers an operator is fed.
pub(in crate::backends) enum Inputs {
    /// In −1 … 1.
    Smooth,
    /// In 0.5 … 1.5.
    Positive,
    /// 0.1 from one another, and 0.05 from zero.
    Apart,
}

/// A number in −1 … 1 that looks random.
fn noise(i: usize) -> f32 {
    let h = (i as u32 + 1).wrapping_mul(2_654_435_761);
    let h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    ((h ^ (h >> 12)) >> 8) as f32 / 8_388_608.0 - 1.0
}

/// A tensor of noise, from the `from`-th number on.
pub(in crate::backends) fn tensor(shape: &[usize], from: usize) -> Tensor {
    let n = shape.iter().product::<usize>();
    Tensor::from_shape(shape, &(from..from + n).map(noise).collect::<Vec<_>>()).unwrap()
}

/// A decluttered model of one input and one output.
pub(in crate::backends) fn model_of(
    shape: &[usize],
    build: impl FnOnce(&mut TypedModel, OutletId) -> TractResult<OutletId>,
) -> TypedModel {
    let mut model = TypedModel::default();
    let source = model.add_source("x", f32::fact(shape)).unwrap();
    let output = build(&mut model, source).unwrap();
    model.select_output_outlets(&[output]).unwrap();
    model.into_decluttered().unwrap()
}

/// The values of a tensor.
pub(in crate::backends) fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_plain_array_view::<f32>().unwrap().iter().map(|v| f64::from(*v)).collect()
}

impl Inputs {
    /// Numbers for a tensor of `shape`.
    pub(in crate::backends) fn make(&self, shape: &[usize]) -> Vec<f32> {
        let n = shape.iter().product::<usize>();
        match self {
            Self::Smooth => (0..n).map(noise).collect(),
            Self::Positive => (0..n).map(|i| noise(i).abs() + 0.5).collect(),
            // A permutation of multiples of 0.1, around zero: 7919 is prime and larger than any n
            // here.
            Self::Apart => {
                (0..n).map(|i| (((i * 7919) % n) as f32 - (n / 2) as f32) * 0.1 + 0.05).collect()
            }
        }
    }
}

fn run(plan: &Arc<TypedSimplePlan>, inputs: Vec<Tensor>) -> Vec<f32> {
    let output =
        plan.run(inputs.into_iter().map(IntoTValue::into_tvalue).collect()).unwrap().remove(0);
    output.to_plain_array_view::<f32>().unwrap().iter().copied().collect()
}

/// Checks one operator: `build` adds it to a model with an input of `shape`. Once as written, once
/// decluttered.
pub(in crate::backends) fn check(
    shape: &[usize],
    probe: &Probe,
    build: impl Fn(&mut TypedModel, OutletId) -> TractResult<OutletId>,
) {
    let mut model = TypedModel::default();
    let source = model.add_source("x", f32::fact(shape)).unwrap();
    let output = build(&mut model, source).unwrap();
    model.select_output_outlets(&[output]).unwrap();
    check_model(&model, shape, probe);
    check_model(&model.into_decluttered().unwrap(), shape, probe);
}

fn check_model(model: &TypedModel, shape: &[usize], probe: &Probe) {
    let (input, output) = (model.inputs[0], model.outputs[0]);
    let mut backward =
        differentiate(model, &[output], &[input], ReluRule::Standard, false).unwrap();
    let mut forward = model.clone();
    forward.select_output_outlets(&[vec![output], backward.residuals.clone()].concat()).unwrap();
    let forward = SimplePlan::new(forward.into_optimized().unwrap()).unwrap();
    backward.model.declutter().unwrap();
    backward.model.optimize().unwrap();
    let x = probe.inputs.make(shape);
    let row = |x: &[f32]| Tensor::from_shape(shape, x).unwrap();

    let mut values = forward.run(tvec!(row(&x).into_tvalue())).unwrap();
    let cotangent = tensor(values.remove(0).shape(), 1000);
    values.push(cotangent.clone().into_tvalue());
    let gradient = SimplePlan::new(backward.model).unwrap().run(values).unwrap().remove(0);
    assert_eq!(gradient.shape(), shape);
    #[cfg(feature = "tch")]
    super::tch::op_tests::agrees(model, &row(&x), &cotangent, &gradient);

    let weights: Vec<f32> =
        cotangent.to_plain_array_view::<f32>().unwrap().iter().copied().collect();
    let scalar = |x: &[f32]| -> f64 {
        run(&forward, vec![row(x)])
            .iter()
            .zip(&weights)
            .map(|(y, w)| f64::from(*y) * f64::from(*w))
            .sum()
    };
    for (i, got) in gradient.to_plain_array_view::<f32>().unwrap().iter().enumerate() {
        let moved = |by: f32| {
            x.iter().enumerate().map(|(k, v)| if k == i { v + by } else { *v }).collect::<Vec<_>>()
        };
        let (up, down) = (moved(probe.step), moved(-probe.step));
        let want = (scalar(&up) - scalar(&down)) / f64::from(up[i] - down[i]);
        let scale = 1.0 + want.abs();
        assert!(
            (f64::from(*got) - want).abs() <= probe.tolerance * scale,
            "d/dx[{i}]: {got} instead of {want}\n{model}"
        );
    }
}
