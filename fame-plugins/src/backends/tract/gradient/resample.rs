//! Operators that are, along every axis by itself, a sparse matrix: enlarging and shrinking,
//! mirrored and repeated borders, tiling. The gradient is the transposed matrix.

use tract_onnx::tract_core::internal::*;

use super::rule::Rule;
use super::tape::{Pull, Pulled};
use crate::backends::onnx::axis_matrices::{AxisMatrix, is_by_axes, matrices};
use crate::backends::tract::ops::AxisGrad;

pub(super) const RULES: &[Rule] = &[Rule { applies: is_by_axes, pull: by_axes }];

/// Pulls the cotangent back along every axis.
fn by_axes(pull: &mut Pull) -> TractResult<Pulled> {
    let (model, node) = pull.surroundings();
    let mut wire = pull.cotangent;
    for AxisMatrix { axis, from, to, entries } in matrices(model, node)? {
        wire = pull.wire(AxisGrad { axis, from, to, entries }, &[wire])?;
    }
    let mut pulled: Pulled = tvec!(None; pull.arity());
    pulled[0] = Some(wire);
    Ok(pulled)
}

#[cfg(test)]
mod tests {
    use tract_onnx::tract_core::ops::array::{Pad, PadMode, Tile};
    use tract_onnx::tract_core::ops::nn::resize::{
        CoordTransformer, Interpolator, Nearest, NearestUpsample, Resize,
    };

    use super::*;
    use crate::backends::rule_check::{LINEAR, check};

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
    fn mirrored_borders_and_tiles() {
        let shape = &[2, 3, 4];
        for mode in [PadMode::Reflect, PadMode::Edge] {
            let pad = Pad::new(vec![(0, 0), (1, 2), (3, 0)], mode);
            check(shape, &LINEAR, |m, x| Ok(m.wire_node("p", pad.clone(), &[x])?[0]));
        }
        check(shape, &LINEAR, |m, x| {
            Ok(m.wire_node("t", Tile::new(tvec!(1.to_dim(), 2.to_dim(), 3.to_dim())), &[x])?[0])
        });
    }
}
