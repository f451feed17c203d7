//! A comparison of one operator in libtorch with its model and a known gradient; the check of
//! gradient rules calls [`agrees`] with each of its models.

use fame_core::contract::ReluRule;
use tract_onnx::tract_core::internal::*;

use super::compile::build;
use super::lower::Slots;
use super::program::Program;
use super::settings::Precision;
use super::values::{Weights, dims, download, upload};

/// Two engines that sum in another order, relative to the largest value: f32 rounding over at most
/// a few hundred summands, and tract's polynomials for exp and erf (5e-7).
const RELATIVE: f32 = 1e-5;

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.cast_to::<f32>().unwrap().to_plain_array_view::<f32>().unwrap().iter().copied().collect()
}

fn assert_close(what: &str, got: &[f32], want: &[f32], model: &TypedModel) {
    assert_eq!(got.len(), want.len(), "{what}\n{model}");
    let scale = want.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(
            (got - want).abs() <= RELATIVE * scale,
            "{what}[{i}]: {got} instead of {want}, scale {scale}\n{model}"
        );
    }
}

/// The program of a model of one input and one output, differentiated at its input.
fn program_of(model: &TypedModel, weights: &Weights) -> Program {
    let tapped = |name: &str, outlet: OutletId| {
        let shape = model.outlet_fact(outlet).unwrap().shape.as_concrete().unwrap().to_vec();
        (name.to_owned(), shape, outlet)
    };
    let slots = Slots::new(model, weights, ReluRule::Standard, true);
    let (layers, places) =
        (vec![tapped("y", model.outputs[0])], vec![tapped("x", model.inputs[0])]);
    build(model, slots, layers, places).map_err(|refusal| format!("{refusal:?}")).unwrap()
}

/// The model of one input and one output gives the same values and the same `gradient` here, for a
/// batch of `x` and its mirror image.
pub(in crate::backends) fn agrees(
    model: &TypedModel,
    x: &Tensor,
    cotangent: &Tensor,
    gradient: &Tensor,
) {
    let weights = Weights::new(tch::Device::Cpu, Precision::F32);
    let program = program_of(model, &weights);
    let (first, mut second) = (floats(x), floats(x));
    second.reverse();
    let mut shape = vec![2];
    shape.extend(dims(x.shape()));
    let both = [first.as_slice(), &second].concat();
    let values = program.run(vec![upload(&shape, &both, tch::Device::Cpu).unwrap()]).unwrap();
    let output = download(&values.layers[0]).unwrap();
    let plan = SimplePlan::new(model.clone()).unwrap();
    for (row, got) in [&first, &second].into_iter().zip(output.chunks_exact(output.len() / 2)) {
        let row = Tensor::from_shape(x.shape(), row).unwrap();
        assert_close("value", got, &floats(&plan.run(tvec!(row.into_tvalue())).unwrap()[0]), model);
    }
    let cotangent = [floats(cotangent), vec![0.0; cotangent.len()]].concat();
    let scalar = values.layers[0]
        .f_mul(&upload(&values.layers[0].size(), &cotangent, tch::Device::Cpu).unwrap())
        .unwrap();
    let pulled = tch::Tensor::f_run_backward(
        &[scalar.f_sum(tch::Kind::Float).unwrap()],
        &[&values.places[0]],
        true,
        false,
    )
    .unwrap();
    let got = download(&pulled[0]).unwrap();
    assert_close("gradient", &got[..first.len()], &floats(gradient), model);
    // Rows do not meet.
    assert!(got[first.len()..].iter().all(|g| *g == 0.0), "{model}");
}
