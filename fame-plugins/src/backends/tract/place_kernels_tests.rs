//! Networks with kernels of our own against the same networks with tract's.

use fame_core::contract::Network;
use fame_core::{GradientPlace, Taps, Tensor as HostTensor};

use super::*;
use crate::backends::onnx::file::OnnxFile;
use crate::backends::onnx::fixtures::{batch, seed};
use crate::backends::onnx::operators::OperatorTable;
use crate::backends::tract::kernel_rates::{by_rule, in_bf16, rates};
use crate::backends::tract::network::TractNetwork;
use crate::backends::tract::runner::Runner;

/// Outputs and gradients, relative L2: rounding of F(4×4, 3×3), about ten times that of a plain sum,
/// over a whole network, and the ReLUs whose inputs it moves over zero.
const RELATIVE: f64 = 1e-4;

/// Where the numbers of the inputs begin.
const INPUTS: [usize; 4] = [11, 100_011, 200_011, 300_011];

/// The fastest is the last candidate that `wanted` allows.
fn prefer(layer: &Layer, wanted: impl Fn(Algorithm) -> bool) -> Arc<[Measured]> {
    let candidates = Algorithm::candidates(&layer.geometry, layer.direction);
    let ours = candidates.into_iter().filter(|&way| wanted(way)).enumerate();
    let rate =
        |(index, algorithm)| Measured { algorithm, seconds: 1.0 / (index + 1) as f64, bytes: 0 };
    ours.map(rate).collect()
}

fn no_winograd(layer: &Layer, _: &[f32]) -> Arc<[Measured]> {
    prefer(layer, |way| !matches!(way, Algorithm::Winograd2(_) | Algorithm::Winograd4(_)))
}

fn winograd2(layer: &Layer, _: &[f32]) -> Arc<[Measured]> {
    prefer(layer, |way| !matches!(way, Algorithm::Winograd4(_)))
}

fn winograd4(layer: &Layer, _: &[f32]) -> Arc<[Measured]> {
    prefer(layer, |way| !matches!(way, Algorithm::Winograd2(_)))
}

fn golden(name: &str) -> OnnxFile {
    let nets = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/nets");
    OnnxFile::read(&nets.join(format!("{name}.onnx"))).unwrap()
}

fn load(name: &str, shape: &[usize], rating: Option<Rating>) -> TractNetwork {
    load_on(2, name, shape, rating)
}

fn load_on(threads: usize, name: &str, shape: &[usize], rating: Option<Rating>) -> TractNetwork {
    let shape = Some(shape.to_vec());
    TractNetwork::new(golden(name), OperatorTable::new(vec![]), shape, threads, rating).unwrap()
}

/// The output of the network and its input gradient, for `x`.
fn results(network: &dyn Network, x: &HostTensor) -> [HostTensor; 2] {
    let layer = network.layers().iter().rev().find(|l| l.is_output).unwrap().name.clone();
    let taps = Taps::of([layer.clone()]).with_gradient(GradientPlace::Input);
    let pass = network.forward(x, &taps).unwrap();
    let output = pass.output(&layer).unwrap();
    // Every row has the same cotangent, as it would have alone.
    let one = batch(output.row_shape(), 5);
    let rows: Vec<_> = (0..x.rows()).map(|_| &one).collect();
    let gradient = pass.gradient(&[seed(&layer, HostTensor::stack(rows).unwrap())]).unwrap();
    [output, gradient.into_iter().next().unwrap()]
}

fn relative(got: &HostTensor, want: &HostTensor) -> f64 {
    assert_eq!(got.shape(), want.shape());
    let pairs = || got.data().iter().zip(want.data()).map(|(g, w)| (f64::from(*g), f64::from(*w)));
    let apart: f64 = pairs().map(|(g, w)| (g - w).powi(2)).sum();
    (apart / pairs().map(|(_, w)| w * w).sum::<f64>()).sqrt()
}

/// Rows that go by the weights of a layer together have the bytes that each has alone.
#[test]
fn rows_together_give_what_each_gives_alone() {
    for (name, shape, rating) in [
        ("iresnet50_slim", [3, 56, 56], by_rule as Rating),
        ("resnet50_slim", [3, 64, 64], by_rule),
        ("vgg_slim", [3, 64, 64], by_rule),
        ("vit_slim", [3, 64, 64], by_rule),
        ("iresnet50_slim", [3, 56, 56], in_bf16),
        ("vgg_slim", [3, 64, 64], in_bf16),
        ("vit_slim", [3, 64, 64], in_bf16),
    ] {
        let network = load(name, &shape, Some(rating));
        let layer = network.layers().iter().rev().find(|l| l.is_output).unwrap().name.clone();
        let taps = Taps::of([layer]).with_gradient(GradientPlace::Input);
        let plan = network.plan(&taps, None).unwrap();
        let gains = [&plan.forward, plan.backward.as_ref().unwrap()].map(Runner::gains_from_rows);
        assert_eq!(gains, [true; 2], "{name} has no layer whose weights outweigh its values");
        let rows: Vec<_> = (0..7).map(|seed| batch(&shape, seed)).collect();
        let together = results(&network, &HostTensor::stack(&rows).unwrap());
        for (index, row) in rows.iter().enumerate() {
            let alone = results(&network, &HostTensor::stack([row]).unwrap());
            for (together, alone) in together.iter().zip(&alone) {
                assert_eq!(together.row(index), alone.data(), "{name}, row {index}");
            }
        }
    }
}

