//! What PyTorch's exporters write, found again and computed in one pass.

use fame_core::contract::{Network, ReluRule};
use fame_core::{GradientPlace, Taps};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};
use tract_onnx::tract_core::ops::math::Sub;
use tract_onnx::tract_core::ops::nn::Reduce;
use tract_onnx::tract_core::ops::nn::silu::silu;

use super::*;
use crate::backends::onnx::declutter::declutter;
use crate::backends::onnx::file::OnnxFile;
use crate::backends::onnx::fixtures::{batch, model, node, seed, weight};
use crate::backends::onnx::import::{Wanted, typed_model};
use crate::backends::onnx::operators::OperatorTable;
use crate::backends::tract::arrange::arrange;
use crate::backends::tract::fuse_norms::fuse_norms;
use crate::backends::tract::gradient::differentiate;
use crate::backends::tract::kernel_rates::rates;
use crate::backends::tract::network::TractNetwork;
use crate::backends::tract::ops::Turn;
use crate::backends::tract::order::Order;
use crate::backends::tract::place_kernels::place;

/// The shape of the input.
const SHAPE: [usize; 4] = [1, 2, 8, 8];
/// Between one pass and several, or the formula, relative to the largest: another order of sums.
const ROUNDING: f32 = 2e-6;
/// Between an activation and tract's, relative to the largest: tract's `erf` and `tanh` are fits.
const FITS: f32 = 1e-5;

/// Nodes from `x` to `y`, and weights.
type Parts = (Vec<NodeProto>, Vec<TensorProto>);

fn number(name: &str, value: f32) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: DataType::Float as i32,
        float_data: vec![value],
        ..TensorProto::default()
    }
}

/// `LayerNormalization` of `x` over its last axis, as it is from opset 17 on.
fn whole() -> Parts {
    let nodes = vec![node("LayerNormalization", &["x", "gamma", "beta"], "y", &[])];
    (nodes, vec![weight("gamma", &[8]), weight("beta", &[8])])
}

/// The same in pieces, as PyTorch writes it below.
fn in_pieces() -> Parts {
    let mean: [(&str, &[i64]); 2] = [("axes", &[-1]), ("keepdims", &[1])];
    let nodes = vec![
        node("ReduceMean", &["x"], "mean", &mean),
        node("Sub", &["x", "mean"], "difference", &[]),
        node("Pow", &["difference", "two"], "squares", &[]),
        node("ReduceMean", &["squares"], "variance", &mean),
        node("Add", &["variance", "eps"], "above", &[]),
        node("Sqrt", &["above"], "root", &[]),
        node("Div", &["difference", "root"], "unit", &[]),
        node("Mul", &["unit", "gamma"], "scaled", &[]),
        node("Add", &["scaled", "beta"], "y", &[]),
    ];
    let numbers = vec![number("two", 2.0), number("eps", 1e-5)];
    (nodes, [vec![weight("gamma", &[8]), weight("beta", &[8])], numbers].concat())
}

fn file(parts: Parts) -> OnnxFile {
    file_in(17, parts)
}

/// A file written in a version of ONNX's operators.
fn file_in(opset: i64, (nodes, weights): Parts) -> OnnxFile {
    let mut proto = model(nodes, weights, "y");
    proto.opset_import[0].version = opset;
    OnnxFile::check(proto, None, "net.onnx".into()).unwrap()
}

/// The simplified model of a file, with these outputs.
fn simplified(file: &OnnxFile, outputs: &[&str], input: &[usize]) -> TypedModel {
    let outputs: Vec<String> = outputs.iter().map(ToString::to_string).collect();
    let wanted = Wanted { outputs: &outputs, replaced: None, input, fold: true };
    let mut typed = typed_model(file, &OperatorTable::new(vec![]), &wanted).unwrap();
    declutter(&mut typed).unwrap();
    typed
}

fn count(model: &TypedModel, is_it: impl Fn(&TypedNode) -> bool) -> usize {
    let order = model.eval_order().unwrap();
    order.into_iter().filter(|&id| is_it(model.node(id))).count()
}

fn is_binary<O: tract_onnx::tract_core::ops::binary::BinMiniOp>(node: &TypedNode) -> bool {
    node.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<O>())
}

