//! The part of a graph that a set of outputs needs, cut out of it.

use std::collections::HashSet;

use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{
    GraphProto, NodeProto, TypeProto, ValueInfoProto, tensor_proto::DataType, type_proto,
};

use super::file::OnnxFile;

/// The part of the file's graph that `outputs` need, with these declared as its outputs and the
/// replaced layer as an input.
pub(super) fn subgraph(file: &OnnxFile, outputs: &[String], replaced: Option<&str>) -> GraphProto {
    let whole = file.graph();
    let data = file.data_input().unwrap_or_default();
    let mut needed: HashSet<&str> = outputs.iter().map(String::as_str).collect();
    let mut nodes: Vec<NodeProto> = vec![];
    for node in whole.node.iter().rev() {
        let gives = |name: &str| needed.contains(name) && Some(name) != replaced;
        if node.output.iter().any(|name| gives(name)) {
            needed.extend(node.input.iter().map(String::as_str));
            // Names in subgraphs (`If`, `Loop`) may refer to anything outside.
            for inner in node.attribute.iter().filter_map(|a| a.g.as_ref()).flat_map(|g| &g.node) {
                needed.extend(inner.input.iter().map(String::as_str));
            }
            nodes.push(node.clone());
        }
    }
    nodes.reverse();
    // The node that computes a replaced layer may still be there for another of its outputs.
    for name in
        nodes.iter_mut().flat_map(|n| &mut n.output).filter(|name| Some(name.as_str()) == replaced)
    {
        name.push_str(".replaced");
    }
    let initializer =
        whole.initializer.iter().filter(|t| needed.contains(t.name.as_str())).cloned().collect();
    let input = std::iter::once(data)
        .chain(replaced.filter(|name| *name != data))
        .map(float_input)
        .collect();
    let output = outputs
        .iter()
        .map(|name| ValueInfoProto { name: name.clone(), ..ValueInfoProto::default() })
        .collect();
    GraphProto {
        node: nodes,
        name: whole.name.clone(),
        initializer,
        input,
        output,
        ..GraphProto::default()
    }
}

/// An input whose shape is set later.
fn float_input(name: &str) -> ValueInfoProto {
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: None };
    let kind = TypeProto { value: Some(Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(kind), ..ValueInfoProto::default() }
}
