//! Elements picked by index tensors.

use std::sync::Arc;

use fame_core::{Result, Tensor};

use super::BuiltIn;
use super::movement::{Moved, Movement};
use super::node::{axis_of, index_of, indices, mismatch, strides};

pub(super) const OPERATORS: &[BuiltIn] = &[
    BuiltIn::new("GatherElements", &[], |node| {
        Ok(Arc::new(Moved(GatherElements { axis: node.int("axis", 0) })))
    }),
    BuiltIn::new("GatherND", &[], |node| {
        let batch = usize::try_from(node.int("batch_dims", 0));
        let batch = batch.map_err(|_| mismatch("its batch_dims are negative"))?;
        Ok(Arc::new(Moved(GatherNd { batch })))
    }),
];

/// `y[i, j, …] = x[index[i, j, …], j, …]` for axis 0, and so for each.
struct GatherElements {
    axis: i64,
}

impl Movement for GatherElements {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        let [data, picks] = inputs else { return Err(mismatch("it takes data and indices")) };
        let axis = axis_of(self.axis, data.len())?;
        let fits = |k: usize| k == axis || picks[k] <= data[k];
        if picks.len() != data.len() || !(0..data.len()).all(fits) {
            return Err(mismatch(format_args!("indices {picks:?} into {data:?}")));
        }
        Ok(picks.clone())
    }

    fn sources(&self, inputs: &[Tensor]) -> Result<Vec<Option<usize>>> {
        let [data, picks] = inputs else { return Err(mismatch("it takes data and indices")) };
        let axis = axis_of(self.axis, data.shape().len())?;
        let steps = strides(data.shape());
        let source = |(mut index, pick): (Vec<usize>, &f32)| -> Result<Option<usize>> {
            index[axis] = index_of(*pick, data.shape()[axis])?;
            Ok(Some(index.iter().zip(&steps).map(|(i, step)| i * step).sum()))
        };
        indices(picks.shape()).zip(picks.data()).map(source).collect()
    }
}

/// Slices of the data at the indices that the last axis of the second input holds.
struct GatherNd {
    /// How many leading axes the two have in common.
    batch: usize,
}

impl Movement for GatherNd {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        let [data, picks] = inputs else { return Err(mismatch("it takes data and indices")) };
        let wrong = || mismatch(format_args!("indices {picks:?} into {data:?}"));
        let (depth, outer) = picks.split_last().ok_or_else(wrong)?;
        let fits = self.batch <= outer.len()
            && self.batch + depth <= data.len()
            && data[..self.batch] == outer[..self.batch];
        if !fits {
            return Err(wrong());
        }
        Ok([outer, &data[self.batch + depth..]].concat())
    }

    fn sources(&self, inputs: &[Tensor]) -> Result<Vec<Option<usize>>> {
        let [data, picks] = inputs else { return Err(mismatch("it takes data and indices")) };
        self.shape(&[data.shape().to_vec(), picks.shape().to_vec()])?;
        let depth = picks.shape().last().copied().unwrap_or(0);
        let steps = strides(data.shape());
        let slice: usize = data.shape()[self.batch + depth..].iter().product();
        let outer = &picks.shape()[..picks.shape().len() - 1];
        let mut sources = vec![];
        for (row, index) in indices(outer).enumerate() {
            let mut start: usize =
                index[..self.batch].iter().zip(&steps).map(|(i, step)| i * step).sum();
            for k in 0..depth {
                let axis = self.batch + k;
                let pick = index_of(picks.data()[row * depth + k], data.shape()[axis])?;
                start += pick * steps[axis];
            }
            sources.extend((start..start + slice).map(Some));
        }
        Ok(sources)
    }
}

#[cfg(test)]
mod tests {
    use super::super::difference::check_at;
    use super::*;
    use crate::backends::onnx::host_operator::HostOperator;

    fn picks(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::new(shape, values.to_vec()).unwrap()
    }

    #[test]
    fn elements_and_slices_are_picked() {
        let x = picks(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        let elements = Moved(GatherElements { axis: 1 });
        let at = picks(&[2, 2], &[0.0, 0.0, -1.0, 0.0]);
        let inputs = [x.clone(), at];
        assert_eq!(elements.forward(&inputs).unwrap().data(), [1.0, 1.0, 4.0, 3.0]);
        check_at(&elements, &inputs, &[0]);
        let slices = Moved(GatherNd { batch: 0 });
        let inputs = [x.clone(), picks(&[2, 1], &[1.0, -2.0])];
        assert_eq!(slices.forward(&inputs).unwrap().data(), [3.0, 4.0, 1.0, 2.0]);
        check_at(&slices, &inputs, &[0]);
        let batched = Moved(GatherNd { batch: 1 });
        let inputs = [x.clone(), picks(&[2, 1], &[1.0, 0.0])];
        assert_eq!(batched.forward(&inputs).unwrap().data(), [2.0, 3.0]);
        check_at(&batched, &inputs, &[0]);
        assert!(slices.forward(&[x, picks(&[1, 1], &[2.0])]).is_err());
    }
}
