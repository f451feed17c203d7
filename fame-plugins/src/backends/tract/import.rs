//! From the ONNX graph to tract's typed model, for one set of outputs.

use std::collections::{HashMap, HashSet};

use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto,
    tensor_proto::DataType, type_proto,
};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_hir::internal::{
    Expansion, InferenceFact, InferenceModel, InferenceModelExt, InferenceOp, InferenceResult,
    Solver, TensorProxy, expand,
};

use super::fold::fold_batch_norms;
use super::onnx::{OnnxFile, guarded};
use super::ops::PRelu;

/// What a typed model is wanted for.
pub(in crate::backends) struct Wanted<'a> {
    /// The tensors to give out, in this order.
    pub(in crate::backends) outputs: &'a [String],
    /// A layer whose value comes from outside: it becomes the second input.
    pub(in crate::backends) replaced: Option<(&'a str, &'a [usize])>,
    /// The shape of the first input, batch axis included.
    pub(in crate::backends) input: &'a [usize],
    /// Whether operators may be folded into one another.
    pub(in crate::backends) fold: bool,
}

/// Builds the typed model, not yet decluttered.
///
/// Outputs are chosen before the model is typed: then every one of them keeps its name and its ONNX
/// layout.
pub(in crate::backends) fn typed_model(
    file: &OnnxFile,
    wanted: &Wanted,
) -> TractResult<TypedModel> {
    guarded("importing", || {
        let graph = subgraph(file, wanted);
        let proto = ModelProto {
            graph: Some(graph),
            opset_import: file.proto.opset_import.clone(),
            ..ModelProto::default()
        };
        let parsed = importer().parse(&proto, file.folder.as_deref())?;
        ensure!(
            parsed.unresolved_inputs.is_empty(),
            "nothing computes {:?}",
            parsed.unresolved_inputs
        );
        let mut model: InferenceModel = parsed.model;
        model.set_input_fact(0, InferenceFact::from(f32::fact(wanted.input)))?;
        if let Some((_, shape)) = wanted.replaced {
            model.set_input_fact(1, InferenceFact::from(f32::fact(shape)))?;
        }
        model.into_typed()
    })
}

/// tract's importer with our own operators in place of some of its lowerings.
pub(super) fn importer() -> Onnx {
    let mut onnx = tract_onnx::onnx().with_ignore_value_info(true);
    onnx.op_register.insert("ConstantOfShape", constant_of_shape);
    onnx.op_register.insert("Resize", resize);
    onnx.op_register.insert("Upsample", upsample);
    onnx.op_register.insert("PRelu", prelu);
    super::activations::register(&mut onnx.op_register);
    onnx
}

/// The part of the graph that `wanted` needs, with its outputs declared and its replaced layer as
/// an input.
fn subgraph(file: &OnnxFile, wanted: &Wanted) -> GraphProto {
    let whole = file.graph();
    let data = file.data_input().unwrap_or_default();
    let replaced = wanted.replaced.map(|(name, _)| name);
    let mut needed: HashSet<&str> = wanted.outputs.iter().map(String::as_str).collect();
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
    let output = wanted
        .outputs
        .iter()
        .map(|name| ValueInfoProto { name: name.clone(), ..ValueInfoProto::default() })
        .collect();
    let mut graph = GraphProto {
        node: nodes,
        name: whole.name.clone(),
        initializer,
        input,
        output,
        ..GraphProto::default()
    };
    if wanted.fold {
        fold_batch_norms(file, &mut graph, &wanted.outputs.iter().map(String::as_str).collect());
    }
    graph
}

/// An input whose shape is set later.
fn float_input(name: &str) -> ValueInfoProto {
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: None };
    let kind = TypeProto { value: Some(Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(kind), ..ValueInfoProto::default() }
}

