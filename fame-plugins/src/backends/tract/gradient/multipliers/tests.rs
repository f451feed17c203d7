//! What multipliers promise: between any two rows, they add up to the difference.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::TypedConcat;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::{MaxPool, PaddingSpec, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::logic::{Iff, comp_gt};
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{
    self, DataFormat, Reduce, Reducer, RmsNorm, Softmax, SoftmaxKind,
};
use tract_onnx_opl::lrn::Lrn;

use super::{Row, multiply};
use crate::backends::onnx::prelu::PRelu;
use crate::backends::onnx::refusal::Refusal;
use crate::backends::rule_check::{model_of, numbers, tensor};

/// By how much sums of some tens of products in f32 may miss, as a share of the products' sizes.
const ROUNDING: f64 = 1e-5;

/// What two rows come to.
struct Pair {
    y: Vec<f64>,
    reference: Vec<f64>,
    cotangent: Vec<f64>,
    multipliers: Vec<f64>,
}

/// Runs `model` at both rows and the backward model behind them.
fn run(model: &TypedModel, x: &Tensor, reference: &Tensor) -> Pair {
    let mut backward = multiply(model, &model.outputs, &model.inputs, false).unwrap();
    let mut forward = model.clone();
    let outputs = [model.outputs.clone(), backward.residuals.clone()].concat();
    forward.select_output_outlets(&outputs).unwrap();
    backward.model.declutter().unwrap();
    backward.model.optimize().unwrap();
    let forward = SimplePlan::new(forward.into_optimized().unwrap()).unwrap();
    let values = [x, reference].map(|x| forward.run(tvec!(x.clone().into_tvalue())).unwrap());
    let row = |row: Row| &values[usize::from(row == Row::Reference)];
    let mut inputs: TVec<TValue> =
        backward.reads.iter().map(|(of, at)| row(*of)[at + 1].clone()).collect();
    let cotangent = tensor(values[0][0].shape(), 1000);
    inputs.push(cotangent.clone().into_tvalue());
    let multipliers = SimplePlan::new(backward.model).unwrap().run(inputs).unwrap().remove(0);
    assert_eq!(multipliers.shape(), x.shape());
    Pair {
        y: numbers(&values[0][0]),
        reference: numbers(&values[1][0]),
        cotangent: numbers(&cotangent),
        multipliers: numbers(&multipliers),
    }
}

/// Two rows, of which a few values are equal.
fn rows(shape: &[usize], positive: bool) -> (Tensor, Tensor) {
    let number = |v: f64| if positive { v.abs() + 0.5 } else { 2.0 * v };
    let x: Vec<f32> = numbers(&tensor(shape, 40)).iter().map(|v| number(*v) as f32).collect();
    let mut reference: Vec<f32> =
        numbers(&tensor(shape, 7000)).iter().map(|v| number(*v) as f32).collect();
    for i in (0..x.len()).step_by(5) {
        reference[i] = x[i];
    }
    let row = |values: &[f32]| Tensor::from_shape(shape, values).unwrap();
    (row(&x), row(&reference))
}

/// Multipliers of the operator of `build` add up, between rows of either sign or positive ones.
fn adds_up(
    shape: &[usize],
    positive: bool,
    build: impl Fn(&mut TypedModel, OutletId) -> TractResult<OutletId>,
) {
    let model = model_of(shape, build);
    let (x, reference) = rows(shape, positive);
    let found = run(&model, &x, &reference);
    let difference =
        |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a - b).collect() };
    let product = |a: &[f64], b: &[f64]| -> (f64, f64) {
        let products = a.iter().zip(b).map(|(a, b)| a * b);
        products.fold((0.0, 0.0), |(sum, size), v| (sum + v, size + v.abs()))
    };
    let (want, _) = product(&found.cotangent, &difference(&found.y, &found.reference));
    let (got, size) = product(&found.multipliers, &difference(&numbers(&x), &numbers(&reference)));
    let sizes = size + product(&found.cotangent, &found.y).1;
    assert!(want.abs() > 10.0 * ROUNDING * sizes, "nothing to add up: {want}\n{model}");
    assert!((got - want).abs() <= ROUNDING * sizes, "{got} instead of {want}\n{model}");
}

