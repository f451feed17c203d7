//! Remainders and determinants.

use std::sync::Arc;

use fame_core::{Result, Tensor};

use super::BuiltIn;
use super::node::{indices, mismatch, strides};
use crate::backends::onnx::host_operator::HostOperator;

pub(super) const OPERATORS: &[BuiltIn] = &[
    BuiltIn::new("Mod", &[], |node| {
        Ok(Arc::new(Remainder { sign_of_dividend: node.int("fmod", 0) == 1 }))
    }),
    BuiltIn::new("Det", &[], |_| Ok(Arc::new(Determinant))),
];

/// `x − y · q` with `q` the quotient rounded down, or towards zero. Inputs broadcast.
struct Remainder {
    /// Towards zero: the remainder has the dividend's sign, not the divisor's.
    sign_of_dividend: bool,
}

impl Remainder {
    fn quotient(&self, x: f32, y: f32) -> f32 {
        let (x, y) = (f64::from(x), f64::from(y));
        (if self.sign_of_dividend { (x / y).trunc() } else { (x / y).floor() }) as f32
    }

    fn remainder(&self, x: f32, y: f32) -> f32 {
        let rest = x % y;
        let is_other_side = !self.sign_of_dividend && rest != 0.0 && (rest < 0.0) != (y < 0.0);
        if is_other_side { rest + y } else { rest }
    }

    /// For each element of the result, the elements of the two inputs that it is made of.
    fn pairs(inputs: &[Tensor], shape: &[usize]) -> Vec<[usize; 2]> {
        let place = |of: &Tensor, index: &[usize]| -> usize {
            let missing = shape.len() - of.shape().len();
            let at = index[missing..].iter().zip(of.shape()).zip(strides(of.shape()));
            at.map(|((i, extent), step)| if *extent == 1 { 0 } else { i * step }).sum()
        };
        indices(shape).map(|ix| [place(&inputs[0], &ix), place(&inputs[1], &ix)]).collect()
    }
}

/// The shape that two shapes broadcast to.
fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let extent =
        |of: &[usize], axis: usize| (axis + of.len()).checked_sub(rank).map_or(1, |axis| of[axis]);
    let both = |axis: usize| match (extent(a, axis), extent(b, axis)) {
        (a, b) if a == b || b == 1 => Ok(a),
        (1, b) => Ok(b),
        _ => Err(mismatch(format_args!("{a:?} and {b:?} do not broadcast"))),
    };
    (0..rank).map(both).collect()
}

impl HostOperator for Remainder {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        let [x, y] = inputs else { return Err(mismatch("it takes two inputs")) };
        broadcast(x, y)
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let [x, y] = inputs else { return Err(mismatch("it takes two inputs")) };
        let shape = broadcast(x.shape(), y.shape())?;
        let values = Self::pairs(inputs, &shape).into_iter();
        let values = values.map(|[a, b]| self.remainder(x.data()[a], y.data()[b])).collect();
        Tensor::new(shape, values)
    }

    fn pull_back(&self, inputs: &[Tensor], y: &Tensor, c: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [dividend, divisor] = inputs else { return Err(mismatch("it takes two inputs")) };
        let mut pulled = [Tensor::zeros(dividend.shape()), Tensor::zeros(divisor.shape())];
        for ([a, b], c) in Self::pairs(inputs, y.shape()).into_iter().zip(c.data()) {
            pulled[0].data_mut()[a] += c;
            let quotient = self.quotient(dividend.data()[a], divisor.data()[b]);
            pulled[1].data_mut()[b] -= c * quotient;
        }
        Ok(pulled.map(Some).into())
    }
}

/// The determinant of every matrix of the last two axes.
struct Determinant;

