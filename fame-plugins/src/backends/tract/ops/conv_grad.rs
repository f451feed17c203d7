//! The input gradient of a convolution, in one piece, for kernels of our own.

use tract_onnx::tract_core::internal::*;

use fame_kernels::Geometry;

/// From the cotangent of a convolution's output to that of its input, channels first. It only says
/// what is to be computed: a kernel takes its place before anything runs.
#[derive(Clone, Debug)]
pub(in super::super) struct ConvGrad {
    /// The convolution.
    pub(in super::super) geometry: Geometry,
    /// Its weights, `[outputs, inputs / groups, height, width]`.
    pub(in super::super) weights: Arc<Tensor>,
    /// The shape of the convolution's input.
    pub(in super::super) shape: TVec<usize>,
}

/// Two are equal where they share their weights.
impl PartialEq for ConvGrad {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.weights, &other.weights)
            && self.geometry == other.geometry
            && self.shape == other.shape
    }
}

impl Eq for ConvGrad {}

impl Op for ConvGrad {
    fn name(&self) -> StaticName {
        "ConvGrad".into()
    }

    op_as_typed_op!();
}

impl EvalOp for ConvGrad {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, _inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        bail!("{self:?} was left in a plan without a kernel")
    }
}

impl TypedOp for ConvGrad {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs[0].rank() == self.shape.len(), "{self:?}: {:?}", inputs[0]);
        Ok(tvec!(f32::fact(&self.shape)))
    }

    as_op!();
}
