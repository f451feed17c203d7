//! Where a gradient ends because an operator is constant almost everywhere, every engine says so:
//! asked before a pass and by the pass itself.

use fame_core::contract::{LoadRequest, Network};
use fame_core::{GradientPlace, Result, Taps};
use prost::Message as _;
use tract_onnx::pb::{ModelProto, NodeProto, TensorProto, tensor_proto::DataType};

use super::onnx::fixtures::{assert_close, batch, model, node, seed, weight};

type Load = fn(&LoadRequest) -> Result<Box<dyn Network>>;

/// The engines that this build has.
const ENGINES: &[Load] = &[
    |request| super::tract::Tract::default().load_with(request, vec![]),
    #[cfg(feature = "tch")]
    |request| super::tch::Tch::default().load_with(request, vec![]),
];

/// A dense layer behind `middle`, which makes `mid` of `flat`, `[N, 128]`.
fn network(middle: Vec<NodeProto>, more: Vec<TensorProto>) -> ModelProto {
    let mut nodes = vec![node("Flatten", &["x"], "flat", &[("axis", &[1])])];
    nodes.extend(middle);
    nodes.push(node("Gemm", &["mid", "w", "b"], "y", &[("transB", &[1])]));
    let mut weights = vec![weight("w", &[5, 128]), weight("b", &[5])];
    weights.extend(more);
    model(nodes, weights, "y")
}

fn load_all(model: &ModelProto) -> Vec<Result<Box<dyn Network>>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("net.onnx");
    std::fs::write(&file, model.encode_to_vec()).unwrap();
    ENGINES.iter().map(|load| load(&LoadRequest::new(file.clone()))).collect()
}

fn to_float(from: &str, to: &str) -> NodeProto {
    node("Cast", &[from], to, &[("to", &[DataType::Float as i64])])
}

#[test]
fn the_operator_at_which_a_gradient_ends_is_named() {
    let middles = [
        ("Floor", vec![node("Floor", &["flat"], "mid", &[])]),
        ("Greater", vec![node("Greater", &["flat", "zero"], "is", &[]), to_float("is", "mid")]),
        (
            "ArgMax",
            vec![
                node("ArgMax", &["flat"], "at", &[("axis", &[1]), ("keepdims", &[1])]),
                to_float("at", "real"),
                node("Mul", &["real", "ones"], "mid", &[]),
            ],
        ),
    ];
    for (op, middle) in middles {
        let zero = TensorProto { float_data: vec![0.0], ..weight("zero", &[1]) };
        let ones = TensorProto { float_data: vec![1.0; 128], ..weight("ones", &[1, 128]) };
        for network in load_all(&network(middle.clone(), vec![zero, ones])) {
            let network = network.unwrap();
            network.forward(&batch(&[1, 2, 8, 8], 0), &Taps::of(["y"])).unwrap();
            let taps = Taps::of(["y"]).with_gradient(GradientPlace::Input);
            let told = [
                network.check_gradient("y", &GradientPlace::Input).err(),
                network.forward(&batch(&[1, 2, 8, 8], 0), &taps).err(),
            ];
            for error in told.map(Option::unwrap) {
                assert_eq!(error.code, "fame::backend::zero_gradient", "{error}");
                assert!(error.message.contains(op), "{op}: {error}");
                assert!(error.message.contains("_node"), "{op}: {error}");
            }
        }
    }
}

#[test]
fn beside_another_way_rounding_adds_nothing() {
    let middle =
        vec![node("Floor", &["flat"], "floor", &[]), node("Add", &["flat", "floor"], "mid", &[])];
    let plain = vec![node("Identity", &["flat"], "mid", &[])];
    let taps = Taps::of(["y"]).with_gradient(GradientPlace::Input);
    let pull = |model: &ModelProto| -> Vec<fame_core::Tensor> {
        let networks = load_all(model);
        let gradient = |network: Result<Box<dyn Network>>| {
            let network = network.unwrap();
            network.check_gradient("y", &GradientPlace::Input).unwrap();
            let pass = network.forward(&batch(&[1, 2, 8, 8], 0), &taps).unwrap();
            pass.gradient(&[seed("y", batch(&[1, 5], 1))]).unwrap().remove(0)
        };
        networks.into_iter().map(gradient).collect()
    };
    let (got, want) = (pull(&network(middle, vec![])), pull(&network(plain, vec![])));
    got.iter().zip(&want).for_each(|(got, want)| assert_close(got, want));
}

#[test]
fn what_is_drawn_at_random_is_refused() {
    let yes = TensorProto {
        name: "training".into(),
        data_type: DataType::Bool as i32,
        int32_data: vec![1],
        ..TensorProto::default()
    };
    let half = TensorProto { float_data: vec![0.5], dims: vec![], ..weight("half", &[]) };
    let middle = vec![node("Dropout", &["flat", "half", "training"], "mid", &[])];
    for network in load_all(&network(middle, vec![half, yes])) {
        let error = network.err().unwrap();
        assert!(
            error.message.contains("random numbers") && error.message.contains("Dropout"),
            "{error}"
        );
    }
}