fn pool_spec(stride: usize) -> PoolSpec {
    PoolSpec {
        data_format: DataFormat::NCHW,
        kernel_shape: tvec!(3, 3),
        padding: PaddingSpec::Explicit(tvec!(1, 1), tvec!(1, 1)),
        dilations: None,
        strides: Some(tvec!(stride, stride)),
        input_channels: 2,
        output_channels: 2,
    }
}

#[test]
fn functions_of_one_value() {
    let ops = [
        math::exp(),
        math::square(),
        math::abs(),
        math::tanh(),
        math::cos(),
        math::floor(),
        nn::sigmoid(),
        nn::leaky_relu(0.1),
        nn::leaky_relu(-0.3),
        nn::silu::silu(),
        nn::gelu_exact::gelu_exact(),
        nn::hard_swish(),
    ];
    for op in ops {
        // Something in front, so that a step has another way down as well.
        adds_up(&[3, 7], false, |m, x| {
            let y = m.wire_node("f", op.clone(), &[x])?[0];
            Ok(m.wire_node("sum", math::add(), &[x, y])?[0])
        });
    }
    for op in [math::ln(), math::sqrt(), math::recip(), math::rsqrt(), math::pow_const(1.7)] {
        adds_up(&[3, 7], true, |m, x| Ok(m.wire_node("f", op.clone(), &[x])?[0]));
    }
    adds_up(&[1, 3, 2, 2], false, |m, x| {
        let slope =
            m.add_const("slope", Tensor::from_shape(&[1, 3, 1, 1], &[0.25f32, -0.5, 1.5])?)?;
        Ok(m.wire_node("prelu", PRelu, &[x, slope])?[0])
    });
}

#[test]
fn clamps_and_the_larger_of_two_values() {
    for (low, high) in [(0.0f32, f32::INFINITY), (-0.5, 0.75)] {
        adds_up(&[2, 9], false, |m, x| {
            let low = m.add_const("low", tensor2(&[[low]]))?;
            let high = m.add_const("high", tensor2(&[[high]]))?;
            let x = m.wire_node("max", math::max(), &[x, low])?[0];
            Ok(m.wire_node("min", math::min(), &[x, high])?[0])
        });
    }
    for op in [math::max(), math::min()] {
        adds_up(&[2, 6], false, |m, x| {
            let y = m.wire_node("cos", math::cos(), &[x])?[0];
            Ok(m.wire_node("o", op.clone(), &[x, y])?[0])
        });
        // Broadcast, against a constant and against a value.
        adds_up(&[2, 1], false, |m, x| {
            let k = m.add_const("k", tensor(&[2, 5], 9))?;
            Ok(m.wire_node("o", op.clone(), &[k, x])?[0])
        });
        adds_up(&[2, 6], false, |m, x| {
            let sum = m.wire_node("sum", Reduce::new(tvec!(1), Reducer::Sum), &[x])?[0];
            Ok(m.wire_node("o", op.clone(), &[sum, x])?[0])
        });
    }
}

#[test]
fn poolings_and_reductions() {
    for stride in [1, 2, 3] {
        let max = MaxPool { pool_spec: pool_spec(stride), with_index_outputs: None };
        adds_up(&[1, 2, 7, 7], false, |m, x| Ok(m.wire_node("p", max.clone(), &[x])?[0]));
        let sum =
            SumPool { pool_spec: pool_spec(stride), count_include_pad: true, normalize: true };
        adds_up(&[1, 2, 7, 7], false, |m, x| Ok(m.wire_node("p", sum.clone(), &[x])?[0]));
    }
    for reducer in [Reducer::Sum, Reducer::MeanOfSquares, Reducer::Max, Reducer::Min] {
        adds_up(&[2, 3, 4], false, |m, x| {
            Ok(m.wire_node("r", Reduce::new(tvec!(0, 2), reducer), &[x])?[0])
        });
    }
}