/// The shape the file declares for its input; `None` where it leaves an extent open.
pub(in crate::backends) fn declared_shape(file: &OnnxFile) -> Option<Vec<Option<usize>>> {
    use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
    let name = file.data_input().ok()?;
    let input = file.graph().input.iter().find(|i| i.name == name)?;
    let Value::TensorType(tensor) = input.r#type.as_ref()?.value.as_ref()?;
    let extent = |dim: &Option<Dim>| match dim {
        Some(Dim::DimValue(extent)) => usize::try_from(*extent).ok().filter(|extent| *extent > 0),
        _ => None,
    };
    Some(tensor.shape.as_ref()?.dim.iter().map(|dim| extent(&dim.value)).collect())
}

/// The outlets of `model`'s outputs by name, in the order they were wanted.
pub(super) fn outlets(model: &TypedModel, names: &[String]) -> HashMap<String, OutletId> {
    names.iter().cloned().zip(model.outputs.iter().copied()).collect()
}

/// tract's own import of `node`, with an attribute added if the file leaves it out.
fn with_default(
    ctx: &ParsingContext,
    op: &str,
    node: &NodeProto,
    default: AttributeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let mut node = node.clone();
    if !node.attribute.iter().any(|a| a.name == default.name) {
        node.attribute.push(default);
    }
    let known = tract_onnx::onnx().op_register;
    known.0.get(op).with_context(|| format!("tract knows no {op}"))?(ctx, &node)
}

/// Opset 10 had no `nearest_mode`: it rounded down, where tract takes the later opsets' default.
fn resize(
    ctx: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let rounding = if ctx.onnx_operator_set_version > 10 { "round_prefer_floor" } else { "floor" };
    let mode = AttributeProto {
        name: "nearest_mode".to_owned(),
        r#type: AttributeType::String as i32,
        s: rounding.as_bytes().to_vec(),
        ..AttributeProto::default()
    };
    with_default(ctx, "Resize", node, mode)
}

/// Without a value it makes zeros of type `f32`; tract makes `f64`.
fn constant_of_shape(
    ctx: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let zero = TensorProto {
        dims: vec![1],
        data_type: DataType::Float as i32,
        float_data: vec![0.0],
        ..TensorProto::default()
    };
    let value = AttributeProto {
        name: "value".to_owned(),
        r#type: AttributeType::Tensor as i32,
        t: Some(zero),
        ..AttributeProto::default()
    };
    with_default(ctx, "ConstantOfShape", node, value)
}

/// What Resize was called before opset 10.
fn upsample(
    ctx: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    ensure!(node.input.len() == 2, "Upsample takes its scales as an input, as from opset 9 on");
    resize(&ParsingContext { onnx_operator_set_version: 10, ..ctx.clone() }, node)
}

fn prelu(
    _ctx: &ParsingContext,
    _node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    Ok((expand(PReluImport), vec![]))
}

/// Keeps PReLU in one piece.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PReluImport;

impl Expansion for PReluImport {
    fn name(&self) -> StaticName {
        "PRelu".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        s.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        s.equals(&inputs[0].shape, &outputs[0].shape)?;
        Ok(())
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let mut slope = inputs[1];
        let rank = model.outlet_fact(inputs[0])?.rank();
        let channels = model.outlet_fact(inputs[0])?.shape.get(1).cloned();
        let last = model.outlet_fact(inputs[0])?.shape.last().cloned();
        // Old exporters write one slope for each channel without trailing axes.
        let fact = model.outlet_fact(slope)?.clone();
        if fact.rank() == 1
            && rank > 2
            && Some(&fact.shape[0]) == channels.as_ref()
            && channels != last
        {
            for axis in 1..rank - 1 {
                slope = model.wire_node(
                    format!("{prefix}.slope.{axis}"),
                    AxisOp::Add(axis),
                    &[slope],
                )?[0];
            }
        }
        while model.outlet_fact(slope)?.rank() < rank {
            let at = model.outlet_fact(slope)?.rank();
            slope =
                model.wire_node(format!("{prefix}.slope.front.{at}"), AxisOp::Add(0), &[slope])?[0];
        }
        model.wire_node(prefix, PRelu, &[inputs[0], slope])
    }
}
