//! Host operators as operators of tract's graph: how they are imported, run, and pulled back.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_hir::internal::{
    Expansion, InferenceOp, InferenceResult, Solver, TensorProxy, expand,
};

use super::file::OnnxFile;
use super::host_operator::{Attribute, Attributes, CheckedOperator, HostOperatorKind};
use super::tensors::{from_host, to_host};

/// A host operator's value. Inputs and output are `f32`.
#[derive(Clone)]
pub(in crate::backends) struct HostOp(pub(in crate::backends) CheckedOperator);

/// The gradients of a host operator. Inputs: the cotangent, the operator's output, its inputs.
/// Outputs: the gradient of each input in `wanted`.
#[derive(Clone)]
pub(in crate::backends) struct HostPullBack {
    /// The operator pulled back through.
    pub(in crate::backends) operator: CheckedOperator,
    /// Indices of the inputs whose gradient is asked for.
    pub(in crate::backends) wanted: Vec<usize>,
}

/// Imports a node of kind `kind` of `file`'s graph.
pub(super) fn import(
    file: &OnnxFile,
    kind: &HostOperatorKind,
    node: &NodeProto,
) -> TractResult<Box<dyn InferenceOp>> {
    let outputs = node.output.iter().filter(|name| !name.is_empty()).count();
    ensure!(outputs == 1, "a host operator has one output, and this one has {outputs}");
    let given = node.input.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
    if let Some(ix) = node.input[..given].iter().position(String::is_empty) {
        bail!("input {ix} is left out, which a host operator cannot be told");
    }
    let attributes = attributes(file, node)?;
    let operator = (kind.build)(&attributes).map_err(|e| format_err!("{}", e.message))?;
    Ok(expand(HostOp(CheckedOperator::new(operator, node.op_type.clone()))))
}

fn attributes(file: &OnnxFile, node: &NodeProto) -> TractResult<Attributes> {
    let value = |attribute: &AttributeProto| -> TractResult<(String, Attribute)> {
        let value = read(file, attribute).with_context(|| {
            format!("attribute `{}` is of a type that no host operator takes", attribute.name)
        })?;
        Ok((attribute.name.clone(), value))
    };
    node.attribute.iter().map(value).collect()
}

fn read(file: &OnnxFile, attribute: &AttributeProto) -> Option<Attribute> {
    Some(match AttributeType::try_from(attribute.r#type).ok()? {
        AttributeType::Int => Attribute::Int(attribute.i),
        AttributeType::Float => Attribute::Float(attribute.f),
        AttributeType::String => Attribute::Text(String::from_utf8(attribute.s.clone()).ok()?),
        AttributeType::Ints => Attribute::Ints(attribute.ints.clone()),
        AttributeType::Floats => Attribute::Floats(attribute.floats.clone()),
        AttributeType::Tensor => {
            let proto = attribute.t.as_ref()?;
            let shape = file.tensor(proto).ok()?.shape().to_vec();
            let values = file.floats(proto).ok()?;
            Attribute::Tensor(fame_core::Tensor::new(shape, values).ok()?)
        }
        _ => return None,
    })
}

/// The attributes of a node of a built-in operator, which needs no tensors among them.
pub(super) fn plain_attributes(node: &NodeProto) -> Attributes {
    let value = |attribute: &AttributeProto| {
        Some(match AttributeType::try_from(attribute.r#type).ok()? {
            AttributeType::Int => Attribute::Int(attribute.i),
            AttributeType::Float => Attribute::Float(attribute.f),
            AttributeType::String => Attribute::Text(String::from_utf8(attribute.s.clone()).ok()?),
            AttributeType::Ints => Attribute::Ints(attribute.ints.clone()),
            AttributeType::Floats => Attribute::Floats(attribute.floats.clone()),
            AttributeType::Strings => Attribute::Text(words(&attribute.strings)?),
            _ => return None,
        })
    };
    let named = |a: &AttributeProto| Some((a.name.clone(), value(a)?));
    node.attribute.iter().filter_map(named).collect()
}