#[test]
fn products_and_quotients_of_two_values() {
    for op in [math::mul(), math::div()] {
        for flip in [false, true] {
            adds_up(&[2, 3], true, |m, x| {
                let y = m.wire_node("f", math::sqrt(), &[x])?[0];
                let y = m.wire_node("one", Reduce::new(tvec!(1), Reducer::Sum), &[y])?[0];
                Ok(m.wire_node("o", op.clone(), &if flip { [y, x] } else { [x, y] })?[0])
            });
        }
    }
    // A constant over a value, one of them broadcast.
    for (of, over) in [([1, 4], [3, 4]), ([3, 4], [1, 4])] {
        adds_up(&over, true, |m, x| {
            let k = m.add_const("k", tensor(&of, 9))?;
            Ok(m.wire_node("o", math::div(), &[k, x])?[0])
        });
    }
    let square = EinSum::new("mk,nk->mn".parse().unwrap(), f32::datum_type());
    adds_up(&[3, 4], false, |m, x| Ok(m.wire_node("e", square.clone(), &[x, x])?[0]));
    for axis in 0..3 {
        let norm = RmsNorm { axis, eps: tensor0(1e-3f32).into_arc_tensor() };
        adds_up(&[2, 3, 4], false, |m, x| Ok(m.wire_node("n", norm.clone(), &[x])?[0]));
    }
}

#[test]
fn branches_that_meet_again() {
    adds_up(&[2, 6], false, |m, x| {
        let zero = m.add_const("zero", tensor2(&[[0f32]]))?;
        let weights = m.add_const("w", tensor(&[6, 6], 77))?;
        let dense = EinSum::new("mk,kn->mn".parse()?, f32::datum_type());
        let y = m.wire_node("dense", dense, &[x, weights])?[0];
        let y = m.wire_node("relu", math::max(), &[y, zero])?[0];
        let both = m.wire_node("both", TypedConcat { axis: 1 }, &[x, y])?[0];
        Ok(m.wire_node("tanh", math::tanh(), &[both])?[0])
    });
}

/// ReLU by its definition: from −1 to 3 the quotient is 3 / 4, whichever row is the reference.
#[test]
fn a_relu_that_is_crossed_has_neither_slope() {
    let model = model_of(&[4], |m, x| {
        let zero = m.add_const("zero", tensor1(&[0f32]))?;
        Ok(m.wire_node("relu", math::max(), &[x, zero])?[0])
    });
    let found = run(&model, &tensor1(&[3f32, -1.0, 2.0, 2.0]), &tensor1(&[-1f32, 3.0, 1.0, 2.0]));
    for (i, slope) in [0.75, 0.75, 1.0, 1.0].into_iter().enumerate() {
        let got = found.multipliers[i] / found.cotangent[i];
        assert!((got - slope).abs() < ROUNDING, "{i}: {got}");
    }
}

/// In a window the row's pick rises by 3 and the reference's stays; in the other the largest falls
/// by 2 at the reference's pick.
#[test]
fn the_largest_value_is_due_to_the_row_when_it_rises_and_to_the_reference_when_it_falls() {
    let model = model_of(&[2, 2], |m, x| {
        Ok(m.wire_node("max", Reduce::new(tvec!(1), Reducer::Max), &[x])?[0])
    });
    let x = tensor2(&[[5f32, 2.0], [1.0, -1.0]]);
    let reference = tensor2(&[[0f32, 2.0], [0.0, 3.0]]);
    let found = run(&model, &x, &reference);
    let [first, second] = [0, 1].map(|i| found.cotangent[i]);
    let want = [first * 3.0 / 5.0, 0.0, 0.0, second * -2.0 / -4.0];
    for (got, want) in found.multipliers.iter().zip(want) {
        assert!((got - want).abs() < ROUNDING, "{:?} {want}", found.multipliers);
    }
}

fn softmax(axes: &[usize]) -> Softmax {
    Softmax::new(axes.into(), None, SoftmaxKind::Softmax)
}

