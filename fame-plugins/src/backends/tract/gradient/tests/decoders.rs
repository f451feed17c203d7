//! What decoders and older networks have: enlarging, transposed convolution, borders, tiling, local
//! response normalisation.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::{Pad, PadMode, Tile};
use tract_onnx::tract_core::ops::cnn::{Deconv, KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::nn::DataFormat;
use tract_onnx::tract_core::ops::nn::resize::{
    CoordTransformer, Interpolator, Nearest, NearestUpsample, Resize,
};
use tract_onnx_opl::lrn::Lrn;

use super::{CURVED, LINEAR, check, tensor};

#[test]
fn enlarging_and_shrinking() {
    use CoordTransformer::{AlignCorners, Asymmetric, HalfPixel, PytorchHalfPixel};
    for coord_transformer in [HalfPixel, AlignCorners, Asymmetric, PytorchHalfPixel] {
        for interpolator in [Interpolator::Linear, Interpolator::Nearest, Interpolator::Cubic] {
            for scales in [[1f32, 1.0, 2.0, 3.0], [1.0, 1.0, 1.5, 0.5]] {
                let op = Resize {
                    coord_transformer: coord_transformer.clone(),
                    interpolator: interpolator.clone(),
                    nearest: Nearest::Floor,
                    optional_scales_input: Some(1),
                    optional_sizes_input: None,
                };
                check(&[1, 2, 4, 6], &LINEAR, |m, x| {
                    let scales = m.add_const("scales", tensor1(&scales))?;
                    Ok(m.wire_node("r", op.clone(), &[x, scales])?[0])
                });
            }
        }
    }
    check(&[1, 2, 3, 2], &LINEAR, |m, x| {
        Ok(m.wire_node("u", NearestUpsample { scales: tvec!(1, 1, 2, 3) }, &[x])?[0])
    });
}

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

#[test]
fn borders_tiles_and_backward_steps() {
    let shape = &[2, 3, 4];
    for mode in [PadMode::Reflect, PadMode::Edge] {
        let pad = Pad::new(vec![(0, 0), (1, 2), (3, 0)], mode);
        check(shape, &LINEAR, |m, x| Ok(m.wire_node("p", pad.clone(), &[x])?[0]));
    }
    check(shape, &LINEAR, |m, x| {
        Ok(m.wire_node("t", Tile::new(tvec!(1.to_dim(), 2.to_dim(), 3.to_dim())), &[x])?[0])
    });
    for stride in [-1, -2, -3] {
        check(shape, &LINEAR, |m, x| Ok(m.wire_node("d", Downsample::new(2, stride, 0), &[x])?[0]));
    }
}

#[test]
fn local_response_normalisation() {
    for size in [1, 2, 3, 5] {
        let op = Lrn { alpha: 0.8, beta: 0.75, bias: 1.5, size };
        check(&[1, 6, 2, 2], &CURVED, |m, x| Ok(m.wire_node("n", op.clone(), &[x])?[0]));
    }
}
