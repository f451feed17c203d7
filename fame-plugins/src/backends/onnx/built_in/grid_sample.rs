//! `GridSample`: values read between the elements of a picture, in two or three dimensions.
//!
//! A sample is `Σ w₁(x) w₂(y) … · X[…]` over the neighbours of a point; the weights and their
//! slopes are all that the modes differ in.

use std::sync::Arc;

use fame_core::{Result, Tensor};

use super::BuiltIn;
use super::node::{Node, mismatch, strides, unsupported};
use crate::backends::onnx::host_operator::HostOperator;

pub(super) const OPERATORS: &[BuiltIn] = &[BuiltIn::new("GridSample", &[], build)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Linear,
    Nearest,
    Cubic,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

/// Samples of the first input, `[N, C, …]`, at the points that the second, `[N, …, axes]`, holds in
/// −1 … 1, the last axis of the picture first.
struct GridSample {
    mode: Mode,
    padding: Padding,
    /// ±1 are the middles of the outermost elements, not their outer edges.
    align_corners: bool,
}

fn build(node: &Node) -> Result<Arc<dyn HostOperator>> {
    let mode = match node.text("mode", "linear") {
        "linear" | "bilinear" => Mode::Linear,
        "nearest" => Mode::Nearest,
        "cubic" | "bicubic" => Mode::Cubic,
        other => return Err(unsupported(format_args!("the mode `{other}`"))),
    };
    let padding = match node.text("padding_mode", "zeros") {
        "zeros" => Padding::Zeros,
        "border" => Padding::Border,
        "reflection" => Padding::Reflection,
        other => return Err(unsupported(format_args!("the padding `{other}`"))),
    };
    Ok(Arc::new(GridSample { mode, padding, align_corners: node.int("align_corners", 0) == 1 }))
}

/// A neighbour of a point along one axis: where it is (`None` outside), its weight, and the
/// weight's derivative with respect to the grid's number.
struct Neighbour {
    at: Option<usize>,
    weight: f64,
    slope: f64,
}

/// `x` reflected at `low` and `high` until it lies between, and the slope of doing so.
fn reflected(x: f64, low: f64, high: f64) -> (f64, f64) {
    let span = high - low;
    if span <= 0.0 {
        return (low, 0.0);
    }
    let from = (x - low).abs();
    let sign = if x < low { -1.0 } else { 1.0 };
    let (turns, rest) = ((from / span).floor(), from % span);
    if turns % 2.0 == 0.0 { (low + rest, sign) } else { (high - rest, -sign) }
}

/// The weights of Keys' cubic with a = −0.75 for the neighbours −1, 0, 1, 2 of a point `t` behind
/// neighbour 0, and their slopes.
fn cubic(t: f64) -> [(f64, f64); 4] {
    const A: f64 = -0.75;
    let near = |d: f64| {
        (
            (A + 2.0) * d * d * d - (A + 3.0) * d * d + 1.0,
            3.0 * (A + 2.0) * d * d - 2.0 * (A + 3.0) * d,
        )
    };
    let far = |d: f64| {
        (
            A * d * d * d - 5.0 * A * d * d + 8.0 * A * d - 4.0 * A,
            3.0 * A * d * d - 10.0 * A * d + 8.0 * A,
        )
    };
    let minus = |(weight, slope): (f64, f64)| (weight, -slope);
    [far(1.0 + t), near(t), minus(near(1.0 - t)), minus(far(2.0 - t))]
}

impl GridSample {
    /// The neighbours of the grid's number `x` along an axis of `extent`.
    fn neighbours(&self, x: f64, extent: usize) -> Vec<Neighbour> {
        let size = extent as f64;
        let scale = if self.align_corners { (size - 1.0) / 2.0 } else { size / 2.0 };
        let mut at = if self.align_corners { (x + 1.0) * scale } else { (x + 1.0) * scale - 0.5 };
        let mut slope = scale;
        if self.mode == Mode::Nearest {
            at = at.round_ties_even();
        }
        let (low, high) = self.bounds(extent);
        // A cubic's neighbours are moved inside one by one.
        if self.mode != Mode::Cubic && (at < low || at > high) {
            let (inside, factor) = self.moved_inside(at, extent);
            (at, slope) = (inside, slope * factor);
        }
        let first = at.floor();
        let t = at - first;
        let weights: &[(f64, (f64, f64))] = match self.mode {
            Mode::Nearest => &[(first, (1.0, 0.0))],
            Mode::Linear => &[(first, (1.0 - t, -1.0)), (first + 1.0, (t, 1.0))],
            Mode::Cubic => {
                let [a, b, c, d] = cubic(t);
                &[(first - 1.0, a), (first, b), (first + 1.0, c), (first + 2.0, d)]
            }
        };
        let neighbour = |&(place, (weight, own)): &(f64, (f64, f64))| Neighbour {
            at: self.element(place, extent),
            weight,
            slope: own * slope,
        };
        weights.iter().map(neighbour).collect()
    }

    /// Where the picture begins and ends along an axis of `extent`.
    fn bounds(&self, extent: usize) -> (f64, f64) {
        let last = extent as f64 - 1.0;
        if self.align_corners { (0.0, last) } else { (-0.5, last + 0.5) }
    }

    /// Where a point outside is moved to by the padding, and the slope of that.
    fn moved_inside(&self, at: f64, extent: usize) -> (f64, f64) {
        let (low, high) = self.bounds(extent);
        match self.padding {
            Padding::Zeros => (at, 1.0),
            Padding::Border => (at.clamp(0.0, extent as f64 - 1.0), 0.0),
            Padding::Reflection => reflected(at, low, high),
        }
    }

    /// The element at the whole number `place`, after the padding.
    fn element(&self, place: f64, extent: usize) -> Option<usize> {
        let last = extent as f64 - 1.0;
        let inside = (0.0..=last).contains(&place);
        let place = if inside { place } else { self.moved_inside(place, extent).0.round() };
        match self.padding {
            Padding::Zeros => inside.then_some(place as usize),
            _ => Some(place.clamp(0.0, last) as usize),
        }
    }

    /// Calls `f` with the picture, the point, and its neighbours along each axis.
    fn each_point(
        &self,
        x: &Tensor,
        grid: &Tensor,
        mut f: impl FnMut(usize, usize, &[Vec<Neighbour>]),
    ) {
        let extents = &x.shape()[2..];
        let points: usize = grid.shape()[1..grid.shape().len() - 1].iter().product();
        for (ix, point) in grid.data().chunks(extents.len()).enumerate() {
            let axes = extents.iter().enumerate().map(|(axis, extent)| {
                self.neighbours(f64::from(point[extents.len() - 1 - axis]), *extent)
            });
            f(ix / points, ix % points, &axes.collect::<Vec<_>>());
        }
    }
}

/// Calls `f` for every combination of neighbours that lies inside: its offset in a channel, its
/// weight, and for each axis the derivative of that weight.
fn each_tap(axes: &[Vec<Neighbour>], steps: &[usize], mut f: impl FnMut(usize, f64, &[f64])) {
    let counts: Vec<usize> = axes.iter().map(Vec::len).collect();
    for index in super::node::indices(&counts) {
        let taps: Vec<&Neighbour> = axes.iter().zip(&index).map(|(axis, i)| &axis[*i]).collect();
        let offset =
            taps.iter().zip(steps).try_fold(0, |sum, (tap, step)| Some(sum + tap.at? * step));
        let Some(offset) = offset else { continue };
        let weight = taps.iter().map(|tap| tap.weight).product();
        let slope = |axis: usize| -> f64 {
            let factor =
                |(k, tap): (usize, &&Neighbour)| if k == axis { tap.slope } else { tap.weight };
            taps.iter().enumerate().map(factor).product()
        };
        f(offset, weight, &(0..axes.len()).map(slope).collect::<Vec<_>>());
    }
}

impl HostOperator for GridSample {
    fn shape(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
        let [x, grid] = inputs else { return Err(mismatch("it takes a picture and a grid")) };
        let fits = x.len() >= 3
            && grid.len() == x.len()
            && grid[0] == x[0]
            && grid.last() == Some(&(x.len() - 2));
        if !fits {
            return Err(mismatch(format_args!("a grid {grid:?} for {x:?}")));
        }
        Ok([&x[..2], &grid[1..grid.len() - 1]].concat())
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let [x, grid] = inputs else { return Err(mismatch("it takes a picture and a grid")) };
        let mut y = Tensor::zeros(self.shape(&[x.shape().to_vec(), grid.shape().to_vec()])?);
        let (channels, steps) = (x.shape()[1], strides(&x.shape()[2..]));
        let (from, to): (usize, usize) =
            (x.shape()[2..].iter().product(), y.shape()[2..].iter().product());
        self.each_point(x, grid, |n, point, axes| {
            each_tap(axes, &steps, |offset, weight, _| {
                for plane in n * channels..(n + 1) * channels {
                    let value = weight * f64::from(x.data()[plane * from + offset]);
                    y.data_mut()[plane * to + point] += value as f32;
                }
            });
        });
        Ok(y)
    }

    fn pull_back(&self, inputs: &[Tensor], y: &Tensor, c: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x, grid] = inputs else { return Err(mismatch("it takes a picture and a grid")) };
        let (mut of_x, mut of_grid) = (Tensor::zeros(x.shape()), Tensor::zeros(grid.shape()));
        let (channels, steps) = (x.shape()[1], strides(&x.shape()[2..]));
        let (from, to): (usize, usize) =
            (x.shape()[2..].iter().product(), y.shape()[2..].iter().product());
        self.each_point(x, grid, |n, point, axes| {
            let row = (n * to + point) * axes.len();
            each_tap(axes, &steps, |offset, weight, slopes| {
                for plane in n * channels..(n + 1) * channels {
                    let c = f64::from(c.data()[plane * to + point]);
                    of_x.data_mut()[plane * from + offset] += (c * weight) as f32;
                    let value = c * f64::from(x.data()[plane * from + offset]);
                    for (axis, slope) in slopes.iter().enumerate() {
                        let place = row + axes.len() - 1 - axis;
                        of_grid.data_mut()[place] += (value * slope) as f32;
                    }
                }
            });
        });
        Ok(vec![Some(of_x), Some(of_grid)])
    }
}

