//! Operators that draw random numbers: what they give is another thing each time, so neither a
//! value nor a gradient of it can be right.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};
use tract_onnx::tract_core::internal::TractResult;

use super::file::shown;
use super::unsupported::Unsupported;

const DRAWING: [&str; 6] = [
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
];

/// Refuses a node of `graph` that draws random numbers.
///
/// # Errors
/// Such a node.
pub(super) fn check_random(graph: &GraphProto) -> TractResult<()> {
    let is_ours = |node: &&NodeProto| matches!(node.domain.as_str(), "" | "ai.onnx");
    for node in graph.node.iter().filter(is_ours) {
        let draws = DRAWING.contains(&node.op_type.as_str())
            || (node.op_type == "Dropout" && is_training(node, graph));
        if draws {
            let reason = "it draws random numbers, so that no value of it is the right one";
            return Err(Unsupported::new(&shown(node), &node.op_type, reason).into());
        }
    }
    Ok(())
}

/// Whether a `Dropout` drops: its third input, since opset 12, is true, and its ratio not zero.
fn is_training(node: &NodeProto, graph: &GraphProto) -> bool {
    let constant = |ix: usize| -> Option<&TensorProto> {
        let name = node.input.get(ix).filter(|name| !name.is_empty())?;
        let weight = graph.initializer.iter().find(|weight| weight.name == *name);
        let given = || {
            let node = graph.node.iter().find(|node| node.output.contains(name))?;
            node.attribute.iter().find(|a| a.name == "value")?.t.as_ref()
        };
        weight.or_else(given)
    };
    let is_set = |tensor: &TensorProto| {
        tensor.data_type == DataType::Bool as i32
            && (tensor.raw_data.iter().any(|byte| *byte != 0)
                || tensor.int32_data.iter().any(|value| *value != 0))
    };
    let is_zero = |tensor: &TensorProto| {
        tensor.raw_data.iter().all(|byte| *byte == 0)
            && tensor.float_data.iter().all(|value| *value == 0.0)
            && tensor.double_data.iter().all(|value| *value == 0.0)
            && tensor.int32_data.iter().all(|value| *value == 0)
    };
    constant(2).is_some_and(is_set) && !constant(1).is_some_and(is_zero)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropout_is_random_only_where_it_drops() {
        let check = |training: i32, ratio: f32| {
            let node = NodeProto {
                op_type: "Dropout".into(),
                name: "drop".into(),
                input: ["x", "ratio", "training"].map(String::from).to_vec(),
                output: vec!["y".into()],
                ..NodeProto::default()
            };
            let ratio = TensorProto {
                name: "ratio".into(),
                data_type: DataType::Float as i32,
                float_data: vec![ratio],
                ..TensorProto::default()
            };
            let training = TensorProto {
                name: "training".into(),
                data_type: DataType::Bool as i32,
                int32_data: vec![training],
                ..TensorProto::default()
            };
            check_random(&GraphProto {
                node: vec![node],
                initializer: vec![ratio, training],
                ..GraphProto::default()
            })
        };
        assert!(check(0, 0.5).is_ok() && check(1, 0.0).is_ok());
        let told = check(1, 0.5).unwrap_err().to_string();
        assert!(told.contains("`drop`") && told.contains("random"), "{told}");
    }
}
