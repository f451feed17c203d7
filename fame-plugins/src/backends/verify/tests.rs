//! Faults that were mended, with the mend taken out: a verification names the node of each.
//!
//! The engine under test is `Tract` on a file that went past the repairs; the witness is onnxruntime
//! where its library is, and `Tract` with the repairs everywhere.

use std::path::Path;

use fame_core::LoadRequest;
use fame_core::contract::{Backend, Network};
use prost::Message as _;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, ModelProto, NodeProto, TensorProto};

use super::{Graph, Input, Slopes, Values, check_slopes, compare_values};
use crate::backends::onnx::file::OnnxFile;
use crate::backends::onnx::fixtures::{batch, model, node, small, weight};
use crate::backends::ort::present;
use crate::backends::tract::{Tract, load_file};

/// A model file, its graph, and networks that run it rightly.
struct Subject {
    proto: ModelProto,
    graph: Graph,
    witnesses: Vec<Box<dyn Network>>,
    _folder: tempfile::TempDir,
}

impl Subject {
    fn new(proto: ModelProto) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("net.onnx");
        std::fs::write(&file, proto.encode_to_vec()).unwrap();
        let load = |backend: &dyn Backend, file: &Path| {
            backend.load(&LoadRequest::new(file).with_input_shape([2, 8, 8])).unwrap()
        };
        let mut witnesses = vec![load(&Tract::default(), &file)];
        witnesses.extend(present().map(|ort| load(ort.as_ref(), &file)));
        let graph = Graph::read(&file).unwrap();
        Self { proto, graph, witnesses, _folder: folder }
    }

    /// The network of the file without any mend.
    fn unmended(&self) -> Box<dyn Network> {
        let (proto, path) = (self.proto.clone(), "net.onnx".to_owned());
        load_file(OnnxFile { proto, folder: None, path, notes: vec![] }).unwrap()
    }
}

fn inputs() -> Vec<Input> {
    let one = |n: usize| Input { name: format!("input {n}"), value: batch(&[2, 8, 8], 500 * n) };
    (0..2).map(one).collect()
}

fn both(ours: &dyn Network, witness: &dyn Network, graph: &Graph) -> (Values, Slopes) {
    (
        compare_values(ours, witness, graph, &inputs()).unwrap(),
        check_slopes(ours, witness, graph, &inputs()).unwrap(),
    )
}

/// Nodes that make five outputs of `layer`, two channels of any size.
fn head(layer: &str) -> Vec<NodeProto> {
    vec![
        node("GlobalAveragePool", &[layer], "pool", &[]),
        node("Flatten", &["pool"], "flat", &[("axis", &[1])]),
        node("Gemm", &["flat", "w"], "y", &[("transB", &[1])]),
    ]
}

fn with_head(mut nodes: Vec<NodeProto>, layer: &str, mut weights: Vec<TensorProto>) -> ModelProto {
    nodes.extend(head(layer));
    weights.push(weight("w", &[5, 2]));
    model(nodes, weights, "y")
}

#[test]
fn a_sound_network_passes() {
    let subject = Subject::new(small());
    let ours = &subject.witnesses[0];
    for witness in &subject.witnesses {
        let (values, slopes) = both(ours.as_ref(), witness.as_ref(), &subject.graph);
        assert_eq!((values.compared, values.missing.len()), (11, 0));
        assert!(values.differences.is_empty(), "{values:?}");
        assert!(slopes.differences.is_empty() && slopes.refused.is_empty(), "{slopes:?}");
        assert_eq!((slopes.measured, slopes.outputs), (2, vec!["y".to_owned()]));
    }
}

/// The gradient of `subject` without mends is told wrong, or refused, and node `named` stands there.
fn names_the_gradient_of(subject: &Subject, named: &str) {
    let ours = subject.unmended();
    for witness in &subject.witnesses {
        let (values, slopes) = both(ours.as_ref(), witness.as_ref(), &subject.graph);
        assert!(values.differences.is_empty(), "{values:?}");
        let told: Vec<&str> = slopes
            .differences
            .iter()
            .map(|d| d.sentence.as_str())
            .chain(slopes.refused.iter().map(String::as_str))
            .collect();
        assert!(told.len() == 1 && told[0].contains(named), "{told:?}");
        let mended = both(subject.witnesses[0].as_ref(), witness.as_ref(), &subject.graph);
        assert!(mended.1.differences.is_empty() && mended.1.refused.is_empty(), "{mended:?}");
    }
}

#[test]
fn a_power_with_a_whole_exponent_that_ends_the_gradient_is_named() {
    let two = TensorProto {
        name: "two".into(),
        data_type: DataType::Int64 as i32,
        int64_data: vec![2],
        ..TensorProto::default()
    };
    let nodes =
        vec![node("Pow", &["x", "two"], "square", &[]), node("Add", &["square", "x"], "sum", &[])];
    let subject = Subject::new(with_head(nodes, "sum", vec![two]));
    names_the_gradient_of(&subject, "node `square_node` (Pow)");
}

#[test]
fn a_branch_in_double_precision_that_ends_the_gradient_is_named() {
    let cast = |input: &str, output: &str, to: DataType| NodeProto {
        attribute: vec![AttributeProto {
            name: "to".into(),
            r#type: AttributeType::Int as i32,
            i: to as i64,
            ..AttributeProto::default()
        }],
        ..node("Cast", &[input], output, &[])
    };
    let nodes = vec![
        cast("x", "wide", DataType::Double),
        node("Exp", &["wide"], "exp", &[]),
        cast("exp", "narrow", DataType::Float),
        node("Add", &["narrow", "x"], "sum", &[]),
    ];
    let subject = Subject::new(with_head(nodes, "sum", vec![]));
    names_the_gradient_of(&subject, "node `wide_node` (Cast)");
}

