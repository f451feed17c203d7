//! Products with constant matrices, by kernels, against tract's own.

use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::math::{add, max, mul};

use super::*;
use crate::backends::onnx::declutter::declutter;
use crate::backends::onnx::file::OnnxFile;
use crate::backends::onnx::fixtures::batch;
use crate::backends::onnx::import::{Wanted, typed_model};
use crate::backends::onnx::operators::OperatorTable;
use crate::backends::tract::arrange::arrange;
use crate::backends::tract::fuse_norms::fuse_norms;
use crate::backends::tract::gradient::differentiate;
use crate::backends::tract::kernel_rates::by_rule;
use crate::backends::tract::ops::{LaidOutConv, Turn};
use crate::backends::tract::place_kernels::place;
use fame_core::contract::ReluRule;

/// Between two orders of a sum of at most a hundred products, relative to the largest.
const ROUNDING: f32 = 2e-6;

fn values(shape: &[usize], from: usize) -> Tensor {
    Tensor::from_shape(shape, batch(shape, from).data()).unwrap()
}

/// A product of values of these shapes, of which some are constants.
fn product(expression: &str, shapes: [&[usize]; 2], constants: &[usize]) -> TypedModel {
    let mut model = TypedModel::default();
    let wires = [0, 1].map(|ix| {
        if constants.contains(&ix) {
            model.add_const(format!("constant {ix}"), values(shapes[ix], 70)).unwrap()
        } else {
            model.add_source(format!("value {ix}"), f32::fact(shapes[ix])).unwrap()
        }
    });
    let op = EinSum::new(expression.parse().unwrap(), f32::datum_type());
    let y = model.wire_node("y", op, &wires).unwrap();
    model.select_output_outlets(&y).unwrap();
    model
}

/// The model with kernels, its inputs and outputs as they were.
fn with_kernels(mut model: TypedModel) -> TypedModel {
    let inputs = vec![Order::First; model.inputs.len()];
    let placed = place(&mut model, usize::MAX, by_rule).unwrap();
    arrange(&model, placed, &inputs, usize::MAX).unwrap().model
}

fn count_of(model: &TypedModel, is_it: impl Fn(&TypedNode) -> bool) -> usize {
    model.eval_order().unwrap().into_iter().filter(|&id| is_it(model.node(id))).count()
}

/// How many kernels, products of tract's, turns and permutations a model has.
fn parts(model: &TypedModel) -> [usize; 4] {
    [
        count_of(model, TypedNode::op_is::<LaidOutConv>),
        count_of(model, TypedNode::op_is::<EinSum>),
        count_of(model, TypedNode::op_is::<Turn>),
        count_of(model, TypedNode::op_is::<Permute>),
    ]
}

fn run(model: TypedModel, inputs: &[Tensor]) -> Tensor {
    let inputs = inputs.iter().map(|input| input.clone().into_tvalue()).collect();
    let plan = SimplePlan::new(model.into_optimized().unwrap()).unwrap();
    plan.run(inputs).unwrap().remove(0).into_tensor()
}

fn assert_close(got: &Tensor, want: &Tensor, what: &str) {
    assert_eq!(got.shape(), want.shape(), "{what}");
    let (got, want) = (floats(got).unwrap(), floats(want).unwrap());
    let most = want.iter().fold(0f32, |most, w| most.max(w.abs()));
    assert!(most > 0.0, "{what}: nothing to compare");
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= ROUNDING * most, "{what}: {got} for {want}");
    }
}

