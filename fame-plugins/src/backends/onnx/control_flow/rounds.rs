//! `Loop` with a constant number of rounds, written out in the file's own graph.

use std::collections::HashMap;

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};
use tract_onnx::tract_core::internal::{TractResult, bail};

use super::super::file::{MOST_NODES, shown};
use super::super::unsupported::Unsupported;
use super::MOST_ROUNDS;

/// Replaces every `Loop` of `graph` by its rounds.
///
/// # Errors
/// A loop whose number of rounds is not in the file.
pub(in crate::backends::onnx) fn write_out_loops(
    graph: &mut GraphProto,
    opset: u64,
) -> TractResult<()> {
    if !graph.node.iter().any(is_loop) {
        return Ok(());
    }
    let mut written = vec![];
    for node in std::mem::take(&mut graph.node) {
        if is_loop(&node) {
            let refused = |reason: &str| Unsupported::new(&shown(&node), "Loop", reason);
            let rounds = Loop::new(&node, graph, &written).map_err(refused)?;
            written.extend(rounds.write(&mut graph.initializer, opset).map_err(refused)?);
        } else {
            written.push(node);
        }
        if written.len() > MOST_NODES {
            bail!("its loops grow to more than {MOST_NODES} nodes");
        }
    }
    graph.node = written;
    Ok(())
}

fn is_loop(node: &NodeProto) -> bool {
    node.op_type == "Loop" && matches!(node.domain.as_str(), "" | "ai.onnx")
}

/// A loop, and how often its body runs.
struct Loop<'n> {
    node: &'n NodeProto,
    body: &'n GraphProto,
    rounds: usize,
    /// In front of all names of the body.
    prefix: String,
}

/// The first number of a constant of the file: an initializer, or what a `Constant` node gives.
fn number(name: &str, graph: &GraphProto, nodes: &[NodeProto]) -> Option<i64> {
    let weight = graph.initializer.iter().find(|weight| weight.name == name);
    let given = || {
        let node = nodes.iter().find(|node| node.output.iter().any(|output| output == name))?;
        node.attribute.iter().find(|a| a.name == "value")?.t.as_ref()
    };
    first_number(weight.or_else(given)?)
}

fn first_number(tensor: &TensorProto) -> Option<i64> {
    match DataType::try_from(tensor.data_type).ok()? {
        DataType::Int64 => {
            tensor.int64_data.first().copied().or_else(|| {
                tensor.raw_data.first_chunk::<8>().map(|bytes| i64::from_le_bytes(*bytes))
            })
        }
        DataType::Bool => {
            let raw = || tensor.raw_data.first().map(|byte| i64::from(*byte));
            tensor.int32_data.first().map(|value| i64::from(*value)).or_else(raw)
        }
        _ => None,
    }
}

