//! Repairs: nodes that the import would read wrongly, written out in operators that it reads right.
//!
//! Each repair says what is wrong without it, so that it can be reported and dropped one day.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::compose::mark_far_sigmoids;

/// Repairs `graph`, which is written in version `opset` of ONNX's operators.
pub(super) fn repair(graph: &mut GraphProto, opset: u64) {
    let mut repaired = Vec::with_capacity(graph.node.len());
    let mut fresh = Fresh { opset, weights: std::mem::take(&mut graph.initializer) };
    for node in std::mem::take(&mut graph.node) {
        match node.op_type.as_str() {
            "Pow" => repaired.push(float_exponent(node, &mut fresh)),
            "LogSoftmax" if opset >= 13 => repaired.extend(log_softmax(&node, &mut fresh)),
            "Pad" if opset >= 11 => repaired.extend(negative_pad(node, &mut fresh)),
            _ => repaired.push(node),
        }
    }
    graph.node = repaired;
    graph.initializer = fresh.weights;
    mark_far_sigmoids(graph);
}

/// The weights of the graph, to which repairs add theirs.
struct Fresh {
    opset: u64,
    weights: Vec<TensorProto>,
}

impl Fresh {
    /// The whole numbers of the weight `name`, if it is one.
    fn integers(&self, name: &str) -> Option<Vec<i64>> {
        let weight = self.weights.iter().find(|w| w.name == name)?;
        let raw = &weight.raw_data;
        match DataType::try_from(weight.data_type).ok()? {
            DataType::Int64 if raw.is_empty() => Some(weight.int64_data.clone()),
            DataType::Uint64 | DataType::Uint32 if raw.is_empty() => {
                weight.uint64_data.iter().map(|v| i64::try_from(*v).ok()).collect()
            }
            DataType::Uint32 => Some(
                raw.as_chunks::<4>().0.iter().map(|b| i64::from(u32::from_le_bytes(*b))).collect(),
            ),
            DataType::Int64 | DataType::Uint64 => {
                Some(raw.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
            }
            DataType::Int32 if raw.is_empty() => {
                Some(weight.int32_data.iter().map(|v| i64::from(*v)).collect())
            }
            DataType::Int32 => Some(
                raw.as_chunks::<4>().0.iter().map(|b| i64::from(i32::from_le_bytes(*b))).collect(),
            ),
            _ => None,
        }
    }

    /// A new list of whole numbers.
    fn list(&mut self, name: String, values: Vec<i64>) -> String {
        self.weights.push(TensorProto {
            dims: vec![values.len() as i64],
            name: name.clone(),
            data_type: DataType::Int64 as i32,
            int64_data: values,
            ..TensorProto::default()
        });
        name
    }
}

fn node(op: &str, inputs: Vec<String>, output: String) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: output.clone(),
        input: inputs,
        output: vec![output],
        ..NodeProto::default()
    }
}

/// A whole number as the attribute `name`.
pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..AttributeProto::default()
    }
}

fn integer_of(node: &NodeProto, name: &str, default: i64) -> i64 {
    node.attribute.iter().find(|a| a.name == name).map_or(default, |a| a.i)
}

/// A power with a whole exponent is computed in double precision, which ends the gradient; the
/// exponent becomes `f32`.
fn float_exponent(mut pow: NodeProto, fresh: &mut Fresh) -> NodeProto {
    let Some(exponent) = pow.input.get(1).cloned() else { return pow };
    let Some(values) = fresh.integers(&exponent) else { return pow };
    let dims = fresh.weights.iter().find(|w| w.name == exponent).map(|w| w.dims.clone());
    let name = format!("{exponent} of {}", pow.output.first().map_or("", String::as_str));
    fresh.weights.push(TensorProto {
        dims: dims.unwrap_or_default(),
        name: name.clone(),
        data_type: DataType::Float as i32,
        float_data: values.iter().map(|v| *v as f32).collect(),
        ..TensorProto::default()
    });
    pow.input[1] = name;
    pow
}

/// The logarithm of a softmax is `log(0)` where logits are far apart. Written out:
/// `x − max x − log Σ exp(x − max x)`.
fn log_softmax(softmax: &NodeProto, fresh: &mut Fresh) -> Vec<NodeProto> {
    let (Some(x), Some(y)) = (softmax.input.first(), softmax.output.first()) else {
        return vec![softmax.clone()];
    };
    let axis = integer_of(softmax, "axis", -1);
    let part = |what: &str| format!("{y}/{what}");
    let axes = fresh.list(part("axes"), vec![axis]);
    let mut max = node("ReduceMax", vec![x.clone()], part("max"));
    // From opset 18 on every reduction takes its axes as an input.
    if fresh.opset >= 18 {
        max.input.push(axes.clone());
    } else {
        max.attribute.push(AttributeProto {
            name: "axes".into(),
            r#type: AttributeType::Ints as i32,
            ints: vec![axis],
            ..AttributeProto::default()
        });
    }
    let mut sum = node("ReduceSum", vec![part("exp"), axes], part("sum"));
    max.attribute.push(int("keepdims", 1));
    sum.attribute.push(int("keepdims", 1));
    vec![
        max,
        node("Sub", vec![x.clone(), part("max")], part("shifted")),
        node("Exp", vec![part("shifted")], part("exp")),
        sum,
        node("Log", vec![part("sum")], part("log")),
        node("Sub", vec![part("shifted"), part("log")], y.clone()),
    ]
}

