//! The vocabulary in which operators are written out. Every word of it is an operator through which
//! all engines pass gradients.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::{
    Gather, MultiBroadcastTo, Pad, PadMode, Slice, TypedConcat,
};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::change_axes::{perm_to_ops, wire_with_rank_broadcast};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::logic::{self, Iff};
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, Softmax, SoftmaxKind};

use super::op::Site;

/// What writes one node out: its attributes, its inputs, and the words to write with. Shapes are
/// concrete, and two operands broadcast as in ONNX.
pub(super) struct Writer<'m> {
    model: &'m mut TypedModel,
    prefix: String,
    site: &'m Site,
    given: &'m [OutletId],
    count: usize,
}

impl<'m> Writer<'m> {
    /// A writer of the node `site`, named `prefix`, whose given inputs are `given`.
    pub(super) fn new(
        model: &'m mut TypedModel,
        prefix: &str,
        site: &'m Site,
        given: &'m [OutletId],
    ) -> Self {
        Self { model, prefix: prefix.to_owned(), site, given, count: 0 }
    }

    // ---- the node --------------------------------------------------------------------------

    /// The input at ONNX's position `ix`, if it is given.
    pub(super) fn input(&self, ix: usize) -> Option<OutletId> {
        self.site.inputs.get(ix).copied().flatten().and_then(|at| self.given.get(at)).copied()
    }

    /// The input at ONNX's position `ix`, which must be given.
    pub(super) fn needed(&self, ix: usize) -> TractResult<OutletId> {
        self.input(ix).with_context(|| format!("{} lacks its input {ix}", self.site.op))
    }

    /// How many inputs the node has, left-out ones in front of given ones counted.
    pub(super) fn arity(&self) -> usize {
        self.site.inputs.len()
    }

    /// The constant at ONNX's position `ix`, if it is given.
    pub(super) fn constant_input(&self, ix: usize) -> TractResult<Option<Arc<Tensor>>> {
        let Some(outlet) = self.input(ix) else { return Ok(None) };
        let konst = self.model.outlet_fact(outlet)?.konst.clone();
        konst.map(Some).with_context(|| format!("input {ix} of {} must be constant", self.site.op))
    }

    /// The whole numbers of a constant input, if it is given.
    pub(super) fn integers_input(&self, ix: usize) -> TractResult<Option<Vec<i64>>> {
        let Some(konst) = self.constant_input(ix)? else { return Ok(None) };
        let konst = konst.cast_to::<i64>()?;
        Ok(Some(konst.to_plain_array_view::<i64>()?.iter().copied().collect()))
    }

    /// The numbers of a constant input, if it is given.
    pub(super) fn floats_input(&self, ix: usize) -> TractResult<Option<Vec<f32>>> {
        let Some(konst) = self.constant_input(ix)? else { return Ok(None) };
        let konst = konst.cast_to::<f32>()?;
        Ok(Some(konst.to_plain_array_view::<f32>()?.iter().copied().collect()))
    }

