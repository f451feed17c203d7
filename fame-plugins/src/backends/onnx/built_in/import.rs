//! The import of built-in operators: constant inputs are read, the rest becomes a host operator for
//! each output.

use std::collections::BTreeMap;

use fame_core::Tensor as HostTensor;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::internal::{
    Expansion, Factoid, InferenceModel, InferenceNode, InferenceOp, InferenceResult, Solver,
    TensorProxy, expand,
};

use super::node::Node;
use super::{BuiltIn, find};
use crate::backends::onnx::host_op::{HostOp, plain_attributes};
use crate::backends::onnx::host_operator::{Attributes, CheckedOperator};
use crate::backends::onnx::tensors::to_host;

/// The importer of every built-in operator.
pub(super) fn import(
    ctx: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let kind = find(&node.op_type).with_context(|| format!("no operator {}", node.op_type))?;
    if !(kind.applies)(node) {
        let known = tract_onnx::onnx().op_register;
        return known.0.get(kind.op_type).context("tract has it")?(ctx, node);
    }
    let given = |names: &[String]| -> Vec<usize> {
        names.iter().enumerate().filter(|(_, name)| !name.is_empty()).map(|(ix, _)| ix).collect()
    };
    let import = BuiltInImport {
        kind,
        attributes: plain_attributes(node),
        inputs: given(&node.input),
        outputs: given(&node.output),
        opset: ctx.onnx_operator_set_version,
    };
    Ok((expand(import), vec![]))
}

/// A node on its way from ONNX.
#[derive(Clone)]
struct BuiltInImport {
    kind: &'static BuiltIn,
    attributes: Attributes,
    /// Positions of the inputs that are given.
    inputs: Vec<usize>,
    /// Positions of the outputs that are named.
    outputs: Vec<usize>,
    opset: i64,
}

impl std::fmt::Debug for BuiltInImport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.kind.op_type)
    }
}

impl BuiltInImport {
    fn is_setting(&self, position: usize) -> bool {
        self.kind.settings.contains(&position)
    }

    /// Where among the given inputs the settings, or the others, are.
    fn slots(&self, settings: bool) -> Vec<usize> {
        (0..self.inputs.len())
            .filter(|&slot| self.is_setting(self.inputs[slot]) == settings)
            .collect()
    }

    /// The operators, one for each output, with these values of the settings.
    fn operators(&self, settings: &[Arc<Tensor>]) -> TractResult<Vec<CheckedOperator>> {
        let values =
            settings.iter().map(|value| to_host(value)).collect::<TractResult<Vec<_>>>()?;
        let positions = self.slots(true).into_iter().map(|slot| self.inputs[slot]);
        let settings: BTreeMap<usize, HostTensor> = positions.zip(values).collect();
        let operator = |&output: &usize| -> TractResult<CheckedOperator> {
            let node = Node {
                attributes: self.attributes.clone(),
                settings: settings.clone(),
                inputs: self.slots(false).into_iter().map(|slot| self.inputs[slot]).collect(),
                output,
                opset: self.opset,
            };
            let operator = (self.kind.build)(&node).map_err(|e| format_err!("{}", e.message))?;
            Ok(CheckedOperator::new(operator, self.kind.op_type.to_owned()))
        };
        self.outputs.iter().map(operator).collect()
    }
}

impl Expansion for BuiltInImport {
    fn name(&self) -> StaticName {
        self.kind.op_type.into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.outputs.len())
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let values: Vec<_> = self.slots(true).iter().map(|&slot| &inputs[slot].value).collect();
        s.given_all(values, move |s, values| {
            let operators = self.operators(&values)?;
            let shapes: Vec<_> =
                self.slots(false).iter().map(|&slot| &inputs[slot].shape).collect();
            s.given_all(shapes, move |s, shapes| {
                let concrete = |shape: &TVec<TDim>| -> TractResult<Vec<usize>> {
                    shape.iter().map(|d| Ok(d.to_usize()?)).collect()
                };
                let shapes: Vec<Vec<usize>> =
                    shapes.iter().map(concrete).collect::<TractResult<_>>()?;
                for (operator, output) in operators.iter().zip(outputs) {
                    let shape =
                        operator.shape(&shapes).map_err(|e| format_err!("{}", e.message))?;
                    let shape: TVec<TDim> = shape.iter().map(ToDim::to_dim).collect();
                    s.equals(&output.shape, shape)?;
                }
                Ok(())
            })
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let konst = |&slot: &usize| Ok(model.outlet_fact(inputs[slot])?.konst.clone());
        let settings = self.slots(true).iter().map(konst).collect::<TractResult<Vec<_>>>()?;
        self.wire_with(settings, prefix, model, inputs)
    }

    /// The analysis knows more constants than the typed model: those that were computed.
    fn wire_with_inference_model_and_node(
        &self,
        prefix: &str,
        source: &InferenceModel,
        node: &InferenceNode,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let value = |&slot: &usize| -> TractResult<Option<Arc<Tensor>>> {
            let known = source.outlet_fact(node.inputs[slot])?.value.concretize();
            Ok(known.or(model.outlet_fact(inputs[slot])?.konst.clone()))
        };
        let settings = self.slots(true).iter().map(value).collect::<TractResult<Vec<_>>>()?;
        self.wire_with(settings, prefix, model, inputs)
    }
}

impl BuiltInImport {
    /// Writes the host operators, given what is known of the settings.
    fn wire_with(
        &self,
        known: Vec<Option<Arc<Tensor>>>,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let mut settings = vec![];
        for (value, slot) in known.into_iter().zip(self.slots(true)) {
            settings.push(value.with_context(|| {
                format!("input {} of `{prefix}` must be constant", self.inputs[slot])
            })?);
        }
        let own: Vec<OutletId> = self.slots(false).into_iter().map(|slot| inputs[slot]).collect();
        // Whole numbers stay whole numbers: an operator that moves values moves any.
        let data = own.first().map(|input| model.outlet_fact(*input)).transpose()?;
        let data = data.map_or(f32::datum_type(), |fact| fact.datum_type);
        let mut outlets = tvec!();
        for (operator, &output) in self.operators(&settings)?.into_iter().zip(&self.outputs) {
            let name =
                if outlets.is_empty() { prefix.to_owned() } else { format!("{prefix}.{output}") };
            let to = if self.kind.whole.contains(&output) { i64::datum_type() } else { data };
            if to == f32::datum_type() {
                outlets.push(model.wire_node(name, HostOp(operator), &own)?[0]);
                continue;
            }
            let to = if to == TDim::datum_type() { i64::datum_type() } else { to };
            let real = model.wire_node(format!("{name}.real"), HostOp(operator), &own)?[0];
            outlets.push(model.wire_node(name, cast(to), &[real])?[0]);
        }
        Ok(outlets)
    }
}
