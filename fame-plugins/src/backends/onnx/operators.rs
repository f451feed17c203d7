//! The table of ONNX operators that can be imported: tract's, with our own in place of some.

use std::collections::BTreeMap;

use fame_core::{Error, Result};
use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, tensor_proto::DataType,
};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_hir::internal::{InferenceModel, InferenceOp};

use super::file::{OnnxFile, shown};
use super::host_operator::HostOperatorKind;
use super::refusal::Engine;

/// A node of a host operator: the name of its output, and the operator.
pub(super) type HostNode = (String, Box<dyn InferenceOp>);

/// The operators that nodes may name: those of third parties, and below them the built-in ones.
pub(in crate::backends) struct OperatorTable {
    built_in: Onnx,
    host: Vec<HostOperatorKind>,
}

impl OperatorTable {
    /// The built-in operators and `host`.
    pub(in crate::backends) fn new(host: Vec<HostOperatorKind>) -> Self {
        let mut built_in = tract_onnx::onnx().with_ignore_value_info(true);
        built_in.op_register.insert("ConstantOfShape", constant_of_shape);
        built_in.op_register.insert("Upsample", upsample);
        built_in.op_register.insert("PRelu", super::prelu::import);
        built_in.op_register.insert("Slice", super::slice::import);
        super::built_in::register(&mut built_in.op_register);
        super::quantize::register(&mut built_in.op_register);
        built_in.op_register.insert("If", super::control_flow::import_if);
        super::compose::register(&mut built_in.op_register);
        Self { built_in, host }
    }

    /// Refuses a file with a node whose operator is not in the table.
    pub(super) fn check(&self, file: &OnnxFile, engine: Engine) -> Result<()> {
        let is_known = |node: &&NodeProto| {
            self.host_kind(file, node).is_some()
                || self.built_in.op_register.0.contains_key(&node.op_type)
        };
        self.check_domains(file, engine)?;
        let Some(node) = file.graph().node.iter().find(|node| !is_known(node)) else {
            return Ok(());
        };
        let text = format!(
            "`{}`: node {} needs the operator `{}`, which the {} backend cannot run.",
            file.path,
            shown(node),
            node.op_type,
            engine.name
        );
        Err(Error::new("fame::backend::unknown_operator", text)
            .with_help("Export the model with standard ONNX operators, or use another backend."))
    }

    /// Refuses a node of a domain that no operator here belongs to: its name may be that of an
    /// operator of ONNX, and mean something else.
    fn check_domains(&self, file: &OnnxFile, engine: Engine) -> Result<()> {
        /// The domains whose operators the table has.
        const KNOWN: [&str; 4] = ["", "ai.onnx", "ai.onnx.ml", "com.microsoft"];
        let is_foreign = |node: &&NodeProto| {
            !KNOWN.contains(&node.domain.as_str()) && self.host_kind(file, node).is_none()
        };
        let Some(node) = file.graph().node.iter().find(is_foreign) else { return Ok(()) };
        let text = format!(
            "`{}`: node {} needs the operator `{}` of the domain `{}`, which the {} backend does not know.",
            file.path,
            shown(node),
            node.op_type,
            node.domain,
            engine.name
        );
        Err(Error::new("fame::backend::unknown_domain", text).with_help(
            "Bring the operator as a plugin, or export the model with standard ONNX operators.",
        ))
    }

    /// One sentence for each operator of a plugin that computes nodes of `file`.
    pub(super) fn notes(&self, file: &OnnxFile) -> Vec<String> {
        let mut counts = BTreeMap::new();
        for kind in file.graph().node.iter().filter_map(|node| self.host_kind(file, node)) {
            *counts.entry(kind.op_type.as_str()).or_insert(0) += 1;
        }
        let note =
            |(op, n)| format!("{n} of its nodes, `{op}`, are computed by a plugin's operator.");
        counts.into_iter().map(note).collect()
    }

    /// The host operator that `node` of `file` names, if it names one.
    pub(super) fn host_kind(&self, file: &OnnxFile, node: &NodeProto) -> Option<&HostOperatorKind> {
        let opset = file.opset(&node.domain);
        self.host.iter().find(|kind| kind.is_for(&node.domain, &node.op_type, opset))
    }

    /// Parses `graph`, a part of the graph of `file`, from which `host` was taken.
    pub(super) fn parse(
        &self,
        file: &OnnxFile,
        graph: GraphProto,
        host: Vec<HostNode>,
    ) -> TractResult<InferenceModel> {
        let proto = ModelProto {
            graph: Some(graph),
            opset_import: file.proto.opset_import.clone(),
            ..ModelProto::default()
        };
        let parsed = self.built_in.parse(&proto, file.folder.as_deref())?;
        ensure!(
            parsed.unresolved_inputs.is_empty(),
            "nothing computes {:?}",
            parsed.unresolved_inputs
        );
        let mut model = parsed.model;
        for (output, op) in host {
            let outlet = parsed.outlets_by_name.get(&output).context("every output is parsed")?;
            model.node_mut(outlet.node).op = op;
        }
        Ok(model)
    }

    /// Imports the nodes of host operators and hides their names, for whatever follows finds its
    /// own operators by name alone: tract parses such a node as an unknown one.
    pub(super) fn take_host_nodes(
        &self,
        file: &OnnxFile,
        graph: &mut GraphProto,
    ) -> TractResult<Vec<HostNode>> {
        /// In front of the names of host operators; no ONNX operator begins like this.
        const HIDDEN: &str = "host operator ";
        let mut found = vec![];
        for node in &mut graph.node {
            let Some(kind) = self.host_kind(file, node) else { continue };
            let op = super::host_op::import(file, kind, node)
                .with_context(|| format!("node {} ({})", shown(node), node.op_type))?;
            let output = node.output.iter().find(|name| !name.is_empty()).cloned();
            found.push((output.context("a node without an output")?, op));
            node.op_type.insert_str(0, HIDDEN);
        }
        Ok(found)
    }
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
pub(super) fn resize(
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
