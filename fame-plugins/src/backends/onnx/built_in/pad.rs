//! `Pad` with a border made of the input's own elements: mirrored, repeated, or from the other
//! side.

use std::sync::Arc;

use fame_core::{Result, Tensor};
use tract_onnx::pb::NodeProto;

use super::BuiltIn;
use super::movement::{Moved, Movement};
use super::node::{Node, axis_of, indices, mismatch, strides, unsupported};
use crate::backends::onnx::host_operator::HostOperator;

pub(super) const OPERATORS: &[BuiltIn] =
    &[BuiltIn { applies: has_own_border, ..BuiltIn::new("Pad", &[1, 2, 3], build) }];

/// tract has the others, but for axes of their own.
fn has_own_border(node: &NodeProto) -> bool {
    let mode = node.attribute.iter().find(|a| a.name == "mode").map(|a| a.s.as_slice());
    let has_axes = node.input.get(3).is_some_and(|name| !name.is_empty());
    mode == Some(b"wrap") || (has_axes && matches!(mode, Some(b"edge" | b"reflect")))
}

#[derive(Clone, Copy, Debug)]
enum Border {
    Reflect,
    Edge,
    Wrap,
}

struct OwnBorder {
    border: Border,
    /// Before all axes, then after all axes; negative for a cut.
    pads: Vec<i64>,
    /// `None`: all axes.
    axes: Option<Vec<i64>>,
}

fn build(node: &Node) -> Result<Arc<dyn HostOperator>> {
    let border = match node.text("mode", "constant") {
        "reflect" => Border::Reflect,
        "edge" => Border::Edge,
        "wrap" => Border::Wrap,
        other => return Err(unsupported(format_args!("the mode `{other}`"))),
    };
    let pads = node.whole(1).or_else(|| node.ints("pads").map(<[i64]>::to_vec));
    let pads = pads.ok_or_else(|| mismatch("its pads are missing"))?;
    Ok(Arc::new(Moved(OwnBorder { border, pads, axes: node.whole(3) })))
}

impl OwnBorder {
    /// The padding in front of and behind each axis of `rank`.
    fn each_axis(&self, rank: usize) -> Result<Vec<(i64, i64)>> {
        let all: Vec<i64> = (0..rank as i64).collect();
        let axes = self.axes.as_ref().unwrap_or(&all);
        if self.pads.len() != 2 * axes.len() {
            return Err(mismatch(format_args!("{} pads for {} axes", self.pads.len(), axes.len())));
        }
        let mut each = vec![(0, 0); rank];
        for (k, axis) in axes.iter().enumerate() {
            each[axis_of(*axis, rank)?] = (self.pads[k], self.pads[axes.len() + k]);
        }
        Ok(each)
    }

    /// The element that stands at `at`, counted from the first, of an axis of `extent`.
    fn element(&self, at: i64, extent: i64) -> i64 {
        match self.border {
            Border::Edge => at.clamp(0, extent - 1),
            Border::Wrap => at.rem_euclid(extent),
            Border::Reflect => {
                let period = (2 * (extent - 1)).max(1);
                let at = at.rem_euclid(period);
                if at < extent { at } else { period - at }
            }
        }
    }
}

impl Movement for OwnBorder {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        let shape = inputs.first().ok_or_else(|| mismatch("its input is missing"))?;
        let padded = |(extent, (before, after)): (&usize, (i64, i64))| {
            let padded = usize::try_from(*extent as i64 + before + after).ok();
            padded
                .filter(|_| *extent > 0)
                .ok_or_else(|| mismatch(format_args!("{before} and {after} around {extent}")))
        };
        shape.iter().zip(self.each_axis(shape.len())?).map(padded).collect()
    }

    fn sources(&self, inputs: &[Tensor]) -> Result<Vec<Option<usize>>> {
        let from = inputs.first().ok_or_else(|| mismatch("its input is missing"))?.shape();
        let pads = self.each_axis(from.len())?;
        let steps = strides(from);
        let source = |index: Vec<usize>| {
            let place = |axis: usize| {
                let at = index[axis] as i64 - pads[axis].0;
                self.element(at, from[axis] as i64) as usize * steps[axis]
            };
            Some((0..from.len()).map(place).sum())
        };
        Ok(indices(&self.shape(&[from.to_vec()])?).map(source).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::difference::check_at;
    use super::*;

    #[test]
    fn borders_are_made_of_the_input() {
        let x = Tensor::vector(vec![1.0, 2.0, 3.0]);
        for (border, want) in [
            (Border::Reflect, [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]),
            (Border::Edge, [1.0, 1.0, 1.0, 2.0, 3.0, 3.0]),
            (Border::Wrap, [2.0, 3.0, 1.0, 2.0, 3.0, 1.0]),
        ] {
            let pad = Moved(OwnBorder { border, pads: vec![2, 1], axes: None });
            assert_eq!(pad.forward(std::slice::from_ref(&x)).unwrap().data(), want, "{border:?}");
            check_at(&pad, std::slice::from_ref(&x), &[0]);
        }
        let cut =
            Moved(OwnBorder { border: Border::Edge, pads: vec![-1, 1], axes: Some(vec![-1]) });
        assert_eq!(cut.forward(&[x]).unwrap().data(), [2.0, 3.0, 3.0]);
    }
}
