//! The edges of a file's graph: which node computes a tensor, and from what.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use fame_core::{Error, Result};
use prost::Message as _;
use tract_onnx::pb::{ModelProto, NodeProto};

use crate::backends::ort::reads;

/// The nodes of a file by the tensors they compute.
pub struct Graph {
    nodes: HashMap<String, Node>,
    /// Every computed tensor, in the file's order.
    order: Vec<String>,
}

struct Node {
    /// Its name, or that of its first output where it has none.
    name: String,
    op: String,
    inputs: Vec<String>,
}

impl Graph {
    /// Reads the graph of the ONNX file at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is no ONNX model.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, &e))?;
        let model = ModelProto::decode(bytes.as_slice()).ok();
        let Some(graph) = model.and_then(|model| model.graph) else {
            let text = format!("cannot load `{}`: it is not an ONNX model.", path.display());
            return Err(Error::new("fame::backend::bad_model", text));
        };
        Ok(Self::of(&graph.node))
    }

    fn of(all: &[NodeProto]) -> Self {
        let (mut nodes, mut order) = (HashMap::new(), vec![]);
        for node in all {
            let outputs = node.output.iter().filter(|o| !o.is_empty());
            let first = node.output.first().cloned().unwrap_or_default();
            for output in outputs {
                let of = Node {
                    name: if node.name.is_empty() { first.clone() } else { node.name.clone() },
                    op: node.op_type.clone(),
                    inputs: reads(node).into_iter().map(str::to_owned).collect(),
                };
                nodes.insert(output.clone(), of);
                order.push(output.clone());
            }
        }
        Self { nodes, order }
    }

    /// Every computed tensor, in the file's order.
    pub(super) fn order(&self) -> &[String] {
        &self.order
    }

    /// The node that computes `tensor`, as a message names it.
    pub(super) fn node(&self, tensor: &str) -> String {
        match self.nodes.get(tensor) {
            Some(node) => format!("node `{}` ({})", node.name, node.op),
            None => format!("the input `{tensor}`"),
        }
    }

    /// `tensor` and everything that it is computed from.
    pub(super) fn ancestors(&self, tensor: &str) -> HashSet<&str> {
        let mut found = HashSet::new();
        let mut open: Vec<&str> =
            self.nodes.get_key_value(tensor).map(|(k, _)| k.as_str()).into_iter().collect();
        while let Some(name) = open.pop() {
            if !found.insert(name) {
                continue;
            }
            let inputs =
                self.nodes.get(name).map(|node| node.inputs.as_slice()).unwrap_or_default();
            open.extend(inputs.iter().map(String::as_str));
        }
        found
    }

    /// The tensors that are computed directly from `tensor`.
    pub(super) fn readers(&self, tensor: &str) -> Vec<&str> {
        let reads = |name: &&String| self.nodes[*name].inputs.iter().any(|input| input == tensor);
        self.order.iter().filter(reads).map(String::as_str).collect()
    }

    /// The first tensor in the file's order that is faulty, `tensor` depends on it, and nothing that
    /// it depends on is faulty; `tensor` itself where there is no other.
    pub(super) fn origin<'a>(&'a self, tensor: &'a str, faulty: &HashSet<&str>) -> &'a str {
        let above = self.ancestors(tensor);
        self.order
            .iter()
            .map(String::as_str)
            .find(|name| above.contains(name) && faulty.contains(name))
            .unwrap_or(tensor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            op_type: op.into(),
            input: inputs.iter().map(|&i| i.into()).collect(),
            output: vec![output.into()],
            ..NodeProto::default()
        }
    }

    #[test]
    fn a_fault_begins_at_the_first_faulty_tensor_on_the_way() {
        let graph = Graph::of(&[
            node("Relu", &["x"], "a"),
            node("Neg", &["x"], "b"),
            node("Exp", &["a"], "c"),
            node("Add", &["b", "c"], "d"),
        ]);
        let faulty = HashSet::from(["b", "c", "d"]);
        assert_eq!(graph.origin("d", &faulty), "b");
        assert_eq!(graph.origin("c", &faulty), "c");
        assert_eq!(graph.readers("x"), ["a", "b"]);
        assert_eq!(graph.node("c"), "node `c` (Exp)");
        assert_eq!(graph.ancestors("c"), HashSet::from(["x", "a", "c"]));
    }
}
