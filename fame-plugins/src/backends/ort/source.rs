//! The file as onnxruntime gets it: its bytes, and the names in it.

use std::collections::{HashMap, HashSet};

use fame_core::{Error, LoadRequest, Result, data::read_ordinary};
use prost::Message as _;
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::tensor_shape_proto::Dimension;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::type_proto::{Tensor as TensorType, Value};
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, TensorShapeProto, TypeProto, ValueInfoProto,
};

use super::wire;
use crate::backends::onnx::feed::Feed;
use crate::backends::onnx::file::check_data_files;

/// A model file, unchanged, with the names of its graph.
pub(super) struct Source {
    bytes: Vec<u8>,
    /// The file's path, for messages.
    pub(super) path: String,
    /// The folder of weights that lie in files of their own; `None` when there are none.
    pub(super) folder: Option<String>,
    /// Bytes of the weights in the file.
    pub(super) size: usize,
    /// The name of the data input.
    pub(super) input: String,
    /// The input's declared shape, batch axis first; `None` where it is left open.
    pub(super) declared: Option<Vec<Option<usize>>>,
    /// Every named tensor that a node computes, with its operator, in the file's order.
    pub(super) tensors: Vec<(String, String)>,
    /// What the operator of each tensor reads.
    pub(super) reads: HashMap<String, Vec<String>>,
    /// The graph's declared outputs.
    pub(super) outputs: Vec<String>,
    /// Remarks for the record.
    pub(super) notes: Vec<String>,
    /// The tensors whose values depend on the input, itself included.
    pub(super) depends: HashSet<String>,
}

/// A layer whose value is given from outside.
pub(super) struct Replaced<'a> {
    /// Its name.
    pub(super) layer: &'a str,
    /// Its full shape, N = 1.
    pub(super) shape: &'a [usize],
    /// Its number type, as ONNX counts them.
    pub(super) element: i32,
}

impl Source {
    /// Reads the file of `request`, with what it is fed put in front of it.
    ///
    /// # Errors
    /// It cannot be read, is no ONNX model, or has not one data input.
    pub(super) fn read(request: &LoadRequest) -> Result<Self> {
        let path = request.file.as_path();
        let shown = path.display().to_string();
        let bytes = read_ordinary(path)?;
        let model = ModelProto::decode(bytes.as_slice()).ok();
        let Some(mut graph) = model.and_then(|model| model.graph).filter(|g| !g.node.is_empty())
        else {
            return Err(refusal(&shown, "it is not an ONNX model, or it is cut short")
                .with_help("Compare its size and sha256 with the model's manifest, and fetch or export it again."));
        };
        let is_external = |t: &tract_onnx::pb::TensorProto| {
            t.data_location == Some(DataLocation::External as i32)
        };
        let has_files = graph.initializer.iter().any(is_external);
        let folder =
            std::path::absolute(path).ok().and_then(|p| p.parent()?.to_str().map(str::to_owned));
        check_data_files(&graph, path)?;
        let mut feed = Feed::of(&graph, request)?;
        let mut notes = std::mem::take(&mut feed.notes);
        let cannot_edit = || Error::bug(format!("`{shown}` cannot be edited."));
        let mut bytes = fed(&bytes, &feed).ok_or_else(cannot_edit)?;
        feed.write(&mut graph);
        let mut input = data_input(&graph).map_err(|why| refusal(&shown, why))?.clone();
        if let Some(batch) = open_batch(&mut input) {
            notes.push(format!("the file declares a batch of {batch}; rows are fed one by one"));
            bytes = wire::replace_input(&bytes, &input.name, &input).ok_or_else(cannot_edit)?;
        }
        Ok(Self {
            size: bytes.len(),
            notes,
            bytes,
            path: shown,
            folder: folder.filter(|_| has_files),
            input: input.name.clone(),
            declared: declared_shape(&input),
            tensors: tensors(&graph),
            reads: reads_of_each(&graph),
            outputs: graph.output.iter().map(|o| o.name.clone()).collect(),
            depends: depending(&graph, &input.name),
        })
    }

    /// The encoded model that also gives out `outputs`, with one layer replaced.
    ///
    /// # Errors
    /// When the bytes cannot be walked: a bug, since they were decoded.
    pub(super) fn model(&self, outputs: &[String], replaced: Option<&Replaced>) -> Result<Vec<u8>> {
        let mut bytes = match replaced {
            None => self.bytes.clone(),
            Some(Replaced { layer, .. }) => {
                let unused = format!("{layer} as the file computes it");
                wire::rename_output(&self.bytes, layer, &unused)
                    .ok_or_else(|| Error::bug(format!("`{}` cannot be edited.", self.path)))?
            }
        };
        let known = |name: &String| self.outputs.contains(name);
        let added = GraphProto {
            input: replaced.map(typed).into_iter().collect(),
            output: outputs
                .iter()
                .filter(|name| !known(name))
                // onnxruntime infers the types of outputs.
                .map(|name| ValueInfoProto { name: name.clone(), ..ValueInfoProto::default() })
                .collect(),
            ..GraphProto::default()
        };
        bytes.extend(wire::part(added));
        Ok(bytes)
    }

