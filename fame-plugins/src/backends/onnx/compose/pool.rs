//! Pools of p-th powers: `LpPool`, and `GlobalLpPool`, of which tract takes the mean instead of the
//! sum.
//!
//! Source: ONNX's LpPool, `y = (Σ |x|^p)^(1/p)` over each window.

use tract_onnx::model::OnnxOpRegister;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{PaddingSpec, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::op::{Outputs, composed};
use super::writer::Writer;

pub(super) fn register(known: &mut OnnxOpRegister) {
    known.insert("GlobalLpPool", |ctx, node| composed(ctx, node, &[], global_lp_pool));
    known.insert("LpPool", |ctx, node| composed(ctx, node, &[], lp_pool));
}

fn power(w: &Writer) -> f32 {
    // A whole number since opset 2.
    w.int("p").filter(|p| *p > 0).map_or(2.0, |p| p as f32)
}

fn global_lp_pool(w: &mut Writer) -> TractResult<Outputs> {
    let (x, p) = (w.needed(0)?, power(w));
    let axes: Vec<usize> = (2..w.rank(x)?).collect();
    let powers = w.abs_pow(x, p)?;
    let sum = w.sum(powers, &axes)?;
    Ok(tvec!(Some(w.root(sum, p)?)))
}

fn lp_pool(w: &mut Writer) -> TractResult<Outputs> {
    let (x, p) = (w.needed(0)?, power(w));
    let spec = pool_spec(w, x)?;
    let powers = w.abs_pow(x, p)?;
    let pool = SumPool { pool_spec: spec, count_include_pad: true, normalize: false };
    let sum = w.wire(pool, &[powers])?;
    Ok(tvec!(Some(w.root(sum, p)?)))
}

/// The windows that the attributes of a pool say.
fn pool_spec(w: &Writer, x: OutletId) -> TractResult<PoolSpec> {
    let shape = w.shape(x)?;
    let extents = |name: &str| -> TractResult<Option<TVec<usize>>> {
        let Some(values) = w.ints(name).filter(|values| !values.is_empty()) else {
            return Ok(None);
        };
        ensure!(values.len() % (shape.len() - 2) == 0, "`{name}` has {} numbers", values.len());
        Ok(Some(values.iter().map(|v| usize::try_from(*v)).collect::<Result<_, _>>()?))
    };
    let kernel = extents("kernel_shape")?.context("a pool without `kernel_shape`")?;
    let pads = extents("pads")?.unwrap_or_else(|| tvec!(0; 2 * kernel.len()));
    let (before, after) = pads.split_at(kernel.len());
    let ceil = w.int("ceil_mode").unwrap_or(0) != 0;
    let padding = match w.text("auto_pad").as_deref() {
        Some("SAME_UPPER") => PaddingSpec::SameUpper,
        Some("SAME_LOWER") => PaddingSpec::SameLower,
        Some("VALID") => PaddingSpec::Valid,
        _ => PaddingSpec::ExplicitOnnxPool(before.into(), after.into(), ceil),
    };
    let (strides, dilations) = (extents("strides")?, extents("dilations")?);
    Ok(PoolSpec::new(DataFormat::NCHW, kernel, padding, dilations, strides, shape[1], shape[1]))
}
