//! Convolutions of every stride, dilation, grouping, padding and layout against differences.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::nn::DataFormat;

use crate::backends::rule_check::{LINEAR, check, tensor};

/// A convolution over 2-D data.
struct Case {
    channels: (usize, usize),
    size: (usize, usize),
    kernel: (usize, usize),
    stride: usize,
    dilation: usize,
    padding: [usize; 4],
    group: usize,
    format: DataFormat,
}

impl Default for Case {
    fn default() -> Self {
        let (channels, size, kernel) = ((6, 4), (7, 6), (3, 3));
        Self {
            channels,
            size,
            kernel,
            stride: 1,
            dilation: 1,
            padding: [0; 4],
            group: 1,
            format: DataFormat::NCHW,
        }
    }
}

impl Case {
    fn check(self) {
        let ((inputs, outputs), (h, w), (kh, kw)) = (self.channels, self.size, self.kernel);
        let shape = self.format.from_n_c_hw(1, inputs, [h, w]).unwrap().shape.to_vec();
        let [top, left, bottom, right] = self.padding;
        check(&shape, &LINEAR, |model, x| {
            let kernel =
                model.add_const("kernel", tensor(&[outputs, inputs / self.group, kh, kw], 77))?;
            let bias = model.add_const("bias", tensor(&[outputs], 500))?;
            let pool_spec = PoolSpec {
                data_format: self.format,
                kernel_shape: tvec!(kh, kw),
                padding: PaddingSpec::Explicit(tvec!(top, left), tvec!(bottom, right)),
                dilations: Some(tvec!(self.dilation, self.dilation)),
                strides: Some(tvec!(self.stride, self.stride)),
                input_channels: inputs,
                output_channels: outputs,
            };
            let conv = Conv {
                pool_spec,
                kernel_fmt: KernelFormat::OIHW,
                group: self.group,
                q_params: None,
            };
            Ok(model.wire_node("conv", conv, &[x, kernel, bias])?[0])
        });
    }
}

#[test]
fn convolutions_of_stride_one() {
    Case::default().check();
    Case { padding: [1, 0, 2, 1], ..Case::default() }.check();
    Case { padding: [3, 3, 3, 3], ..Case::default() }.check();
    Case { kernel: (1, 1), ..Case::default() }.check();
    Case { kernel: (1, 3), padding: [0, 1, 0, 1], ..Case::default() }.check();
    Case { dilation: 2, padding: [2, 1, 2, 0], ..Case::default() }.check();
    Case { group: 2, padding: [1; 4], ..Case::default() }.check();
    Case { channels: (6, 6), group: 6, padding: [1; 4], ..Case::default() }.check();
    Case { channels: (6, 12), group: 6, padding: [1; 4], ..Case::default() }.check();
}

#[test]
fn strided_convolutions() {
    Case { stride: 2, padding: [1; 4], ..Case::default() }.check();
    Case { stride: 2, padding: [0, 0, 1, 1], ..Case::default() }.check();
    Case { stride: 3, padding: [2, 1, 0, 2], ..Case::default() }.check();
    Case { stride: 3, kernel: (2, 2), ..Case::default() }.check();
    Case { stride: 2, kernel: (1, 1), ..Case::default() }.check();
    Case { stride: 2, dilation: 2, padding: [2; 4], ..Case::default() }.check();
    Case { stride: 2, group: 2, padding: [1; 4], ..Case::default() }.check();
    Case {
        stride: 2,
        channels: (6, 6),
        group: 6,
        kernel: (5, 5),
        padding: [1, 1, 2, 2],
        ..Case::default()
    }
    .check();
}

#[test]
fn first_layer_convolutions() {
    Case { channels: (3, 8), stride: 2, kernel: (5, 5), padding: [2; 4], ..Case::default() }
        .check();
    Case { channels: (3, 8), padding: [1; 4], ..Case::default() }.check();
    Case { channels: (1, 4), stride: 3, padding: [1, 0, 0, 1], ..Case::default() }.check();
    Case { channels: (3, 8), dilation: 2, padding: [2; 4], ..Case::default() }.check();
}

#[test]
fn channels_last_convolutions() {
    Case { format: DataFormat::NHWC, padding: [1; 4], ..Case::default() }.check();
    Case { format: DataFormat::NHWC, stride: 2, padding: [1, 0, 1, 1], ..Case::default() }.check();
    Case { format: DataFormat::NHWC, channels: (3, 8), stride: 2, ..Case::default() }.check();
}

#[test]
fn convolutions_over_three_axes() {
    for (stride, dilation, group) in [(1, 1, 1), (2, 1, 2), (2, 2, 1), (1, 2, 2)] {
        let (inputs, outputs) = (4, 6);
        check(&[1, inputs, 5, 4, 6], &LINEAR, |model, x| {
            let shape = [outputs, inputs / group, 2, 1, 3];
            let kernel = model.add_const("kernel", tensor(&shape, 77))?;
            let bias = model.add_const("bias", tensor(&[outputs], 500))?;
            let pool_spec = PoolSpec {
                data_format: DataFormat::NCHW,
                kernel_shape: tvec!(2, 1, 3),
                padding: PaddingSpec::Explicit(tvec!(1, 0, 2), tvec!(0, 1, 1)),
                dilations: Some(tvec!(dilation, 1, dilation)),
                strides: Some(tvec!(stride, 1, stride)),
                input_channels: inputs,
                output_channels: outputs,
            };
            let conv = Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group, q_params: None };
            Ok(model.wire_node("conv", conv, &[x, kernel, bias])?[0])
        });
    }
}
