//! Sequences turned round, and pictures cut or filled around their middle.

use std::sync::Arc;

use fame_core::{Result, Tensor};

use super::BuiltIn;
use super::movement::{Moved, Movement, data_of, first};
use super::node::{Node, axis_of, indices, mismatch, strides};
use crate::backends::onnx::host_operator::HostOperator;

pub(super) const OPERATORS: &[BuiltIn] = &[
    BuiltIn::new("ReverseSequence", &[1], reverse_sequence),
    BuiltIn::new("CenterCropPad", &[1], center_crop_pad),
];

/// The first elements of each sequence turned round.
struct ReverseSequence {
    lengths: Vec<usize>,
    batch: usize,
    time: usize,
}

fn reverse_sequence(node: &Node) -> Result<Arc<dyn HostOperator>> {
    let lengths = node.whole(1).ok_or_else(|| mismatch("its lengths are missing"))?;
    let lengths: Option<Vec<usize>> = lengths.iter().map(|n| usize::try_from(*n).ok()).collect();
    let axis = |name: &str, default: i64| {
        let axis = usize::try_from(node.int(name, default)).ok().filter(|axis| *axis < 2);
        axis.ok_or_else(|| mismatch(format_args!("its {name} is neither 0 nor 1")))
    };
    let (batch, time) = (axis("batch_axis", 1)?, axis("time_axis", 0)?);
    if batch == time {
        return Err(mismatch("its batch_axis is its time_axis"));
    }
    let lengths = lengths.ok_or_else(|| mismatch("one of its lengths is negative"))?;
    Ok(Arc::new(Moved(ReverseSequence { lengths, batch, time })))
}

impl Movement for ReverseSequence {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        let shape = data_of(inputs)?;
        let fits = shape.len() >= 2
            && self.lengths.len() == shape[self.batch]
            && self.lengths.iter().all(|n| *n <= shape[self.time]);
        fits.then(|| shape.clone())
            .ok_or_else(|| mismatch(format_args!("its lengths do not fit {shape:?}")))
    }

    fn sources(&self, inputs: &[Tensor]) -> Result<Vec<Option<usize>>> {
        let shape = first(inputs)?.shape();
        let steps = strides(shape);
        let source = |mut index: Vec<usize>| {
            let (length, at) = (self.lengths[index[self.batch]], index[self.time]);
            if at < length {
                index[self.time] = length - 1 - at;
            }
            Some(index.iter().zip(&steps).map(|(i, step)| i * step).sum())
        };
        Ok(indices(shape).map(source).collect())
    }
}

/// Axes cut, or filled with zeros, to sizes around their middle.
struct CenterCropPad {
    sizes: Vec<usize>,
    /// `None`: the sizes are those of all axes.
    axes: Option<Vec<i64>>,
}

fn center_crop_pad(node: &Node) -> Result<Arc<dyn HostOperator>> {
    let sizes = node.whole(1).ok_or_else(|| mismatch("its shape is missing"))?;
    let sizes: Option<Vec<usize>> = sizes.iter().map(|n| usize::try_from(*n).ok()).collect();
    let sizes = sizes.ok_or_else(|| mismatch("its shape is negative"))?;
    Ok(Arc::new(Moved(CenterCropPad { sizes, axes: node.ints("axes").map(<[i64]>::to_vec) })))
}

impl Movement for CenterCropPad {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        let mut shape = data_of(inputs)?.clone();
        let all: Vec<i64> = (0..shape.len() as i64).collect();
        let axes = self.axes.as_ref().unwrap_or(&all);
        if axes.len() != self.sizes.len() {
            return Err(mismatch(format_args!("{:?} are sizes of other axes", self.sizes)));
        }
        for (axis, size) in axes.iter().zip(&self.sizes) {
            let axis = axis_of(*axis, shape.len())?;
            shape[axis] = *size;
        }
        Ok(shape)
    }

    fn sources(&self, inputs: &[Tensor]) -> Result<Vec<Option<usize>>> {
        let from = first(inputs)?.shape();
        let to = self.shape(&[from.to_vec()])?;
        let steps = strides(from);
        let source = |index: Vec<usize>| {
            let mut place = 0;
            for (axis, i) in index.into_iter().enumerate() {
                // Of an odd difference the larger half is behind.
                let at = (i + from[axis].saturating_sub(to[axis]) / 2)
                    .checked_sub(to[axis].saturating_sub(from[axis]) / 2)?;
                if at >= from[axis] {
                    return None;
                }
                place += at * steps[axis];
            }
            Some(place)
        };
        Ok(indices(&to).map(source).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::movement::tests::run;
    use super::*;

    #[test]
    fn elements_go_where_the_operator_says() {
        let turned = ReverseSequence { lengths: vec![2, 3], batch: 0, time: 1 };
        assert_eq!(run(turned, &[2, 3], vec![]), [2.0, 1.0, 3.0, 6.0, 5.0, 4.0]);
        let cut = CenterCropPad { sizes: vec![4, 1], axes: None };
        assert_eq!(run(cut, &[2, 3], vec![]), [0.0, 2.0, 5.0, 0.0]);
    }
}
