//! Linear maps that are sums of few elements: each says which, with which factors.

use std::sync::Arc;

use fame_core::{Error, Result, Tensor};

use super::BuiltIn;
use super::node::{Node, indices, mismatch, strides};
use crate::backends::onnx::host_operator::HostOperator;

pub(super) const OPERATORS: &[BuiltIn] =
    &[BuiltIn::new("Col2Im", &[1, 2], col2im), BuiltIn::new("AffineGrid", &[1], affine_grid)];

/// A linear map of one input.
trait LinearMap: Send + Sync {
    /// The shape of the output for an input of this shape.
    fn shape(&self, input: &[usize]) -> Result<Vec<usize>>;

    /// Calls `f` with the output's element, the input's element, and the factor between them.
    fn each_term(&self, input: &[usize], f: &mut dyn FnMut(usize, usize, f64)) -> Result<()>;
}

/// A linear map as an operator.
struct Linear<M>(M);

fn only(inputs: &[Tensor]) -> Result<&Tensor> {
    inputs.first().ok_or_else(|| Error::bug("an operator without its input."))
}

impl<M: LinearMap> HostOperator for Linear<M> {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        self.0.shape(inputs.first().ok_or_else(|| mismatch("its input is missing"))?)
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let x = only(inputs)?;
        let shape = self.0.shape(x.shape())?;
        let mut y = vec![0f64; shape.iter().product()];
        self.0.each_term(x.shape(), &mut |to, from, factor| {
            y[to] += factor * f64::from(x.data()[from]);
        })?;
        Tensor::new(shape, y.into_iter().map(|v| v as f32).collect())
    }

    fn pull_back(&self, inputs: &[Tensor], _: &Tensor, c: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let x = only(inputs)?;
        let mut gradient = vec![0f64; x.len()];
        self.0.each_term(x.shape(), &mut |to, from, factor| {
            gradient[from] += factor * f64::from(c.data()[to]);
        })?;
        let gradient = gradient.into_iter().map(|v| v as f32).collect();
        Ok(vec![Some(Tensor::new(x.shape(), gradient)?)])
    }
}

fn sizes(values: Vec<i64>) -> Result<Vec<usize>> {
    let sizes: Option<Vec<usize>> = values.iter().map(|v| usize::try_from(*v).ok()).collect();
    sizes.ok_or_else(|| mismatch("a negative size"))
}

/// Blocks `[N, C · elements of a block, blocks]` added up to a picture `[N, C, …]`.
struct Col2Im {
    picture: Vec<usize>,
    block: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    pads: Vec<usize>,
    /// How many blocks lie along each axis.
    counts: Vec<usize>,
}

fn col2im(node: &Node) -> Result<Arc<dyn HostOperator>> {
    let given = |position: usize, what: &str| {
        sizes(node.whole(position).ok_or_else(|| mismatch(format_args!("its {what} is missing")))?)
    };
    let (picture, block) = (given(1, "picture's shape")?, given(2, "block's shape")?);
    let axes = block.len();
    let list = |name: &str, default: usize, count: usize| {
        let list = node.ints(name).map_or(Ok(vec![default; count]), |v| sizes(v.to_vec()))?;
        let wrong = || mismatch(format_args!("its {name} are of other axes"));
        (list.len() == count).then_some(list).ok_or_else(wrong)
    };
    let (strides, dilations) = (list("strides", 1, axes)?, list("dilations", 1, axes)?);
    let pads = list("pads", 0, 2 * axes)?;
    if picture.len() != axes || strides.contains(&0) || block.contains(&0) {
        return Err(mismatch("its block does not fit its picture"));
    }
    let count = |k: usize| {
        let reach = (block[k] - 1) * dilations[k] + 1;
        let room = (picture[k] + pads[k] + pads[axes + k]).checked_sub(reach);
        room.map(|room| room / strides[k] + 1)
            .ok_or_else(|| mismatch("its block is larger than its picture"))
    };
    let counts = (0..axes).map(count).collect::<Result<_>>()?;
    Ok(Arc::new(Linear(Col2Im { picture, block, strides, dilations, pads, counts })))
}

