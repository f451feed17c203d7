//! Microsoft's fused operators, which onnxruntime leaves in the files it optimises, taken apart
//! into ONNX's own.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};
use tract_onnx::tract_core::internal::TractResult;

use super::file::shown;
use super::unsupported::Unsupported;

const DOMAIN: &str = "com.microsoft";

/// Takes every fused node of `graph`, written in version `opset` of ONNX's operators, apart.
///
/// # Errors
/// A fused activation that is not known.
pub(super) fn take_apart(graph: &mut GraphProto, opset: u64) -> TractResult<()> {
    let mut nodes = Vec::with_capacity(graph.node.len());
    for node in std::mem::take(&mut graph.node) {
        let plain = match node.op_type.as_str() {
            _ if node.domain != DOMAIN => None,
            "FusedConv" => Some("Conv"),
            "FusedGemm" => Some("Gemm"),
            _ => None,
        };
        match plain {
            Some(plain) => nodes.extend(parts(node, plain, opset, &mut graph.initializer)?),
            None => nodes.push(node),
        }
    }
    graph.node = nodes;
    Ok(())
}

/// `node` as an operator `plain`, a sum and an activation.
fn parts(
    mut node: NodeProto,
    plain: &str,
    opset: u64,
    weights: &mut Vec<TensorProto>,
) -> TractResult<Vec<NodeProto>> {
    let Some(output) = node.output.first().cloned() else { return Ok(vec![node]) };
    let (of_activation, own): (Vec<_>, Vec<_>) =
        node.attribute.iter().cloned().partition(|a| a.name.starts_with("activation"));
    let name = of_activation.iter().find(|a| a.name == "activation").map(|a| a.s.clone());
    let name = String::from_utf8_lossy(&name.unwrap_or_default()).into_owned();
    let numbers = numbers(&of_activation);
    let activation = activation(&name, &numbers, &output, opset, weights);
    let unknown = || {
        let reason = format!("the activation `{name}` is not known");
        Unsupported::new(&shown(&node), &node.op_type, reason)
    };
    let activation = activation.ok_or_else(unknown)?;
    let sum = (plain == "Conv" && node.input.len() > 3).then(|| node.input.split_off(3));
    plain.clone_into(&mut node.op_type);
    node.domain.clear();
    node.attribute = own;
    let mut all = vec![node];
    let then = |mut next: NodeProto, what: &str, all: &mut Vec<NodeProto>| {
        let between = format!("{output}/{what}");
        let is_first = all.len() == 1;
        if let Some(before) = all.last_mut() {
            before.output = vec![between.clone()];
            if !is_first {
                before.name.clone_from(&between);
            }
        }
        next.input.insert(0, between);
        next.output = vec![output.clone()];
        next.name.clone_from(&output);
        all.push(next);
    };
    if let Some(summand) = sum.and_then(|rest| rest.into_iter().find(|name| !name.is_empty())) {
        let add = NodeProto { op_type: "Add".into(), input: vec![summand], ..NodeProto::default() };
        then(add, "before_sum", &mut all);
    }
    if let Some(activation) = activation {
        then(activation, "before_activation", &mut all);
    }
    Ok(all)
}

/// The numbers that the activation is given: a list, or `activation_alpha` and its like.
fn numbers(attributes: &[AttributeProto]) -> Vec<f32> {
    let list = attributes.iter().find(|a| a.name == "activation_params").map(|a| a.floats.clone());
    let one = |name: &str| attributes.iter().find(|a| a.name == name).map(|a| a.f);
    list.unwrap_or_else(|| {
        ["activation_alpha", "activation_beta"].into_iter().filter_map(one).collect()
    })
}

/// The node of an activation, without its input; nothing for no activation. `None` for one that is
/// not known.
#[allow(clippy::option_option)] // three answers: unknown, none, one
fn activation(
    name: &str,
    numbers: &[f32],
    output: &str,
    opset: u64,
    weights: &mut Vec<TensorProto>,
) -> Option<Option<NodeProto>> {
    let float = |name: &str, at: usize| {
        numbers.get(at).map(|value| AttributeProto {
            name: name.into(),
            r#type: AttributeType::Float as i32,
            f: *value,
            ..AttributeProto::default()
        })
    };
    let node = |attribute: Vec<AttributeProto>| NodeProto {
        op_type: name.to_owned(),
        attribute,
        ..NodeProto::default()
    };
    Some(Some(match name {
        "" => return Some(None),
        "Relu" | "Sigmoid" | "Tanh" => node(vec![]),
        "LeakyRelu" => node(float("alpha", 0).into_iter().collect()),
        "HardSigmoid" => {
            node([float("alpha", 0), float("beta", 1)].into_iter().flatten().collect())
        }
        "Clip" if opset < 11 => {
            node([float("min", 0), float("max", 1)].into_iter().flatten().collect())
        }
        "Clip" => {
            let mut clip = node(vec![]);
            for (at, what) in ["min", "max"].into_iter().enumerate() {
                let Some(value) = numbers.get(at) else { continue };
                let bound = format!("{output}/{what}");
                weights.push(TensorProto {
                    name: bound.clone(),
                    data_type: DataType::Float as i32,
                    float_data: vec![*value],
                    ..TensorProto::default()
                });
                clip.input.push(bound);
            }
            clip
        }
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fused(activation: &str, inputs: &[&str]) -> GraphProto {
        let text = AttributeProto {
            name: "activation".into(),
            s: activation.as_bytes().to_vec(),
            ..AttributeProto::default()
        };
        let numbers = AttributeProto {
            name: "activation_params".into(),
            floats: vec![0.0, 6.0],
            ..AttributeProto::default()
        };
        let node = NodeProto {
            op_type: "FusedConv".into(),
            domain: DOMAIN.into(),
            name: "c".into(),
            input: inputs.iter().map(|&name| name.into()).collect(),
            output: vec!["y".into()],
            attribute: vec![text, numbers],
            ..NodeProto::default()
        };
        GraphProto { node: vec![node], ..GraphProto::default() }
    }

    #[test]
    fn a_fused_convolution_becomes_its_parts() {
        let mut graph = fused("Clip", &["x", "w", "b", "z"]);
        take_apart(&mut graph, 13).unwrap();
        let told: Vec<(&str, Vec<&str>, &str)> = graph
            .node
            .iter()
            .map(|n| {
                let inputs = n.input.iter().map(String::as_str).collect();
                (n.op_type.as_str(), inputs, n.output[0].as_str())
            })
            .collect();
        assert_eq!(
            told,
            [
                ("Conv", vec!["x", "w", "b"], "y/before_sum"),
                ("Add", vec!["y/before_sum", "z"], "y/before_activation"),
                ("Clip", vec!["y/before_activation", "y/min", "y/max"], "y"),
            ]
        );
        assert!(graph.node.iter().all(|n| n.domain.is_empty()));
        let names: Vec<&str> = graph.node.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["c", "y/before_activation", "y"]);
        let told = take_apart(&mut fused("Swoosh", &["x", "w"]), 13).unwrap_err().to_string();
        assert!(told.contains("`c`") && told.contains("Swoosh"), "{told}");
    }
}
