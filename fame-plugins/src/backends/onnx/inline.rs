//! Model-local functions, written out: a node that names one becomes the function's own nodes.
//!
//! An importer that knows operators by name alone would take a function called `Relu` for ONNX's.

use std::collections::HashMap;

use tract_onnx::pb::{AttributeProto, FunctionProto, ModelProto, NodeProto};
use tract_onnx::tract_core::internal::{TractResult, bail};

use super::file::MOST_NODES;

/// The deepest nesting of functions; ONNX forbids recursion, which this ends.
const DEEPEST: usize = 64;

/// Writes out every node of the graph that names a function of the model. Returns the number of
/// nodes that were.
///
/// # Errors
/// When functions name one another in a circle, or grow without bound.
pub(super) fn inline_functions(proto: &mut ModelProto) -> TractResult<usize> {
    if proto.functions.is_empty() {
        return Ok(0);
    }
    let functions = std::mem::take(&mut proto.functions);
    let Some(graph) = proto.graph.as_mut() else { return Ok(0) };
    let mut count = 0;
    for _ in 0..DEEPEST {
        let mut nodes = Vec::with_capacity(graph.node.len());
        let before = count;
        for node in std::mem::take(&mut graph.node) {
            if let Some(function) = functions.iter().find(|f| is_call(&node, f)) {
                nodes.extend(body(&node, function, count));
                count += 1;
            } else {
                nodes.push(node);
            }
            if nodes.len() > MOST_NODES {
                bail!("its functions grow to more than {MOST_NODES} nodes");
            }
        }
        graph.node = nodes;
        if count == before {
            return Ok(count);
        }
    }
    bail!("its functions are nested more than {DEEPEST} deep")
}

fn is_call(node: &NodeProto, function: &FunctionProto) -> bool {
    let domain = function.domain.as_deref().unwrap_or_default();
    function.name.as_deref() == Some(node.op_type.as_str()) && node.domain == domain
}

/// The nodes of `function` in place of `node`, which is call number `call`.
fn body(node: &NodeProto, function: &FunctionProto, call: usize) -> Vec<NodeProto> {
    let label = if node.name.is_empty() { node.op_type.as_str() } else { node.name.as_str() };
    let mut names: HashMap<&str, String> = HashMap::new();
    let given = |all: &[String], i: usize| all.get(i).cloned().unwrap_or_default();
    for (i, input) in function.input.iter().enumerate() {
        names.insert(input, given(&node.input, i));
    }
    for (i, output) in function.output.iter().enumerate() {
        // An output that nobody reads still needs a name of its own.
        let name = given(&node.output, i);
        if !name.is_empty() {
            names.insert(output, name);
        }
    }
    let mut rename = |name: &String| -> String {
        if name.is_empty() {
            return String::new();
        }
        match function.node.iter().flat_map(|n| &n.output).find(|o| *o == name) {
            Some(inner) => {
                names.entry(inner).or_insert_with(|| format!("{label}/{call}/{inner}")).clone()
            }
            None => names.get(name.as_str()).cloned().unwrap_or_else(|| name.clone()),
        }
    };
    function
        .node
        .iter()
        .map(|inner| NodeProto {
            name: format!("{label}/{call}/{}", inner.name),
            input: inner.input.iter().map(&mut rename).collect(),
            output: inner.output.iter().map(&mut rename).collect(),
            attribute: inner.attribute.iter().filter_map(|a| attribute(a, node)).collect(),
            ..inner.clone()
        })
        .collect()
}

/// An attribute of a function's node: its own value, or the value that the call gives. One that
/// the call leaves out is left out.
fn attribute(inner: &AttributeProto, call: &NodeProto) -> Option<AttributeProto> {
    if inner.ref_attr_name.is_empty() {
        return Some(inner.clone());
    }
    let given = call.attribute.iter().find(|a| a.name == inner.ref_attr_name)?;
    Some(AttributeProto { name: inner.name.clone(), ..given.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::GraphProto;

    fn node(op: &str, domain: &str, input: &[&str], output: &str) -> NodeProto {
        NodeProto {
            op_type: op.into(),
            domain: domain.into(),
            input: input.iter().map(|i| (*i).to_owned()).collect(),
            output: vec![output.into()],
            ..NodeProto::default()
        }
    }

    fn function(name: &str, nodes: Vec<NodeProto>) -> FunctionProto {
        FunctionProto {
            name: Some(name.into()),
            domain: Some("local".into()),
            input: vec!["a".into()],
            output: vec!["b".into()],
            node: nodes,
            ..FunctionProto::default()
        }
    }

    #[test]
    fn a_call_becomes_the_functions_nodes_with_names_of_its_own() {
        let mut inner = node("LeakyRelu", "", &["t"], "b");
        inner.attribute.push(AttributeProto {
            name: "alpha".into(),
            ref_attr_name: "slope".into(),
            ..AttributeProto::default()
        });
        let relu = function("Relu", vec![node("Neg", "", &["a"], "t"), inner]);
        let mut call = node("Relu", "local", &["x"], "y");
        call.attribute.push(AttributeProto {
            name: "slope".into(),
            f: 0.25,
            ..AttributeProto::default()
        });
        let again = node("Relu", "local", &["y"], "z");
        let onnx = node("Relu", "", &["z"], "w");
        let mut proto = ModelProto {
            graph: Some(GraphProto { node: vec![call, again, onnx], ..GraphProto::default() }),
            functions: vec![relu],
            ..ModelProto::default()
        };
        assert_eq!(inline_functions(&mut proto).unwrap(), 2);
        let nodes = proto.graph.unwrap().node;
        let told: Vec<(&str, &str, &str)> = nodes
            .iter()
            .map(|n| (n.op_type.as_str(), n.input[0].as_str(), n.output[0].as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("Neg", "x", "Relu/0/t"),
                ("LeakyRelu", "Relu/0/t", "y"),
                ("Neg", "y", "Relu/1/t"),
                ("LeakyRelu", "Relu/1/t", "z"),
                ("Relu", "z", "w"),
            ]
        );
        assert_eq!((nodes[1].attribute[0].name.as_str(), nodes[1].attribute[0].f), ("alpha", 0.25));
        assert!(nodes[3].attribute.is_empty());
    }

    #[test]
    fn functions_in_a_circle_are_refused() {
        let forever = function("Forever", vec![node("Forever", "local", &["a"], "b")]);
        let mut proto = ModelProto {
            graph: Some(GraphProto {
                node: vec![node("Forever", "local", &["x"], "y")],
                ..GraphProto::default()
            }),
            functions: vec![forever],
            ..ModelProto::default()
        };
        assert!(inline_functions(&mut proto).unwrap_err().to_string().contains("nested"));
    }
}
