//! The plain tensor that crosses every seam: a shape and row-major `f32` values.
//!
//! No array library appears here on purpose. tract and tch bring different versions of `ndarray`,
//! and a plugin built elsewhere brings its own; a `Vec` and a shape mean the same to all of them.

use crate::{Error, Result};

/// A dense, row-major tensor of `f32`.
///
/// The product of `shape` always equals `data.len()`; the constructors keep it so. A scalar has an
/// empty shape and one value.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Tensor {
    /// A tensor of `shape` over `data`.
    ///
    /// # Errors
    /// When the product of `shape` is not `data.len()`.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Result<Self> {
        let shape = shape.into();
        let volume = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if volume != Some(data.len()) {
            return Err(Error::bug(format!(
                "a tensor of shape {shape:?} cannot hold {} values.",
                data.len()
            )));
        }
        Ok(Self { shape, data })
    }

    /// A tensor of `shape` filled with `value`.
    pub fn filled(shape: impl Into<Vec<usize>>, value: f32) -> Self {
        let shape = shape.into();
        let n = shape.iter().product();
        Self { shape, data: vec![value; n] }
    }

    /// A tensor of zeros.
    pub fn zeros(shape: impl Into<Vec<usize>>) -> Self {
        Self::filled(shape, 0.0)
    }

    /// A one-dimensional tensor over `data`.
    pub fn vector(data: Vec<f32>) -> Self {
        Self { shape: vec![data.len()], data }
    }

    /// The extent of every axis, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values, row-major.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The values, row-major, to change in place.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// Gives the values away.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// True for a tensor without values.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The same values under another shape of the same volume.
    ///
    /// # Errors
    /// When the volumes differ.
    pub fn reshaped(self, shape: impl Into<Vec<usize>>) -> Result<Self> {
        Self::new(shape, self.data)
    }

    /// Number of rows, the extent of the outermost axis (1 for a scalar).
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// The shape of one row: everything but the outermost axis.
    pub fn row_shape(&self) -> &[usize] {
        self.shape.get(1..).unwrap_or(&[])
    }

    /// The values of row `i` of the outermost axis.
    ///
    /// # Panics
    /// When `i` is not a row: the caller counts rows with [`Tensor::rows`].
    pub fn row(&self, i: usize) -> &[f32] {
        let n = self.row_len();
        &self.data[i * n..(i + 1) * n]
    }

    /// The values of row `i`, to change in place. Panics as [`Tensor::row`] does.
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        let n = self.row_len();
        &mut self.data[i * n..(i + 1) * n]
    }

    /// Row `i` as a tensor of its own. Panics as [`Tensor::row`] does.
    #[must_use]
    pub fn row_tensor(&self, i: usize) -> Tensor {
        Tensor { shape: self.row_shape().to_vec(), data: self.row(i).to_vec() }
    }

    /// Stacks equally shaped tensors `[…]` into one `[N, …]`.
    ///
    /// # Errors
    /// When `rows` is empty or the shapes differ.
    pub fn stack<'a>(rows: impl IntoIterator<Item = &'a Tensor>) -> Result<Self> {
        let mut shape: Option<Vec<usize>> = None;
        let mut data = Vec::new();
        let mut n = 0;
        for row in rows {
            match &shape {
                None => shape = Some(row.shape.clone()),
                Some(first) if *first != row.shape => {
                    return Err(Error::new(
                        "fame::tensor::shapes_differ",
                        format!(
                            "cannot stack rows of different shapes: {first:?} and {:?}.",
                            row.shape
                        ),
                    ));
                }
                Some(_) => {}
            }
            data.extend_from_slice(&row.data);
            n += 1;
        }
        let mut full = vec![n];
        full.extend(shape.ok_or_else(|| Error::bug("cannot stack zero rows."))?);
        Self::new(full, data)
    }

    /// The largest absolute value; 0 for an empty tensor, NaN if any value is NaN.
    pub fn max_abs(&self) -> f32 {
        max_abs(&self.data)
    }

    /// True when every value is finite.
    pub fn is_finite(&self) -> bool {
        self.data.iter().all(|v| v.is_finite())
    }

    /// Planes `[C, H, W]` reduced to `[C, ⌈H / factor⌉, ⌈W / factor⌉]`: each value is the mean of a
    /// block of `factor` × `factor`, less at the right and lower border. A factor of 0 counts as 1.
    ///
    /// # Errors
    /// When the shape is not `[C, H, W]`.
    pub fn block_means(&self, factor: usize) -> Result<Self> {
        let (&[channels, height, width], factor) = (self.shape(), factor.max(1)) else {
            return Err(Error::bug(format!("only [C, H, W] has blocks, not {:?}.", self.shape)));
        };
        let (rows, columns) = (height.div_ceil(factor), width.div_ceil(factor));
        let mut means = Vec::with_capacity(channels * rows * columns);
        for channel in 0..channels {
            for (row, column) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
                let (top, left) = (row * factor, column * factor);
                let (bottom, right) = ((top + factor).min(height), (left + factor).min(width));
                let lines = (top..bottom).map(|y| (channel * height + y) * width);
                let sum: f32 =
                    lines.map(|at| self.data[at + left..at + right].iter().sum::<f32>()).sum();
                means.push(sum / ((bottom - top) * (right - left)) as f32);
            }
        }
        Self::new([channels, rows, columns], means)
    }

    fn row_len(&self) -> usize {
        self.row_shape().iter().product()
    }
}

/// The largest absolute value of `values`; 0 when there are none, NaN if any value is NaN.
pub fn max_abs(values: &[f32]) -> f32 {
    // `f32::max` would drop a NaN; an explanation must not.
    values
        .iter()
        .fold(0.0, |m: f32, v| if v.is_nan() || m.is_nan() { f32::NAN } else { m.max(v.abs()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_views_of_the_outermost_axis() {
        let t = Tensor::new([2, 3], vec![0., 1., 2., 3., 4., 5.]).unwrap();
        assert_eq!(t.row(1), [3., 4., 5.]);
        assert_eq!(t.row_tensor(0).shape(), [3]);
        assert_eq!(Tensor::stack([&t.row_tensor(0), &t.row_tensor(1)]).unwrap(), t);
    }

    #[test]
    fn blocks_become_their_means_also_at_the_border() {
        let plane = Tensor::new([1, 2, 3], vec![0., 2., 4., 6., 8., 1.]).unwrap();
        assert_eq!(plane.block_means(2).unwrap(), Tensor::new([1, 1, 2], vec![4., 2.5]).unwrap());
        assert_eq!(plane.block_means(1).unwrap(), plane);
        assert_eq!(plane.block_means(0).unwrap(), plane);
        assert!(Tensor::vector(vec![1.]).block_means(2).is_err());
    }

    #[test]
    fn shapes_are_checked() {
        assert!(Tensor::new([2, 2], vec![0.; 3]).is_err());
        assert!(Tensor::new([usize::MAX, 2], vec![]).is_err());
        assert!(Tensor::stack([&Tensor::zeros([2]), &Tensor::zeros([3])]).is_err());
    }

    #[test]
    fn max_abs_does_not_hide_a_nan() {
        assert!(max_abs(&[1.0, f32::NAN, 2.0]).is_nan());
        assert_eq!(max_abs(&[1.0, -3.0]), 3.0);
        assert_eq!(max_abs(&[]), 0.0);
    }
}
