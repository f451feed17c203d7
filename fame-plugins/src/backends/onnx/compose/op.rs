//! The operator that is on its way to being written out.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::{AttributeProto, NodeProto};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_hir::internal::{
    Expansion, InferenceOp, InferenceResult, Solver, TensorProxy, expand,
};

use super::super::file::shown;
use super::super::refusal::reason;
use super::super::unsupported::Unsupported;
use super::writer::Writer;

/// The outlets of a composed operator, one for each of ONNX's outputs; `None` where an output is
/// not made.
pub(super) type Outputs = TVec<Option<OutletId>>;

/// What writes an operator out.
pub(super) type Compose = fn(&mut Writer) -> TractResult<Outputs>;

/// What a table of importers asks for.
pub(super) type Imported = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// A node as the file has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Site {
    /// The node, as messages show it.
    node: String,
    /// The operator's name.
    pub(super) op: String,
    /// Its attributes.
    pub(super) attributes: Vec<AttributeProto>,
    /// For each of ONNX's inputs its position among those that are given.
    pub(super) inputs: Vec<Option<usize>>,
    /// For each of ONNX's outputs whether it is asked for.
    outputs: Vec<bool>,
}

/// An importer's answer: `node` composed by `compose`, which needs the values of the inputs
/// `constants`.
#[expect(clippy::unnecessary_wraps, reason = "the table of importers asks for results")]
pub(super) fn composed(
    _: &ParsingContext,
    node: &NodeProto,
    constants: &'static [usize],
    compose: Compose,
) -> Imported {
    let mut given = 0..;
    let inputs = node.input.iter().map(|name| (!name.is_empty()).then(|| given.next()).flatten());
    let site = Site {
        node: shown(node),
        op: node.op_type.clone(),
        attributes: node.attribute.clone(),
        inputs: inputs.collect(),
        outputs: node.output.iter().map(|name| !name.is_empty()).collect(),
    };
    Ok((expand(Composed { site, constants, compose }), vec![]))
}

/// tract's own import of `node`, an `op`.
pub(super) fn tracts(op: &str, ctx: &ParsingContext, node: &NodeProto) -> Imported {
    let table = tract_onnx::onnx().op_register;
    table.0.get(op).with_context(|| format!("tract knows no {op}"))?(ctx, node)
}

/// An operator that is written out when the shapes of its inputs are known.
#[derive(Clone, Debug)]
struct Composed {
    site: Site,
    constants: &'static [usize],
    compose: Compose,
}

impl Composed {
    /// The given inputs whose values are needed.
    fn known(&self) -> Vec<usize> {
        self.constants.iter().filter_map(|ix| *self.site.inputs.get(*ix)?).collect()
    }

    /// The outputs that are asked for, written into `model`.
    fn write(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let mut writer = Writer::new(model, prefix, &self.site, inputs);
        let outputs = (self.compose)(&mut writer).map_err(|e| self.refusal(&e))?;
        let mut wanted = tvec![];
        for (ix, _) in self.site.outputs.iter().enumerate().filter(|(_, asked)| **asked) {
            let outlet = outputs.get(ix).copied().flatten();
            let missing = || self.refusal(&format_err!("its output {ix} is not supported"));
            let outlet = outlet.ok_or_else(missing)?;
            // An outlet of its own: two names on one outlet would lose one of them.
            let name = if ix == 0 { prefix.to_owned() } else { format!("{prefix}.output.{ix}") };
            wanted.extend(model.wire_node(name, Identity, &[outlet])?);
        }
        Ok(wanted)
    }

    fn refusal(&self, error: &TractError) -> TractError {
        Unsupported::new(&self.site.node, &self.site.op, reason(error)).into()
    }

    /// What comes out for inputs of these types, shapes and, where needed, values. `None` while a
    /// shape is not known.
    fn facts(
        &self,
        types: &[DatumType],
        shapes: &[TVec<TDim>],
        values: &[Arc<Tensor>],
    ) -> TractResult<Option<Vec<TypedFact>>> {
        let mut model = TypedModel::default();
        let known = self.known();
        let mut inputs = vec![];
        for (ix, (kind, shape)) in types.iter().zip(shapes).enumerate() {
            let extents: Option<TVec<usize>> = shape.iter().map(|d| d.to_usize().ok()).collect();
            let Some(extents) = extents else { return Ok(None) };
            let name = format!("input.{ix}");
            inputs.push(match known.iter().position(|at| *at == ix) {
                Some(at) => model.add_const(name, values[at].clone())?,
                None => model.add_source(name, kind.fact(extents))?,
            });
        }
        let outputs = self.write("written", &mut model, &inputs)?;
        let fact = |outlet: &OutletId| Ok(model.outlet_fact(*outlet)?.clone());
        outputs.iter().map(fact).collect::<TractResult<_>>().map(Some)
    }
}

impl Expansion for Composed {
    fn name(&self) -> StaticName {
        self.site.op.clone().into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.site.outputs.iter().filter(|asked| **asked).count())
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        s.given_all(inputs.iter().map(|i| &i.datum_type), move |s, types| {
            s.given_all(inputs.iter().map(|i| &i.shape), move |s, shapes| {
                let (types, known) = (types.clone(), self.known());
                s.given_all(known.iter().map(|ix| &inputs[*ix].value), move |s, values| {
                    let Some(facts) = self.facts(&types, &shapes, &values)? else { return Ok(()) };
                    for (output, fact) in outputs.iter().zip(facts) {
                        s.equals(&output.datum_type, fact.datum_type)?;
                        s.equals(&output.shape, fact.shape.to_tvec())?;
                    }
                    Ok(())
                })
            })
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        self.write(prefix, model, inputs)
    }
}