#[test]
fn a_log_softmax_that_overflows_is_named() {
    let far = TensorProto {
        name: "far".into(),
        data_type: DataType::Float as i32,
        float_data: vec![1e4],
        ..TensorProto::default()
    };
    let mut nodes = head("x");
    nodes[2].output[0] = "logits".into();
    nodes[2].name = "logits_node".into();
    nodes.push(node("Mul", &["logits", "far"], "apart", &[]));
    nodes.push(node("LogSoftmax", &["apart"], "y", &[]));
    let subject = Subject::new(model(nodes, vec![weight("w", &[5, 2]), far], "y"));
    let ours = subject.unmended();
    for witness in &subject.witnesses {
        let values = compare_values(ours.as_ref(), witness.as_ref(), &subject.graph, &inputs());
        let told = values.unwrap().differences;
        assert!(told.len() == 1 && told[0].layer == "y", "{told:?}");
        assert!(
            told[0].sentence.contains("begins here, at node `y_node` (LogSoftmax)"),
            "{told:?}"
        );
    }
}

/// A convolution whose values are quantised, and a head.
fn quantised() -> ModelProto {
    let number = |name: &str, kind: DataType, value: f32| TensorProto {
        name: name.into(),
        data_type: kind as i32,
        float_data: if kind == DataType::Float { vec![value] } else { vec![] },
        int32_data: if kind == DataType::Float { vec![] } else { vec![value as i32] },
        ..TensorProto::default()
    };
    let weights = vec![
        weight("k", &[2, 2, 1, 1]),
        number("scale", DataType::Float, 0.01),
        number("zero", DataType::Uint8, 128.0),
    ];
    let nodes = vec![
        node("Conv", &["x", "k"], "conv", &[]),
        node("QuantizeLinear", &["conv", "scale", "zero"], "q", &[]),
        node("DequantizeLinear", &["q", "scale", "zero"], "real", &[]),
        node("Relu", &["real"], "relu", &[]),
    ];
    with_head(nodes, "relu", weights)
}

#[test]
fn the_gradient_of_a_quantised_network_is_said_to_pass_straight_through() {
    let subject = Subject::new(quantised());
    for witness in &subject.witnesses {
        let ours = subject.witnesses[0].as_ref();
        let (values, slopes) = both(ours, witness.as_ref(), &subject.graph);
        assert!(values.differences.is_empty(), "{values:?}");
        assert!(slopes.differences.is_empty() && slopes.outputs.is_empty(), "{slopes:?}");
        let [told] = &slopes.straight_through[..] else { panic!("{slopes:?}") };
        assert!(told.contains("`y`") && told.contains("node `q_node` (QuantizeLinear)"), "{told}");
    }
}

#[test]
fn layers_behind_rounding_are_held_to_the_values_in_front_of_them() {
    let subject = Subject::new(quantised());
    let witness = subject.witnesses[0].as_ref();
    let bent = |name: &str, factor: f32| {
        let mut proto = subject.proto.clone();
        let weights = &mut proto.graph.as_mut().unwrap().initializer;
        for weight in weights.iter_mut().filter(|w| w.name == name) {
            weight.float_data.iter_mut().for_each(|value| *value *= factor);
        }
        let bent = load_file(OnnxFile::check(proto, None, "net.onnx".into()).unwrap()).unwrap();
        let values = compare_values(bent.as_ref(), witness, &subject.graph, &inputs()).unwrap();
        let layers = values.differences.iter().map(|d| d.layer.clone()).collect::<Vec<_>>();
        (layers, values.rounded)
    };
    // Wrong in front of the rounding: only that is told, for the rest is right.
    let (layers, rounded) = bent("k", 1.1);
    assert_eq!(layers, ["conv"]);
    assert!(rounded >= 3, "{rounded}");
    // Wrong behind it.
    assert_eq!(bent("w", 1.1).0, ["y"]);
}

#[test]
fn every_layer_behind_a_fault_is_told_with_the_node_where_it_begins() {
    let subject = Subject::new(small());
    // The first activation keeps what is below zero.
    let mut proto = subject.proto.clone();
    let graph = proto.graph.as_mut().unwrap();
    for slope in graph.initializer.iter_mut().filter(|w| w.name == "slope") {
        slope.float_data.fill(1.0);
    }
    let bent = load_file(OnnxFile::check(proto, None, "net.onnx".into()).unwrap()).unwrap();
    let witness = subject.witnesses[0].as_ref();
    let (values, slopes) = both(bent.as_ref(), witness, &subject.graph);
    let layers: Vec<&str> = values.differences.iter().map(|d| d.layer.as_str()).collect();
    assert_eq!(layers, ["act1", "conv2", "sum", "act2", "conv3", "pool", "flat", "y"]);
    for told in &values.differences[1..] {
        assert!(told.sentence.ends_with("it begins at node `act1_node` (PRelu)."), "{told:?}");
    }
    // Its gradient is the slope of another function, and is pulled back through other values.
    assert_eq!(slopes.differences.len(), 1, "{slopes:?}");
}
