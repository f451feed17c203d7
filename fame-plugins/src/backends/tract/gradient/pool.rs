//! Max and average pooling.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{MaxPool, PoolSpec, SumPool};

use super::super::ops::{PoolGrad, PoolKind};
use super::{Pull, Pulled, Rule};

pub(super) const RULES: &[Rule] = &[Rule::of::<MaxPool>(max_pool), Rule::of::<SumPool>(sum_pool)];

fn max_pool(pull: &mut Pull) -> TractResult<Pulled> {
    let pool = pull.op::<MaxPool>()?.pool_spec.clone();
    grad(pull, pool, PoolKind::Max)
}

fn sum_pool(pull: &mut Pull) -> TractResult<Pulled> {
    let op = pull.op::<SumPool>()?;
    let kind = PoolKind::Sum { normalize: op.normalize, count_include_pad: op.count_include_pad };
    grad(pull, op.pool_spec.clone(), kind)
}

fn grad(pull: &mut Pull, pool: PoolSpec, kind: PoolKind) -> TractResult<Pulled> {
    ensure!(pool.rank() <= 2, "pooling over {} axes has no gradient", pool.rank());
    let (g, x) = (pull.cotangent, pull.input(0)?);
    Ok(tvec!(Some(pull.wire(PoolGrad { pool, kind }, &[g, x])?)))
}
