//! A check of a host operator's pull-back against central differences of its forward pass.

use fame_core::Tensor;

use crate::backends::onnx::fixtures::batch;
use crate::backends::onnx::host_operator::HostOperator;

/// The step of the differences: truncation (step²) and rounding (1e-7 / step) are both near 1e-4.
const STEP: f32 = 1e-2;
/// Relative to one plus the derivative: ten times what truncation and rounding come to.
const TOLERANCE: f64 = 2e-3;
/// Differences of two steps that are further apart than this lie on both sides of a kink, where
/// there is no derivative; at most one element in four may, as the corners of regions do.
const KINK: f64 = 2.0 * TOLERANCE;

/// Checks `operator` on inputs of noise of these shapes: the gradients of the inputs `moved`.
pub(super) fn check(operator: &dyn HostOperator, shapes: &[&[usize]], moved: &[usize]) {
    let inputs: Vec<Tensor> =
        shapes.iter().enumerate().map(|(ix, shape)| batch(shape, 1000 * ix)).collect();
    check_at(operator, &inputs, moved);
}

/// Checks `operator` on `inputs`: the gradients of the inputs `moved`, and that its shape is true.
pub(super) fn check_at(operator: &dyn HostOperator, inputs: &[Tensor], moved: &[usize]) {
    let shapes: Vec<Vec<usize>> = inputs.iter().map(|x| x.shape().to_vec()).collect();
    let output = operator.forward(inputs).unwrap();
    assert_eq!(output.shape(), operator.shape(&shapes).unwrap());
    let cotangent = batch(output.shape(), 77);
    let pulled = operator.pull_back(inputs, &output, &cotangent).unwrap();
    assert_eq!(pulled.len(), inputs.len());
    let loss = |inputs: &[Tensor]| -> f64 {
        let output = operator.forward(inputs).unwrap();
        output.data().iter().zip(cotangent.data()).map(|(y, c)| f64::from(*y) * f64::from(*c)).sum()
    };
    for &ix in moved {
        let gradient = pulled[ix].as_ref().unwrap();
        assert_eq!(gradient.shape(), inputs[ix].shape());
        let mut kinks = 0;
        for k in 0..gradient.len() {
            let at = |by: f32| {
                let mut moved = inputs.to_vec();
                moved[ix].data_mut()[k] += by;
                (loss(&moved), f64::from(moved[ix].data()[k]))
            };
            let slope = |step: f32| {
                let ((up, high), (down, low)) = (at(step), at(-step));
                (up - down) / (high - low)
            };
            let (want, got) = (slope(STEP), f64::from(gradient.data()[k]));
            if (want - slope(STEP / 4.0)).abs() > KINK * (1.0 + want.abs()) {
                kinks += 1;
                continue;
            }
            assert!(
                (got - want).abs() <= TOLERANCE * (1.0 + want.abs()),
                "input {ix}, element {k}: {got} instead of {want}"
            );
        }
        assert!(4 * kinks <= gradient.len(), "input {ix}: {kinks} kinks");
    }
}
