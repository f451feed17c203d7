//! Quantisation in `f32`: whole numbers that would be stored in a few bits are computed, and kept,
//! as `f32`, exactly as onnxruntime rounds and clips them.
//!
//! Rounding is constant almost everywhere, so a quantised network has no gradient of its own. By
//! the usual convention (*straight-through*, Bengio, Léonard and Courville 2013, clipped) the
//! gradient passes rounding as if it were the identity, and stops where the range ends. The record
//! says so.

use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::tract_core::internal::tract_ndarray::{ArrayViewD, Zip};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cast::cast;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_hir::internal::{
    Expansion, InferenceOp, InferenceResult, Solver, TensorProxy, expand,
};

use super::built_in::few_bits::Rounding;
use super::few_bits::Format;
use super::host_op::HostOp;
use super::host_operator::CheckedOperator;
use super::prelu::natural_typed_op;
use super::tensors::fact_like;

/// Puts ours in place of tract's, which have other types, and round otherwise.
pub(super) fn register(known: &mut OnnxOpRegister) {
    known.insert("QuantizeLinear", import);
    known.insert("DequantizeLinear", import);
}

/// The least and the greatest whole number of a type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::backends) struct Range {
    /// The least.
    pub(in crate::backends) low: f32,
    /// The greatest.
    pub(in crate::backends) high: f32,
}

impl Range {
    /// That of bytes.
    pub(super) const U8: Self = Self { low: 0.0, high: 255.0 };

    fn of_type(kind: DatumType) -> Option<Self> {
        let (low, high) = match kind {
            DatumType::U8 => (0.0, 255.0),
            DatumType::I8 => (-128.0, 127.0),
            DatumType::U16 => (0.0, 65_535.0),
            DatumType::I16 => (-32_768.0, 32_767.0),
            _ => return None,
        };
        Some(Self { low, high })
    }

    /// The range of a type by its number in ONNX.
    fn of_onnx(kind: i64) -> Option<Self> {
        /// Types of two bits, which are newer than the table that the import reads.
        const UINT2: i64 = 25;
        const INT2: i64 = 26;
        let (low, high) = match kind {
            UINT2 => (0.0, 3.0),
            INT2 => (-2.0, 1.0),
            _ => match DataType::try_from(i32::try_from(kind).ok()?).ok()? {
                DataType::Uint8 => (0.0, 255.0),
                DataType::Int8 => (-128.0, 127.0),
                DataType::Uint16 => (0.0, 65_535.0),
                DataType::Int16 => (-32_768.0, 32_767.0),
                DataType::Uint4 => (0.0, 15.0),
                DataType::Int4 => (-8.0, 7.0),
                _ => return None,
            },
        };
        Some(Self { low, high })
    }
}

/// `clip(round(x / scale) + zero)`, halves rounded to the even side. Inputs: x, and a scale and a
/// zero that broadcast to it. Works in `f32`.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::backends) struct Quantize(pub(in crate::backends) Range);

impl Eq for Quantize {}

impl Quantize {
    /// Whether `x` is rounded, not clipped.
    pub(in crate::backends) fn is_inside(&self, x: f32, scale: f32, zero: f32) -> bool {
        let whole = (x / scale).round_ties_even() + zero;
        (self.0.low..=self.0.high).contains(&whole)
    }

    fn value(&self, x: f32, scale: f32, zero: f32) -> f32 {
        ((x / scale).round_ties_even() + zero).clamp(self.0.low, self.0.high)
    }
}

/// `f(x, scale, zero)` for every element of `x`, in place.
pub(in crate::backends) fn each_element(
    x: &mut Tensor,
    scale: &ArrayViewD<f32>,
    zero: &ArrayViewD<f32>,
    f: impl Fn(f32, f32, f32) -> f32,
) -> TractResult<()> {
    let mut x = x.to_plain_array_view_mut::<f32>()?;
    if let (1, 1, Some(scale), Some(zero)) = (scale.len(), zero.len(), scale.first(), zero.first())
    {
        x.iter_mut().for_each(|x| *x = f(*x, *scale, *zero));
        return Ok(());
    }
    let broadcasts = |of: &ArrayViewD<f32>| of.broadcast(x.raw_dim()).is_some();
    ensure!(broadcasts(scale) && broadcasts(zero), "a scale of another shape than {:?}", x.shape());
    Zip::from(&mut x)
        .and_broadcast(scale)
        .and_broadcast(zero)
        .for_each(|x, scale, zero| *x = f(*x, *scale, *zero));
    Ok(())
}

