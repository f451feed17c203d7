//! The edges of a file's graph: which node computes a tensor, and from what.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use fame_core::{Error, Result, data::read_ordinary, store::kind_of_file};
use prost::Message as _;
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};

use crate::backends::ort::reads;

/// The nodes of a file by the tensors they compute.
pub struct Graph {
    nodes: HashMap<String, Node>,
    /// Every computed tensor, in the file's order.
    order: Vec<String>,
    /// Whether what is fed are whole numbers, such as the bytes of a picture.
    is_fed_whole: bool,
    /// The tensors that depend on what is fed.
    moved: HashSet<String>,
    /// What the exporter wrote about the model, by key.
    notes: HashMap<String, String>,
}

struct Node {
    /// Its name, or that of its first output where it has none.
    name: String,
    op: String,
    inputs: Vec<String>,
    /// Whether it rounds its values to those of a few bits.
    rounds: bool,
}

/// Whether `node` rounds to numbers of a few bits, which a gradient passes straight through.
fn rounds(node: &NodeProto) -> bool {
    /// ONNX's numbers of the floats of eight and four bits.
    const FEW_BITS: [i64; 5] = [17, 18, 19, 20, 23];
    let op = node.op_type.as_str();
    let casts = || node.attribute.iter().any(|a| a.name == "to" && FEW_BITS.contains(&a.i));
    matches!(op, "QuantizeLinear" | "DynamicQuantizeLinear")
        || op.starts_with("QLinear")
        || (op == "Cast" && casts())
}

/// Whether the tensor that `graph` is fed with holds whole numbers.
fn is_fed_whole(graph: &GraphProto) -> bool {
    /// ONNX's numbers of the types u8, i8, u16, i16, i32 and i64.
    const WHOLE: [i32; 6] = [2, 3, 4, 5, 6, 7];
    let is_weight = |name: &str| graph.initializer.iter().any(|weight| weight.name == name);
    let mut fed = graph.input.iter().filter(|input| !is_weight(&input.name));
    fed.next()
        .and_then(|input| input.r#type.as_ref()?.value.as_ref())
        .is_some_and(|Value::TensorType(tensor)| WHOLE.contains(&tensor.elem_type))
}

impl Graph {
    /// Reads the graph of the ONNX file at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is no ONNX model.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = read_ordinary(path)?;
        let model = ModelProto::decode(bytes.as_slice()).unwrap_or_default();
        let notes = model.metadata_props.into_iter().map(|note| (note.key, note.value)).collect();
        let Some(graph) = model.graph else {
            let (what, help) = match kind_of_file(path) {
                Some((kind, way)) => (format!("not an ONNX model, but {kind}"), way),
                None => (
                    "not an ONNX model, or it is cut short".to_owned(),
                    "Compare its size with the original's, and fetch or export it again.",
                ),
            };
            let text = format!("cannot load `{}`: it is {what}.", path.display());
            return Err(Error::new("fame::backend::bad_model", text).with_help(help));
        };
        Ok(Self { notes, ..Self::of(&graph) })
    }

    fn of(graph: &GraphProto) -> Self {
        let (mut nodes, mut order) = (HashMap::new(), vec![]);
        let is_weight = |name: &String| graph.initializer.iter().any(|w| w.name == *name);
        let fed = graph.input.iter().map(|input| input.name.clone());
        let mut moved: HashSet<String> = fed.filter(|name| !is_weight(name)).collect();
        for node in &graph.node {
            if reads(node).into_iter().any(|name| moved.contains(name)) {
                moved.extend(node.output.iter().filter(|o| !o.is_empty()).cloned());
            }
            let outputs = node.output.iter().filter(|o| !o.is_empty());
            let first = node.output.first().cloned().unwrap_or_default();
            for output in outputs {
                let of = Node {
                    name: if node.name.is_empty() { first.clone() } else { node.name.clone() },
                    op: node.op_type.clone(),
                    inputs: reads(node).into_iter().map(str::to_owned).collect(),
                    rounds: rounds(node),
                };
                nodes.insert(output.clone(), of);
                order.push(output.clone());
            }
        }
        let (is_fed_whole, notes) = (is_fed_whole(graph), HashMap::new());
        Self { nodes, order, is_fed_whole, moved, notes }
    }

    /// Whether what is fed are whole numbers, such as the bytes of a picture: an engine that takes
    /// the file at its word drops fractions.
    pub fn is_fed_whole(&self) -> bool {
        self.is_fed_whole
    }

    /// What the exporter wrote about the model under `key`, such as the names of its classes.
    pub fn note(&self, key: &str) -> Option<&str> {
        self.notes.get(key).map(String::as_str)
    }

    /// The first node on the way from what is fed to `tensor` that rounds to numbers of a few bits,
    /// as a message names it.
    pub(super) fn first_rounding(&self, tensor: &str) -> Option<String> {
        let above = self.ancestors(tensor);
        let is_rounding = |name: &&String| {
            above.contains(name.as_str()) && self.moved.contains(*name) && self.nodes[*name].rounds
        };
        self.order.iter().find(is_rounding).map(|name| self.node(name))
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

    /// The tensors nearest in front of `tensor` that depend on what is fed and that `is_known`.
    pub(super) fn nearest(&self, tensor: &str, is_known: impl Fn(&str) -> bool) -> Vec<&str> {
        let (mut found, mut seen) = (vec![], HashSet::new());
        let mut open: Vec<&Node> = self.nodes.get(tensor).into_iter().collect();
        while let Some(node) = open.pop() {
            for input in node.inputs.iter().filter(|input| self.moved.contains(*input)) {
                if !seen.insert(input.as_str()) {
                    continue;
                }
                if is_known(input) {
                    found.push(input.as_str());
                } else {
                    open.extend(self.nodes.get(input));
                }
            }
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
    use tract_onnx::pb::ValueInfoProto;

    use super::*;

    fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            op_type: op.into(),
            input: inputs.iter().map(|&i| i.into()).collect(),
            output: vec![output.into()],
            ..NodeProto::default()
        }
    }

    fn graph(input: &str, node: Vec<NodeProto>) -> Graph {
        let input = vec![ValueInfoProto { name: input.into(), ..ValueInfoProto::default() }];
        Graph::of(&GraphProto { input, node, ..GraphProto::default() })
    }

    #[test]
    fn a_fault_begins_at_the_first_faulty_tensor_on_the_way() {
        let graph = graph(
            "x",
            vec![
                node("Relu", &["x"], "a"),
                node("Neg", &["x"], "b"),
                node("Exp", &["a"], "c"),
                node("Add", &["b", "c"], "d"),
            ],
        );
        let faulty = HashSet::from(["b", "c", "d"]);
        assert_eq!(graph.origin("d", &faulty), "b");
        assert_eq!(graph.origin("c", &faulty), "c");
        assert_eq!(graph.readers("x"), ["a", "b"]);
        assert_eq!(graph.node("c"), "node `c` (Exp)");
        assert_eq!(graph.ancestors("c"), HashSet::from(["x", "a", "c"]));
    }

    #[test]
    fn only_rounding_between_the_input_and_the_tensor_counts() {
        let graph = graph(
            "x",
            vec![
                // Weights may be rounded: they do not move.
                node("QuantizeLinear", &["w", "s"], "q"),
                node("Mul", &["x", "q"], "a"),
                node("QuantizeLinear", &["a", "s"], "b"),
                node("DequantizeLinear", &["b", "s"], "c"),
            ],
        );
        assert_eq!(graph.first_rounding("a"), None);
        assert_eq!(graph.first_rounding("c").as_deref(), Some("node `b` (QuantizeLinear)"));
    }
}
