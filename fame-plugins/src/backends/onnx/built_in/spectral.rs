//! The discrete Fourier transform along one axis.
//!
//! It is a linear map of real numbers: `y = A x`, whose gradient is `Aᵀ c`. Both are one loop over
//! pairs of elements, which is fast enough for the axes that networks transform.

use std::sync::Arc;

use fame_core::{Error, Result, Tensor};

use super::BuiltIn;
use super::node::{Node, axis_of, mismatch};
use crate::backends::onnx::host_operator::HostOperator;

pub(super) const OPERATORS: &[BuiltIn] = &[BuiltIn::new("DFT", &[1, 2], build)];

/// The transform of `[…, n, …, 1 or 2]`, the last axis holding real and imaginary parts.
struct Dft {
    axis: i64,
    /// How many elements are transformed: the rest is cut, what lacks is zero. `None`: all.
    length: Option<usize>,
    inverse: bool,
    /// Of the spectrum of real numbers only the half that determines it.
    onesided: bool,
}

fn build(node: &Node) -> Result<Arc<dyn HostOperator>> {
    // From opset 20 on the axis is an input.
    let axis = node.whole(2).and_then(|axis| axis.first().copied());
    let default = if node.opset < 20 { 1 } else { -2 };
    let length = node.whole(1).and_then(|n| n.first().copied());
    let length = length.map(|n| usize::try_from(n).ok().filter(|n| *n > 0));
    let length = match length {
        None => None,
        Some(Some(length)) => Some(length),
        Some(None) => return Err(mismatch("its length is not positive")),
    };
    Ok(Arc::new(Dft {
        axis: axis.unwrap_or_else(|| node.int("axis", default)),
        length,
        inverse: node.int("inverse", 0) == 1,
        onesided: node.int("onesided", 0) == 1,
    }))
}

/// What one transform is of: extents around the axis, and the numbers of parts.
struct Frame {
    outer: usize,
    inner: usize,
    /// Elements that go in, that the transform is over, and that come out.
    given: usize,
    length: usize,
    gives: usize,
    /// 1 for real numbers, 2 for complex ones: what goes in, and what comes out.
    parts: usize,
    out_parts: usize,
}

impl Dft {
    fn frame(&self, shape: &[usize]) -> Result<Frame> {
        let axis = axis_of(self.axis, shape.len())?;
        let parts = shape.last().copied().unwrap_or(0);
        if axis + 1 == shape.len() || !(1..=2).contains(&parts) {
            return Err(mismatch(format_args!("{shape:?} holds no numbers along axis {axis}")));
        }
        let given = shape[axis];
        let is_half_given = self.inverse && self.onesided;
        let whole = if is_half_given { (given.max(1) - 1) * 2 } else { given };
        let length = self.length.unwrap_or(whole);
        let half = length / 2 + 1;
        Ok(Frame {
            outer: shape[..axis].iter().product(),
            inner: shape[axis + 1..shape.len() - 1].iter().product(),
            given,
            length,
            gives: if self.onesided && !self.inverse { half } else { length },
            parts,
            out_parts: if is_half_given { 1 } else { 2 },
        })
    }

    /// Calls `f` with the places of an element that goes in and of one that comes out, and the
    /// complex factor between them.
    fn each_pair(&self, frame: &Frame, mut f: impl FnMut(usize, usize, [f64; 2])) {
        let (length, inner) = (frame.length, frame.inner);
        let half = length / 2 + 1;
        let is_half_given = self.inverse && self.onesided;
        let used = frame.given.min(if is_half_given { half } else { length });
        let scale = if self.inverse { 1.0 / length as f64 } else { 1.0 };
        let turn = if self.inverse { 1.0 } else { -1.0 } * std::f64::consts::TAU / length as f64;
        for line in 0..frame.outer * inner {
            let (outer, inside) = (line / inner, line % inner);
            let at = |k: usize, extent: usize| (outer * extent + k) * inner + inside;
            for to in 0..frame.gives {
                for from in 0..used {
                    // An element that stands for its mirror image as well counts twice.
                    let is_twice = is_half_given && from > 0 && 2 * from != length;
                    let angle = turn * ((to * from) % length) as f64;
                    let scale = if is_twice { 2.0 * scale } else { scale };
                    let factor = [scale * angle.cos(), scale * angle.sin()];
                    f(at(from, frame.given), at(to, frame.gives), factor);
                }
            }
        }
    }
}

