//! The rules against their formulas, summed in f64 over the single contributions w x of the linear
//! map that a layer is. The map is learnt from the layer itself: f(eᵢ) − f(0).

use std::collections::HashSet;

use fame_core::contract::{FirstRule, RelevanceRules, ReluRule, RuleNumber, WeightRule};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::{Pad, PadMode};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::nn::{self, DataFormat, Softmax, SoftmaxKind};
use tract_onnx::tract_core::ops::{logic, math};

use super::{Asked, LayerKinds, share_out};
use crate::backends::onnx::refusal::Refusal;
use crate::backends::rule_check::{model_of, numbers, tensor};
use crate::backends::tract::differentiate;

/// Largest difference as a share of the largest relevance: sums of up to 54 products in f32, twice,
/// and a quotient.
const ROUNDING: f64 = 1e-4;
const STABILIZER: f32 = 1e-6;

fn rules(weights: WeightRule, first: Option<FirstRule>) -> RelevanceRules {
    RelevanceRules {
        first,
        convolution: weights,
        dense: weights,
        epsilon: 0.25.into(),
        stabilizer: STABILIZER.into(),
    }
}

/// The rules that are tried for layers with weights.
fn weight_rules() -> [WeightRule; 5] {
    [
        WeightRule::Epsilon,
        WeightRule::AlphaBeta(1.0.into(), 0.0.into()),
        WeightRule::AlphaBeta(2.0.into(), 1.0.into()),
        WeightRule::Gamma(0.25.into()),
        WeightRule::Gamma(3.0.into()),
    ]
}

fn input_shape(model: &TypedModel) -> Vec<usize> {
    model.outlet_fact(model.inputs[0]).unwrap().shape.as_concrete().unwrap().to_vec()
}

/// What a pass came to.
struct Shared {
    y: Vec<f64>,
    /// The relevance of y: it times the cotangent.
    asked: Vec<f64>,
    /// The relevance of x.
    relevance: Vec<f64>,
}

/// Runs `model` at `x` and the backward model of `write` behind it.
fn run(
    model: &TypedModel,
    x: &Tensor,
    write: impl FnOnce(&TypedModel) -> Result<super::Backward, Refusal>,
) -> Shared {
    let mut backward = write(model).unwrap();
    let mut forward = model.clone();
    let outputs = [model.outputs.clone(), backward.residuals.clone()].concat();
    forward.select_output_outlets(&outputs).unwrap();
    backward.model.declutter().unwrap();
    backward.model.optimize().unwrap();
    let forward = SimplePlan::new(forward.into_optimized().unwrap()).unwrap();
    let mut values = forward.run(tvec!(x.clone().into_tvalue())).unwrap();
    let y = values.remove(0);
    let cotangent = tensor(y.shape(), 1000);
    let asked = numbers(&y).iter().zip(numbers(&cotangent)).map(|(y, g)| y * g).collect();
    let y = numbers(&y);
    values.push(cotangent.into_tvalue());
    let relevance = SimplePlan::new(backward.model).unwrap().run(values).unwrap().remove(0);
    assert_eq!(relevance.shape(), x.shape());
    Shared { y, asked, relevance: numbers(&relevance) }
}

/// The node `layer`, if there is one, is a convolution in the file; what else there is is known.
fn kinds(model: &TypedModel) -> LayerKinds {
    let others = model.nodes().iter().map(|node| node.name.clone()).collect();
    LayerKinds { convolutions: HashSet::from(["layer".to_owned()]), others }
}

/// Shares out by `rules`; the node `layer`, if there is one, is a convolution in the file.
fn shared(model: &TypedModel, x: &Tensor, rules: &RelevanceRules) -> Shared {
    let kinds = kinds(model);
    let asked = Asked { rules, kinds: &kinds };
    run(model, x, |m| share_out(m, &m.outputs, &m.inputs, asked, false))
}

fn refusal(model: &TypedModel) -> Option<(String, String)> {
    let rules = rules(WeightRule::Epsilon, None);
    let asked = Asked { rules: &rules, kinds: &LayerKinds::default() };
    match share_out(model, &model.outputs, &model.inputs, asked, false) {
        Err(Refusal::NoRelevance { node, op }) => Some((node, op)),
        _ => None,
    }
}

fn assert_close(got: &[f64], want: &[f64], what: &str) {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= ROUNDING * largest, "{what}: {i}: {got} instead of {want}");
    }
}