/// The value of `x`, or another of `from`, as tract's.
fn values(shape: &[usize], from: usize) -> TValue {
    Tensor::from_shape(shape, batch(shape, from).data()).unwrap().into_tvalue()
}

fn run(model: TypedModel, inputs: TVec<TValue>) -> TVec<TValue> {
    SimplePlan::new(model.into_optimized().unwrap()).unwrap().run(inputs).unwrap()
}

fn close(got: &Tensor, want: &Tensor, tolerance: f32, what: &str) {
    assert_eq!(got.shape(), want.shape(), "{what}");
    let (got, want) = (floats(got).unwrap(), floats(want).unwrap());
    let most = want.iter().fold(0f32, |most, w| most.max(w.abs()));
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= tolerance * most, "{what}: {got} for {want}");
    }
}

/// The input gradient of a model with one output.
fn gradient(model: &TypedModel, with: impl Fn(&mut TypedModel)) -> (TypedModel, TVec<TValue>) {
    let (inputs, outputs) = (model.inputs.clone(), model.outputs.clone());
    let mut back = differentiate(model, &outputs, &inputs, ReluRule::Standard, false).ok().unwrap();
    let mut forward = model.clone();
    forward.select_output_outlets(&back.residuals).unwrap();
    let shape = model.outlet_fact(outputs[0]).unwrap().shape.as_concrete().unwrap().to_vec();
    let mut values_of = run(forward, tvec!(values(&SHAPE, 3)));
    values_of.push(values(&shape, 900));
    declutter(&mut back.model).unwrap();
    with(&mut back.model);
    (back.model.clone(), run(back.model, values_of))
}

#[test]
fn a_layer_normalisation_is_found_in_every_form_and_done_in_one_pass() {
    for (form, parts) in [("whole", whole()), ("in pieces", in_pieces())] {
        let apart = simplified(&file(parts), &["y"], &SHAPE);
        let mut fused = apart.clone();
        fuse_norms(&mut fused).unwrap();
        let is_norm = |node: &TypedNode| node.op_is::<Norm>();
        assert_eq!(count(&fused, is_norm), 1, "{form}: {fused}");
        let is_part = |node: &TypedNode| {
            node.op_is::<RmsNorm>() || node.op_is::<Reduce>() || is_binary::<Sub>(node)
        };
        assert_eq!(count(&fused, is_part), 0, "{form}: {fused}");
        let want = run(apart.clone(), tvec!(values(&SHAPE, 3))).remove(0);
        let (_, slope) = gradient(&apart, |_| ());
        let (one, got_slope) = gradient(&fused, |model| in_one_pass(model).unwrap());
        close(&got_slope[0], &slope[0], ROUNDING, form);
        let is_scaled =
            |node: &TypedNode| node.op_as::<NormGrad>().is_some_and(|op| op.scale.is_some());
        assert_eq!(count(&one, is_scaled), 1, "{form}: {one}");
        assert_eq!(count(&one, is_binary::<Mul>), 0, "{form}: {one}");
        in_one_pass(&mut fused).unwrap();
        let is_affine =
            |node: &TypedNode| node.op_as::<Norm>().is_some_and(|op| op.affine.is_some());
        assert_eq!(count(&fused, is_affine), 1, "{form}: {fused}");
        let is_left = |node: &TypedNode| is_binary::<Mul>(node) || is_binary::<Add>(node);
        assert_eq!(count(&fused, is_left), 0, "{form}: {fused}");
        close(&run(fused, tvec!(values(&SHAPE, 3)))[0], &want, ROUNDING, form);
    }
}

#[test]
fn a_layer_normalisation_is_the_formula() {
    let network = |parts| {
        TractNetwork::new(file(parts), OperatorTable::new(vec![]), None, 1, Some(rates)).unwrap()
    };
    let x = batch(&SHAPE, 3);
    let vector = |name: &str| weight(name, &[8]).float_data;
    let (gamma, beta) = (vector("gamma"), vector("beta"));
    for parts in [whole(), in_pieces()] {
        let pass = network(parts).forward(&x, &Taps::of(["y"])).unwrap().output("y").unwrap();
        for (x, y) in x.data().chunks(8).zip(pass.data().chunks(8)) {
            let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
            let mean = x.iter().sum::<f64>() / 8.0;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 8.0;
            for (lane, y) in y.iter().enumerate() {
                let unit = (x[lane] - mean) / (variance + 1e-5).sqrt();
                let want = unit * f64::from(gamma[lane]) + f64::from(beta[lane]);
                assert!((f64::from(*y) - want).abs() <= f64::from(ROUNDING), "{y} for {want}");
            }
        }
    }
}