impl Op for Quantize {
    fn name(&self) -> StaticName {
        "QuantizeLinear".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Quantize {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (x, scale, zero) = args_3!(inputs);
        let mut y = x.into_tensor();
        let (scale, zero) =
            (scale.to_plain_array_view::<f32>()?, zero.to_plain_array_view::<f32>()?);
        each_element(&mut y, &scale, &zero, |x, scale, zero| self.value(x, scale, zero))?;
        Ok(tvec!(y.into_tvalue()))
    }
}

natural_typed_op!(Quantize);

/// The importer of `QuantizeLinear` and `DequantizeLinear`.
fn import(
    _ctx: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let int = |name: &str, default: i64| {
        node.attribute.iter().find(|a| a.name == name).map_or(default, |a| a.i)
    };
    let is_forward = node.op_type == "QuantizeLinear";
    let given = int("output_dtype", 0);
    let made = match (is_forward, given) {
        (false, _) | (_, 0) => None,
        (true, kind) => Some(Made::of_onnx(kind).with_context(|| {
            format!("its output is of the number type {kind}, which is not supported")
        })?),
    };
    let saturates = int("saturate", 1) == 1;
    let has_zero = node.input.get(2).is_some_and(|name| !name.is_empty());
    let block = usize::try_from(int("block_size", 0))?;
    let axis = int("axis", 1);
    let import = LinearImport { is_forward, has_zero, axis, block, made, saturates };
    Ok((expand(import), vec![]))
}

/// The numbers that a `QuantizeLinear` makes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Made {
    /// Whole ones.
    Whole(Range),
    /// Floats of few bits.
    Float(Format),
}

impl Made {
    fn of_onnx(kind: i64) -> Option<Self> {
        Range::of_onnx(kind).map(Self::Whole).or_else(|| Format::of_onnx(kind).map(Self::Float))
    }
}

/// A `QuantizeLinear` or `DequantizeLinear` on its way from ONNX.
#[derive(Clone, Debug, PartialEq)]
struct LinearImport {
    is_forward: bool,
    has_zero: bool,
    /// The axis along which scale and zero vary.
    axis: i64,
    /// How many elements of that axis share one scale; 0: scale and axis have one for each.
    block: usize,
    /// The output's numbers, where the node says them.
    made: Option<Made>,
    /// Whether floats beyond the largest number become that.
    saturates: bool,
}

impl LinearImport {
    fn name(&self) -> &'static str {
        if self.is_forward { "QuantizeLinear" } else { "DequantizeLinear" }
    }

    /// `parameter` in `f32`, so that it broadcasts to a value of `shape`.
    fn spread(
        &self,
        name: &str,
        model: &mut TypedModel,
        parameter: OutletId,
        shape: &[usize],
    ) -> TractResult<OutletId> {
        let wire =
            model.wire_node(format!("{name}.real"), cast(f32::datum_type()), &[parameter])?[0];
        let given: TVec<usize> =
            model.outlet_fact(wire)?.shape.as_concrete().context("shapes are concrete")?.into();
        if given.iter().product::<usize>() == 1 {
            let scalar: TVec<TDim> = given.iter().map(ToDim::to_dim).collect();
            let ones: TVec<TDim> = tvec![1.to_dim(); shape.len()];
            let op = AxisOp::Reshape(0, scalar, ones);
            return Ok(model.wire_node(format!("{name}.scalar"), op, &[wire])?[0]);
        }
        let axis = if self.axis < 0 { self.axis + shape.len() as i64 } else { self.axis };
        let axis = usize::try_from(axis).ok().filter(|axis| *axis < shape.len());
        let axis =
            axis.with_context(|| format!("there is no axis {} of {}", self.axis, shape.len()))?;
        if self.block > 0 {
            return self.spread_blocks(name, model, wire, axis, shape);
        }
        ensure!(
            given.len() == 1 && given[0] == shape[axis],
            "a scale of shape {given:?} along axis {axis} of {shape:?}"
        );
        let along = |k: usize| if k == axis { shape[axis].to_dim() } else { 1.to_dim() };
        let to: TVec<TDim> = (0..shape.len()).map(along).collect();
        let op = AxisOp::Reshape(0, tvec!(given[0].to_dim()), to);
        Ok(model.wire_node(format!("{name}.axis"), op, &[wire])?[0])
    }

    /// Each element of a constant `parameter` repeated for its block along `axis`.
    fn spread_blocks(
        &self,
        name: &str,
        model: &mut TypedModel,
        parameter: OutletId,
        axis: usize,
        shape: &[usize],
    ) -> TractResult<OutletId> {
        let blocks: Vec<i64> = (0..shape[axis]).map(|k| (k / self.block) as i64).collect();
        let blocks = model.add_const(format!("{name}.blocks"), tensor1(&blocks))?;
        let op = tract_onnx::tract_core::ops::array::Gather::new(axis);
        Ok(model.wire_node(format!("{name}.repeated"), op, &[parameter, blocks])?[0])
    }
}

