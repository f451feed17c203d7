//! A check of a host operator's pull-back against central differences of its forward pass.

use fame_core::Tensor;

use crate::backends::onnx::fixtures::batch;
use crate::backends::onnx::host_operator::HostOperator;

/// The step of the differences: truncation (step²) and rounding (1e-7 / step) are both near 1e-4.
const STEP: f32 = 1e-2;
/// Relative to one plus the derivative: ten times what truncation and rounding come to.
const TOLERANCE: f64 = 2e-3;

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
        for k in 0..gradient.len() {
            let at = |by: f32| {
                let mut moved = inputs.to_vec();
                moved[ix].data_mut()[k] += by;
                (loss(&moved), f64::from(moved[ix].data()[k]))
            };
            let ((up, high), (down, low)) = (at(STEP), at(-STEP));
            let (want, got) = ((up - down) / (high - low), f64::from(gradient.data()[k]));
            assert!(
                (got - want).abs() <= TOLERANCE * (1.0 + want.abs()),
                "input {ix}, element {k}: {got} instead of {want}"
            );
        }
    }
}