#[test]
fn softmaxes_and_attention() {
    for axes in [&[1][..], &[0], &[0, 1]] {
        adds_up(&[3, 5], false, |m, x| Ok(m.wire_node("s", softmax(axes), &[x])?[0]));
    }
    adds_up(&[4, 6], false, |m, x| {
        let scores = EinSum::new("mk,nk->mn".parse()?, f32::datum_type());
        let scores = m.wire_node("scores", scores, &[x, x])?[0];
        let attention = m.wire_node("attention", softmax(&[1]), &[scores])?[0];
        let mix = EinSum::new("mn,nk->mk".parse()?, f32::datum_type());
        Ok(m.wire_node("mix", mix, &[attention, x])?[0])
    });
}

#[test]
fn a_softmax_weighs_by_its_quotients() {
    let model = model_of(&[1, 3], |m, x| Ok(m.wire_node("s", softmax(&[1]), &[x])?[0]));
    let (x, reference) = (tensor2(&[[1f32, 0.5, -2.0]]), tensor2(&[[0f32, 1.5, -1.0]]));
    let found = run(&model, &x, &reference);
    // y is exp z, and so z its logarithm.
    let ends = found.y.iter().zip(&found.reference);
    let q: Vec<f64> = ends.map(|(y, y0)| (y - y0) / (y.ln() - y0.ln())).collect();
    let weighed: f64 = q.iter().zip(&found.cotangent).map(|(q, g)| q * g).sum();
    let mean = weighed / q.iter().sum::<f64>();
    for (i, got) in found.multipliers.iter().enumerate() {
        let want = q[i] * (found.cotangent[i] - mean);
        assert!((got - want).abs() < ROUNDING, "{:?}", found.multipliers);
    }
    // What all values change by alike changes nothing, however much it is.
    let far = tensor2(&[[90f32, 91.5, 89.0]]);
    let shifted = run(&model, &x, &far);
    for (got, want) in shifted.multipliers.iter().zip(&found.multipliers) {
        assert!((got - want).abs() < 10.0 * ROUNDING, "{:?}", shifted.multipliers);
    }
    // A value that is too small for a float counts as none.
    let sure = run(&model, &tensor2(&[[200f32, 0.0, 0.0]]), &tensor2(&[[0f32, 200.0, 0.0]]));
    assert!(sure.multipliers.iter().all(|m| m.is_finite()), "{:?}", sure.multipliers);
    let got: f64 = sure.multipliers[0] * 200.0 - sure.multipliers[1] * 200.0;
    let want = sure.cotangent[0] - sure.cotangent[1];
    assert!((got - want).abs() < 10.0 * ROUNDING, "{got} instead of {want}");
}

#[test]
fn what_has_no_rule_is_refused_by_name() {
    let refusal = |model: &TypedModel| match multiply(model, &model.outputs, &model.inputs, false) {
        Err(Refusal::NoMultipliers { node, op }) => Some((node, op)),
        _ => None,
    };
    let log = model_of(&[1, 3], |m, x| {
        Ok(m.wire_node("l", Softmax::new(tvec!(1), None, SoftmaxKind::LogSoftmax), &[x])?[0])
    });
    let lrn = model_of(&[1, 6, 2, 2], |m, x| {
        let op = Lrn { alpha: 0.8, beta: 0.75, bias: 1.5, size: 3 };
        Ok(m.wire_node("n", op, &[x])?[0])
    });
    // Which branch is taken depends on the values.
    let choice = model_of(&[1, 6], |m, x| {
        let zero = m.add_const("zero", tensor2(&[[0f32]]))?;
        let positive = m.wire_node("gt", TypedBinOp(comp_gt(), None), &[x, zero])?[0];
        let double = m.wire_node("double", math::exp(), &[x])?[0];
        Ok(m.wire_node("choice", Iff, &[positive, double, x])?[0])
    });
    for (model, name) in [(log, "l"), (lrn, "n"), (choice, "choice")] {
        assert_eq!(refusal(&model).map(|(node, _)| node).as_deref(), Some(name), "{model}");
    }
}
