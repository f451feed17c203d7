//! Test fixtures of every engine: a small network with convolutions, batch normalisation, PReLU, a
//! skip connection, a strided convolution, global pooling and a dense layer.

use fame_core::{LayerCotangent, Tensor};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, attribute_proto::AttributeType, type_proto,
};

/// Two plans of one network may sum in another order (a tapped layer is not fused), so they agree
/// to f32 rounding over ~100 summands.
pub(in crate::backends) const ROUNDING: f32 = 1e-5;

/// A number in −1 … 1 that looks random.
fn noise(i: usize) -> f32 {
    let h = (i as u32 + 1).wrapping_mul(2_246_822_519);
    let h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    ((h ^ (h >> 12)) >> 8) as f32 / 8_388_608.0 - 1.0
}

/// A tensor of noise, from the `from`-th number on.
pub(in crate::backends) fn batch(shape: &[usize], from: usize) -> Tensor {
    let n: usize = shape.iter().product();
    Tensor::new(shape, (from..from + n).map(noise).collect()).unwrap()
}

/// A weight of noise; what must be positive by its name is.
pub(in crate::backends) fn weight(name: &str, dims: &[i64]) -> TensorProto {
    let n: i64 = dims.iter().product();
    let from = name.bytes().map(usize::from).sum::<usize>() * 1000;
    let positive = name.ends_with("var") || name.ends_with("slope");
    let value = |i: usize| if positive { noise(i).abs() + 0.2 } else { noise(i) * 0.5 };
    TensorProto {
        name: name.into(),
        dims: dims.into(),
        data_type: DataType::Float as i32,
        float_data: (from..from + n as usize).map(value).collect(),
        ..TensorProto::default()
    }
}

/// A node with attributes of whole numbers.
pub(in crate::backends) fn node(
    op: &str,
    inputs: &[&str],
    output: &str,
    ints: &[(&str, &[i64])],
) -> NodeProto {
    let attribute = |(name, ints): &(&str, &[i64])| {
        let is_one = ints.len() == 1 && *name != "axes";
        AttributeProto {
            name: (*name).into(),
            r#type: if is_one { AttributeType::Int as i32 } else { AttributeType::Ints as i32 },
            i: if is_one { ints[0] } else { 0 },
            ints: if is_one { vec![] } else { ints.to_vec() },
            ..AttributeProto::default()
        }
    };
    NodeProto {
        op_type: op.into(),
        name: format!("{output}_node"),
        input: inputs.iter().map(|&s| s.into()).collect(),
        output: vec![output.into()],
        attribute: ints.iter().map(attribute).collect(),
        ..NodeProto::default()
    }
}

/// A graph input or output; an extent of 0 is left open.
fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = |&d: &i64| Dimension {
        value: Some(if d > 0 {
            dimension::Value::DimValue(d)
        } else {
            dimension::Value::DimParam("N".into())
        }),
        ..Dimension::default()
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(shape) };
    let kind = TypeProto { value: Some(Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.into(), r#type: Some(kind), ..ValueInfoProto::default() }
}

/// A model of input `x`, `[N, 2, 8, 8]`.
pub(in crate::backends) fn model(
    node: Vec<NodeProto>,
    initializer: Vec<TensorProto>,
    output: &str,
) -> ModelProto {
    let graph = GraphProto {
        node,
        name: "net".into(),
        initializer,
        input: vec![value("x", &[0, 2, 8, 8])],
        output: vec![value(output, &[0, 5])],
        ..GraphProto::default()
    };
    let opset = OperatorSetIdProto { version: 13, ..OperatorSetIdProto::default() };
    ModelProto {
        ir_version: 8,
        opset_import: vec![opset],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

/// The small network.
pub(in crate::backends) fn small() -> ModelProto {
    let pads: (&str, &[i64]) = ("pads", &[1, 1, 1, 1]);
    let nodes = vec![
        node("Conv", &["x", "w1", "b1"], "conv1", &[pads]),
        node("BatchNormalization", &["conv1", "gamma", "beta", "mean", "var"], "norm1", &[]),
        node("PRelu", &["norm1", "slope"], "act1", &[]),
        node("Conv", &["act1", "w2"], "conv2", &[pads]),
        node("Add", &["conv2", "act1"], "sum", &[]),
        node("Relu", &["sum"], "act2", &[]),
        node("Conv", &["act2", "w3", "b3"], "conv3", &[pads, ("strides", &[2, 2])]),
        node("GlobalAveragePool", &["conv3"], "pool", &[]),
        node("Flatten", &["pool"], "flat", &[("axis", &[1])]),
        node("Gemm", &["flat", "w4", "b4"], "y", &[("transB", &[1])]),
    ];
    let weights: [(&str, &[i64]); 12] = [
        ("w1", &[6, 2, 3, 3]),
        ("b1", &[6]),
        ("gamma", &[6]),
        ("beta", &[6]),
        ("mean", &[6]),
        ("var", &[6]),
        ("slope", &[6, 1, 1]),
        ("w2", &[6, 6, 3, 3]),
        ("w3", &[4, 6, 3, 3]),
        ("b3", &[4]),
        ("w4", &[5, 4]),
        ("b4", &[5]),
    ];
    model(nodes, weights.iter().map(|(name, dims)| weight(name, dims)).collect(), "y")
}

/// A seed at `layer`.
pub(in crate::backends) fn seed(layer: &str, cotangent: Tensor) -> LayerCotangent {
    LayerCotangent { layer: layer.into(), cotangent }
}

/// Fails unless `a` is `b` to rounding.
pub(in crate::backends) fn assert_close(a: &Tensor, b: &Tensor) {
    assert_eq!(a.shape(), b.shape());
    let scale = b.max_abs().max(1e-3);
    let apart = a.data().iter().zip(b.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart <= ROUNDING * scale, "{apart} apart at scale {scale}");
}