/// A layer as a matrix: `weights[output][input]`.
struct Map {
    weights: Vec<Vec<f64>>,
    bias: Vec<f64>,
}

impl Map {
    fn of(model: &TypedModel) -> Self {
        let shape = input_shape(model);
        let n: usize = shape.iter().product();
        let plan = SimplePlan::new(model.clone().into_optimized().unwrap()).unwrap();
        let at = |unit: Option<usize>| {
            let x: Vec<f32> = (0..n).map(|i| f32::from(u8::from(Some(i) == unit))).collect();
            let x = Tensor::from_shape(&shape, &x).unwrap();
            numbers(&plan.run(tvec!(x.into_tvalue())).unwrap().remove(0))
        };
        let bias = at(None);
        let columns: Vec<Vec<f64>> = (0..n).map(|i| at(Some(i))).collect();
        let row = |o: usize| columns.iter().map(|column| column[o] - bias[o]).collect();
        Self { weights: (0..bias.len()).map(row).collect(), bias }
    }

    /// What `share(w, x, o, i)` is of each input, summed over outputs.
    fn sum(&self, inputs: usize, share: impl Fn(f64, usize, usize) -> f64) -> Vec<f64> {
        let of = |i: usize| (0..self.bias.len()).map(|o| share(self.weights[o][i], o, i)).sum();
        (0..inputs).map(of).collect()
    }

    fn by(&self, rule: WeightRule, x: &[f64], at: &Shared, rules: &RelevanceRules) -> Vec<f64> {
        let (epsilon, stabilizer) = (f64::from(rules.epsilon.get()), f64::from(STABILIZER));
        let (y, asked) = (&at.y, &at.asked);
        // The sum of all contributions to an output, the bias one of them, each changed.
        let total = |o: usize, change: &dyn Fn(f64) -> f64| -> f64 {
            let products = self.weights[o].iter().zip(x).map(|(w, x)| change(w * x));
            products.sum::<f64>() + change(self.bias[o])
        };
        match rule {
            WeightRule::Epsilon => self.sum(x.len(), |w, o, i| {
                let sign = if y[o] < 0.0 { -1.0 } else { 1.0 };
                w * x[i] * asked[o] / (y[o] + epsilon * sign)
            }),
            WeightRule::AlphaBeta(alpha, beta) => self.sum(x.len(), |w, o, i| {
                let (alpha, beta) = (f64::from(alpha.get()), f64::from(beta.get()));
                let above = total(o, &|c| c.max(0.0)) + stabilizer;
                let below = total(o, &|c| c.min(0.0)) - stabilizer;
                let c = w * x[i];
                asked[o] * (alpha * c.max(0.0) / above - beta * c.min(0.0) / below)
            }),
            WeightRule::Gamma(gamma) => self.sum(x.len(), |w, o, i| {
                let gamma = f64::from(gamma.get());
                let change = |c: f64| if c * y[o] > 0.0 { c * (1.0 + gamma) } else { c };
                let sign = if y[o] < 0.0 { -1.0 } else { 1.0 };
                asked[o] * change(w * x[i]) / (total(o, &change) + stabilizer * sign)
            }),
        }
    }
}

/// Checks every rule for weights at the layer of `build`, of either kind.
fn check(
    shape: &[usize],
    is_convolution: bool,
    build: impl Fn(&mut TypedModel, OutletId) -> TractResult<OutletId>,
) {
    let model = model_of(shape, build);
    let map = Map::of(&model);
    check_map(&model, &map, &tensor(shape, 40), is_convolution);
    check_map(&model, &map, &positive(shape), is_convolution);
}

/// Checks every rule for weights at the one layer of `model`, which is `map` at `x`.
fn check_map(model: &TypedModel, map: &Map, x: &Tensor, is_convolution: bool) {
    for rule in weight_rules() {
        let mut rules = rules(rule, None);
        // The other kind's rule would be noticed.
        let other = if rule == WeightRule::Epsilon {
            WeightRule::AlphaBeta(2.0.into(), 1.0.into())
        } else {
            WeightRule::Epsilon
        };
        if is_convolution {
            rules.dense = other;
        } else {
            rules.convolution = other;
        }
        let got = shared(model, x, &rules);
        let want = map.by(rule, &numbers(x), &got, &rules);
        assert_close(&got.relevance, &want, &format!("{rule:?}\n{model}"));
    }
}