/// Several words as one text, a space between two.
fn words(words: &[Vec<u8>]) -> Option<String> {
    let words: Vec<&str> =
        words.iter().map(|word| std::str::from_utf8(word)).collect::<Result<_, _>>().ok()?;
    Some(words.join(" "))
}

impl std::fmt::Debug for HostOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostOp({})", self.0.name())
    }
}

impl std::fmt::Debug for HostPullBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostPullBack({}, {:?})", self.operator.name(), self.wanted)
    }
}

impl PartialEq for HostOp {
    fn eq(&self, other: &Self) -> bool {
        self.0.is_same(&other.0)
    }
}

impl Eq for HostOp {}

impl PartialEq for HostPullBack {
    fn eq(&self, other: &Self) -> bool {
        self.operator.is_same(&other.operator) && self.wanted == other.wanted
    }
}

impl Eq for HostPullBack {}

impl Expansion for HostOp {
    fn name(&self) -> StaticName {
        self.0.name().to_owned().into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        s.equals(&outputs[0].datum_type, f32::datum_type())?;
        s.given_all(inputs.iter().map(|input| &input.shape), move |s, shapes| {
            let shapes: TVec<ShapeFact> = shapes.into_iter().map(ShapeFact::from).collect();
            let shape: TVec<TDim> =
                self.output_shape(shapes.iter())?.iter().map(ToDim::to_dim).collect();
            s.equals(&outputs[0].shape, shape)
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        for (ix, &input) in inputs.iter().enumerate() {
            let kind = model.outlet_fact(input)?.datum_type;
            ensure!(
                kind == f32::datum_type(),
                "input {ix} of `{prefix}` is {kind:?}, and host operators take f32"
            );
        }
        model.wire_node(prefix, self.clone(), inputs)
    }
}

impl HostOp {
    fn output_shape<'a>(
        &self,
        inputs: impl Iterator<Item = &'a ShapeFact>,
    ) -> TractResult<Vec<usize>> {
        let shape = |shape: &ShapeFact| -> TractResult<Vec<usize>> {
            Ok(shape.as_concrete().context("shapes are concrete")?.to_vec())
        };
        let inputs = inputs.map(shape).collect::<TractResult<Vec<_>>>()?;
        self.0.shape(&inputs).map_err(|e| format_err!("{}", e.message))
    }
}

impl Op for HostOp {
    fn name(&self) -> StaticName {
        self.0.name().to_owned().into()
    }

    op_as_typed_op!();
}

impl EvalOp for HostOp {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let inputs = inputs.iter().map(|x| to_host(x)).collect::<TractResult<Vec<_>>>()?;
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|x| x.shape().to_vec()).collect();
        let output = self.0.shape(&shapes).and_then(|shape| self.0.forward(&inputs, &shape));
        Ok(tvec!(from_host(&output.map_err(|e| format_err!("{}", e.message))?)?.into_tvalue()))
    }
}

impl TypedOp for HostOp {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape = self.output_shape(inputs.iter().map(|fact| &fact.shape))?;
        Ok(tvec!(f32::fact(&shape)))
    }

    as_op!();
}

impl Op for HostPullBack {
    fn name(&self) -> StaticName {
        format!("{}PullBack", self.operator.name()).into()
    }

    op_as_typed_op!();
}

impl EvalOp for HostPullBack {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let values = inputs.iter().map(|x| to_host(x)).collect::<TractResult<Vec<_>>>()?;
        let [cotangent, output, inputs @ ..] = values.as_slice() else {
            bail!("{self:?} lacks its cotangent or its output");
        };
        let pulled = self.operator.pull_back(inputs, output, cotangent);
        let pulled = pulled.map_err(|e| format_err!("{}", e.message))?;
        self.wanted.iter().map(|&ix| Ok(from_host(&pulled[ix])?.into_tvalue())).collect()
    }
}

impl TypedOp for HostPullBack {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(self.wanted.iter().map(|&ix| inputs[ix + 2].without_value()).collect())
    }

    as_op!();
}
