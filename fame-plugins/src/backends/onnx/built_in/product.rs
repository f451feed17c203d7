//! Products over axes.

use std::sync::Arc;

use fame_core::{Error, Result, Tensor};

use super::BuiltIn;
use super::node::{Node, axis_of, mismatch, strides};
use crate::backends::onnx::host_operator::HostOperator;

pub(super) const OPERATORS: &[BuiltIn] = &[BuiltIn::new("ReduceProd", &[1], reduce_prod)];

fn only(inputs: &[Tensor]) -> Result<&Tensor> {
    inputs.first().ok_or_else(|| Error::bug("an operator without its input."))
}

#[allow(clippy::unnecessary_wraps)] // as the table of operators wants it
fn reduce_prod(node: &Node) -> Result<Arc<dyn HostOperator>> {
    let axes = node.whole(1).or_else(|| node.ints("axes").map(<[i64]>::to_vec));
    Ok(Arc::new(ReduceProd {
        axes: axes.unwrap_or_default(),
        keep: node.int("keepdims", 1) == 1,
        none_is_none: node.int("noop_with_empty_axes", 0) == 1,
    }))
}

/// The product over axes.
struct ReduceProd {
    /// The axes; none of them means all, or none where `none_is_none`.
    axes: Vec<i64>,
    /// The axes stay, with extent 1.
    keep: bool,
    none_is_none: bool,
}

impl ReduceProd {
    /// Which axes of `rank` are multiplied over.
    fn reduced(&self, rank: usize) -> Result<Vec<bool>> {
        let mut reduced = vec![self.axes.is_empty() && !self.none_is_none; rank];
        for &axis in &self.axes {
            reduced[axis_of(axis, rank)?] = true;
        }
        Ok(reduced)
    }

    /// The places of the factors of each result.
    fn groups(&self, shape: &[usize]) -> Result<Vec<Vec<usize>>> {
        let reduced = self.reduced(shape.len())?;
        let kept = shape.iter().zip(&reduced).map(|(d, out)| if *out { 1 } else { *d });
        let kept: Vec<usize> = kept.collect();
        let steps = strides(&kept);
        let mut groups = vec![vec![]; kept.iter().product()];
        for (place, index) in super::node::indices(shape).enumerate() {
            let at = index.iter().zip(&steps).zip(&reduced);
            let at: usize = at.map(|((i, step), out)| if *out { 0 } else { i * step }).sum();
            groups[at].push(place);
        }
        Ok(groups)
    }
}

impl HostOperator for ReduceProd {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        let shape = inputs.first().ok_or_else(|| mismatch("its input is missing"))?;
        let reduced = self.reduced(shape.len())?;
        let left = shape.iter().zip(reduced).filter_map(|(d, out)| match (out, self.keep) {
            (true, false) => None,
            (true, true) => Some(1),
            (false, _) => Some(*d),
        });
        Ok(left.collect())
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let x = only(inputs)?;
        let product = |group: &Vec<usize>| {
            group.iter().map(|place| f64::from(x.data()[*place])).product::<f64>() as f32
        };
        let values = self.groups(x.shape())?.iter().map(product).collect();
        Tensor::new(self.shape(&[x.shape().to_vec()])?, values)
    }

    fn pull_back(&self, inputs: &[Tensor], _: &Tensor, c: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let x = only(inputs)?;
        let mut gradient = Tensor::zeros(x.shape());
        for (group, c) in self.groups(x.shape())?.iter().zip(c.data()) {
            // The products of what is behind each factor; what is in front of it grows on the way.
            let mut behind = vec![1f64; group.len() + 1];
            for (k, place) in group.iter().enumerate().rev() {
                behind[k] = behind[k + 1] * f64::from(x.data()[*place]);
            }
            let mut before = 1f64;
            for (k, place) in group.iter().enumerate() {
                gradient.data_mut()[*place] = (f64::from(*c) * before * behind[k + 1]) as f32;
                before *= f64::from(x.data()[*place]);
            }
        }
        Ok(vec![Some(gradient)])
    }
}

#[cfg(test)]
mod tests {
    use super::super::difference::check;
    use super::*;

    #[test]
    fn products_over_axes() {
        for (axes, shape) in
            [(vec![1], vec![2, 1, 3]), (vec![0, -1], vec![1, 4, 1]), (vec![], vec![1, 1, 1])]
        {
            let operator = ReduceProd { axes, keep: true, none_is_none: false };
            assert_eq!(operator.shape(&[vec![2, 4, 3]]).unwrap(), shape);
            check(&operator, &[&[2, 4, 3]], &[0]);
        }
    }
}
