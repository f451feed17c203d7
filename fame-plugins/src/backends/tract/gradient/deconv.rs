//! The data gradient of a transposed convolution: the convolution it is the transpose of.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::Slice;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, KernelFormat, PaddingSpec, PoolSpec};

use super::rule::Rule;
use super::tape::{Pull, Pulled};

pub(super) const RULES: &[Rule] = &[Rule {
    applies: |op| op.downcast_ref::<Deconv>().is_some_and(|op| op.pool_spec.rank() <= 3),
    pull: deconv,
}];

fn deconv(pull: &mut Pull) -> TractResult<Pulled> {
    ensure!(!pull.needs(1) && !pull.needs(2), "the kernel depends on the input");
    let op = pull.op::<Deconv>()?;
    let pool = &op.pool_spec;
    let shape = pool.data_format.shape(pull.input_shape(0)?.to_vec())?;
    let (strides, dilations) = (pool.strides().to_vec(), pool.dilations().to_vec());
    let padding = pool.padding.compute_for_deconv(
        shape.hw_dims(),
        &pool.kernel_shape,
        &dilations,
        &strides,
        &op.adjustments,
    )?;
    let (kernel, bias) =
        (pull.konst(kernel(op, pull.constant(1)?.as_ref())?)?, pull.konst(tensor0(0f32))?);
    let pool_spec = PoolSpec {
        data_format: pool.data_format,
        kernel_shape: pool.kernel_shape.clone(),
        padding: PaddingSpec::Explicit(
            padding.iter().map(|p| p.pad_before).collect(),
            padding.iter().map(|p| p.pad_after).collect(),
        ),
        dilations: Some(dilations.into()),
        strides: Some(strides.into()),
        input_channels: pool.output_channels,
        output_channels: pool.input_channels,
    };
    let g = pull.cotangent;
    let mut wire = pull.wire(
        Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group: op.group, q_params: None },
        &[g, kernel, bias],
    )?;
    // An adjustment as large as the stride leaves room for one more window than there were inputs.
    for (k, &extent) in shape.hw_dims().iter().enumerate() {
        let axis = shape.h_axis() + k;
        if pull.shape_of(wire)?[axis] > extent {
            wire = pull.wire(Slice::new(axis, 0, extent), &[wire])?;
        }
    }
    Ok(tvec!(Some(wire), None, None))
}

/// The kernel as the convolution's `[I, O / group, …]`.
fn kernel(op: &Deconv, kernel: &Tensor) -> TractResult<Tensor> {
    // [group, O / group, I / group, taps]
    let grouped = op.kernel_format.kernel_as_group_o_i_hw(kernel, op.group)?;
    let view = grouped.to_plain_array_view::<f32>()?;
    let &[group, outputs, inputs, _] = view.shape() else {
        bail!("a kernel of shape {:?}", view.shape())
    };
    let values: Vec<f32> = view.permuted_axes(vec![0, 2, 1, 3]).iter().copied().collect();
    let mut shape = vec![group * inputs, outputs];
    shape.extend(&op.pool_spec.kernel_shape);
    Tensor::from_shape(&shape, &values)
}

#[cfg(test)]
mod tests {
    use tract_onnx::tract_core::ops::nn::DataFormat;

    use super::*;
    use crate::backends::rule_check::{LINEAR, check, tensor};

    #[test]
    fn transposed_convolutions() {
        let cases = [
            // group, stride, dilation, padding before and after, adjustment, layout
            (1, 2, 1, [0, 0], 0, DataFormat::NCHW),
            (1, 2, 1, [1, 1], 1, DataFormat::NCHW),
            (2, 3, 1, [1, 0], 0, DataFormat::NCHW),
            (1, 1, 2, [2, 1], 0, DataFormat::NCHW),
            (4, 2, 1, [1, 1], 0, DataFormat::NCHW),
            (1, 2, 1, [1, 0], 0, DataFormat::NHWC),
        ];
        for (group, stride, dilation, [before, after], adjustment, format) in cases {
            let (inputs, outputs) = (4, 4 * group);
            let shape = format.from_n_c_hw(1, inputs, [3, 4]).unwrap().shape.to_vec();
            check(&shape, &LINEAR, |m, x| {
                let kernel = m.add_const("kernel", tensor(&[outputs, inputs / group, 3, 3], 77))?;
                let bias = m.add_const("bias", tensor(&[outputs], 500))?;
                let pool_spec = PoolSpec {
                    data_format: format,
                    kernel_shape: tvec!(3, 3),
                    padding: PaddingSpec::Explicit(tvec!(before, before), tvec!(after, after)),
                    dilations: Some(tvec!(dilation, dilation)),
                    strides: Some(tvec!(stride, stride)),
                    input_channels: inputs,
                    output_channels: outputs,
                };
                let op = Deconv {
                    pool_spec,
                    kernel_format: KernelFormat::OIHW,
                    adjustments: tvec!(adjustment, adjustment),
                    group,
                };
                Ok(m.wire_node("deconv", op, &[x, kernel, bias])?[0])
            });
        }
    }
}