impl LinearMap for Col2Im {
    fn shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        let (block, blocks): (usize, usize) =
            (self.block.iter().product(), self.counts.iter().product());
        match *input {
            [n, rows, columns] if rows % block == 0 && columns == blocks => {
                Ok([&[n, rows / block], &self.picture[..]].concat())
            }
            _ => Err(mismatch(format_args!("{input:?} are no blocks of {:?}", self.block))),
        }
    }

    fn each_term(&self, input: &[usize], f: &mut dyn FnMut(usize, usize, f64)) -> Result<()> {
        let plane: usize = self.picture.iter().product();
        let (block, blocks): (usize, usize) =
            (self.block.iter().product(), self.counts.iter().product());
        let steps = strides(&self.picture);
        let channels = self.shape(input)?[..2].iter().product();
        for (element, tap) in indices(&self.block).enumerate() {
            for (column, at) in indices(&self.counts).enumerate() {
                let place = |k: usize| {
                    let padded = at[k] * self.strides[k] + tap[k] * self.dilations[k];
                    let place = padded.checked_sub(self.pads[k])?;
                    (place < self.picture[k]).then_some(place * steps[k])
                };
                let place = (0..tap.len()).try_fold(0, |sum, k| Some(sum + place(k)?));
                let Some(place) = place else { continue };
                for channel in 0..channels {
                    let from = (channel * block + element) * blocks + column;
                    f(channel * plane + place, from, 1.0);
                }
            }
        }
        Ok(())
    }
}

/// The points of a grid in −1 … 1 under an affine map `[N, axes, axes + 1]`.
struct AffineGrid {
    size: Vec<usize>,
    align_corners: bool,
}

fn affine_grid(node: &Node) -> Result<Arc<dyn HostOperator>> {
    let size = sizes(node.whole(1).ok_or_else(|| mismatch("its size is missing"))?)?;
    if size.len() < 4 {
        return Err(mismatch("its size is that of no picture"));
    }
    Ok(Arc::new(Linear(AffineGrid { size, align_corners: node.int("align_corners", 0) == 1 })))
}

impl LinearMap for AffineGrid {
    fn shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        let axes = self.size.len() - 2;
        if *input != [self.size[0], axes, axes + 1] {
            return Err(mismatch(format_args!("a map {input:?} for {:?}", self.size)));
        }
        Ok([&self.size[..1], &self.size[2..], &[axes]].concat())
    }

    fn each_term(&self, input: &[usize], f: &mut dyn FnMut(usize, usize, f64)) -> Result<()> {
        let axes = self.size.len() - 2;
        let points: usize = self.size[2..].iter().product();
        let coordinate = |k: usize, extent: usize| {
            let (k, n) = (k as f64, extent as f64);
            match (self.align_corners, extent) {
                (true, 1) => 0.0,
                (true, _) => 2.0 * k / (n - 1.0) - 1.0,
                (false, _) => (2.0 * k + 1.0) / n - 1.0,
            }
        };
        for n in 0..input[0] {
            for (point, index) in indices(&self.size[2..]).enumerate() {
                for row in 0..axes {
                    let (to, from) =
                        ((n * points + point) * axes + row, (n * axes + row) * (axes + 1));
                    // The last axis of the picture is the first coordinate.
                    for k in 0..axes {
                        let axis = axes - 1 - k;
                        f(to, from + k, coordinate(index[axis], self.size[2 + axis]));
                    }
                    f(to, from + axes, 1.0);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::difference::check;
    use super::*;

    #[test]
    fn blocks_add_up_to_a_picture() {
        let map = Col2Im {
            picture: vec![1, 3],
            block: vec![1, 2],
            strides: vec![1, 1],
            dilations: vec![1, 1],
            pads: vec![0; 4],
            counts: vec![1, 2],
        };
        let blocks = Tensor::new([1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(Linear(map).forward(&[blocks]).unwrap().data(), [1.0, 5.0, 4.0]);
    }

    #[test]
    fn every_map_is_the_transpose_of_its_gradient() {
        let map = Col2Im {
            picture: vec![4, 5],
            block: vec![2, 3],
            strides: vec![2, 1],
            dilations: vec![1, 2],
            pads: vec![1, 0, 1, 1],
            counts: vec![3, 2],
        };
        check(&Linear(map), &[&[1, 12, 6]], &[0]);
        for align_corners in [false, true] {
            let grid = Linear(AffineGrid { size: vec![2, 1, 2, 3], align_corners });
            check(&grid, &[&[2, 2, 3]], &[0]);
        }
    }

    #[test]
    fn the_identity_gives_the_grid_itself() {
        let grid = Linear(AffineGrid { size: vec![1, 1, 1, 2], align_corners: false });
        let identity = Tensor::new([1, 2, 3], vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0]).unwrap();
        assert_eq!(grid.forward(&[identity]).unwrap().data(), [-0.5, 0.0, 0.5, 0.0]);
    }
}
