//! Every rule against central differences.
//!
//! The scalar differentiated is `Σ cotangent · f(x)`, summed in f64. Linear operators are exact
//! under any step, so theirs is 1; for curved ones the step balances truncation against the
//! rounding of f32; piecewise-linear ones get inputs whose distance from every kink is larger than
//! the step.

use fame_core::contract::ReluRule;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::{
    Gather, MultiBroadcastTo, Pad, PadMode, Slice, TypedConcat,
};
use tract_onnx::tract_core::ops::cnn::{
    Conv, KernelFormat, MaxPool, PaddingSpec, PoolSpec, SumPool,
};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{
    self, DataFormat, Reduce, Reducer, RmsNorm, Softmax, SoftmaxKind,
};
use tract_onnx::tract_core::ops::{Downsample, logic};

mod decoders;

use super::super::ops::PRelu;
use super::{Refusal, differentiate};

/// A linear operator: only rounding.
const LINEAR: Probe = Probe { step: 1.0, tolerance: 1e-5, inputs: Inputs::Smooth };
/// A curved operator: truncation (step²) and rounding (1e-7 / step) are both near 1e-4.
const CURVED: Probe = Probe { step: 1e-2, tolerance: 2e-3, inputs: Inputs::Smooth };
/// As `CURVED`, for functions of positive numbers.
const POSITIVE: Probe = Probe { step: 1e-2, tolerance: 2e-3, inputs: Inputs::Positive };
/// A piecewise-linear operator, at inputs 0.1 apart and 0.05 from zero.
const KINKED: Probe = Probe { step: 1e-2, tolerance: 1e-4, inputs: Inputs::Apart };

struct Probe {
    step: f32,
    tolerance: f64,
    inputs: Inputs,
}

enum Inputs {
    Smooth,
    Positive,
    Apart,
}

fn noise(i: usize) -> f32 {
    let h = (i as u32 + 1).wrapping_mul(2_654_435_761);
    let h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    ((h ^ (h >> 12)) >> 8) as f32 / 8_388_608.0 - 1.0
}

fn tensor(shape: &[usize], from: usize) -> Tensor {
    let n = shape.iter().product::<usize>();
    Tensor::from_shape(shape, &(from..from + n).map(noise).collect::<Vec<_>>()).unwrap()
}