/// A product by its axes, the shapes of its two factors, and what a test asks of it besides.
type Case<T> = (&'static str, &'static [usize], &'static [usize], T);

#[test]
fn a_product_is_tracts_wherever_its_channels_lie() {
    let cases: &[Case<[usize; 2]>] = &[
        // Channels last, as in dense layers: nothing is moved.
        ("btc,cn->btn", &[1, 5, 24], &[24, 40], [0, 0]),
        ("btc,nc->btn", &[2, 5, 24], &[40, 24], [0, 0]),
        ("tc,cn->tn", &[7, 24], &[24, 5], [0, 0]),
        ("c,cn->n", &[24], &[24, 40], [0, 0]),
        ("bhwc,cn->bhwn", &[2, 3, 4, 24], &[24, 33], [0, 0]),
        ("abtc,abcn->abtn", &[1, 1, 5, 24], &[1, 1, 24, 40], [0, 0]),
        ("tc,cn->tn", &[7, 24], &[24, 1], [0, 0]),
        // Axes that only the value or only the result has.
        ("atc,cn->tn", &[1, 7, 24], &[24, 40], [0, 0]),
        ("tc,cn->atbn", &[7, 24], &[24, 40], [0, 0]),
        // Several axes together are the channels.
        ("bthd,hdn->btn", &[1, 5, 3, 8], &[3, 8, 40], [0, 0]),
        ("bthd,dnh->btn", &[1, 5, 3, 8], &[8, 40, 3], [0, 0]),
        ("btc,chd->bthd", &[1, 5, 24], &[24, 3, 8], [0, 0]),
        // Channels first, as in convolutions: each is turned once.
        ("bchw,nc->bnhw", &[2, 24, 3, 4], &[40, 24], [2, 0]),
        ("bhwc,cn->bnhw", &[2, 3, 4, 24], &[24, 40], [1, 0]),
        ("bchw,cn->bhwn", &[2, 24, 3, 4], &[24, 40], [1, 0]),
        // Apart, as attention's: copied together first, or apart behind.
        ("bhtd,hdn->btn", &[1, 3, 5, 16], &[3, 16, 40], [0, 1]),
        ("shbtd,shdc->btc", &[2, 3, 1, 5, 16], &[2, 3, 16, 40], [0, 1]),
        ("btc,chd->bhtd", &[1, 5, 40], &[40, 3, 16], [0, 1]),
        // Rows in another order.
        ("abc,cn->ban", &[3, 5, 40], &[40, 24], [0, 1]),
    ];
    for (expression, value, matrix, [turns, permutations]) in cases {
        let (inputs, output) = expression.split_once("->").unwrap();
        let (left, right) = inputs.split_once(',').unwrap();
        let exchanged = format!("{right},{left}->{output}");
        for (model, what) in [
            (product(expression, [value, matrix], &[1]), *expression),
            (product(&exchanged, [matrix, value], &[0]), &*exchanged),
        ] {
            let ours = with_kernels(model.clone());
            assert_eq!(parts(&ours), [1, 0, *turns, *permutations], "{what}: {ours}");
            let x = [values(value, 3)];
            assert_close(&run(ours, &x), &run(model, &x), what);
        }
    }
}

#[test]
fn what_is_no_product_with_a_matrix_is_left_to_tract() {
    let cases: &[Case<&[usize]>] = &[
        // Two values, as attention's.
        ("btc,bsc->bts", &[2, 5, 24], &[2, 7, 24], &[]),
        // A matrix for each row of the batch.
        ("btc,bcn->btn", &[2, 5, 24], &[2, 24, 40], &[1]),
        // Repeated along the sum.
        ("tc,cn->tn", &[5, 1], &[24, 40], &[1]),
        // Sums of the matrix alone, and of the value alone.
        ("btc,cn->bt", &[2, 5, 24], &[24, 40], &[1]),
        ("btc,cn->bn", &[2, 5, 24], &[24, 40], &[1]),
        // No matrix but a vector for each row.
        ("tc,tc->t", &[5, 24], &[5, 24], &[1]),
        // Channels that are neither first nor last, and rows in runs of their own: a copy costs
        // more than it saves.
        ("bhcw,cn->bhnw", &[2, 3, 24, 4], &[24, 40], &[1]),
        // Apart, and few.
        ("bhtd,hdn->btn", &[1, 3, 5, 16], &[3, 16, 4], &[1]),
    ];
    for (expression, left, right, constants) in cases {
        let mut model = product(expression, [left, right], constants);
        let placed = place(&mut model, usize::MAX, by_rule).unwrap();
        assert!(placed.is_empty(), "{expression}");
        assert_eq!(parts(&model), [0, 1, 0, 0], "{expression}: {model}");
    }
}

/// Behind a dense layer of ConvNeXt: bias, the move to channels first, a factor, the residual, and
/// here a ReLU; and in front of its gradient: the factor and the move back.
#[test]
fn what_stands_around_a_dense_layer_is_computed_along_across_moves_of_its_channels() {
    let mut model = TypedModel::default();
    let x = model.add_source("x", f32::fact([1usize, 24, 3, 4])).unwrap();
    let residual = model.add_source("residual", f32::fact([1usize, 8, 3, 4])).unwrap();
    let mut constant = |name: &str, shape: &[usize]| {
        let from = name.len() * 100;
        model.add_const(name, values(shape, from)).unwrap()
    };
    let (before, weights) = (constant("before", &[1, 24, 1, 1]), constant("weights", &[24, 8]));
    let (bias, factor) = (constant("bias", &[1, 1, 1, 8]), constant("factor", &[1, 8, 1, 1]));
    let zero = model.add_const("zero", Tensor::zero::<f32>(&[1, 1, 1, 1]).unwrap()).unwrap();
    let mut node = |name: &str, op: Box<dyn TypedOp>, of: &[OutletId]| {
        model.wire_node(name, op, of).unwrap()[0]
    };
    let dense = EinSum::new("bhwc,cn->bhwn".parse().unwrap(), f32::datum_type());
    let wire = node("scaled", Box::new(mul()), &[x, before]);
    let wire = node("to last", Box::new(AxisOp::Move(1, 3)), &[wire]);
    let wire = node("dense", Box::new(dense), &[wire, weights]);
    let wire = node("biased", Box::new(add()), &[wire, bias]);
    let wire = node("to first", Box::new(AxisOp::Move(3, 1)), &[wire]);
    let wire = node("scaled too", Box::new(mul()), &[wire, factor]);
    let wire = node("sum", Box::new(add()), &[wire, residual]);
    let wire = node("relu", Box::new(max()), &[wire, zero]);
    model.select_output_outlets(&[wire]).unwrap();
    let ours = with_kernels(model.clone());
    // Both inputs and the output are channels first here, and turned once each.
    assert_eq!(parts(&ours), [1, 0, 3, 0], "{ours}");
    let is_left = |node: &TypedNode| node.op_is::<TypedBinOp>() || node.op_is::<AxisOp>();
    assert_eq!(count_of(&ours, is_left), 0, "{ours}");
    let inputs = [values(&[1, 24, 3, 4], 3), values(&[1, 8, 3, 4], 900)];
    assert_close(&run(ours, &inputs), &run(model, &inputs), "a dense layer");
}

/// A factor along another axis than the channels', or one that repeats the result, is no factor of
/// the channels.
#[test]
fn a_vector_along_another_axis_stays_apart() {
    for shape in [[1, 8, 1], [3, 1, 1], [1, 1, 8]] {
        let mut model = product("btc,cn->btn", [&[1, 8, 24], &[24, 8]], &[1]);
        let y = model.outputs[0];
        let factor = model.add_const("factor", values(&shape, 500)).unwrap();
        let y = model.wire_node("scaled", mul(), &[y, factor]).unwrap();
        model.select_output_outlets(&y).unwrap();
        let ours = with_kernels(model.clone());
        let left = count_of(&ours, TypedNode::op_is::<TypedBinOp>);
        assert_eq!(left, usize::from(shape != [1, 1, 8]), "{shape:?}: {ours}");
        let x = [values(&[1, 8, 24], 3)];
        assert_close(&run(ours, &x), &run(model, &x), &format!("{shape:?}"));
    }
}

/// The only products left to tract are those of two values: of queries with keys and of shares with
/// values, in each block of a transformer, and the gradients of both. That results are those of
/// tract's kernels is tested in `place_kernels`, on the same networks.
#[test]
fn every_dense_layer_of_a_network_gets_a_kernel_in_both_directions() {
    // Blocks with attention, and products that have kernels at least: four in each block of a
    // transformer, two of ConvNeXt, and the last layer. That of Swin stays tract's in one direction:
    // two axes of one stand behind its channels.
    for (name, side, attentions, heads, least) in
        [("vit_slim", 64, 3, 0, 13), ("convnext_slim", 64, 0, 0, 17), ("swin_slim", 32, 4, 1, 17)]
    {
        let nets = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/nets");
        let file = OnnxFile::read(&nets.join(format!("{name}.onnx"))).unwrap();
        let outputs = ["logits".to_owned()];
        let input = [1, 3, side, side];
        let wanted = Wanted { outputs: &outputs, replaced: None, input: &input, fold: true };
        let mut forward = typed_model(&file, &OperatorTable::new(vec![]), &wanted).unwrap();
        declutter(&mut forward).unwrap();
        fuse_norms(&mut forward).unwrap();
        let ends = (forward.outputs.clone(), forward.inputs.clone());
        let back = differentiate(&forward, &ends.0, &ends.1, ReluRule::Standard, true);
        let mut back = back.ok().unwrap();
        forward.select_output_outlets(&[ends.0, back.residuals].concat()).unwrap();
        declutter(&mut back.model).unwrap();
        for (model, values) in [(forward, 2 * attentions + heads), (back.model, 4 * attentions)] {
            let all = count_of(&model, TypedNode::op_is::<EinSum>);
            let ours = with_kernels(model);
            let left = count_of(&ours, TypedNode::op_is::<EinSum>);
            assert_eq!(left, values, "{name}: {ours}");
            assert!(all - left >= least, "{name}: {all}, {left} left");
        }
    }
}