#[test]
fn nothing_is_fused_across_a_tapped_layer() {
    let file = || file(in_pieces());
    for inside in ["mean", "difference"] {
        let mut model = simplified(&file(), &["y", inside], &SHAPE);
        fuse_norms(&mut model).unwrap();
        assert_eq!(count(&model, TypedNode::op_is::<Norm>), 0, "{inside}: {model}");
    }
    let network =
        TractNetwork::new(file(), OperatorTable::new(vec![]), None, 1, Some(rates)).unwrap();
    let x = batch(&SHAPE, 3);
    let untapped =
        network.forward(&x, &Taps::of(["y"]).with_gradient(GradientPlace::Input)).unwrap();
    let whole = untapped.output("y").unwrap();
    let cotangent = batch(whole.shape(), 900);
    let slope = untapped.gradient(&[seed("y", cotangent.clone())]).unwrap().swap_remove(0);
    let most = slope.max_abs();
    for inside in ["mean", "difference", "unit", "scaled"] {
        let place = GradientPlace::Layer(inside.into());
        let taps = Taps::of(["y", inside]).with_gradient(place).with_gradient(GradientPlace::Input);
        let pass = network.forward(&x, &taps).unwrap();
        for (y, want) in pass.output("y").unwrap().data().iter().zip(whole.data()) {
            assert!((y - want).abs() <= ROUNDING, "{inside}: {y} for {want}");
        }
        let gradients = pass.gradient(&[seed("y", cotangent.clone())]).unwrap();
        assert!(gradients[0].max_abs() > 0.0, "{inside}: nothing comes to it");
        for (g, want) in gradients[1].data().iter().zip(slope.data()) {
            assert!((g - want).abs() <= ROUNDING * most, "{inside}: {g} for {want}");
        }
    }
}

/// The smooth activations as exporters write them: GELU and SiLU in pieces, the approximation of
/// GELU as one operator (opset 20). tract does not put the pieces of that one together.
fn activations() -> Vec<(Activation, Parts)> {
    let gelu = vec![
        node("Div", &["x", "root"], "small", &[]),
        node("Erf", &["small"], "erf", &[]),
        node("Add", &["erf", "one"], "sum", &[]),
        node("Mul", &["x", "sum"], "twice", &[]),
        node("Mul", &["twice", "half"], "y", &[]),
    ];
    let mut tanh = node("Gelu", &["x"], "y", &[]);
    tanh.attribute.push(AttributeProto {
        name: "approximate".into(),
        r#type: AttributeType::String as i32,
        s: b"tanh".to_vec(),
        ..AttributeProto::default()
    });
    let numbers = [("root", std::f32::consts::SQRT_2), ("one", 1.0), ("half", 0.5)];
    let numbers = numbers.map(|(name, value)| number(name, value)).to_vec();
    vec![(Activation::Gelu, (gelu, numbers)), (Activation::GeluTanh, (vec![tanh], vec![]))]
}

#[test]
fn smooth_activations_are_found_and_done_in_one_pass() {
    for (activation, parts) in activations() {
        let apart = simplified(&file_in(20, parts), &["y"], &SHAPE);
        let mut one = apart.clone();
        in_one_pass(&mut one).unwrap();
        let is_it =
            |node: &TypedNode| node.op_as::<Activate>().is_some_and(|op| op.0 == activation);
        assert_eq!(count(&one, is_it), 1, "{activation:?}: {one}");
        assert_eq!(one.eval_order().unwrap().len(), 2, "{activation:?}: {one}");
        let [got, want] = [one, apart].map(|model| run(model, tvec!(values(&SHAPE, 3))).remove(0));
        close(&got, &want, FITS, &format!("{activation:?}"));
    }
}

