//! 3×3 convolutions of stride 1 by Winograd's minimal filtering.
//!
//! The picture is cut into tiles; a *strip* of tiles is transformed, multiplied with the
//! transformed weights (one product for each of a tile's elements) and transformed back. A strip
//! may hold tiles of several rows of a batch: where the weights outweigh the activations, they are
//! then read once for all of them. Where the activations outweigh the weights, short strips stay in
//! the second cache.

#![allow(clippy::inline_always, reason = "inlined into functions that enable the instructions")]

use std::marker::PhantomData;
use std::ops::Range;

use super::buffer::{LINE, Scratch};
use super::epilogue::Epilogue;
use super::forms::{F2, F4, Form, TAPS, kernels};
use super::picture::Picture;
use super::product::{Lines, Packed, Product, Rows};
use super::tiles::{Inputs, Results, Strip};
use super::vector::{Level, Simd, Task};

/// How large the tiles are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Size {
    /// F(2×2, 3×3).
    Two,
    /// F(4×4, 3×3).
    Four,
}

/// A 3×3 convolution of stride 1, ready to run.
#[derive(Debug)]
pub(crate) struct Winograd {
    shape: Shape,
    size: Size,
    level: Level,
    /// One product for each element of a tile, row by row.
    weights: Vec<Packed>,
    /// At most this many tiles are worked on at once.
    strip: usize,
}

/// What the convolution takes and gives. Pairs are `[height, width]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Channels of the input.
    pub(crate) inputs: usize,
    /// Channels of the output.
    pub(crate) outputs: usize,
    /// Pixels of the input.
    pub(crate) from: [usize; 2],
    /// Pixels of the output.
    pub(crate) to: [usize; 2],
    /// Padding above and to the left.
    pub(crate) before: [usize; 2],
}

impl Winograd {
    /// Transforms and packs the weights `at(output, input, tap)`.
    pub(crate) fn new(
        level: Level,
        size: Size,
        strip: usize,
        shape: Shape,
        at: impl Fn(usize, usize, usize) -> f32,
    ) -> Self {
        let weights = match size {
            Size::Two => transformed::<F2, 4, 2>(level, &shape, at),
            Size::Four => transformed::<F4, 6, 4>(level, &shape, at),
        };
        Self { shape, size, level, weights, strip: strip.max(1) }
    }

    /// Works on at most `strip` tiles at once from now on.
    pub(crate) fn set_strip(&mut self, strip: usize) {
        self.strip = strip.max(1);
    }

    /// How many lines of results a tile gives.
    pub(crate) fn tile(&self) -> usize {
        match self.size {
            Size::Two => 2,
            Size::Four => 4,
        }
    }

    /// Bytes of the transformed weights.
    pub(crate) fn bytes(&self) -> usize {
        self.weights.iter().map(Packed::bytes).sum()
    }

    /// Convolves pictures to the lines `results` of their results, which begin at a tile's. `border`
    /// is what pixels outside of a picture are, one value for each input channel; 0 where there is
    /// none.
    pub(crate) fn run(
        &self,
        pictures: &mut [Picture],
        results: &Range<usize>,
        border: Option<&[f32]>,
        scratch: &mut Scratch,
    ) {
        match self.size {
            Size::Two => self.strips::<F2, 4, 2>(pictures, results, border, scratch),
            Size::Four => self.strips::<F4, 6, 4>(pictures, results, border, scratch),
        }
    }

    /// Convolves one strip after another.
    fn strips<F: Form<IN, OUT>, const IN: usize, const OUT: usize>(
        &self,
        pictures: &mut [Picture],
        results: &Range<usize>,
        border: Option<&[f32]>,
        scratch: &mut Scratch,
    ) {
        let shape = &self.shape;
        assert_eq!(results.start % OUT, 0, "results begin at a tile's");
        let lines = [results.len(), shape.to[1]].map(|extent| extent.div_ceil(OUT));
        let tiles = pictures.len() * lines[0] * lines[1];
        let strip = self.strip.min(tiles).max(1);
        let (channels, columns) =
            (shape.inputs.next_multiple_of(LINE), self.weights[0].padded_columns());
        let (before, after) = (apart(strip * channels), apart(strip * columns));
        let transformed = scratch.first.at_least(IN * IN * before);
        let products = scratch.second.at_least(IN * IN * after);
        for start in (0..tiles).step_by(strip) {
            let tiles = [start, (start + strip).min(tiles)];
            let strip = Strip { tiles, lines, top: results.start };
            let steps = [channels, before];
            self.level.run(Inputs::<F, IN, OUT> {
                shape,
                pictures,
                border,
                strip,
                to: transformed,
                steps,
                form: PhantomData,
            });
            for (element, weights) in self.weights.iter().enumerate() {
                let from = &transformed[element * before..][..before];
                let to = &mut products[element * after..][..after];
                self.level.run(Product {
                    pictures: &mut [Picture { from, to, epilogue: Epilogue::default() }],
                    rows: Rows { stride: channels, runs: &[0], run: shape.inputs },
                    lines: Lines::one(strip.tiles[1] - start, columns),
                    weights,
                    channel: 0,
                });
            }
            let steps = [columns, after];
            self.level.run(Results::<F, IN, OUT> {
                shape,
                pictures,
                strip,
                from: products,
                steps,
                bottom: results.end,
                form: PhantomData,
            });
        }
    }
}

/// The weights of each element of a tile.
fn transformed<F: Form<IN, OUT>, const IN: usize, const OUT: usize>(
    level: Level,
    shape: &Shape,
    at: impl Fn(usize, usize, usize) -> f32,
) -> Vec<Packed> {
    let (inputs, outputs) = (shape.inputs, shape.outputs);
    let mut all: Vec<Packed> =
        (0..IN * IN).map(|_| Packed::zeros(level, inputs, outputs)).collect();
    let weights = &mut all[..];
    level.run(Transform::<_, F, IN, OUT> { inputs, outputs, at, weights, form: PhantomData });
    all
}

/// Transforms all kernels into packed weights.
struct Transform<'a, A, F, const IN: usize, const OUT: usize> {
    inputs: usize,
    outputs: usize,
    at: A,
    weights: &'a mut [Packed],
    form: PhantomData<F>,
}

/// How many kernels are transformed at once: divides the panels of all levels.
const KERNELS: usize = 8;

impl<A, F, const IN: usize, const OUT: usize> Task for Transform<'_, A, F, IN, OUT>
where
    A: Fn(usize, usize, usize) -> f32,
    F: Form<IN, OUT>,
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { inputs, outputs, at, weights, .. } = self;
        for first in (0..outputs).step_by(KERNELS) {
            let count = (outputs - first).min(KERNELS);
            let (panel, column) = (first / (2 * S::LANES), first % (2 * S::LANES));
            for input in 0..inputs {
                let mut g = [[0.0; KERNELS]; TAPS * TAPS];
                for lane in 0..count {
                    for (tap, g) in g.iter_mut().enumerate() {
                        g[lane] = f64::from(at(first + lane, input, tap));
                    }
                }
                kernels::<F, IN, OUT, KERNELS>(&g, |element, values| {
                    let line = &mut weights[element].line_mut(panel, input)[column..];
                    for (weight, value) in line.iter_mut().zip(values) {
                        *weight = *value as f32;
                    }
                });
            }
        }
    }
}

/// The distance of two elements' tiles in scratch memory: an odd number of cache lines, so that the
/// elements of one tile do not compete for the same few places of a cache.
fn apart(values: usize) -> usize {
    (values.div_ceil(LINE) | 1) * LINE
}
