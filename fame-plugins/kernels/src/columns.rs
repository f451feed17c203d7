//! The input gradient of a convolution with few input channels, such as a network's first.
//!
//! As a product over windows it would fill a tenth of a panel. Instead the product gives, for each
//! output pixel, the contributions to all values of its window, and these are added up.

#![allow(clippy::inline_always, reason = "inlined into functions that enable the instructions")]

use super::buffer::Scratch;
use super::epilogue::Epilogue;
use super::geometry::Geometry;
use super::picture::Picture;
use super::product::{Lines, Packed, Product, Rows};
use super::vector::{Level, Simd, Task, each_vector};

/// The transposed map of a convolution of one group, ready to run.
#[derive(Debug)]
pub(crate) struct Columns {
    geometry: Geometry,
    level: Level,
    /// From the output's channels to the values of a window, line by line.
    weights: Packed,
}

impl Columns {
    /// Packs the weights `at(output, input, tap)`.
    pub(crate) fn new(
        level: Level,
        geometry: Geometry,
        at: impl Fn(usize, usize, usize) -> f32,
    ) -> Self {
        let inputs = geometry.inputs;
        let values = geometry.kernel[0] * geometry.kernel[1] * inputs;
        let at = |output: usize, value: usize| at(output, value % inputs, value / inputs);
        let weights = Packed::new(level, geometry.outputs, values, at);
        Self { geometry, level, weights }
    }

    /// Bytes of the packed weights.
    pub(crate) fn bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// Pulls one cotangent back.
    pub(crate) fn run(&self, picture: &mut Picture, scratch: &mut Scratch) {
        let geometry = &self.geometry;
        let ([_, width], whole) = (geometry.output(), geometry.padded());
        let columns = self.weights.padded_columns();
        let values = scratch.first.at_least(width * columns);
        let sums = scratch.second.at_least(whole[0] * whole[1] * geometry.inputs);
        let line = width * geometry.outputs;
        sums.fill(0.0);
        for (y, from) in picture.from.chunks_exact(line).enumerate() {
            self.level.run(Product {
                pictures: &mut [Picture { from, to: values, epilogue: Epilogue::default() }],
                rows: Rows { stride: geometry.outputs, runs: &[0], run: geometry.outputs },
                lines: Lines::one(width, columns),
                weights: &self.weights,
                channel: 0,
            });
            self.level.run(Add { geometry, values, columns, y, sums });
        }
        self.level.run(Crop { geometry, sums, to: picture.to, epilogue: &picture.epilogue });
    }
}

/// Adds the windows of one line of output pixels up.
struct Add<'a> {
    geometry: &'a Geometry,
    /// The windows' values, and how far apart windows lie.
    values: &'a [f32],
    columns: usize,
    /// The line of output pixels.
    y: usize,
    /// The padded input's gradient.
    sums: &'a mut [f32],
}

impl Task for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (geometry, inputs) = (self.geometry, self.geometry.inputs);
        let [_, width] = geometry.padded();
        let [lines, taps] = geometry.kernel;
        // Without dilation, the taps of a line lie side by side.
        let (run, runs) = if geometry.dilation[1] == 1 { (taps, 1) } else { (1, taps) };
        for (x, window) in self.values.chunks_exact(self.columns).enumerate() {
            for i in 0..lines {
                let line = (self.y * geometry.stride[0] + i * geometry.dilation[0]) * width;
                for j in 0..runs {
                    let pixel = line + x * geometry.stride[1] + j * geometry.dilation[1];
                    let from = &window[(i * taps + j) * inputs..][..run * inputs];
                    let to = &mut self.sums[pixel * inputs..][..run * inputs];
                    each_vector!(S, run * inputs, |first, lanes| {
                        let (from, to) = (&from[first..][..lanes], &mut to[first..][..lanes]);
                        simd.store(simd.add(simd.load(from), simd.load(to)), to);
                    });
                }
            }
        }
    }
}

/// Cuts the padding off, and finishes what remains.
struct Crop<'a> {
    geometry: &'a Geometry,
    sums: &'a [f32],
    to: &'a mut [f32],
    epilogue: &'a Epilogue<'a>,
}

impl Task for Crop<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Geometry { inputs, extent, before, .. } = *self.geometry;
        let [_, width] = self.geometry.padded();
        for y in 0..extent[0] {
            let from = &self.sums[((y + before[0]) * width + before[1]) * inputs..];
            let line = y * extent[1] * inputs;
            if self.epilogue.is_empty() {
                let len = extent[1] * inputs;
                self.to[line..line + len].copy_from_slice(&from[..len]);
                continue;
            }
            for x in 0..extent[1] {
                each_vector!(S, inputs, |first, lanes| {
                    let (at, v) = (line + x * inputs + first, &from[x * inputs + first..][..lanes]);
                    let v = self.epilogue.finish(simd, simd.load(v), first, at);
                    simd.store(v, &mut self.to[at..at + lanes]);
                });
            }
        }
    }
}