fn positive(shape: &[usize]) -> Tensor {
    let values: Vec<f32> = numbers(&tensor(shape, 90)).iter().map(|v| v.abs() as f32).collect();
    Tensor::from_shape(shape, &values).unwrap()
}

fn conv(channels: [usize; 2], taps: usize, stride: usize, pad: usize, group: usize) -> Conv {
    let pool_spec = PoolSpec {
        data_format: DataFormat::NCHW,
        kernel_shape: tvec!(taps, taps),
        padding: PaddingSpec::Explicit(tvec!(pad, pad), tvec!(pad, pad)),
        dilations: None,
        strides: Some(tvec!(stride, stride)),
        input_channels: channels[0],
        output_channels: channels[1],
    };
    Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group, q_params: None }
}

/// Adds a convolution with a bias, called `layer`.
fn add_conv(m: &mut TypedModel, x: OutletId, conv: &Conv) -> TractResult<OutletId> {
    let (inputs, outputs) = (conv.input_channels(), conv.output_channels());
    let taps = conv.pool_spec.kernel_shape[0];
    let kernel = tensor(&[outputs, inputs / conv.group, taps, taps], 77);
    let inputs = [x, m.add_const("kernel", kernel)?, m.add_const("bias", tensor(&[outputs], 500))?];
    Ok(m.wire_node("layer", conv.clone(), &inputs)?[0])
}

#[test]
fn dense_layers() {
    for (expression, left) in [("mk,kn->mn", false), ("nk,mk->mn", true)] {
        check(&[2, 5], false, |m, x| {
            let k = m.add_const("k", tensor(if left { &[3, 5] } else { &[5, 3] }, 9))?;
            let bias = m.add_const("b", tensor(&[1, 3], 300))?;
            let product = EinSum::new(expression.parse()?, f32::datum_type());
            let inputs = if left { [k, x] } else { [x, k] };
            let product = m.wire_node("dense", product, &inputs)?[0];
            Ok(m.wire_node("sum", math::add(), &[product, bias])?[0])
        });
    }
}

#[test]
fn convolutions_of_every_way_back() {
    // Columns; flipped; in phases; in groups; one tap, of which tract makes a product and a sum.
    for (channels, taps, stride, pad, group) in [
        ([2, 3], 3, 1, 1, 1),
        ([6, 2], 3, 1, 1, 1),
        ([6, 2], 3, 2, 1, 1),
        ([6, 6], 3, 1, 1, 6),
        ([6, 4], 1, 1, 0, 1),
        ([6, 4], 1, 2, 0, 1),
    ] {
        let conv = conv(channels, taps, stride, pad, group);
        check(&[1, channels[0], 5, 5], true, |m, x| add_conv(m, x, &conv));
    }
}

#[test]
fn a_layer_between_relus_takes_the_short_way() {
    // No input is negative, and no relevance comes to outputs below zero.
    let shape = [1, 2, 5, 5];
    let conv = conv([2, 3], 3, 1, 1, 1);
    let alone = model_of(&shape, |m, x| add_conv(m, x, &conv));
    let between = model_of(&shape, |m, x| {
        let zero = m.add_const("zero", tensor0(0f32).broadcast_into_rank(4)?)?;
        let x = m.wire_node("relu", math::max(), &[x, zero])?[0];
        let y = add_conv(m, x, &conv)?;
        Ok(m.wire_node("rectified", math::max(), &[y, zero])?[0])
    });
    check_map(&between, &Map::of(&alone), &positive(&shape), true);
}

#[test]
fn transposed_convolutions() {
    check(&[1, 4, 3, 3], true, |m, x| {
        let Conv { pool_spec, .. } = conv([4, 2], 3, 2, 1, 1);
        let adjustments = tvec!(0, 0);
        let kernel_format = KernelFormat::OIHW;
        let op = Deconv { pool_spec, kernel_format, adjustments, group: 1 };
        let kernel = m.add_const("kernel", tensor(&[2, 4, 3, 3], 77))?;
        let bias = m.add_const("bias", tensor(&[2], 500))?;
        Ok(m.wire_node("layer", op, &[x, kernel, bias])?[0])
    });
}

/// What a first layer's rule makes of a weight from an input, and of a bias.
type Part<'a> = &'a dyn Fn(f64, usize) -> f64;
type OfBias<'a> = &'a dyn Fn(f64) -> f64;

