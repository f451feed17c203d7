//! Running sums and products along an axis.

use std::sync::Arc;

use fame_core::{Error, Result, Tensor};

use super::BuiltIn;
use super::node::{Lines, Node, axis_of, mismatch};
use crate::backends::onnx::host_operator::HostOperator;

pub(super) const OPERATORS: &[BuiltIn] = &[
    BuiltIn::new("CumSum", &[1], |node| cumulative(node, false)),
    BuiltIn::new("CumProd", &[1], |node| cumulative(node, true)),
];

fn cumulative(node: &Node, is_product: bool) -> Result<Arc<dyn HostOperator>> {
    let axis = node.whole(1).and_then(|axis| axis.first().copied());
    Ok(Arc::new(Cumulative {
        axis: axis.ok_or_else(|| mismatch("its axis is missing"))?,
        is_product,
        exclusive: node.int("exclusive", 0) == 1,
        reverse: node.int("reverse", 0) == 1,
    }))
}

/// The running sum or product along an axis.
struct Cumulative {
    axis: i64,
    is_product: bool,
    /// An element is not among those that its own result is made of.
    exclusive: bool,
    /// From the last element to the first.
    reverse: bool,
}

impl Cumulative {
    /// The places of every line, in the order in which they are run through.
    fn runs(&self, shape: &[usize]) -> Result<impl Iterator<Item = Vec<usize>> + use<>> {
        let lines = Lines::new(shape, axis_of(self.axis, shape.len())?);
        let (extent, inner, reverse) = (lines.extent, lines.inner, self.reverse);
        Ok(lines.starts().map(move |start| {
            let places = (0..extent).map(|k| start + k * inner);
            if reverse { places.rev().collect() } else { places.collect() }
        }))
    }
}

/// For each of `x` the sum, over the results from it on, of the cotangent times the product of what
/// else is in that result: without a division, for a factor may be zero.
fn product_gradient(x: &[f64], cotangent: &[f64], exclusive: bool) -> Vec<f64> {
    let of_element = |k: usize| {
        let mut others: f64 = x[..k].iter().product();
        let mut sum = 0.0;
        for i in k..x.len() {
            if i > k {
                others *= x[i];
            }
            let result = if exclusive { i + 1 } else { i };
            sum += cotangent.get(result).map_or(0.0, |c| c * others);
        }
        sum
    };
    (0..x.len()).map(of_element).collect()
}

fn only(inputs: &[Tensor]) -> Result<&Tensor> {
    inputs.first().ok_or_else(|| Error::bug("an operator without its input."))
}

impl HostOperator for Cumulative {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        let shape = inputs.first().cloned().ok_or_else(|| mismatch("its input is missing"))?;
        axis_of(self.axis, shape.len())?;
        Ok(shape)
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let x = only(inputs)?;
        let mut y = Tensor::zeros(x.shape());
        for run in self.runs(x.shape())? {
            let mut total = if self.is_product { 1f64 } else { 0.0 };
            for place in run {
                let before = total;
                let value = f64::from(x.data()[place]);
                total = if self.is_product { total * value } else { total + value };
                y.data_mut()[place] = if self.exclusive { before } else { total } as f32;
            }
        }
        Ok(y)
    }

    fn pull_back(&self, inputs: &[Tensor], _: &Tensor, c: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let x = only(inputs)?;
        let mut gradient = Tensor::zeros(x.shape());
        for run in self.runs(x.shape())? {
            let read = |of: &Tensor| -> Vec<f64> {
                run.iter().map(|place| f64::from(of.data()[*place])).collect()
            };
            let factors = if self.is_product { read(x) } else { vec![1.0; run.len()] };
            let pulled = if self.is_product {
                product_gradient(&factors, &read(c), self.exclusive)
            } else {
                sum_gradient(&read(c), self.exclusive)
            };
            run.iter().zip(pulled).for_each(|(place, g)| gradient.data_mut()[*place] = g as f32);
        }
        Ok(vec![Some(gradient)])
    }
}

fn sum_gradient(cotangent: &[f64], exclusive: bool) -> Vec<f64> {
    let mut pulled = vec![0.0; cotangent.len()];
    let mut behind = 0.0;
    for k in (0..cotangent.len()).rev() {
        pulled[k] = if exclusive { behind } else { behind + cotangent[k] };
        behind += cotangent[k];
    }
    pulled
}

#[cfg(test)]
mod tests {
    use super::super::difference::check;
    use super::*;

    #[test]
    fn running_sums_and_products() {
        for is_product in [false, true] {
            for (exclusive, reverse) in [(false, false), (true, false), (false, true), (true, true)]
            {
                let operator = Cumulative { axis: -2, is_product, exclusive, reverse };
                check(&operator, &[&[2, 4, 3]], &[0]);
            }
        }
    }

    #[test]
    fn a_running_product_with_zeros_has_a_gradient() {
        let operator = Cumulative { axis: 0, is_product: true, exclusive: false, reverse: false };
        let x = Tensor::vector(vec![2.0, 0.0, 3.0, 0.0]);
        let c = Tensor::vector(vec![1.0; 4]);
        let gradient = operator.pull_back(&[x.clone()], &x, &c).unwrap().remove(0).unwrap();
        // y = [a, ab, abc, abcd].
        assert_eq!(gradient.data(), [1.0, 2.0 + 6.0, 0.0, 0.0]);
    }
}
