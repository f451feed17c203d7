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

/// A `NodeProto` that joins its inputs along `axis`.
fn joined(inputs: &[&str], output: &str, axis: u64) -> Vec<u8> {
    let axis = bytes(5, &[text(1, "axis"), number(3, axis), number(20, 2)].concat());
    [node("Concat", inputs, output, &[]), axis].concat()
}

/// A `TensorProto` of whole numbers: a shape.
fn shape(name: &str, sides: &[u64]) -> Vec<u8> {
    let raw: Vec<u8> = sides.iter().flat_map(|v| v.to_le_bytes()).collect();
    [number(1, sides.len() as u64), number(2, 7), text(8, name), bytes(9, &raw)].concat()
}

/// A `ModelProto` over `[1, 3, 32, 32]`.
fn model(nodes: &[Vec<u8>], initializers: &[Vec<u8>], outputs: &[(&str, &[u64])]) -> Vec<u8> {
    let mut graph: Vec<u8> = nodes.iter().flat_map(|n| bytes(1, n)).collect();
    graph.extend(text(2, "blobs"));
    graph.extend(initializers.iter().flat_map(|t| bytes(5, t)));
    graph.extend(bytes(11, &value("input", &[1, 3, 32, 32])));
    graph.extend(outputs.iter().flat_map(|(name, dims)| bytes(12, &value(name, dims))));
    [number(1, 8), bytes(7, &graph), bytes(8, &number(2, 13))].concat()
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
    model(&nodes, &initializers, &[("heatmap", &[1, 1, 4, 4]), ("wh", &[1, 4, 4, 4])])
}

/// A detector of bright cells with the output of a YOLOv8, `[1, 4 + 2, 21]`: cells of 8, 16 and 32
/// pixels, in that order, each the box of itself. The first class is σ(10·m − 5) of the cell's mean
/// brightness m, the second is never seen.
pub(crate) fn yolo_detector() -> Vec<u8> {
    let (mut nodes, mut initializers, mut boxes) = (Vec::new(), Vec::new(), Vec::new());
    // The boxes see nothing: what moves the classes alone.
    let parts: [(&str, &[f32], &[f32]); 2] =
        [("class", &[10.0, 0.0], &[-5.0, -9.0]), ("box", &[0.0; 4], &[0.0; 4])];
    for side in [8u64, 16, 32] {
        let (pixels, across) = (3 * side * side, 32 / side);
        let convolution: &[(&str, &[u64])] =
            &[("kernel_shape", &[side, side]), ("strides", &[side, side])];
        for (part, weights, biases) in parts {
            let [weight, bias, cells, flat, rows] = ["weight", "bias", "cells", "flat", "rows"]
                .map(|what| format!("{part}_{what}_{side}"));
            nodes.push(node("Conv", &["input", &weight, &bias], &cells, convolution));
            nodes.push(node("Reshape", &[&cells, &rows], &flat, &[]));
            let each = |w: &f32| std::iter::repeat_n(w / pixels as f32, pixels as usize);
            let all: Vec<f32> = weights.iter().flat_map(each).collect();
            let channels = weights.len() as u64;
            initializers.push(tensor(&weight, &[channels, 3, side, side], &all));
            initializers.push(tensor(&bias, &[channels], biases));
            initializers.push(shape(&rows, &[1, channels, across * across]));
        }
        let centre = |n: u64| (n as f32 + 0.5) * side as f32;
        boxes.extend(
            (0..across * across)
                .map(|n| [centre(n % across), centre(n / across), side as f32, side as f32]),
        );
    }
    let flat = |part: &str| [8, 16, 32].map(|side| format!("{part}_flat_{side}"));
    for part in ["class", "box"] {
        let flat = flat(part);
        let inputs: Vec<&str> = flat.iter().map(String::as_str).collect();
        nodes.push(joined(&inputs, &format!("{part}_rows"), 2));
    }
    nodes.push(node("Sigmoid", &["class_rows"], "scores", &[]));
    nodes.push(node("Add", &["box_rows", "places"], "boxes", &[]));
    nodes.push(joined(&["boxes", "scores"], "output0", 1));
    let by_row: Vec<f32> = (0..4).flat_map(|row| boxes.iter().map(move |b| b[row])).collect();
    initializers.push(tensor("places", &[1, 4, 21], &by_row));
    model(&nodes, &initializers, &[("output0", &[1, 6, 21])])
}

/// A detector of bright cells with the outputs of a DETR: 16 queries, one for each cell of 8 × 8
/// pixels, `logits` 10·m − 5 of the cell's mean brightness m and 0 for "nothing here", and
/// `pred_boxes`, the cell itself, which moves by less than a hundredth of a pixel with m.
pub(crate) fn detr_detector() -> Vec<u8> {
    let convolution: &[(&str, &[u64])] = &[("kernel_shape", &[8, 8]), ("strides", &[8, 8])];
    let turn: &[(&str, &[u64])] = &[("perm", &[0, 2, 1])];
    let nodes = [
        node("Conv", &["input", "class_weight", "class_bias"], "class_cells", convolution),
        node("Reshape", &["class_cells", "class_rows"], "class_flat", &[]),
        node("Transpose", &["class_flat"], "logits", turn),
        node("Conv", &["input", "box_weight", "box_bias"], "box_cells", convolution),
        node("Reshape", &["box_cells", "box_rows"], "box_flat", &[]),
        node("Transpose", &["box_flat"], "box_moves", turn),
        node("Add", &["box_moves", "cells"], "box_logits", &[]),
        node("Sigmoid", &["box_logits"], "pred_boxes", &[]),
    ];
    let logit = |p: f32| (p / (1.0 - p)).ln();
    let centre = |n: usize| logit((n as f32 + 0.5) / 4.0);
    let cells: Vec<f32> =
        (0..16).flat_map(|n| [centre(n % 4), centre(n / 4), logit(0.25), logit(0.25)]).collect();
    let class_weights = [vec![10.0 / 192.0; 192], vec![0.0; 192]].concat();
    let initializers = [
        tensor("class_weight", &[2, 3, 8, 8], &class_weights),
        tensor("class_bias", &[2], &[-5.0, 0.0]),
        shape("class_rows", &[1, 2, 16]),
        tensor("box_weight", &[4, 3, 8, 8], &[1e-3 / 192.0; 768]),
        tensor("box_bias", &[4], &[0.0; 4]),
        shape("box_rows", &[1, 4, 16]),
        tensor("cells", &[1, 16, 4], &cells),
    ];
    model(&nodes, &initializers, &[("logits", &[1, 16, 2]), ("pred_boxes", &[1, 16, 4])])
}