    /// A whole number among the attributes.
    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.site.attributes.iter().find(|a| a.name == name).map(|a| a.i)
    }

    /// A number among the attributes.
    pub(super) fn float(&self, name: &str) -> Option<f32> {
        self.site.attributes.iter().find(|a| a.name == name).map(|a| a.f)
    }

    /// A list of whole numbers among the attributes.
    pub(super) fn ints(&self, name: &str) -> Option<Vec<i64>> {
        self.site.attributes.iter().find(|a| a.name == name).map(|a| a.ints.clone())
    }

    /// A text among the attributes.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let attribute = self.site.attributes.iter().find(|a| a.name == name)?;
        Some(String::from_utf8_lossy(&attribute.s).into_owned())
    }

    // ---- shapes ----------------------------------------------------------------------------

    /// The shape of `x`.
    pub(super) fn shape(&self, x: OutletId) -> TractResult<Vec<usize>> {
        let shape = &self.model.outlet_fact(x)?.shape;
        Ok(shape.as_concrete().context("shapes are concrete")?.to_vec())
    }

    /// The number of axes of `x`.
    pub(super) fn rank(&self, x: OutletId) -> TractResult<usize> {
        Ok(self.model.outlet_fact(x)?.rank())
    }

    /// Whether `x` holds truth values.
    pub(super) fn is_bool(&self, x: OutletId) -> TractResult<bool> {
        Ok(self.model.outlet_fact(x)?.datum_type == bool::datum_type())
    }

    // ---- words -----------------------------------------------------------------------------

    fn name(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{}.{what}.{}", self.prefix, self.count)
    }

    /// A node of `op`.
    pub(super) fn wire(
        &mut self,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let op = op.into();
        let name = self.name(&op.name().to_lowercase());
        Ok(self.model.wire_node(name, op, inputs)?[0])
    }

    /// A node of `op` whose operands get the same rank.
    pub(super) fn both(
        &mut self,
        op: impl Into<Box<dyn TypedOp>>,
        a: OutletId,
        b: OutletId,
    ) -> TractResult<OutletId> {
        let op = op.into();
        let name = self.name(&op.name().to_lowercase());
        Ok(wire_with_rank_broadcast(name, self.model, op, &[a, b])?[0])
    }

    /// A constant of these numbers.
    pub(super) fn floats(&mut self, shape: &[usize], values: &[f32]) -> TractResult<OutletId> {
        let name = self.name("constant");
        self.model.add_const(name, Tensor::from_shape(shape, values)?)
    }

    /// A constant number.
    pub(super) fn number(&mut self, value: f32) -> TractResult<OutletId> {
        let name = self.name("number");
        self.model.add_const(name, tensor0(value))
    }

    pub(super) fn add(&mut self, a: OutletId, b: OutletId) -> TractResult<OutletId> {
        self.both(math::add(), a, b)
    }

    pub(super) fn sub(&mut self, a: OutletId, b: OutletId) -> TractResult<OutletId> {
        self.both(math::sub(), a, b)
    }

    pub(super) fn mul(&mut self, a: OutletId, b: OutletId) -> TractResult<OutletId> {
        self.both(math::mul(), a, b)
    }

    pub(super) fn div(&mut self, a: OutletId, b: OutletId) -> TractResult<OutletId> {
        self.both(math::div(), a, b)
    }

    /// `x · factor`.
    pub(super) fn scale(&mut self, x: OutletId, factor: f32) -> TractResult<OutletId> {
        let factor = self.number(factor)?;
        self.mul(x, factor)
    }

    /// `x` to the constant power `exponent`.
    pub(super) fn pow(&mut self, x: OutletId, exponent: f32) -> TractResult<OutletId> {
        let exponent = self.number(exponent)?;
        self.both(math::pow(), x, exponent)
    }

    /// The larger of `x` and `bound`.
    pub(super) fn at_least(&mut self, x: OutletId, bound: f32) -> TractResult<OutletId> {
        let bound = self.number(bound)?;
        self.both(math::max(), x, bound)
    }

    /// The smaller of `x` and `bound`.
    pub(super) fn at_most(&mut self, x: OutletId, bound: f32) -> TractResult<OutletId> {
        let bound = self.number(bound)?;
        self.both(math::min(), x, bound)
    }

    /// Whether `a < b`, element by element.
    pub(super) fn less(&mut self, a: OutletId, b: OutletId) -> TractResult<OutletId> {
        self.both(TypedBinOp(logic::comp_lt(), None), a, b)
    }

    /// `yes` where `condition` holds, else `no`.
    pub(super) fn select(
        &mut self,
        condition: OutletId,
        yes: OutletId,
        no: OutletId,
    ) -> TractResult<OutletId> {
        let name = self.name("select");
        Ok(wire_with_rank_broadcast(name, self.model, Iff, &[condition, yes, no])?[0])
    }

    /// `x` as `f32`.
    pub(super) fn as_f32(&mut self, x: OutletId) -> TractResult<OutletId> {
        self.wire(tract_onnx::tract_core::ops::cast::cast(f32::datum_type()), &[x])
    }

    /// `x` in the shape `to`, of the same volume.
    pub(super) fn reshape(&mut self, x: OutletId, to: &[usize]) -> TractResult<OutletId> {
        let from = self.shape(x)?;
        if from == to {
            return Ok(x);
        }
        let dims = |shape: &[usize]| shape.iter().map(ToDim::to_dim).collect::<TVec<TDim>>();
        self.wire(AxisOp::Reshape(0, dims(&from), dims(to)), &[x])
    }

    /// `x` with its axes in the order `permutation`.
    pub(super) fn transpose(
        &mut self,
        x: OutletId,
        permutation: &[usize],
    ) -> TractResult<OutletId> {
        perm_to_ops(permutation).into_iter().try_fold(x, |x, op| self.wire(op, &[x]))
    }

    /// `x` repeated along axes of extent 1 until it has the shape `to`.
    pub(super) fn broadcast(&mut self, x: OutletId, to: &[usize]) -> TractResult<OutletId> {
        let mut x = x;
        while self.rank(x)? < to.len() {
            x = self.wire(AxisOp::Add(0), &[x])?;
        }
        if self.shape(x)? == to {
            return Ok(x);
        }
        self.wire(MultiBroadcastTo { shape: ShapeFact::from_dims(to.iter().copied()) }, &[x])
    }

    /// The elements `start..end` along `axis`.
    pub(super) fn slice(
        &mut self,
        x: OutletId,
        axis: usize,
        start: usize,
        end: usize,
    ) -> TractResult<OutletId> {
        if start == 0 && end == self.shape(x)?[axis] {
            return Ok(x);
        }
        self.wire(Slice::new(axis, start, end), &[x])
    }

    /// `parts` behind one another along `axis`.
    pub(super) fn concat(&mut self, parts: &[OutletId], axis: usize) -> TractResult<OutletId> {
        match parts {
            [one] => Ok(*one),
            _ => self.wire(TypedConcat::new(axis), parts),
        }
    }

    /// `x` with `before` and `after` times `value` around it along each axis.
    pub(super) fn pad(
        &mut self,
        x: OutletId,
        pads: &[(usize, usize)],
        value: f32,
    ) -> TractResult<OutletId> {
        if pads.iter().all(|pad| *pad == (0, 0)) {
            return Ok(x);
        }
        let value = tensor0(value).into_arc_tensor();
        self.wire(Pad::new(pads.to_vec(), PadMode::Constant(value)), &[x])
    }

    /// The elements of `x` at constant places along `axis`.
    pub(super) fn pick(&mut self, x: OutletId, axis: usize, at: &[i64]) -> TractResult<OutletId> {
        let name = self.name("places");
        let at = self.model.add_const(name, tensor1(at))?;
        self.wire(Gather::new(axis), &[x, at])
    }

    /// The product that `expression` names, such as `bik,bkj->bij`.
    pub(super) fn einsum(
        &mut self,
        expression: &str,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        self.wire(EinSum::new(expression.parse()?, f32::datum_type()), inputs)
    }

    /// The sum along `axes`, which stay with extent 1.
    pub(super) fn sum(&mut self, x: OutletId, axes: &[usize]) -> TractResult<OutletId> {
        self.wire(Reduce::new(axes.into(), Reducer::Sum), &[x])
    }

    /// The maximum along `axes`, which stay with extent 1.
    pub(super) fn max(&mut self, x: OutletId, axes: &[usize]) -> TractResult<OutletId> {
        self.wire(Reduce::new(axes.into(), Reducer::Max), &[x])
    }

    /// The softmax along `axis`.
    pub(super) fn softmax(&mut self, x: OutletId, axis: usize) -> TractResult<OutletId> {
        self.wire(Softmax::new(tvec!(axis), None, SoftmaxKind::default()), &[x])
    }

    /// The p-th root of `sum`, a sum of p-th powers, with a gradient of zero where it is zero.
    pub(super) fn root(&mut self, sum: OutletId, p: f32) -> TractResult<OutletId> {
        /// Below it the root's slope overflows.
        const SMALLEST: f32 = 1e-36;
        let sum = self.at_least(sum, SMALLEST)?;
        if p == 2.0 { self.wire(math::sqrt(), &[sum]) } else { self.pow(sum, p.recip()) }
    }

    /// `|x|` to the power `p`.
    pub(super) fn abs_pow(&mut self, x: OutletId, p: f32) -> TractResult<OutletId> {
        if p == 2.0 {
            return self.mul(x, x);
        }
        let x = self.wire(math::abs(), &[x])?;
        if p == 1.0 { Ok(x) } else { self.pow(x, p) }
    }
}

/// An axis counted from the end where it is negative.
pub(super) fn axis(at: i64, rank: usize) -> TractResult<usize> {
    let from_front = if at < 0 { at + rank as i64 } else { at };
    usize::try_from(from_front)
        .ok()
        .filter(|at| *at < rank)
        .with_context(|| format!("axis {at} of {rank} axes"))
}