/// Its weights take 225 KiB; the values of a row 426 KiB at 64 pixels and 27 KiB at 16.
#[test]
fn more_rows_are_preferred_where_weights_outweigh_their_values() {
    let rows = |side| load("resnet50_slim", &[3, side, side], Some(by_rule)).preferred_rows();
    assert_eq!([64, 16].map(rows), [2, 8], "on two threads");
}

/// Several threads share the large layers of a row that is alone: the stem's operations, 22 million,
/// are worth two.
#[test]
fn a_row_on_several_threads_has_the_bytes_that_it_has_on_one() {
    let shape = [3, 224, 224];
    let x = HostTensor::stack([&batch(&shape, 3)]).unwrap();
    for rating in [by_rule as Rating, in_bf16] {
        let [one, three] = [1, 3]
            .map(|threads| results(&load_on(threads, "resnet50_slim", &shape, Some(rating)), &x));
        assert_eq!(one, three);
    }
}

/// With rounded factors, relative L2: each is rounded by up to 1/512, in some twenty layers.
const ROUNDED: f64 = 0.02;
/// What is no further than this from `f32` was not rounded.
const NOT_ROUNDED: f64 = 3e-4;

/// Gradients through ReLUs jump where a rounded input has another sign: the conformance suite holds
/// them to PyTorch's own errors.
#[test]
fn rounded_factors_move_a_network_by_as_much_as_they_are_rounded() {
    for (name, shape, is_smooth) in [
        ("resnet50_slim", [3, 64, 64], false),
        ("iresnet50_slim", [3, 56, 56], false),
        ("convnext_slim", [3, 64, 64], true),
        ("unet_slim", [3, 32, 32], false),
        ("vgg_slim", [3, 64, 64], false),
        ("vit_slim", [3, 64, 64], true),
    ] {
        let [exact, rounded] =
            [None, Some(in_bf16 as Rating)].map(|rating| load(name, &shape, rating));
        for input in INPUTS {
            let x = HostTensor::stack([&batch(&shape, input)]).unwrap();
            let [rounded, exact] = [&rounded, &exact].map(|network| results(network, &x));
            for (index, most) in [ROUNDED, if is_smooth { ROUNDED } else { 1.0 }].iter().enumerate()
            {
                let apart = relative(&rounded[index], &exact[index]);
                assert!((NOT_ROUNDED..*most).contains(&apart), "{name}, {input}: {apart:e}");
            }
        }
    }
}

#[test]
fn outputs_and_gradients_are_those_of_tracts_kernels() {
    for (name, shape) in [
        ("resnet50_slim", [3, 64, 64]),
        ("iresnet50_slim", [3, 56, 56]),
        ("mobilenet_v2_slim", [3, 64, 64]),
        ("mobilenet_v3_slim", [3, 64, 64]),
        ("efficientnet_slim", [3, 64, 64]),
        ("convnext_slim", [3, 64, 64]),
        ("densenet_slim", [3, 64, 64]),
        ("squeezenet_slim", [3, 64, 64]),
        ("unet_slim", [3, 32, 32]),
        ("vgg_slim", [3, 64, 64]),
        ("branch_slim", [3, 64, 64]),
        ("swin_slim", [3, 32, 32]),
        ("vit_slim", [3, 64, 64]),
    ] {
        let tract = load(name, &shape, None);
        for (ways, rating) in
            [("no Winograd", no_winograd as Rating), ("F2", winograd2), ("F4", winograd4)]
        {
            let ours = load(name, &shape, Some(rating));
            // On an input that lies beside a kink, rounding decides on which side of it; a kernel
            // that is wrong is wrong on every input.
            let mut least = f64::INFINITY;
            for from in INPUTS {
                let x = batch(&[&[1], shape.as_slice()].concat(), from);
                let ([y, gradient], [want, slope]) = (results(&ours, &x), results(&tract, &x));
                let apart = relative(&y, &want);
                assert!(apart > 0.0, "{name}, {ways}: no kernel of ours ran");
                assert!(apart <= RELATIVE, "{name}, {ways}, output: {apart:e} apart");
                least = least.min(relative(&gradient, &slope));
            }
            assert!(least <= RELATIVE, "{name}, {ways}, gradient: {least:e} apart");
        }
    }
}

