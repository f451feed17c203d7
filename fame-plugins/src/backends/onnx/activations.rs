//! Activations whose usual lowering overflows: tract writes `ln(1 + eˣ)` and `eˣ − 1` out, and
//! beyond x = 88 the exponential is infinite. The value may survive that; the gradient, zero times
//! infinity, does not. So the exponent is clamped where it no longer matters.

use tract_onnx::model::OnnxOpRegister;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::change_axes::wire_with_rank_broadcast;
use tract_onnx::tract_core::ops::{logic, math};
use tract_onnx::tract_hir::internal::{
    Expansion, InferenceOp, InferenceResult, Solver, TensorProxy, expand,
};

/// Puts ours in place of tract's.
pub(super) fn register(known: &mut OnnxOpRegister) {
    known.insert("Softplus", |_, _| Ok((expand(Activation::Softplus), vec![])));
    known.insert("Mish", |_, _| Ok((expand(Activation::Mish), vec![])));
    known.insert("Elu", |_, node| unit(node, [("", 1.0), ("alpha", 1.0), ("", 1.0)]));
    known.insert("Selu", |_, node| {
        unit(node, [("gamma", 1.050_701), ("alpha", 1.673_263_2), ("", 1.0)])
    });
    known.insert("Celu", |_, node| unit(node, [("", 1.0), ("alpha", 1.0), ("alpha", 1.0)]));
}

/// Parameters by attribute name and default; a nameless one is fixed.
#[expect(clippy::unnecessary_wraps, reason = "the table of importers asks for results")]
fn unit(
    node: &NodeProto,
    parameters: [(&str, f32); 3],
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let [scale, height, width] = parameters.map(|(name, default)| {
        node.attribute.iter().find(|a| !name.is_empty() && a.name == name).map_or(default, |a| a.f)
    });
    Ok((expand(Activation::Exponential { scale, height, width }), vec![]))
}

/// Which function.
#[derive(Clone, Debug, PartialEq)]
enum Activation {
    /// `ln(1 + eˣ)`.
    Softplus,
    /// `x · tanh(softplus(x))`.
    Mish,
    /// `scale · x` above zero, `scale · height · (e^(x / width) − 1)` below: ELU, SELU, CELU.
    Exponential { scale: f32, height: f32, width: f32 },
}

/// What writes one activation's nodes.
struct Writer<'m> {
    model: &'m mut TypedModel,
    prefix: String,
}

impl Writer<'_> {
    fn op(
        &mut self,
        name: &str,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let name = format!("{}.{name}", self.prefix);
        Ok(wire_with_rank_broadcast(name, self.model, op, inputs)?[0])
    }

    fn number(&mut self, name: &str, value: f32) -> TractResult<OutletId> {
        let name = format!("{}.{name}", self.prefix);
        self.model.add_const(name, tensor0(value))
    }

    /// `ln(1 + e^min(x, far)) + max(x − far, 0)`.
    fn softplus(&mut self, x: OutletId) -> TractResult<OutletId> {
        /// From here on ln(1 + eˣ) is x: e⁻²⁰ is below half a rounding step of 20.
        const FAR: f32 = 20.0;
        let (far, one, zero) =
            (self.number("far", FAR)?, self.number("one", 1.0)?, self.number("zero", 0.0)?);
        let near = self.op("near", math::min(), &[x, far])?;
        let exp = self.op("exp", math::exp(), &[near])?;
        let more = self.op("plus_one", math::add(), &[exp, one])?;
        let log = self.op("ln", math::ln(), &[more])?;
        let beyond = self.op("beyond", math::sub(), &[x, far])?;
        let beyond = self.op("rest", math::max(), &[beyond, zero])?;
        self.op("sum", math::add(), &[log, beyond])
    }

    fn exponential(
        &mut self,
        x: OutletId,
        scale: f32,
        height: f32,
        width: f32,
    ) -> TractResult<OutletId> {
        let (zero, one) = (self.number("zero", 0.0)?, self.number("one", 1.0)?);
        let (height, width) = (self.number("height", height)?, self.number("width", width)?);
        let over = self.op("over_width", math::div(), &[x, width])?;
        // Any bound above zero does: there the other branch is taken. At zero itself this branch
        // is, with its own slope.
        let near = self.op("near", math::min(), &[over, one])?;
        let exp = self.op("exp", math::exp(), &[near])?;
        let less = self.op("minus_one", math::sub(), &[exp, one])?;
        let below = self.op("below", math::mul(), &[less, height])?;
        let positive = self.op("positive", TypedBinOp(logic::comp_gt(), None), &[x, zero])?;
        let either = self.op("either", logic::Iff, &[positive, x, below])?;
        let scale = self.number("scale", scale)?;
        self.op("scaled", math::mul(), &[either, scale])
    }
}

impl Expansion for Activation {
    fn name(&self) -> StaticName {
        "Activation".into()
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
        let mut writer = Writer { model, prefix: prefix.to_owned() };
        let x = inputs[0];
        let y = match *self {
            Self::Softplus => writer.softplus(x)?,
            Self::Mish => {
                let soft = writer.softplus(x)?;
                let tanh = writer.op("tanh", math::tanh(), &[soft])?;
                writer.op("product", math::mul(), &[x, tanh])?
            }
            Self::Exponential { scale, height, width } => {
                writer.exponential(x, scale, height, width)?
            }
        };
        Ok(tvec!(y))
    }
}
