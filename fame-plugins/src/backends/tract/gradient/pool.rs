//! Max and average pooling.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{MaxPool, PoolSpec, SumPool};

use super::rule::Rule;
use super::tape::{Pull, Pulled};
use crate::backends::tract::ops::{PoolGrad, PoolKind};

pub(super) const RULES: &[Rule] = &[
    Rule {
        applies: |op| op.downcast_ref::<MaxPool>().is_some_and(|op| op.pool_spec.rank() <= 3),
        pull: max_pool,
    },
    Rule {
        applies: |op| op.downcast_ref::<SumPool>().is_some_and(|op| op.pool_spec.rank() <= 3),
        pull: sum_pool,
    },
];

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
    let (g, x) = (pull.cotangent, pull.input(0)?);
    Ok(tvec!(Some(pull.wire(PoolGrad { pool, kind }, &[g, x])?)))
}

#[cfg(test)]
mod tests {
    use tract_onnx::tract_core::ops::cnn::PaddingSpec;
    use tract_onnx::tract_core::ops::nn::DataFormat;

    use super::*;
    use crate::backends::rule_check::{KINKED, LINEAR, check};

    fn pool(data_format: DataFormat, stride: usize, padding: PaddingSpec) -> PoolSpec {
        let channels = 3;
        PoolSpec {
            data_format,
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
        let paddings = || [PaddingSpec::Valid, explicit(), ceil()];
        for (format, shape) in [(DataFormat::NCHW, [1, 3, 6, 5]), (DataFormat::NHWC, [1, 6, 5, 3])]
        {
            for (stride, padding) in [1, 2].iter().flat_map(|s| paddings().map(|p| (*s, p))) {
                let spec = pool(format, stride, padding);
                let max = MaxPool { pool_spec: spec.clone(), with_index_outputs: None };
                check(&shape, &KINKED, |m, x| Ok(m.wire_node("p", max.clone(), &[x])?[0]));
                for (count_include_pad, normalize) in [(false, true), (true, true), (false, false)]
                {
                    let sum = SumPool { pool_spec: spec.clone(), count_include_pad, normalize };
                    check(&shape, &LINEAR, |m, x| Ok(m.wire_node("p", sum.clone(), &[x])?[0]));
                }
            }
        }
    }

    #[test]
    fn pooling_over_three_axes() {
        let spec = |stride: usize| PoolSpec {
            data_format: DataFormat::NCHW,
            kernel_shape: tvec!(2, 3, 2),
            padding: PaddingSpec::Explicit(tvec!(1, 0, 1), tvec!(0, 1, 0)),
            dilations: Some(tvec!(1, 1, 1)),
            strides: Some(tvec!(stride, 1, stride)),
            input_channels: 2,
            output_channels: 2,
        };
        for stride in [1, 2] {
            let max = MaxPool { pool_spec: spec(stride), with_index_outputs: None };
            let shape = [1, 2, 3, 4, 5];
            check(&shape, &KINKED, |m, x| Ok(m.wire_node("p", max.clone(), &[x])?[0]));
            for count_include_pad in [false, true] {
                let pool_spec = spec(stride);
                let sum = SumPool { pool_spec, count_include_pad, normalize: true };
                check(&shape, &LINEAR, |m, x| Ok(m.wire_node("p", sum.clone(), &[x])?[0]));
            }
        }
    }
}