#[test]
fn first_layers() {
    let model = model_of(&[1, 2, 5, 5], |m, x| add_conv(m, x, &conv([2, 3], 3, 2, 1, 1)));
    let (map, x) = (Map::of(&model), tensor(&[1, 2, 5, 5], 40));
    let (values, stabilizer) = (numbers(&x), f64::from(STABILIZER));
    let ends = |of: [f32; 2]| of.map(RuleNumber::new).to_vec();
    let (low, high) = ([-2.0, -1.5], [1.0, 3.0]);
    let ends_of = |of: [f32; 2], i: usize| f64::from(of[i / 25]);
    let box_part = |w: f64, i: usize| {
        w * values[i] - w.max(0.0) * ends_of(low, i) - w.min(0.0) * ends_of(high, i)
    };
    let square = |w: f64, _: usize| w * w;
    let flat = |w: f64, _: usize| f64::from(u8::from(w != 0.0));
    let none = |_: f64| 0.0;
    let squared = |b: f64| b * b;
    let cases: [(FirstRule, Part, OfBias); 3] = [
        (FirstRule::Box { low: ends(low), high: ends(high) }, &box_part, &none),
        (FirstRule::WSquare, &square, &squared),
        (FirstRule::Flat, &flat, &none),
    ];
    for (first, part, of_bias) in cases {
        let got = shared(&model, &x, &rules(WeightRule::Epsilon, Some(first.clone())));
        let want = map.sum(values.len(), |w, o, i| {
            let parts = map.weights[o].iter().enumerate().map(|(i, w)| part(*w, i));
            let total = parts.sum::<f64>() + of_bias(map.bias[o]);
            got.asked[o] * part(w, i) / (total + stabilizer)
        });
        assert_close(&got.relevance, &want, &format!("{first:?}"));
    }
}

#[test]
fn only_the_layer_that_reads_the_picture_is_a_first_one() {
    let two = model_of(&[1, 2, 4, 4], |m, x| {
        let below = m.add_const("below", tensor(&[2, 2, 3, 3], 3))?;
        let bias = m.add_const("below.bias", tensor(&[2], 800))?;
        let x = m.wire_node("first", conv([2, 2], 3, 1, 1, 1), &[x, below, bias])?[0];
        add_conv(m, x, &conv([2, 3], 3, 1, 1, 1))
    });
    let x = tensor(&[1, 2, 4, 4], 40);
    let flat = shared(&two, &x, &rules(WeightRule::Epsilon, Some(FirstRule::Flat)));
    // By hand: ε through the second layer as alone, then flat through the first.
    let inner = two.nodes().iter().find(|node| node.name == "first").unwrap().id;
    let by = rules(WeightRule::Epsilon, Some(FirstRule::Flat));
    let asked = Asked { rules: &by, kinds: &LayerKinds::default() };
    let between = run_at(&two, &x, inner.into(), asked);
    let first = model_of(&[1, 2, 4, 4], |m, x| {
        let below = m.add_const("below", tensor(&[2, 2, 3, 3], 3))?;
        let bias = m.add_const("below.bias", tensor(&[2], 800))?;
        Ok(m.wire_node("first", conv([2, 2], 3, 1, 1, 1), &[x, below, bias])?[0])
    });
    let map = Map::of(&first);
    let is = |w: f64| f64::from(u8::from(w != 0.0));
    let want = map.sum(32, |w, o, _| {
        let seen: f64 = map.weights[o].iter().map(|w| is(*w)).sum();
        between[o] * is(w) / (seen + f64::from(STABILIZER))
    });
    assert_close(&flat.relevance, &want, "flat behind ε");
}

/// The relevance at an inner outlet.
fn run_at(model: &TypedModel, x: &Tensor, place: OutletId, asked: Asked) -> Vec<f64> {
    let mut backward = share_out(model, &model.outputs, &[place], asked, false).unwrap();
    let mut forward = model.clone();
    let outputs = [model.outputs.clone(), backward.residuals.clone()].concat();
    forward.select_output_outlets(&outputs).unwrap();
    let forward = SimplePlan::new(forward.into_optimized().unwrap()).unwrap();
    let mut values = forward.run(tvec!(x.clone().into_tvalue())).unwrap();
    let y = values.remove(0);
    values.push(tensor(y.shape(), 1000).into_tvalue());
    backward.model.declutter().unwrap();
    backward.model.optimize().unwrap();
    numbers(&SimplePlan::new(backward.model).unwrap().run(values).unwrap().remove(0))
}

