//! Max and average pooling.

use tch::{TchError, Tensor};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{MaxPool, PoolSpec, SumPool};

use super::conv::Window;
use super::rule::Rule;
use super::site::{Lower, Lowered};
use crate::backends::tch::values::Layout;

pub(super) const RULES: &[Rule] = &[
    Rule {
        applies: |op| {
            op.downcast_ref::<MaxPool>()
                .is_some_and(|op| op.with_index_outputs.is_none() && covered(&op.pool_spec))
        },
        lower: max_pool,
    },
    Rule {
        applies: |op| {
            op.downcast_ref::<SumPool>().is_some_and(|op| {
                covered(&op.pool_spec) && op.pool_spec.dilations().iter().all(|d| *d == 1)
            })
        },
        lower: sum_pool,
    },
];

fn covered(pool: &PoolSpec) -> bool {
    pool.rank() <= 3
}

/// Everything about the windows as lists of two or three: a single axis becomes the second of two.
struct Windows {
    kernel: Vec<i64>,
    stride: Vec<i64>,
    dilation: Vec<i64>,
    /// Padding in front and behind so that exactly the output's windows fit; negative behind where
    /// elements are left over.
    pads: Vec<(i64, i64)>,
}

impl Windows {
    fn for_input(pool: &PoolSpec, input: &[usize]) -> TractResult<Self> {
        let shape = pool.data_format.shape(input.to_vec())?;
        let mut windows = Self { kernel: vec![], stride: vec![], dilation: vec![], pads: vec![] };
        if pool.rank() == 1 {
            windows.push(1, 1, 1, (0, 0));
        }
        for (k, padding) in pool.computed_padding(shape.hw_dims()).iter().enumerate() {
            let (size, stride, dilation) =
                (pool.kernel_shape[k] as i64, pool.stride(k) as i64, pool.dilation(k) as i64);
            let covered = (padding.convoluted as i64 - 1) * stride + (size - 1) * dilation + 1;
            let before = padding.pad_before as i64;
            windows.push(
                size,
                stride,
                dilation,
                (before, covered - before - shape.hw_dims()[k] as i64),
            );
        }
        Ok(windows)
    }

    fn push(&mut self, kernel: i64, stride: i64, dilation: i64, pads: (i64, i64)) {
        self.kernel.push(kernel);
        self.stride.push(stride);
        self.dilation.push(dilation);
        self.pads.push(pads);
    }

    /// Padding that libtorch's kernel can do by itself: the same on both sides, at most half a
    /// window.
    fn own_padding(&self) -> Option<Vec<i64>> {
        let own = |((before, after), kernel): (&(i64, i64), &i64)| {
            (before == after && 2 * before <= *kernel).then_some(*before)
        };
        self.pads.iter().zip(&self.kernel).map(own).collect()
    }

    /// The maximum of each window.
    fn maxima(&self, x: &Tensor, padding: &[i64]) -> Result<Tensor, TchError> {
        let (kernel, stride, dilation) = (&self.kernel[..], &self.stride[..], &self.dilation[..]);
        if kernel.len() == 3 {
            x.f_max_pool3d(kernel, stride, padding, dilation, false)
        } else {
            x.f_max_pool2d(kernel, stride, padding, dilation, false)
        }
    }

    /// The sum of each window: a mean that is divided by one.
    fn sums(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let (kernel, stride) = (&self.kernel[..], &self.stride[..]);
        if kernel.len() == 3 {
            x.f_avg_pool3d(kernel, stride, [0, 0, 0], false, true, 1)
        } else {
            x.f_avg_pool2d(kernel, stride, [0, 0], false, true, 1)
        }
    }

    /// Pads with `value`, or cuts.
    fn padded(&self, x: &Tensor, value: f64) -> Result<Tensor, TchError> {
        let pads: Vec<i64> =
            self.pads.iter().rev().flat_map(|(before, after)| [*before, *after]).collect();
        if pads.iter().all(|p| *p == 0) {
            Ok(x.shallow_clone())
        } else {
            x.f_pad(&pads[..], "constant", value)
        }
    }
}

fn max_pool(l: &mut Lower) -> TractResult<Lowered> {
    let pool = &l.op::<MaxPool>()?.pool_spec;
    let windows = Windows::for_input(pool, l.input_shape(0)?)?;
    let window = Window::for_input(l, pool.data_format, pool.rank())?;
    let own = windows.own_padding();
    l.map(move |x| {
        let x = window.planes(x)?;
        let y = match &own {
            Some(padding) => windows.maxima(&x, padding)?,
            // Padding never wins.
            None => {
                let padded = windows.padded(&x, f64::NEG_INFINITY)?;
                windows.maxima(&padded, &vec![0; windows.kernel.len()])?
            }
        };
        window.restored(&y)
    })
}

fn sum_pool(l: &mut Lower) -> TractResult<Lowered> {
    let op = l.op::<SumPool>()?;
    let pool = &op.pool_spec;
    let windows = Windows::for_input(pool, l.input_shape(0)?)?;
    let window = Window::for_input(l, pool.data_format, pool.rank())?;
    let weights = if op.normalize { Some(shares(op, l.input_shape(0)?)?) } else { None };
    let mut inputs = vec![l.slot(0)?];
    if let Some(weights) = &weights {
        inputs.push(l.upload(weights, Layout::Plain)?);
    }
    let kernel = move |t: &[&Tensor]| {
        let x = windows.padded(&window.planes(t[0])?, 0.0)?;
        let sum = windows.sums(&x)?;
        window.restored(&if let [_, shares] = t { sum.f_mul(shares)? } else { sum })
    };
    Ok(Lowered::new(inputs, kernel))
}

/// One over the number of elements that count in each window, `[1, 1, …]`.
fn shares(op: &SumPool, input: &[usize]) -> TractResult<tract_onnx::prelude::Tensor> {
    let pool = &op.pool_spec;
    let shape = pool.data_format.shape(input.to_vec())?;
    let mut counts: Vec<Vec<f32>> = if pool.rank() == 1 { vec![vec![1.0]] } else { vec![] };
    for (k, padding) in pool.computed_padding(shape.hw_dims()).iter().enumerate() {
        let extent = shape.hw_dims()[k];
        // Where a window reaches beyond the padding, what is beyond never counts.
        let (first, end) = if op.count_include_pad {
            (0, extent + padding.pad_before + padding.pad_after)
        } else {
            (padding.pad_before, padding.pad_before + extent)
        };
        let inside = |o: usize| {
            (0..pool.kernel_shape[k])
                .map(|tap| o * pool.stride(k) + tap)
                .filter(|at| (first..end).contains(at))
                .count()
        };
        counts.push((0..padding.convoluted).map(|o| inside(o).max(1) as f32).collect());
    }
    let mut shares = vec![1f32];
    for counts in &counts {
        shares = shares.iter().flat_map(|s| counts.iter().map(move |n| s / n)).collect();
    }
    let shape: Vec<usize> = [1, 1].into_iter().chain(counts.iter().map(Vec::len)).collect();
    tract_onnx::prelude::Tensor::from_shape(&shape, &shares)
}