fn only(inputs: &[Tensor]) -> Result<&Tensor> {
    inputs.first().ok_or_else(|| Error::bug("an operator without its input."))
}

impl HostOperator for Dft {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        let mut shape = inputs.first().cloned().ok_or_else(|| mismatch("its input is missing"))?;
        let frame = self.frame(&shape)?;
        let axis = axis_of(self.axis, shape.len())?;
        shape[axis] = frame.gives;
        if let Some(parts) = shape.last_mut() {
            *parts = frame.out_parts;
        }
        Ok(shape)
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let x = only(inputs)?;
        let frame = self.frame(x.shape())?;
        let shape = self.shape(&[x.shape().to_vec()])?;
        let mut y = vec![0f64; shape.iter().product()];
        self.each_pair(&frame, |from, to, [re, im]| {
            let part = |k: usize| {
                if k < frame.parts { f64::from(x.data()[from * frame.parts + k]) } else { 0.0 }
            };
            y[to * frame.out_parts] += re * part(0) - im * part(1);
            if frame.out_parts == 2 {
                y[to * 2 + 1] += im * part(0) + re * part(1);
            }
        });
        Tensor::new(shape, y.into_iter().map(|v| v as f32).collect())
    }

    fn pull_back(&self, inputs: &[Tensor], _: &Tensor, c: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let x = only(inputs)?;
        let frame = self.frame(x.shape())?;
        let mut gradient = vec![0f64; x.len()];
        self.each_pair(&frame, |from, to, [re, im]| {
            let part = |k: usize| {
                if k < frame.out_parts {
                    f64::from(c.data()[to * frame.out_parts + k])
                } else {
                    0.0
                }
            };
            gradient[from * frame.parts] += re * part(0) + im * part(1);
            if frame.parts == 2 {
                gradient[from * 2 + 1] += re * part(1) - im * part(0);
            }
        });
        let gradient = gradient.into_iter().map(|v| v as f32).collect();
        Ok(vec![Some(Tensor::new(x.shape(), gradient)?)])
    }
}

#[cfg(test)]
mod tests {
    use super::super::difference::check;
    use super::*;

    fn dft(inverse: bool, onesided: bool, length: Option<usize>) -> Dft {
        Dft { axis: 1, length, inverse, onesided }
    }

    #[test]
    fn the_inverse_gives_back_what_was_transformed() {
        let x = Tensor::new([1, 5, 1], vec![1.0, -2.0, 0.5, 3.0, 4.0]).unwrap();
        for onesided in [false, true] {
            let spectrum = dft(false, onesided, None).forward(std::slice::from_ref(&x)).unwrap();
            let back = dft(true, onesided, Some(5)).forward(&[spectrum]).unwrap();
            let parts = back.shape()[2];
            for (k, x) in x.data().iter().enumerate() {
                assert!((back.data()[k * parts] - x).abs() < 1e-5, "{:?}", back.data());
            }
        }
    }

    #[test]
    fn every_way_has_its_gradient() {
        for parts in [1, 2] {
            for length in [None, Some(3), Some(7)] {
                check(&dft(false, parts == 1, length), &[&[2, 4, 2, parts]], &[0]);
                check(&dft(true, false, length), &[&[2, 4, 2, parts]], &[0]);
            }
        }
        check(&dft(true, true, None), &[&[1, 4, 1, 2]], &[0]);
    }
}