#[test]
fn a_box_goes_through_the_normalisation_in_front_of_the_first_layer() {
    // x · s + t with one factor below zero, zeros around it, and the convolution.
    let (scale, shift) = ([2.0f32, -0.5], [0.5f32, 0.25]);
    let model = model_of(&[1, 2, 4, 4], |m, x| {
        let scale = m.add_const("scale", Tensor::from_shape(&[1, 2, 1, 1], &scale)?)?;
        let shift = m.add_const("shift", Tensor::from_shape(&[1, 2, 1, 1], &shift)?)?;
        let x = m.wire_node("scaled", math::mul(), &[x, scale])?[0];
        let x = m.wire_node("shifted", math::add(), &[x, shift])?[0];
        let pads = vec![(0, 0), (0, 0), (1, 1), (1, 1)];
        let x = m.wire_node("padded", Pad::new(pads, PadMode::default()), &[x])?[0];
        add_conv(m, x, &conv([2, 3], 3, 1, 0, 1))
    });
    let plain = model_of(&[1, 2, 4, 4], |m, x| add_conv(m, x, &conv([2, 3], 3, 1, 1, 1)));
    let x = tensor(&[1, 2, 4, 4], 40);
    let normal: Vec<f32> = numbers(&x)
        .iter()
        .enumerate()
        .map(|(i, v)| *v as f32 * scale[i / 16] + shift[i / 16])
        .collect();
    let normal = Tensor::from_shape(&[1, 2, 4, 4], &normal).unwrap();
    let numbers = |of: [f32; 2]| of.map(RuleNumber::new).to_vec();
    let boxed = |low, high| {
        rules(WeightRule::Epsilon, Some(FirstRule::Box { low: numbers(low), high: numbers(high) }))
    };
    let got = shared(&model, &x, &boxed([-1.0, -1.0], [1.0, 1.0]));
    let want = shared(&plain, &normal, &boxed([-1.5, -0.25], [2.5, 0.75]));
    assert_close(&got.relevance, &want.relevance, "box");
}

#[test]
fn a_box_goes_through_the_transposition_of_a_channels_last_network() {
    let shape = [1, 2, 5, 5];
    let plain = model_of(&shape, |m, x| add_conv(m, x, &conv([2, 3], 3, 2, 1, 1)));
    let last = model_of(&shape, |m, x| {
        let mut conv = conv([2, 3], 3, 2, 1, 1);
        conv.pool_spec.data_format = DataFormat::NHWC;
        let x = m.wire_node("last", AxisOp::Move(1, 3), &[x])?[0];
        let y = add_conv(m, x, &conv)?;
        Ok(m.wire_node("first", AxisOp::Move(3, 1), &[y])?[0])
    });
    let (x, ends) = (tensor(&shape, 40), |of: [f32; 2]| of.map(RuleNumber::new).to_vec());
    let boxed = FirstRule::Box { low: ends([-2.0, -1.5]), high: ends([1.0, 3.0]) };
    let rules = rules(WeightRule::Epsilon, Some(boxed));
    let want = shared(&plain, &x, &rules).relevance;
    assert_close(&shared(&last, &x, &rules).relevance, &want, "channels last");
}

/// Why there is no box of so many channels for `model`.
fn no_box(model: &TypedModel, channels: usize) -> Option<String> {
    let ends = |at: f32| vec![RuleNumber::new(at); channels];
    let boxed = FirstRule::Box { low: ends(-1.0), high: ends(1.0) };
    let (rules, kinds) = (rules(WeightRule::Epsilon, Some(boxed)), kinds(model));
    let asked = Asked { rules: &rules, kinds: &kinds };
    match share_out(model, &model.outputs, &model.inputs, asked, false) {
        Err(Refusal::NoBox { why, .. }) => Some(why),
        _ => None,
    }
}