    /// An error about this file.
    pub(super) fn refuse(&self, why: impl std::fmt::Display) -> Error {
        refusal(&self.path, why)
    }
}

/// The encoded model with what it is fed put in front of it.
fn fed(model: &[u8], feed: &Feed) -> Option<Vec<u8>> {
    let mut bytes = wire::part(GraphProto { node: feed.nodes.clone(), ..GraphProto::default() });
    match &feed.input {
        Some((name, input)) => bytes.extend(wire::replace_input(model, name, input)?),
        None => bytes.extend(model),
    }
    let weights = GraphProto { initializer: feed.weights.clone(), ..GraphProto::default() };
    bytes.extend(wire::part(weights));
    Some(bytes)
}

fn refusal(path: &str, why: impl std::fmt::Display) -> Error {
    Error::new("fame::backend::bad_model", format!("cannot load `{path}`: {why}."))
}

/// The one input that is not a weight.
fn data_input(graph: &GraphProto) -> std::result::Result<&ValueInfoProto, String> {
    let is_weight = |name: &str| graph.initializer.iter().any(|t| t.name == name);
    let inputs: Vec<_> = graph.input.iter().filter(|input| !is_weight(&input.name)).collect();
    match *inputs {
        [input] => Ok(input),
        [] => Err("it has no input".to_owned()),
        _ => {
            let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
            Err(format!("it has {} inputs ({})", inputs.len(), names.join(", ")))
        }
    }
}

/// Declares a batch of 1 for an input that is declared with another; returns that one.
fn open_batch(input: &mut ValueInfoProto) -> Option<i64> {
    let Value::TensorType(tensor) = input.r#type.as_mut()?.value.as_mut()?;
    match &mut tensor.shape.as_mut()?.dim.first_mut()?.value {
        Some(Dim::DimValue(batch)) if *batch > 1 => Some(std::mem::replace(batch, 1)),
        _ => None,
    }
}

fn declared_shape(input: &ValueInfoProto) -> Option<Vec<Option<usize>>> {
    let Value::TensorType(tensor) = input.r#type.as_ref()?.value.as_ref()?;
    let extent = |dim: &Dimension| match dim.value {
        Some(Dim::DimValue(extent)) => usize::try_from(extent).ok().filter(|extent| *extent > 0),
        _ => None,
    };
    Some(tensor.shape.as_ref()?.dim.iter().map(extent).collect())
}

fn tensors(graph: &GraphProto) -> Vec<(String, String)> {
    let named = |node: &NodeProto| {
        let op = node.op_type.clone();
        let outputs = node.output.iter().filter(|o| !o.is_empty()).cloned();
        outputs.map(move |name| (name, op.clone())).collect::<Vec<_>>()
    };
    graph.node.iter().flat_map(named).collect()
}

fn reads_of_each(graph: &GraphProto) -> HashMap<String, Vec<String>> {
    let of_node = |node: &NodeProto| {
        node.output.iter().map(|o| (o.clone(), node.input.clone())).collect::<Vec<_>>()
    };
    graph.node.iter().flat_map(of_node).collect()
}

/// The tensors of `graph` whose values depend on `input`.
fn depending(graph: &GraphProto, input: &str) -> HashSet<String> {
    let mut found = HashSet::from([input.to_owned()]);
    // Nodes are in order in a valid file.
    for node in &graph.node {
        if reads(node).iter().any(|name| found.contains(*name)) {
            found.extend(node.output.iter().filter(|o| !o.is_empty()).cloned());
        }
    }
    found
}

/// The tensors that a node reads, also those that the graphs inside of it take from outside.
pub(in crate::backends) fn reads(node: &NodeProto) -> Vec<&str> {
    let inner = node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs));
    let inner = inner.flat_map(|graph| {
        let outputs = graph.output.iter().map(|o| o.name.as_str());
        graph.node.iter().flat_map(reads).chain(outputs)
    });
    node.input.iter().map(String::as_str).chain(inner).collect()
}

/// A replaced layer as an input of the graph.
fn typed(replaced: &Replaced) -> ValueInfoProto {
    let dim = |extent: &usize| Dimension {
        value: Some(Dim::DimValue(*extent as i64)),
        ..Dimension::default()
    };
    let shape = TensorShapeProto { dim: replaced.shape.iter().map(dim).collect() };
    let tensor = TensorType { elem_type: replaced.element, shape: Some(shape) };
    ValueInfoProto {
        name: replaced.layer.to_owned(),
        r#type: Some(TypeProto { value: Some(Value::TensorType(tensor)), ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}