/// The determinant of the row-major `matrix` of `n` rows, by elimination with pivots.
fn determinant(mut matrix: Vec<f64>, n: usize) -> f64 {
    let mut product = 1.0;
    for column in 0..n {
        let size = |row: &usize| matrix[row * n + column].abs();
        let best = (column..n).max_by(|a, b| size(a).total_cmp(&size(b))).unwrap_or(column);
        let pivot = matrix[best * n + column];
        if pivot == 0.0 {
            return 0.0;
        }
        if best != column {
            (0..n).for_each(|k| matrix.swap(best * n + k, column * n + k));
            product = -product;
        }
        product *= pivot;
        for row in column + 1..n {
            let factor = matrix[row * n + column] / pivot;
            (column..n).for_each(|k| matrix[row * n + k] -= factor * matrix[column * n + k]);
        }
    }
    product
}

impl Determinant {
    /// The number of rows of each matrix.
    fn size(shape: &[usize]) -> Result<usize> {
        match shape {
            [.., rows, columns] if rows == columns => Ok(*rows),
            _ => Err(mismatch(format_args!("{shape:?} are no square matrices"))),
        }
    }

    fn matrices(x: &Tensor, n: usize) -> impl Iterator<Item = Vec<f64>> {
        x.data().chunks(n * n).map(|m| m.iter().map(|v| f64::from(*v)).collect())
    }
}

impl HostOperator for Determinant {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        let [shape] = inputs else { return Err(mismatch("it takes one input")) };
        Self::size(shape)?;
        Ok(shape[..shape.len() - 2].to_vec())
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let [x] = inputs else { return Err(mismatch("it takes one input")) };
        let n = Self::size(x.shape())?;
        let values = Self::matrices(x, n).map(|m| determinant(m, n) as f32).collect();
        Tensor::new(self.shape(&[x.shape().to_vec()])?, values)
    }

    /// The derivative with respect to an element is its cofactor: without an inverse, so that a
    /// singular matrix has one.
    fn pull_back(&self, inputs: &[Tensor], _: &Tensor, c: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x] = inputs else { return Err(mismatch("it takes one input")) };
        let n = Self::size(x.shape())?;
        let mut values = vec![];
        for (matrix, c) in Self::matrices(x, n).zip(c.data()) {
            for (row, column) in (0..n).flat_map(|row| (0..n).map(move |column| (row, column))) {
                let minor = (0..n * n).filter(|at| at / n != row && at % n != column);
                let minor = determinant(minor.map(|at| matrix[at]).collect(), n - 1);
                let sign = if (row + column) % 2 == 0 { 1.0 } else { -1.0 };
                values.push((f64::from(*c) * sign * minor) as f32);
            }
        }
        Ok(vec![Some(Tensor::new(x.shape(), values)?)])
    }
}

#[cfg(test)]
mod tests {
    use super::super::difference::{check, check_at};
    use super::*;

    #[test]
    fn remainders_have_the_sign_that_onnx_says() {
        let (x, y) = (vec![-4.3, 7.2, 5.0, 4.3], vec![2.1, -3.4, 8.0, -2.1]);
        let inputs = [Tensor::vector(x), Tensor::vector(y)];
        let near = |got: &[f32], want: [f32; 4]| {
            got.iter().zip(want).for_each(|(g, w)| assert!((g - w).abs() < 1e-5, "{got:?}"));
        };
        for (sign_of_dividend, want) in
            [(false, [2.0, -3.0, 5.0, -2.0]), (true, [-0.1, 0.4, 5.0, 0.1])]
        {
            let operator = Remainder { sign_of_dividend };
            let got = operator.forward(&inputs).unwrap();
            near(got.data(), want);
            check_at(&operator, &inputs, &[0, 1]);
        }
        let row = [Tensor::new([2, 1], vec![5.3, -2.2]).unwrap(), Tensor::vector(vec![0.7, 3.1])];
        check_at(&Remainder { sign_of_dividend: false }, &row, &[0, 1]);
    }

    #[test]
    fn determinants_of_any_matrix() {
        check(&Determinant, &[&[2, 3, 3]], &[0]);
        let singular = Tensor::new([2, 2], vec![1.0, 2.0, 2.0, 4.0]).unwrap();
        assert_eq!(Determinant.forward(std::slice::from_ref(&singular)).unwrap().data(), [0.0]);
        check_at(&Determinant, &[singular], &[0]);
    }
}