impl Expansion for LinearImport {
    fn name(&self) -> StaticName {
        LinearImport::name(self).into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        s.equals(&outputs[0].datum_type, f32::datum_type())?;
        s.equals(&inputs[0].shape, &outputs[0].shape)?;
        Ok(())
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let shape: TVec<usize> = model
            .outlet_fact(inputs[0])?
            .shape
            .as_concrete()
            .context("shapes are concrete")?
            .into();
        let part = |what: &str| format!("{prefix}.{what}");
        let x = model.wire_node(part("x"), cast(f32::datum_type()), &[inputs[0]])?[0];
        let scale = self.spread(&part("scale"), model, inputs[1], &shape)?;
        let zero = if self.has_zero {
            self.spread(&part("zero"), model, inputs[2], &shape)?
        } else {
            model.add_const(part("zero"), tensor0(0f32).broadcast_into_rank(shape.len())?)?
        };
        if self.is_forward {
            let range = match self.made {
                Some(Made::Whole(range)) => range,
                Some(Made::Float(format)) => {
                    // Such a type has no zero but 0.
                    let real = model.wire_node(part("steps"), math::div(), &[x, scale])?[0];
                    let rounding = Rounding { format, saturates: self.saturates };
                    let name = LinearImport::name(self).to_owned();
                    let op = HostOp(CheckedOperator::new(Arc::new(rounding), name));
                    return model.wire_node(prefix, op, &[real]);
                }
                None if !self.has_zero => Range::U8,
                None => {
                    let kind = model.outlet_fact(inputs[2])?.datum_type;
                    Range::of_type(kind).with_context(|| {
                        format!("its output is of the number type {kind:?}, which is not supported")
                    })?
                }
            };
            return model.wire_node(prefix, Quantize(range), &[x, scale, zero]);
        }
        let shifted = model.wire_node(part("shifted"), math::sub(), &[x, zero])?[0];
        model.wire_node(prefix, math::mul(), &[shifted, scale])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_rounded_and_clipped_as_onnx_says() {
        // The example of ONNX's own text: scale 2, zero 128.
        let quantize = Quantize(Range::U8);
        let x = tensor1(&[0f32, 2., 3., 1000., -254., -1000.]);
        let inputs = tvec!(
            x.into_tvalue(),
            tensor1(&[2f32]).into_tvalue(),
            tensor1(&[128f32]).into_tvalue()
        );
        let y = quantize.eval(&EvalContext::out_of_plan(), inputs).unwrap().remove(0);
        let y = y.to_plain_array_view::<f32>().unwrap().to_owned();
        assert_eq!(y.as_slice().unwrap(), [128.0, 129.0, 130.0, 255.0, 1.0, 0.0]);
    }

    #[test]
    fn a_type_has_its_range() {
        let int4 = Range::of_onnx(DataType::Int4 as i64).unwrap();
        assert_eq!((int4.low, int4.high), (-8.0, 7.0));
        assert_eq!(Range::of_onnx(DataType::Uint8 as i64), Range::of_type(DatumType::U8));
        assert_eq!(Range::of_onnx(DataType::Float as i64), None);
    }
}
