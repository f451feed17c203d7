//! A detector whose evidence is known, as an ONNX file written by hand: nothing to download,
//! nothing trained.

/// A protobuf field with bytes in it.
fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

/// A protobuf field with a whole number in it.
fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn text(field: u64, value: &str) -> Vec<u8> {
    bytes(field, value.as_bytes())
}

/// A `NodeProto`; attributes are lists of whole numbers.
fn node(op: &str, inputs: &[&str], output: &str, attributes: &[(&str, &[u64])]) -> Vec<u8> {
    let mut out: Vec<u8> = inputs.iter().flat_map(|i| text(1, i)).collect();
    out.extend([text(2, output), text(3, &format!("/{output}/{op}")), text(4, op)].concat());
    for (name, values) in attributes {
        let ints: Vec<u8> = values.iter().flat_map(|v| number(8, *v)).collect();
        out.extend(bytes(5, &[text(1, name), ints, number(20, 7)].concat()));
    }
    out
}

/// A `TensorProto` of floats.
fn tensor(name: &str, dims: &[u64], values: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let dims: Vec<u8> = dims.iter().flat_map(|d| number(1, *d)).collect();
    [dims, number(2, 1), text(8, name), bytes(9, &raw)].concat()
}

/// A `ValueInfoProto` of floats.
fn value(name: &str, dims: &[u64]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|d| bytes(1, &number(1, *d))).collect();
    [text(1, name), bytes(2, &bytes(1, &[number(1, 1), bytes(2, &dims)].concat()))].concat()
}

/// A CenterNet-like detector of bright cells over `[1, 3, 32, 32]`: 4 × 4 cells of 8 × 8 pixels;
/// `heatmap` = σ(10·m − 5) of a cell's mean brightness m, and `wh` = 3.6 + 0.4·m pixels to each
/// side. A cell sees its own pixels and no others.
pub(crate) fn blob_detector() -> Vec<u8> {
    let convolution: &[(&str, &[u64])] = &[("kernel_shape", &[8, 8]), ("strides", &[8, 8])];
    let nodes = [
        node("Conv", &["input", "heat_weight", "heat_bias"], "heat", convolution),
        node("Sigmoid", &["heat"], "heatmap", &[]),
        node("Conv", &["input", "wh_weight", "wh_bias"], "wh", convolution),
    ];
    let initializers = [
        tensor("heat_weight", &[1, 3, 8, 8], &[10.0 / 192.0; 192]),
        tensor("heat_bias", &[1], &[-5.0]),
        tensor("wh_weight", &[4, 3, 8, 8], &[0.4 / 192.0; 768]),
        tensor("wh_bias", &[4], &[3.6; 4]),
    ];
    let mut graph: Vec<u8> = nodes.iter().flat_map(|n| bytes(1, n)).collect();
    graph.extend(text(2, "blobs"));
    graph.extend(initializers.iter().flat_map(|t| bytes(5, t)));
    graph.extend(bytes(11, &value("input", &[1, 3, 32, 32])));
    graph.extend(
        [bytes(12, &value("heatmap", &[1, 1, 4, 4])), bytes(12, &value("wh", &[1, 4, 4, 4]))]
            .concat(),
    );
    [number(1, 8), bytes(7, &graph), bytes(8, &number(2, 13))].concat()
}