impl Inputs {
    fn make(&self, shape: &[usize]) -> Vec<f32> {
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
fn check(
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
    let mut backward = differentiate(model, &[output], &[input], ReluRule::Standard).unwrap();
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
    crate::backends::tch::op_tests::agrees(model, &row(&x), &cotangent, &gradient);

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

/// A convolution over 2-D data.
struct Case {
    channels: (usize, usize),
    size: (usize, usize),
    kernel: (usize, usize),
    stride: usize,
    dilation: usize,
    padding: [usize; 4],
    group: usize,
    format: DataFormat,
}

impl Default for Case {
    fn default() -> Self {
        let (channels, size, kernel) = ((6, 4), (7, 6), (3, 3));
        Self {
            channels,
            size,
            kernel,
            stride: 1,
            dilation: 1,
            padding: [0; 4],
            group: 1,
            format: DataFormat::NCHW,
        }
    }
}

impl Case {
    fn check(self) {
        let ((inputs, outputs), (h, w), (kh, kw)) = (self.channels, self.size, self.kernel);
        let shape = self.format.from_n_c_hw(1, inputs, [h, w]).unwrap().shape.to_vec();
        let [top, left, bottom, right] = self.padding;
        check(&shape, &LINEAR, |model, x| {
            let kernel =
                model.add_const("kernel", tensor(&[outputs, inputs / self.group, kh, kw], 77))?;
            let bias = model.add_const("bias", tensor(&[outputs], 500))?;
            let pool_spec = PoolSpec {
                data_format: self.format,
                kernel_shape: tvec!(kh, kw),
                padding: PaddingSpec::Explicit(tvec!(top, left), tvec!(bottom, right)),
                dilations: Some(tvec!(self.dilation, self.dilation)),
                strides: Some(tvec!(self.stride, self.stride)),
                input_channels: inputs,
                output_channels: outputs,
            };
            let conv = Conv {
                pool_spec,
                kernel_fmt: KernelFormat::OIHW,
                group: self.group,
                q_params: None,
            };
            Ok(model.wire_node("conv", conv, &[x, kernel, bias])?[0])
        });
    }
}

#[test]
fn convolutions_of_stride_one() {
    Case::default().check();
    Case { padding: [1, 0, 2, 1], ..Case::default() }.check();
    Case { padding: [3, 3, 3, 3], ..Case::default() }.check();
    Case { kernel: (1, 1), ..Case::default() }.check();
    Case { kernel: (1, 3), padding: [0, 1, 0, 1], ..Case::default() }.check();
    Case { dilation: 2, padding: [2, 1, 2, 0], ..Case::default() }.check();
    Case { group: 2, padding: [1; 4], ..Case::default() }.check();
    Case { channels: (6, 6), group: 6, padding: [1; 4], ..Case::default() }.check();
    Case { channels: (6, 12), group: 6, padding: [1; 4], ..Case::default() }.check();
}

#[test]
fn strided_convolutions() {
    Case { stride: 2, padding: [1; 4], ..Case::default() }.check();
    Case { stride: 2, padding: [0, 0, 1, 1], ..Case::default() }.check();
    Case { stride: 3, padding: [2, 1, 0, 2], ..Case::default() }.check();
    Case { stride: 3, kernel: (2, 2), ..Case::default() }.check();
    Case { stride: 2, kernel: (1, 1), ..Case::default() }.check();
    Case { stride: 2, dilation: 2, padding: [2; 4], ..Case::default() }.check();
    Case { stride: 2, group: 2, padding: [1; 4], ..Case::default() }.check();
    Case {
        stride: 2,
        channels: (6, 6),
        group: 6,
        kernel: (5, 5),
        padding: [1, 1, 2, 2],
        ..Case::default()
    }
    .check();
}

#[test]
fn first_layer_convolutions() {
    Case { channels: (3, 8), stride: 2, kernel: (5, 5), padding: [2; 4], ..Case::default() }
        .check();
    Case { channels: (3, 8), padding: [1; 4], ..Case::default() }.check();
    Case { channels: (1, 4), stride: 3, padding: [1, 0, 0, 1], ..Case::default() }.check();
    Case { channels: (3, 8), dilation: 2, padding: [2; 4], ..Case::default() }.check();
}

#[test]
fn channels_last_convolutions() {
    Case { format: DataFormat::NHWC, padding: [1; 4], ..Case::default() }.check();
    Case { format: DataFormat::NHWC, stride: 2, padding: [1, 0, 1, 1], ..Case::default() }.check();
    Case { format: DataFormat::NHWC, channels: (3, 8), stride: 2, ..Case::default() }.check();
}

fn pool(stride: usize, padding: PaddingSpec, channels: usize) -> PoolSpec {
    PoolSpec {
        data_format: DataFormat::NCHW,
        kernel_shape: tvec!(3, 2),
        padding,
        dilations: None,
        strides: Some(tvec!(stride, stride)),
        input_channels: channels,
        output_channels: channels,
    }
}

#[test]
fn pooling() {
    let explicit = || PaddingSpec::Explicit(tvec!(1, 0), tvec!(0, 1));
    let ceil = || PaddingSpec::ExplicitOnnxPool(tvec!(1, 1), tvec!(1, 1), true);
    for stride in [1, 2] {
        for padding in [PaddingSpec::Valid, explicit(), ceil()] {
            let spec = pool(stride, padding, 3);
            let max = MaxPool { pool_spec: spec.clone(), with_index_outputs: None };
            check(&[1, 3, 6, 5], &KINKED, |m, x| Ok(m.wire_node("p", max.clone(), &[x])?[0]));
            for (count_include_pad, normalize) in [(false, true), (true, true), (false, false)] {
                let sum = SumPool { pool_spec: spec.clone(), count_include_pad, normalize };
                check(&[1, 3, 6, 5], &LINEAR, |m, x| Ok(m.wire_node("p", sum.clone(), &[x])?[0]));
            }
        }
    }
}

#[test]
fn products() {
    let cases = [
        ("mk,kn->mn", [3usize, 4].as_slice(), [4usize, 2].as_slice()),
        ("bmk,bkn->bmn", &[2, 3, 4], &[2, 4, 2]),
        ("mk,nk->nm", &[3, 4], &[2, 4]),
        ("mk,k->m", &[3, 4], &[4]),
        // An axis that is summed alone, and one that is broadcast.
        ("mkj,kn->mn", &[3, 4, 2], &[4, 2]),
        ("bmk,bkn->bmn", &[1, 3, 4], &[2, 4, 2]),
    ];
    for (expression, left, right) in cases {
        let product = || EinSum::new(expression.parse().unwrap(), f32::datum_type());
        check(left, &LINEAR, |m, x| {
            let k = m.add_const("k", tensor(right, 9))?;
            Ok(m.wire_node("e", product(), &[x, k])?[0])
        });
        check(right, &LINEAR, |m, x| {
            let k = m.add_const("k", tensor(left, 9))?;
            Ok(m.wire_node("e", product(), &[k, x])?[0])
        });
    }
    // Both operands depend on the input, as in attention.
    let square = EinSum::new("mk,nk->mn".parse().unwrap(), f32::datum_type());
    check(&[3, 4], &CURVED, |m, x| Ok(m.wire_node("e", square.clone(), &[x, x])?[0]));
}

#[test]
fn arithmetic_broadcasts() {
    for op in [math::add(), math::sub(), math::mul(), math::div(), math::pow()] {
        for shape in [&[2usize, 3, 4], &[1, 3, 1], &[2, 1, 4]] {
            for flip in [false, true] {
                check(shape, &POSITIVE, |m, x| {
                    let full = Inputs::Positive.make(&[2, 3, 4]);
                    let k = m.add_const("k", Tensor::from_shape(&[2, 3, 4], &full)?)?;
                    Ok(m.wire_node("o", op.clone(), &if flip { [k, x] } else { [x, k] })?[0])
                });
            }
        }
    }
    // A value used twice gets both gradients.
    check(&[2, 3], &CURVED, |m, x| {
        let y = m.wire_node("sin", math::sin(), &[x])?[0];
        Ok(m.wire_node("mul", math::mul(), &[y, x])?[0])
    });
}

#[test]
fn clamps_and_extrema() {
    for op in [math::max(), math::min()] {
        check(&[2, 9], &KINKED, |m, x| {
            let k = m.add_const("k", tensor2(&[[0f32]]))?;
            Ok(m.wire_node("o", op.clone(), &[x, k])?[0])
        });
        check(&[2, 9], &KINKED, |m, x| {
            let k = m.add_const(
                "k",
                Tensor::from_shape(&[1, 9], &[0f32, 0.1, 0.2, 0.3, 0.4, -0.1, -0.2, -0.3, 9.0])?,
            )?;
            Ok(m.wire_node("o", op.clone(), &[k, x])?[0])
        });
    }
    // ReLU6-like: both masks come from the last output.
    for order in [[0, 1], [1, 0]] {
        check(&[1, 20], &KINKED, |m, x| {
            let bounds = [
                m.add_const("low", tensor2(&[[-0.3f32]]))?,
                m.add_const("high", tensor2(&[[0.6f32]]))?,
            ];
            let mut wire = x;
            for which in order {
                let op = if which == 0 { math::max() } else { math::min() };
                wire = m.wire_node(format!("clamp{which}"), op, &[wire, bounds[which]])?[0];
            }
            Ok(wire)
        });
    }
    check(&[1, 20], &KINKED, |m, x| {
        let zero = m.add_const("zero", tensor2(&[[0f32]]))?;
        let positive = m.wire_node("gt", logic::comp_gt().into_op(), &[x, zero])?[0];
        let double = m.wire_node("double", math::add(), &[x, x])?[0];
        Ok(m.wire_node("iff", logic::Iff, &[positive, double, x])?[0])
    });
}

/// Comparisons are made as mini-operators.
trait IntoOp {
    fn into_op(self) -> tract_onnx::tract_core::ops::binary::TypedBinOp;
}

impl IntoOp for Box<dyn tract_onnx::tract_core::ops::binary::BinMiniOp> {
    fn into_op(self) -> tract_onnx::tract_core::ops::binary::TypedBinOp {
        tract_onnx::tract_core::ops::binary::TypedBinOp(self, None)
    }
}

#[test]
fn prelu_with_slopes_of_either_sign() {
    for slopes in [[0.25f32, 0.1, 0.0], [0.25, -0.5, 1.5]] {
        check(&[1, 3, 2, 2], &KINKED, |m, x| {
            let slope = m.add_const("slope", Tensor::from_shape(&[1, 3, 1, 1], &slopes)?)?;
            Ok(m.wire_node("prelu", PRelu, &[x, slope])?[0])
        });
        check(&[1, 2, 3], &KINKED, |m, x| {
            let slope = m.add_const("slope", Tensor::from_shape(&[1, 1, 3], &slopes)?)?;
            Ok(m.wire_node("prelu", PRelu, &[x, slope])?[0])
        });
    }
}

#[test]
fn functions_of_one_variable() {
    let smooth = [
        math::exp(),
        math::square(),
        math::sin(),
        math::cos(),
        math::atan(),
        math::tanh(),
        math::neg(),
        math::erf(),
        nn::sigmoid(),
        nn::silu::silu(),
        nn::gelu_exact::gelu_exact(),
        nn::gelu_approximate::gelu_approximate(false),
        nn::hard_swish(),
    ];
    for op in smooth {
        check(&[3, 7], &CURVED, |m, x| Ok(m.wire_node("f", op.clone(), &[x])?[0]));
    }
    for op in [math::ln(), math::sqrt(), math::recip(), math::rsqrt(), math::pow_const(1.7)] {
        check(&[3, 7], &POSITIVE, |m, x| Ok(m.wire_node("f", op.clone(), &[x])?[0]));
    }
    for op in [
        math::abs(),
        math::sign(),
        math::floor(),
        math::ceil(),
        nn::leaky_relu(0.1),
        nn::leaky_relu(-0.3),
    ] {
        let flat = ["Sign", "Floor", "Ceil"].contains(&op.name().as_ref());
        if !flat {
            check(&[1, 16], &KINKED, |m, x| Ok(m.wire_node("f", op.clone(), &[x])?[0]));
        }
    }
}

#[test]
fn reductions_and_normalisations() {
    for axes in [tvec!(1), tvec!(0, 2)] {
        check(&[2, 3, 4], &LINEAR, |m, x| {
            Ok(m.wire_node("r", Reduce::new(axes.clone(), Reducer::Sum), &[x])?[0])
        });
        check(&[2, 3, 4], &CURVED, |m, x| {
            Ok(m.wire_node("r", Reduce::new(axes.clone(), Reducer::MeanOfSquares), &[x])?[0])
        });
        for reducer in [Reducer::Max, Reducer::Min] {
            check(&[2, 3, 4], &KINKED, |m, x| {
                Ok(m.wire_node("r", Reduce::new(axes.clone(), reducer), &[x])?[0])
            });
        }
        for kind in [SoftmaxKind::Softmax, SoftmaxKind::LogSoftmax] {
            check(&[2, 3, 4], &CURVED, |m, x| {
                Ok(m.wire_node("s", Softmax::new(axes.clone(), None, kind), &[x])?[0])
            });
        }
    }
    for axis in 0..3 {
        let norm = RmsNorm { axis, eps: tensor0(1e-3f32).into_arc_tensor() };
        check(&[2, 3, 4], &CURVED, |m, x| Ok(m.wire_node("n", norm.clone(), &[x])?[0]));
    }
}

#[test]
fn movements() {
    let shape = &[2, 3, 4];
    let reshape = AxisOp::Reshape(1, tvec!(3.to_dim(), 4.to_dim()), tvec!(2.to_dim(), 6.to_dim()));
    for op in [AxisOp::Add(1), AxisOp::Move(0, 2), AxisOp::Move(2, 1), reshape] {
        check(shape, &LINEAR, |m, x| Ok(m.wire_node("a", op.clone(), &[x])?[0]));
    }
    check(&[2, 1, 4], &LINEAR, |m, x| Ok(m.wire_node("a", AxisOp::Rm(1), &[x])?[0]));
    check(&[2, 1, 4], &LINEAR, |m, x| {
        Ok(m.wire_node("b", MultiBroadcastTo::new(dims!(2, 3, 4)), &[x])?[0])
    });
    check(shape, &LINEAR, |m, x| Ok(m.wire_node("s", Slice::new(2, 1, 3), &[x])?[0]));
    let pad = Pad::new(vec![(0, 0), (1, 2), (0, 1)], PadMode::default());
    check(shape, &LINEAR, |m, x| Ok(m.wire_node("p", pad.clone(), &[x])?[0]));
    for (stride, modulo) in [(2, 0), (2, 1), (3, 2)] {
        check(shape, &LINEAR, |m, x| {
            Ok(m.wire_node("d", Downsample::new(2, stride, modulo), &[x])?[0])
        });
    }
    check(shape, &LINEAR, |m, x| {
        let k = m.add_const("k", tensor(&[2, 2, 4], 3))?;
        let twice = m.wire_node("twice", math::add(), &[x, x])?[0];
        Ok(m.wire_node("c", TypedConcat::new(1), &[x, k, twice])?[0])
    });
    for indices in [tensor0(1i64), tensor1(&[2i64, 0, 2]), tensor2(&[[1i64, 2], [0, 1]])] {
        check(shape, &LINEAR, |m, x| {
            let indices = m.add_const("indices", indices.clone())?;
            Ok(m.wire_node("g", Gather::new(1), &[x, indices])?[0])
        });
    }
}

#[test]
fn an_operator_without_a_rule_is_named() {
    let mut model = TypedModel::default();
    let x = model.add_source("x", f32::fact([4usize])).unwrap();
    let y = model.wire_node("arc", math::acosh(), &[x]).unwrap()[0];
    model.select_output_outlets(&[y]).unwrap();
    let refusal = differentiate(&model, &[y], &[x], ReluRule::Standard).err();
    assert!(
        matches!(refusal, Some(Refusal::NoRule { node, op }) if node == "arc" && op == "Acosh")
    );
}