/// A sigmoid of a file is written out in exponentials at the import, for its tails: SiLU stays one
/// operator only where a file has it as one.
#[test]
fn silu_is_done_in_one_pass() {
    let mut apart = TypedModel::default();
    let x = apart.add_source("x", f32::fact(SHAPE)).unwrap();
    let y = apart.wire_node("y", silu(), &[x]).unwrap();
    apart.select_output_outlets(&y).unwrap();
    let mut one = apart.clone();
    in_one_pass(&mut one).unwrap();
    let is_it =
        |node: &TypedNode| node.op_as::<Activate>().is_some_and(|op| op.0 == Activation::Silu);
    assert_eq!(count(&one, is_it), 1, "{one}");
    let [got, want] = [one, apart].map(|model| run(model, tvec!(values(&SHAPE, 3))).remove(0));
    close(&got, &want, FITS, "SiLU");
}

#[test]
fn softmax_over_the_last_axis_is_done_in_one_pass() {
    let rows = |model: &TypedModel| count(model, TypedNode::op_is::<SoftmaxRows>);
    for (axis, found) in [(-1, 1), (1, 0)] {
        let parts = (vec![node("Softmax", &["x"], "y", &[("axis", &[axis])])], vec![]);
        let mut one = simplified(&file(parts), &["y"], &SHAPE);
        in_one_pass(&mut one).unwrap();
        assert_eq!(rows(&one), found, "{axis}");
    }
    for kind in [SoftmaxKind::Softmax, SoftmaxKind::LogSoftmax] {
        let logarithm = matches!(kind, SoftmaxKind::LogSoftmax);
        let mut one = TypedModel::default();
        let x = one.add_source("x", f32::fact(SHAPE)).unwrap();
        let y = one.wire_node("y", Softmax::new(tvec!(3), None, kind), &[x]).unwrap();
        one.select_output_outlets(&y).unwrap();
        in_one_pass(&mut one).unwrap();
        assert_eq!(rows(&one), 1, "{one}");
        let y = run(one, tvec!(values(&SHAPE, 3))).remove(0);
        for (x, y) in batch(&SHAPE, 3).data().chunks(8).zip(floats(&y).unwrap().chunks(8)) {
            let total: f64 = x.iter().map(|x| f64::from(*x).exp()).sum();
            for (x, y) in x.iter().zip(y) {
                let share = f64::from(*x).exp() / total;
                let want = if logarithm { share.ln() } else { share };
                let bound = f64::from(ROUNDING) * (1.0 + want.abs());
                assert!((f64::from(*y) - want).abs() <= bound, "{y} for {want}");
            }
        }
    }
}

/// What a convolution leaves is normalised as it lies, and so the gradient comes back to it: every
/// turn stands elsewhere, at dense layers for example.
#[test]
fn nothing_is_turned_between_a_convolution_and_its_normalisation() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/golden/nets/convnext_slim.onnx");
    let file = OnnxFile::read(&path).unwrap();
    let mut forward = simplified(&file, &["logits"], &[1, 3, 64, 64]);
    fuse_norms(&mut forward).unwrap();
    let blocks = count(&forward, TypedNode::op_is::<Norm>);
    assert!(blocks > 1, "{forward}");
    let (inputs, outputs) = (forward.inputs.clone(), forward.outputs.clone());
    let mut back =
        differentiate(&forward, &outputs, &inputs, ReluRule::Standard, true).ok().unwrap();
    forward.select_output_outlets(&[outputs, back.residuals].concat()).unwrap();
    let placed = place(&mut forward, usize::MAX, rates).unwrap();
    let arranged = arrange(&forward, placed, &[Order::First], 1).unwrap();
    let before = |model: &TypedModel, node: &TypedNode| model.node(node.inputs[0].node).clone();
    let model = &arranged.model;
    assert_eq!(count(model, TypedNode::op_is::<Norm>), blocks, "{model}");
    let turned = count(model, |node| node.op_is::<Norm>() && before(model, node).op_is::<Turn>());
    assert_eq!(turned, 0, "{model}");
    declutter(&mut back.model).unwrap();
    let placed = place(&mut back.model, usize::MAX, rates).unwrap();
    let mut orders: Vec<Order> = arranged.outputs[1..].to_vec();
    orders.push(Order::First);
    let arranged = arrange(&back.model, placed, &orders, 1).unwrap();
    let model = &arranged.model;
    assert_eq!(count(model, TypedNode::op_is::<NormGrad>), blocks, "{model}");
    let turned =
        count(model, |node| node.op_is::<Turn>() && before(model, node).op_is::<NormGrad>());
    assert_eq!(turned, 0, "{model}");
}