#[test]
fn a_box_that_cannot_be_used_is_refused_and_says_why() {
    let dense = model_of(&[2, 5], |m, x| {
        let k = m.add_const("k", tensor(&[5, 3], 9))?;
        let product = EinSum::new("mk,kn->mn".parse()?, f32::datum_type());
        Ok(m.wire_node("dense", product, &[x, k])?[0])
    });
    assert!(no_box(&dense, 5).is_some_and(|why| why.contains("no convolution")));
    let plain = model_of(&[1, 2, 4, 4], |m, x| add_conv(m, x, &conv([2, 3], 3, 1, 1, 1)));
    assert_eq!(no_box(&plain, 2), None);
    assert!(no_box(&plain, 3).is_some_and(|why| why.contains("3 channels")));
    let bent = model_of(&[1, 2, 4, 4], |m, x| {
        let x = m.wire_node("bent", math::tanh(), &[x])?[0];
        add_conv(m, x, &conv([2, 3], 3, 1, 1, 1))
    });
    assert!(no_box(&bent, 2).is_some_and(|why| why.contains("`bent`")));
}

#[test]
fn a_product_that_may_be_a_convolution_is_refused_where_that_matters() {
    let dense = model_of(&[2, 5], |m, x| {
        let k = m.add_const("k", tensor(&[5, 3], 9))?;
        let product = EinSum::new("mk,kn->mn".parse()?, f32::datum_type());
        Ok(m.wire_node("renamed", product, &[x, k])?[0])
    });
    let passes = |rules: &RelevanceRules, kinds: &LayerKinds| {
        let asked = Asked { rules, kinds };
        match share_out(&dense, &dense.outputs, &dense.inputs, asked, false) {
            Ok(_) => true,
            Err(Refusal::UnclearKind { node }) => {
                assert_eq!(node, "renamed");
                false
            }
            Err(other) => panic!("{other:?}"),
        }
    };
    let names = |name: &str| HashSet::from([name.to_owned()]);
    let lost = LayerKinds { convolutions: names("layer"), others: HashSet::new() };
    let mut by = rules(WeightRule::Epsilon, None);
    assert!(passes(&by, &lost), "one rule for both kinds");
    by.convolution = WeightRule::AlphaBeta(1.0.into(), 0.0.into());
    assert!(!passes(&by, &lost));
    let known = LayerKinds { others: names("renamed"), ..lost };
    assert!(passes(&by, &known), "a product in the file");
    let found = LayerKinds { convolutions: names("renamed"), others: HashSet::new() };
    assert!(passes(&by, &found), "a convolution in the file");
}

#[test]
fn a_product_and_its_transpose_share_their_changed_weights() {
    let model = model_of(&[2, 5], |m, x| {
        let k = m.add_const("k", tensor(&[5, 3], 9))?;
        let product = EinSum::new("mk,kn->mn".parse()?, f32::datum_type());
        Ok(m.wire_node("dense", product, &[x, k])?[0])
    });
    let rules = rules(WeightRule::AlphaBeta(2.0.into(), 1.0.into()), None);
    let kinds = kinds(&model);
    let asked = Asked { rules: &rules, kinds: &kinds };
    let backward = share_out(&model, &model.outputs, &model.inputs, asked, false).unwrap();
    let constants = backward.model.nodes().iter().filter_map(|node| node.op_as::<Const>());
    let weights = constants.map(Const::val).filter(|konst| konst.len() == 15);
    let places: Vec<*const Tensor> = weights.map(Arc::as_ptr).collect();
    // Above and below zero, for inputs of either sign; forwards and back, for α and for β.
    let distinct: HashSet<*const Tensor> = places.iter().copied().collect();
    assert_eq!((places.len(), distinct.len()), (8, 2));
}

#[test]
fn relevance_with_no_epsilon_is_gradient_times_input_in_a_relu_network() {
    let model = model_of(&[1, 2, 5, 5], |m, x| {
        let x = add_conv(m, x, &conv([2, 3], 3, 1, 1, 1))?;
        let zero = m.add_const("zero", tensor0(0f32).broadcast_into_rank(4)?)?;
        let y = m.wire_node("relu", math::max(), &[x, zero])?[0];
        Ok(m.wire_node("skip", math::add(), &[x, y])?[0])
    });
    let x = tensor(&[1, 2, 5, 5], 40);
    let mut by = rules(WeightRule::Epsilon, None);
    by.epsilon = 0.0.into();
    let got = shared(&model, &x, &by);
    let gradient =
        run(&model, &x, |m| differentiate(m, &m.outputs, &m.inputs, ReluRule::Standard, false));
    let want: Vec<f64> = gradient.relevance.iter().zip(numbers(&x)).map(|(g, x)| g * x).collect();
    assert_close(&got.relevance, &want, "gradient times input");
}