impl<'n> Loop<'n> {
    fn new(
        node: &'n NodeProto,
        graph: &GraphProto,
        before: &[NodeProto],
    ) -> Result<Self, &'static str> {
        let body = node.attribute.iter().find(|a| a.name == "body").and_then(|a| a.g.as_ref());
        let body = body.ok_or("it has no body")?;
        let input = |ix: usize| node.input.get(ix).filter(|name| !name.is_empty());
        let rounds = input(0).and_then(|name| number(name, graph, before));
        let rounds = rounds.and_then(|n| usize::try_from(n).ok());
        let rounds = rounds.ok_or("its number of rounds is not a constant of the file")?;
        let is_too_long = rounds.saturating_mul(body.node.len()) > MOST_NODES;
        if rounds == 0 || rounds > MOST_ROUNDS || is_too_long {
            return Err("it has no rounds, or more than are written out");
        }
        if input(1).is_some_and(|name| number(name, graph, before) != Some(1)) || !goes_on(body) {
            return Err("its end depends on a condition");
        }
        let name = node.output.iter().find(|name| !name.is_empty()).ok_or("it has no output")?;
        Ok(Self { node, body, rounds, prefix: name.clone() })
    }

    fn write(
        &self,
        weights: &mut Vec<TensorProto>,
        opset: u64,
    ) -> Result<Vec<NodeProto>, &'static str> {
        let constants: Vec<TensorProto> = self.body.initializer.clone();
        let mut fixed: HashMap<String, String> = HashMap::new();
        for constant in constants {
            let name = format!("{}/{}", self.prefix, constant.name);
            fixed.insert(constant.name.clone(), name.clone());
            weights.push(TensorProto { name, ..constant });
        }
        let mut states: Vec<String> = self.node.input.iter().skip(2).cloned().collect();
        let carried = states.len();
        if self.body.input.len() != carried + 2 || self.body.output.len() <= carried {
            return Err("its body has another number of inputs than the loop");
        }
        let mut scans: Vec<Vec<String>> = vec![vec![]; self.body.output.len() - 1 - carried];
        let mut nodes = vec![];
        for round in 0..self.rounds {
            let mut names = fixed.clone();
            let count = format!("{}/{round}/round", self.prefix);
            weights.push(whole(&count, vec![], vec![round as i64]));
            let given = [count, format!("{}/true", self.prefix)].into_iter().chain(states);
            names.extend(self.body.input.iter().map(|input| input.name.clone()).zip(given));
            let inner = self.body.node.iter().flat_map(|node| &node.output);
            names.extend(
                inner.map(|name| (name.clone(), format!("{}/{round}/{name}", self.prefix))),
            );
            nodes.extend(
                self.body.node.iter().map(|node| renamed(node, &names, &self.prefix, round)),
            );
            let after =
                |output: &str| names.get(output).cloned().unwrap_or_else(|| output.to_owned());
            let outputs: Vec<String> =
                self.body.output.iter().skip(1).map(|output| after(&output.name)).collect();
            for (scan, output) in scans.iter_mut().zip(&outputs[carried..]) {
                scan.push(output.clone());
            }
            states = outputs[..carried].to_vec();
        }
        weights.push(TensorProto {
            name: format!("{}/true", self.prefix),
            data_type: DataType::Bool as i32,
            int32_data: vec![1],
            ..TensorProto::default()
        });
        let gives = |ix: usize| self.node.output.get(ix).filter(|name| !name.is_empty());
        for (ix, state) in states.iter().enumerate() {
            nodes.extend(gives(ix).map(|output| node("Identity", vec![state.clone()], output)));
        }
        let axes = format!("{}/front", self.prefix);
        weights.push(whole(&axes, vec![1], vec![0]));
        for (ix, scan) in scans.iter().enumerate() {
            let Some(output) = gives(carried + ix) else { continue };
            let rows: Vec<String> =
                (0..scan.len()).map(|round| format!("{output}/{round}/row")).collect();
            for (value, row) in scan.iter().zip(&rows) {
                let mut unsqueeze = node("Unsqueeze", vec![value.clone()], row);
                // Since opset 13 the axes are an input.
                if opset >= 13 {
                    unsqueeze.input.push(axes.clone());
                } else {
                    unsqueeze.attribute.push(AttributeProto {
                        name: "axes".into(),
                        r#type: AttributeType::Ints as i32,
                        ints: vec![0],
                        ..AttributeProto::default()
                    });
                }
                nodes.push(unsqueeze);
            }
            let mut concat = node("Concat", rows, output);
            concat.attribute.push(AttributeProto {
                name: "axis".into(),
                r#type: AttributeType::Int as i32,
                ..AttributeProto::default()
            });
            nodes.push(concat);
        }
        Ok(nodes)
    }
}

/// Whether the body's condition is always the one it is given, or true.
fn goes_on(body: &GraphProto) -> bool {
    let (Some(condition), Some(given)) = (body.output.first(), body.input.get(1)) else {
        return false;
    };
    let mut name = condition.name.as_str();
    // Once for each node: a damaged body may go in a circle.
    for _ in &body.node {
        let gives = |node: &&NodeProto| node.output.iter().any(|output| output == name);
        let Some(node) = body.node.iter().find(gives) else { break };
        match (node.op_type.as_str(), node.input.first()) {
            ("Identity" | "Cast", Some(input)) => name = input,
            ("Constant", _) => {
                let value = node.attribute.iter().find(|a| a.name == "value");
                return value.and_then(|a| first_number(a.t.as_ref()?)) == Some(1);
            }
            _ => return false,
        }
    }
    let constant = body.initializer.iter().find(|weight| weight.name == name);
    name == given.name || constant.and_then(first_number) == Some(1)
}

/// `node` with the names of one round, in graphs of its own as well.
fn renamed(
    node: &NodeProto,
    names: &HashMap<String, String>,
    prefix: &str,
    round: usize,
) -> NodeProto {
    let rename = |name: &String| names.get(name).cloned().unwrap_or_else(|| name.clone());
    let mut node = node.clone();
    let own = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
    node.name = format!("{prefix}/{round}/{}", own.map_or("", String::as_str));
    node.input = node.input.iter().map(rename).collect();
    node.output = node.output.iter().map(rename).collect();
    for graph in node.attribute.iter_mut().filter_map(|a| a.g.as_mut()) {
        let own: Vec<&String> = graph.node.iter().flat_map(|node| &node.output).collect();
        let mut outer = names.clone();
        outer.retain(|name, _| !own.contains(&name));
        graph.node = graph.node.iter().map(|node| renamed(node, &outer, prefix, round)).collect();
    }
    node
}

fn node(op: &str, input: Vec<String>, output: &str) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: output.to_owned(),
        input,
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

fn whole(name: &str, dims: Vec<i64>, values: Vec<i64>) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims,
        data_type: DataType::Int64 as i32,
        int64_data: values,
        ..TensorProto::default()
    }
}