#[cfg(test)]
mod tests {
    use super::super::difference::check_at;
    use super::*;
    use crate::backends::onnx::fixtures::batch;

    /// A grid that reaches beyond the picture, no point within a difference's step of a kink.
    fn grid(shape: &[usize]) -> Tensor {
        let count: usize = shape.iter().product();
        let values = (0..count).map(|i| ((i * 7 % 23) as f32 - 11.0) * 0.123 + 0.07).collect();
        Tensor::new(shape, values).unwrap()
    }

    #[test]
    fn every_mode_and_padding_has_both_gradients() {
        for mode in [Mode::Linear, Mode::Nearest, Mode::Cubic] {
            for padding in [Padding::Zeros, Padding::Border, Padding::Reflection] {
                for align_corners in [false, true] {
                    let sample = GridSample { mode, padding, align_corners };
                    let inputs = [batch(&[1, 2, 4, 5], 0), grid(&[1, 3, 2, 2])];
                    check_at(&sample, &inputs, &[0]);
                    check_at(&sample, &inputs, &[1]);
                }
            }
        }
        let sample =
            GridSample { mode: Mode::Linear, padding: Padding::Border, align_corners: true };
        check_at(&sample, &[batch(&[1, 1, 2, 3, 4], 0), grid(&[1, 2, 1, 2, 3])], &[0, 1]);
    }
}