#[test]
fn a_row_gives_the_same_bytes_in_every_batch_and_in_every_network_of_a_process() {
    for (name, side) in [("iresnet50_slim", 56), ("vit_slim", 64), ("convnext_slim", 64)] {
        let x = batch(&[3, 3, side, side], 11);
        let load = || load(name, &[3, side, side], Some(rates));
        let network = load();
        let together = results(&network, &x);
        assert_eq!(results(&load(), &x), together, "{name}");
        for row in 0..3 {
            let one = HostTensor::stack([&x.row_tensor(row)]).unwrap();
            for (alone, together) in results(&network, &one).iter().zip(&together) {
                assert_eq!(alone.row(0), together.row(row), "{name}, row {row}");
            }
        }
    }
}

/// Two channels on each side, where convolutions have them.
const PLAIN: ([usize; 2], [Order; 2]) = ([2; 2], [Order::First; 2]);

fn site(bytes: usize) -> Site {
    let geometry = Geometry {
        inputs: 2,
        outputs: 2,
        groups: 1,
        extent: [4, 4],
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        before: [1, 1],
        after: [1, 1],
    };
    let way = |algorithm, seconds, bytes| Measured { algorithm, seconds, bytes };
    let ways = vec![
        way(Algorithm::Direct, 0.95, bytes),
        way(Algorithm::Winograd2(24), 0.5, 2 * bytes),
        way(Algorithm::Winograd4(24), 0.4, 4 * bytes),
    ];
    let mut model = TypedModel::default();
    let x = model.add_source("x", f32::fact([1usize, 2, 4, 4])).unwrap();
    let y = model.wire_node("y", tract_onnx::tract_core::ops::math::neg(), &[x]).unwrap()[0];
    Site {
        layer: Layer { geometry, direction: Direction::Forward, rows: 1, level: Level::best() },
        weights: Weights::plain(Tensor::zero::<f32>(&[bytes / size_of::<f32>()]).unwrap().into()),
        chain: Chain::around(&model, (y.node, x), PLAIN, None, false, |_| false),
        ways: ways.into(),
    }
}

#[test]
fn the_fastest_way_is_taken_whose_weights_fit() {
    let way = |budget| site(400).best(budget).algorithm;
    assert_eq!(way(1200), Algorithm::Winograd4(24));
    assert_eq!(way(1199), Algorithm::Winograd2(24));
    assert_eq!(way(399), Algorithm::Direct);
    assert!(site(100).worth() > site(400).worth());
}

#[test]
fn equal_weights_are_laid_out_once_as_long_as_somebody_has_them() {
    let layer = site(400).layer;
    let weights = [[0.5; 36].as_slice(), &[0.25; 36]];
    let kernel = shared(layer, Algorithm::Direct, weights[0]);
    assert!(Arc::ptr_eq(&kernel, &shared(layer, Algorithm::Direct, weights[0])));
    assert!(!Arc::ptr_eq(&kernel, &shared(layer, Algorithm::Direct, weights[1])));
    assert!(!Arc::ptr_eq(&kernel, &shared(layer, Algorithm::Winograd2(96), weights[0])));
    assert_eq!(Arc::strong_count(&kernel), 1, "what is known keeps nothing alive");
}

#[test]
fn a_model_forgets_the_constants_that_only_a_kernel_reads() {
    use tract_onnx::tract_core::ops::math::{add, mul};

    let mut model = TypedModel::default();
    let x = model.add_source("x", f32::fact([1usize, 2, 3, 3])).unwrap();
    let mut vector = |name: &str, values: [f32; 2]| {
        model.add_const(name, Tensor::from_shape(&[1, 2, 1, 1], &values).unwrap()).unwrap()
    };
    let (own, both) = (vector("own", [1.0, 2.0]), vector("both", [3.0, 4.0]));
    // Stands for a convolution, with a bias that another node reads too.
    let c = model.wire_node("c", mul(), &[x, own]).unwrap()[0];
    let biased = model.wire_node("biased", add(), &[c, both]).unwrap()[0];
    let other = model.wire_node("other", add(), &[x, both]).unwrap()[0];
    model.select_output_outlets(&[biased, other]).unwrap();
    let chain = Chain::around(&model, (c.node, x), PLAIN, None, false, |_| false);
    assert_eq!(chain.nodes, [c.node, biased.node]);
    forget(&mut model, &chain);
    let konst = |outlet| model.outlet_fact(outlet).unwrap().konst.clone();
    assert!(konst(own).is_none());
    assert_eq!(model.node(own.node).op_as::<Const>().unwrap().val().len(), 1);
    assert_eq!(floats(&konst(both).unwrap()).unwrap(), [3.0, 4.0]);
}
