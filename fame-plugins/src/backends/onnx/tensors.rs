//! Plain `f32` access to tract's tensors and their shapes, and the way between them and fame's.

use fame_core::Tensor as HostTensor;
use tract_onnx::tract_core::internal::*;

/// The values of a plain `f32` tensor.
pub(in crate::backends) fn floats(tensor: &Tensor) -> TractResult<&[f32]> {
    tensor.try_as_plain_ram()?.as_slice::<f32>()
}

/// The values of a plain `f32` tensor, to change in place.
pub(in crate::backends) fn floats_mut(tensor: &mut Tensor) -> TractResult<&mut [f32]> {
    tensor.to_plain_array_view_mut::<f32>()?.into_slice().context("the tensor is not contiguous")
}

/// The fact of a plain `f32` tensor of the shape of `like`.
pub(in crate::backends) fn fact_like(like: &TypedFact) -> TVec<TypedFact> {
    tvec!(f32::fact(like.shape.to_tvec()))
}

/// Splits `shape` around `at`: the product before it, its extent, the product after it.
pub(in crate::backends) fn around(shape: &[usize], at: usize) -> (usize, usize, usize) {
    (shape[..at].iter().product(), shape[at], shape[at + 1..].iter().product())
}

/// A copy of a plain tensor as fame's own, in the same shape. Whole numbers, such as indices, must
/// be small enough to be exact in `f32`.
pub(super) fn to_host(tensor: &Tensor) -> TractResult<HostTensor> {
    /// Up to here every whole number is an `f32`.
    const EXACT: i64 = 1 << 24;
    let host = |values: Vec<f32>| {
        HostTensor::new(tensor.shape(), values).map_err(|e| format_err!("{}", e.message))
    };
    if tensor.datum_type() == f32::datum_type() {
        return host(floats(tensor)?.to_vec());
    }
    if tensor.datum_type().is_float() || tensor.datum_type() == bool::datum_type() {
        return host(tensor.cast_to::<f32>()?.to_plain_array_view()?.iter().copied().collect());
    }
    let whole = tensor.cast_to::<i64>()?;
    let whole = whole.to_plain_array_view::<i64>()?;
    ensure!(whole.iter().all(|v| (-EXACT..=EXACT).contains(v)), "a whole number beyond {EXACT}");
    host(whole.iter().map(|v| *v as f32).collect())
}

/// A copy of fame's tensor as tract's, in the same shape.
pub(super) fn from_host(tensor: &HostTensor) -> TractResult<Tensor> {
    Tensor::from_shape(tensor.shape(), tensor.data())
}