#[test]
fn functions_pass_on_what_they_get() {
    let functions = [nn::sigmoid(), nn::silu::silu(), math::tanh(), math::exp(), nn::hard_swish()];
    for op in functions {
        let model = model_of(&[2, 5], |m, x| Ok(m.wire_node("f", op.clone(), &[x])?[0]));
        let got = shared(&model, &tensor(&[2, 5], 40), &rules(WeightRule::Epsilon, None));
        assert_close(&got.relevance, &got.asked, "function");
    }
    // A clipped ReLU passes on what it gets where it is clipped, too.
    let model = model_of(&[2, 5], |m, x| {
        let low = m.add_const("low", tensor2(&[[0f32]]))?;
        let high = m.add_const("high", tensor2(&[[0.3f32]]))?;
        let x = m.wire_node("from", math::max(), &[x, low])?[0];
        Ok(m.wire_node("to", math::min(), &[x, high])?[0])
    });
    let got = shared(&model, &tensor(&[2, 5], 40), &rules(WeightRule::Epsilon, None));
    assert!(got.y.iter().any(|y| (y - 0.3).abs() < 1e-6) && got.y.contains(&0.0));
    assert_close(&got.relevance, &got.asked, "clipped");
}

#[test]
fn a_product_of_two_values_shares_in_halves() {
    // x · tanh(x): half directly and half through the function.
    let model = model_of(&[2, 5], |m, x| {
        let gate = m.wire_node("gate", math::tanh(), &[x])?[0];
        Ok(m.wire_node("gated", math::mul(), &[x, gate])?[0])
    });
    let got = shared(&model, &tensor(&[2, 5], 40), &rules(WeightRule::Epsilon, None));
    assert_close(&got.relevance, &got.asked, "gate");
}

#[test]
fn a_constant_keeps_its_share() {
    let model = model_of(&[1, 4], |m, x| {
        let constant = m.add_const("constant", tensor2(&[[1f32, -2.0, 0.5, 3.0]]))?;
        Ok(m.wire_node("sum", math::add(), &[x, constant])?[0])
    });
    let x = tensor(&[1, 4], 40);
    let got = shared(&model, &x, &rules(WeightRule::Epsilon, None));
    let values = numbers(&x);
    let want: Vec<f64> = (0..4).map(|i| got.asked[i] * values[i] / got.y[i]).collect();
    assert_close(&got.relevance, &want, "sum");
}

#[test]
fn what_has_no_rule_is_refused_by_name() {
    let softmax = model_of(&[2, 3], |m, x| {
        let softmax = Softmax::new(tvec!(1), None, SoftmaxKind::Softmax);
        Ok(m.wire_node("probabilities", softmax, &[x])?[0])
    });
    assert_eq!(refusal(&softmax), Some(("probabilities".into(), "Softmax".into())));
    let product = model_of(&[3, 3], |m, x| {
        let product = EinSum::new("mk,kn->mn".parse()?, f32::datum_type());
        Ok(m.wire_node("attention", product, &[x, x])?[0])
    });
    assert_eq!(refusal(&product).map(|(node, _)| node), Some("attention".into()));
    let quotient = model_of(&[2, 3], |m, x| {
        let one = m.add_const("one", tensor2(&[[1f32]]))?;
        let above = m.wire_node("exp", math::exp(), &[x])?[0];
        let more = m.wire_node("more", math::add(), &[above, one])?[0];
        Ok(m.wire_node("quotient", math::div(), &[x, more])?[0])
    });
    assert!(refusal(&quotient).is_some());
    // Relevance behind a first rule goes through what moves values, and not through a choice.
    let chosen = model_of(&[1, 2, 4, 4], |m, x| {
        let zero = m.add_const("zero", tensor0(0f32).broadcast_into_rank(4)?)?;
        let double = m.wire_node("double", math::add(), &[x, x])?[0];
        let above = m.wire_node("above", TypedBinOp(logic::comp_gt(), None), &[x, zero])?[0];
        let x = m.wire_node("choice", logic::Iff, &[above, double, x])?[0];
        add_conv(m, x, &conv([2, 3], 3, 1, 1, 1))
    });
    let rules = rules(WeightRule::Epsilon, Some(FirstRule::Flat));
    let asked = Asked { rules: &rules, kinds: &LayerKinds::default() };
    let refused = share_out(&chosen, &chosen.outputs, &chosen.inputs, asked, false).err();
    assert!(matches!(refused, Some(Refusal::NoRelevance { node, .. }) if node == "choice"));
}
