//! Max and average pooling.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{MaxPool, PoolSpec, SumPool};

use super::rule::Rule;
use super::tape::{Pull, Pulled};
use crate::backends::tract::ops::{PoolGrad, PoolKind};

pub(super) const RULES: &[Rule] =
    &[Rule::operator::<MaxPool>(max_pool), Rule::operator::<SumPool>(sum_pool)];

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

#[cfg(test)]
mod tests {
    use tract_onnx::tract_core::ops::cnn::PaddingSpec;
    use tract_onnx::tract_core::ops::nn::DataFormat;

    use super::*;
    use crate::backends::rule_check::{KINKED, LINEAR, check};

    fn pool(stride: usize, padding: PaddingSpec, channels: usize) -> PoolSpec {
        PoolSpec {
            data_format: DataFormat::NCHW,
            kernel_shape: tvec!(3, 2),
            padding,
            dilations: None,
            strides: Some(tvec!(stride, stride)),
            input_channels: channels,
            output_channels: channels,
        }
    }

    #[test]
    fn pooling() {
        let explicit = || PaddingSpec::Explicit(tvec!(1, 0), tvec!(0, 1));
        let ceil = || PaddingSpec::ExplicitOnnxPool(tvec!(1, 1), tvec!(1, 1), true);
        for stride in [1, 2] {
            for padding in [PaddingSpec::Valid, explicit(), ceil()] {
                let spec = pool(stride, padding, 3);
                let max = MaxPool { pool_spec: spec.clone(), with_index_outputs: None };
                check(&[1, 3, 6, 5], &KINKED, |m, x| Ok(m.wire_node("p", max.clone(), &[x])?[0]));
                for (count_include_pad, normalize) in [(false, true), (true, true), (false, false)]
                {
                    let sum = SumPool { pool_spec: spec.clone(), count_include_pad, normalize };
                    check(&[1, 3, 6, 5], &LINEAR, |m, x| {
                        Ok(m.wire_node("p", sum.clone(), &[x])?[0])
                    });
                }
            }
        }
    }
}
