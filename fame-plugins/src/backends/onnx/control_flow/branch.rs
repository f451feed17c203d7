//! `If` whose condition is known when shapes are: the branch that is taken is written in its place.
//!
//! PyTorch exports `squeeze` so. tract wants both branches to give the same rank.

use std::collections::HashMap;

use tract_onnx::model::{ParseResult, ParsingContext};
use tract_onnx::pb::{GraphProto, NodeProto};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_hir::internal::{
    Factoid, InferenceFact, InferenceModel, InferenceModelExt, InferenceNode, InferenceOp,
};

use super::super::file::shown;
use super::super::unsupported::Unsupported;

/// The importer of an ONNX `If` node.
pub(in crate::backends::onnx) fn import(
    ctx: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let mut outer: Vec<String> = vec![];
    let mut branch = |name: &str| -> TractResult<Branch> {
        let graph = node.attribute.iter().find(|a| a.name == name).and_then(|a| a.g.as_ref());
        Branch::parse(ctx, graph.with_context(|| format!("If without `{name}`"))?, &mut outer)
    };
    let (yes, no) = (branch("then_branch")?, branch("else_branch")?);
    Ok((Box::new(If { node: shown(node), yes, no }), outer))
}

/// One branch: its graph, and where its inputs are among those of the `If`.
#[derive(Clone, Debug)]
struct Branch {
    body: InferenceModel,
    inputs: Vec<usize>,
}

impl Branch {
    /// Parses `graph`; names from outside of it are added to `outer`.
    fn parse(
        ctx: &ParsingContext,
        graph: &GraphProto,
        outer: &mut Vec<String>,
    ) -> TractResult<Self> {
        let ParseResult { model, unresolved_inputs, .. } = ctx.parse_graph(graph)?;
        let mut inputs = vec![];
        for name in unresolved_inputs {
            let known = outer.iter().position(|outer| *outer == name).unwrap_or_else(|| {
                outer.push(name);
                outer.len() - 1
            });
            // The condition comes first.
            inputs.push(known + 1);
        }
        Ok(Self { body: model, inputs })
    }

    /// Takes over what is known of the inputs, and tells what is then known of the outputs.
    fn learn(&mut self, inputs: &[&InferenceFact]) -> TractResult<TVec<InferenceFact>> {
        for (own, at) in self.inputs.iter().enumerate() {
            let outlet = self.body.input_outlets()?[own];
            let fact = self.body.outlet_fact(outlet)?.unify(inputs[*at])?;
            self.body.set_outlet_fact(outlet, fact)?;
        }
        self.body.analyse(false)?;
        let outputs = self.body.output_outlets()?.to_vec();
        outputs.iter().map(|outlet| Ok(self.body.outlet_fact(*outlet)?.clone())).collect()
    }

    /// Writes the branch into `target`, whose outlets `inputs` feed the `If`.
    fn write(
        &self,
        name: &str,
        target: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let body = self.body.clone().incorporate()?;
        let mut mapping: HashMap<OutletId, OutletId> = HashMap::new();
        for (inlet, at) in body.input_outlets()?.iter().zip(&self.inputs) {
            mapping.insert(*inlet, inputs[*at]);
        }
        for id in body.eval_order()? {
            let mut node: InferenceNode = body.node(id).clone();
            if mapping.contains_key(&id.into()) {
                continue;
            }
            node.name = format!("{name}/{}", node.name);
            let known: Option<Vec<Arc<Tensor>>> =
                node.outputs.iter().map(|output| output.fact.value.concretize()).collect();
            let outlets = match known {
                Some(values) => {
                    let constant =
                        |(ix, value)| target.add_const(format!("{}.{ix}", node.name), value);
                    values.into_iter().enumerate().map(constant).collect::<TractResult<_>>()?
                }
                None => node.op.to_typed(&body, &node, target, &mapping)?,
            };
            mapping.extend(
                outlets.into_iter().enumerate().map(|(ix, outlet)| (OutletId::new(id, ix), outlet)),
            );
        }
        let mut outputs = tvec![];
        for (ix, inner) in body.output_outlets()?.iter().enumerate() {
            let outlet = *mapping.get(inner).context("a branch gives what it does not have")?;
            // An outlet of its own: the same one may have a name outside.
            let name = if ix == 0 { name.to_owned() } else { format!("{name}.{ix}") };
            outputs.extend(target.wire_node(name, Identity, &[outlet])?);
        }
        Ok(outputs)
    }
}

/// An `If` on its way from ONNX.
#[derive(Clone, Debug)]
struct If {
    node: String,
    yes: Branch,
    no: Branch,
}

impl PartialEq for If {
    fn eq(&self, _other: &Self) -> bool {
        false
    }
}

impl Eq for If {}

impl Op for If {
    fn name(&self) -> StaticName {
        "If".into()
    }

    not_a_typed_op!();
}

impl EvalOp for If {
    not_out_of_plan!();
}

impl InferenceOp for If {
    fn infer_facts(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<(TVec<InferenceFact>, TVec<InferenceFact>, TVec<InferenceFact>)> {
        let mut known: TVec<InferenceFact> = outputs.iter().map(|fact| (*fact).clone()).collect();
        if let Some(condition) = inputs[0].value.concretize() {
            let yes = condition.cast_to_scalar::<bool>()?;
            let facts = if yes { &mut self.yes } else { &mut self.no }.learn(&inputs)?;
            for (known, fact) in known.iter_mut().zip(facts) {
                *known = known.unify(&fact)?;
            }
        }
        let cloned = |facts: TVec<&InferenceFact>| facts.into_iter().cloned().collect();
        Ok((cloned(inputs), known, cloned(observed)))
    }

    fn nboutputs(&self) -> TractResult<usize> {
        let (yes, no) = (self.yes.body.outputs.len(), self.no.body.outputs.len());
        ensure!(yes == no, "the branches of an If have {yes} and {no} outputs");
        Ok(yes)
    }

    fn to_typed(
        &self,
        source: &InferenceModel,
        node: &InferenceNode,
        target: &mut TypedModel,
        mapping: &HashMap<OutletId, OutletId>,
    ) -> TractResult<TVec<OutletId>> {
        let inputs: Vec<OutletId> = node.inputs.iter().map(|outlet| mapping[outlet]).collect();
        let learnt = source.outlet_fact(node.inputs[0])?.value.concretize();
        let condition = learnt.or_else(|| target.outlet_fact(inputs[0]).ok()?.konst.clone());
        let Some(condition) = condition else {
            let reason = "its condition depends on the values of the input";
            return Err(Unsupported::new(&self.node, "If", reason).into());
        };
        let branch = if condition.cast_to_scalar::<bool>()? { &self.yes } else { &self.no };
        branch.write(&node.name, target, &inputs)
    }

    as_op!();
}