/// A negative pad is a crop, which the import does not know: the crop becomes a slice behind what
/// is left of the padding.
fn negative_pad(mut pad: NodeProto, fresh: &mut Fresh) -> Vec<NodeProto> {
    let is_constant =
        pad.attribute.iter().find(|a| a.name == "mode").is_none_or(|a| a.s == b"constant");
    let Some(pads) = pad.input.get(1).and_then(|name| fresh.integers(name)) else {
        return vec![pad];
    };
    // Axes of their own (opset 18) would have to be the slice's as well.
    let has_axes = pad.input.get(3).is_some_and(|name| !name.is_empty());
    if !is_constant || has_axes || pads.iter().all(|p| *p >= 0) || pads.len() % 2 == 1 {
        return vec![pad];
    }
    let Some(y) = pad.output.first().cloned() else { return vec![pad] };
    let rank = pads.len() / 2;
    let (begins, ends) = pads.split_at(rank);
    let padded = format!("{y}/padded");
    let starts = begins.iter().map(|p| (-p).max(0)).collect();
    let stops = ends.iter().map(|p| if *p < 0 { *p } else { i64::MAX }).collect();
    pad.input[1] = fresh.list(format!("{y}/pads"), pads.iter().map(|p| (*p).max(0)).collect());
    pad.output = vec![padded.clone()];
    let inputs = vec![
        padded,
        fresh.list(format!("{y}/starts"), starts),
        fresh.list(format!("{y}/ends"), stops),
        fresh.list(format!("{y}/axes"), (0..rank as i64).collect()),
    ];
    vec![pad, node("Slice", inputs, y)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(name: &str, values: &[i64]) -> TensorProto {
        TensorProto {
            dims: vec![values.len() as i64],
            name: name.into(),
            data_type: DataType::Int64 as i32,
            int64_data: values.to_vec(),
            ..TensorProto::default()
        }
    }

    fn repaired(node: NodeProto, weights: Vec<TensorProto>, opset: u64) -> GraphProto {
        let mut graph =
            GraphProto { node: vec![node], initializer: weights, ..GraphProto::default() };
        repair(&mut graph, opset);
        graph
    }

    fn operators(graph: &GraphProto) -> Vec<&str> {
        graph.node.iter().map(|n| n.op_type.as_str()).collect()
    }

    #[test]
    fn a_negative_pad_becomes_a_slice() {
        let pad = node("Pad", vec!["x".into(), "pads".into()], "y".into());
        let graph = repaired(pad.clone(), vec![weights("pads", &[0, -1, 2, -3])], 13);
        assert_eq!(operators(&graph), ["Pad", "Slice"]);
        let list = |name: &str| {
            graph.initializer.iter().find(|w| w.name == name).unwrap().int64_data.clone()
        };
        assert_eq!(list("y/pads"), [0, 0, 2, 0]);
        assert_eq!((list("y/starts"), list("y/ends")), (vec![0, 1], vec![i64::MAX, -3]));
        assert_eq!(operators(&repaired(pad, vec![weights("pads", &[0, 1, 2, 3])], 13)), ["Pad"]);
    }

    #[test]
    fn whole_exponents_become_floats_and_log_softmax_is_written_out() {
        let pow = node("Pow", vec!["x".into(), "two".into()], "y".into());
        let graph = repaired(pow, vec![weights("two", &[2])], 13);
        assert_eq!(graph.node[0].input[1], "two of y");
        assert_eq!(graph.initializer[1].float_data, [2.0]);
        let softmax = node("LogSoftmax", vec!["x".into()], "y".into());
        for (opset, inputs) in [(13, 1), (18, 2)] {
            let graph = repaired(softmax.clone(), Vec::new(), opset);
            assert_eq!(operators(&graph), ["ReduceMax", "Sub", "Exp", "ReduceSum", "Log", "Sub"]);
            assert_eq!(graph.node[0].input.len(), inputs);
            assert_eq!(graph.node[5].output, ["y"]);
        }
        assert_eq!(operators(&repaired(softmax, Vec::new(), 11)), ["LogSoftmax"]);
    }
}
