//! 3×3 convolutions of stride 1 by Winograd's minimal filtering.
//!
//! The picture is cut into tiles; a *strip* of tiles is transformed, multiplied with the
//! transformed weights (one product for each of a tile's elements) and transformed back. A strip may
//! hold tiles of several rows of a batch: where the weights outweigh the activations, they are then
//! read once for all of them. Where the activations outweigh the weights, short strips stay in the
//! second cache.

#![allow(clippy::inline_always, reason = "inlined into functions that enable the instructions")]

use std::marker::PhantomData;

use super::buffer::{LINE, Scratch};
use super::epilogue::Epilogue;
use super::forms::{F2, F4, Form, TAPS, kernel};
use super::product::{Lines, Packed, Product, Rows};
use super::vector::{Level, Simd, Task};

/// How large the tiles are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Size {
    /// F(2×2, 3×3).
    Two,
    /// F(4×4, 3×3).
    Four,
}

/// A 3×3 convolution of stride 1, ready to run.
#[derive(Debug)]
pub(super) struct Winograd {
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
pub(super) struct Shape {
    /// Channels of the input.
    pub(super) inputs: usize,
    /// Channels of the output.
    pub(super) outputs: usize,
    /// Pixels of the input.
    pub(super) from: [usize; 2],
    /// Pixels of the output.
    pub(super) to: [usize; 2],
    /// Padding above and to the left.
    pub(super) before: [usize; 2],
}

impl Winograd {
    /// Transforms and packs the weights `at(output, input, tap)`.
    pub(super) fn new(
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

    /// Bytes of the transformed weights.
    pub(super) fn bytes(&self) -> usize {
        self.weights.iter().map(Packed::bytes).sum()
    }

    /// Convolves `rows` pictures. `border` is what pixels outside of a picture are, one value for
    /// each input channel; 0 where there is none.
    pub(super) fn run(
        &self,
        input: &[f32],
        rows: usize,
        border: Option<&[f32]>,
        output: &mut [f32],
        epilogue: &Epilogue,
        scratch: &mut Scratch,
    ) {
        let job = Job { input, rows, border, epilogue };
        match self.size {
            Size::Two => self.strips::<F2, 4, 2>(&job, output, scratch),
            Size::Four => self.strips::<F4, 6, 4>(&job, output, scratch),
        }
    }

    /// Convolves one strip after another.
    fn strips<F: Form<IN, OUT>, const IN: usize, const OUT: usize>(
        &self,
        job: &Job,
        output: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let shape = &self.shape;
        let lines = shape.to.map(|extent| extent.div_ceil(OUT));
        let tiles = job.rows * lines[0] * lines[1];
        let strip = self.strip.min(tiles).max(1);
        let (channels, columns) =
            (shape.inputs.next_multiple_of(LINE), self.weights[0].padded_columns());
        let (before, after) = (apart(strip * channels), apart(strip * columns));
        let transformed = scratch.first.at_least(IN * IN * before);
        let products = scratch.second.at_least(IN * IN * after);
        for start in (0..tiles).step_by(strip) {
            let strip = Strip { tiles: [start, (start + strip).min(tiles)], lines };
            let steps = [channels, before];
            self.level.run(Inputs::<F, IN, OUT> {
                shape,
                job,
                strip,
                to: transformed,
                steps,
                form: PhantomData,
            });
            for (element, weights) in self.weights.iter().enumerate() {
                let values = &transformed[element * before..][..before];
                self.level.run(Product {
                    rows: Rows { values, stride: channels, runs: &[0], run: shape.inputs },
                    lines: Lines::one(strip.tiles[1] - start, columns),
                    weights,
                    to: &mut products[element * after..][..after],
                    channel: 0,
                    epilogue: &Epilogue::default(),
                });
            }
            let steps = [columns, after];
            self.level.run(Results::<F, IN, OUT> {
                shape,
                job,
                strip,
                from: products,
                steps,
                to: output,
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
    let mut all = vec![0f32; IN * IN * shape.inputs * shape.outputs];
    let part = shape.inputs * shape.outputs;
    for input in 0..shape.inputs {
        for output in 0..shape.outputs {
            let tap = |i: usize, j: usize| f64::from(at(output, input, i * TAPS + j));
            let g = [0, 1, 2].map(|i| [tap(i, 0), tap(i, 1), tap(i, 2)]);
            let u = kernel::<F, IN, OUT>(&g);
            for (element, &u) in u.as_flattened().iter().enumerate() {
                all[element * part + input * shape.outputs + output] = u as f32;
            }
        }
    }
    let packed = |of: &[f32]| {
        Packed::new(level, shape.inputs, shape.outputs, |c, k| of[c * shape.outputs + k])
    };
    all.chunks_exact(part).map(packed).collect()
}

/// What one run is given.
#[derive(Clone, Copy)]
struct Job<'a> {
    input: &'a [f32],
    rows: usize,
    border: Option<&'a [f32]>,
    epilogue: &'a Epilogue<'a>,
}

/// Tiles that are worked on at once.
#[derive(Clone, Copy)]
struct Strip {
    /// The first, and the one behind the last, of all pictures' tiles.
    tiles: [usize; 2],
    /// Tiles of a picture along its height and width.
    lines: [usize; 2],
}

/// Neighbouring tiles of one line of a picture.
#[derive(Clone, Copy)]
struct Neighbours {
    /// The row of the batch.
    row: usize,
    /// The first output pixel.
    at: [usize; 2],
    /// The index of the first in its strip.
    index: usize,
    /// How many.
    count: usize,
}

impl Strip {
    /// Its tiles of `out` pixels, cut where a line of tiles ends.
    fn neighbours(self, out: usize) -> impl Iterator<Item = Neighbours> {
        let ([start, end], lines) = (self.tiles, self.lines);
        let mut next = start;
        std::iter::from_fn(move || {
            let (line, column) = (next / lines[1], next % lines[1]);
            let count = (lines[1] - column).min(end - next);
            let at = [line % lines[0] * out, column * out];
            let found = Neighbours { row: line / lines[0], at, index: next - start, count };
            next += count;
            (count > 0).then_some(found)
        })
    }
}

/// The distance of two elements' tiles in scratch memory: an odd number of cache lines, so that the
/// elements of one tile do not compete for the same few places of a cache.
fn apart(values: usize) -> usize {
    (values.div_ceil(LINE) | 1) * LINE
}

/// Transforms the inputs of one strip.
struct Inputs<'a, F, const IN: usize, const OUT: usize> {
    shape: &'a Shape,
    job: &'a Job<'a>,
    strip: Strip,
    to: &'a mut [f32],
    /// The distances of tiles and of a tile's elements in `to`.
    steps: [usize; 2],
    form: PhantomData<F>,
}

impl<F: Form<IN, OUT>, const IN: usize, const OUT: usize> Task for Inputs<'_, F, IN, OUT> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for tiles in self.strip.neighbours(OUT) {
            let to = &mut self.to[tiles.index * self.steps[0]..];
            inputs::<S, F, IN, OUT>(simd, self.shape, self.job, tiles, to, self.steps);
        }
    }
}

/// Transforms neighbouring tiles. `to` begins with the first tile's first element; `steps` are the
/// distances of tiles and of elements in it.
#[inline(always)]
fn inputs<S: Simd, F: Form<IN, OUT>, const IN: usize, const OUT: usize>(
    simd: S,
    shape: &Shape,
    job: &Job,
    tiles: Neighbours,
    to: &mut [f32],
    steps: [usize; 2],
) {
    let (channels, [height, width]) = (shape.inputs, shape.from);
    let picture = &job.input[tiles.row * height * width * channels..][..height * width * channels];
    let (top, left) = (
        tiles.at[0] as isize - shape.before[0] as isize,
        tiles.at[1] as isize - shape.before[1] as isize,
    );
    // Neighbours share `IN − OUT` columns, which are transformed along the height once.
    const { assert!(IN - OUT == 2) }
    for first in (0..channels).step_by(S::LANES) {
        let lanes = (channels - first).min(S::LANES);
        let outside = job.border.map_or(simd.splat(0.0), |border| simd.load(&border[first..]));
        let mut columns = [[outside; IN]; IN];
        for tile in 0..tiles.count {
            let x = left + (tile * OUT) as isize;
            let kept = if tile == 0 { 0 } else { IN - OUT };
            for j in kept..IN {
                let x = x + j as isize;
                let mut column = [outside; IN];
                if x >= 0 && (x as usize) < width {
                    for (i, value) in column.iter_mut().enumerate() {
                        let y = top + i as isize;
                        if y >= 0 && (y as usize) < height {
                            let at = (y as usize * width + x as usize) * channels + first;
                            *value = simd.load(&picture[at..at + lanes]);
                        }
                    }
                }
                columns[j] = F::input(simd, &column);
            }
            let to = &mut to[tile * steps[0] + first..];
            for i in 0..IN {
                let mut line = [outside; IN];
                for (value, column) in line.iter_mut().zip(&columns) {
                    *value = column[i];
                }
                for (j, value) in F::input(simd, &line).into_iter().enumerate() {
                    simd.store(value, &mut to[(i * IN + j) * steps[1]..][..lanes]);
                }
            }
            for j in 0..IN - OUT {
                columns[j] = columns[j + OUT];
            }
        }
    }
}

/// Transforms the products of one strip back.
struct Results<'a, F, const IN: usize, const OUT: usize> {
    shape: &'a Shape,
    job: &'a Job<'a>,
    strip: Strip,
    from: &'a [f32],
    /// The distances of tiles and of a tile's elements in `from`.
    steps: [usize; 2],
    to: &'a mut [f32],
    form: PhantomData<F>,
}

impl<F: Form<IN, OUT>, const IN: usize, const OUT: usize> Task for Results<'_, F, IN, OUT> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for tiles in self.strip.neighbours(OUT) {
            let from = &self.from[tiles.index * self.steps[0]..];
            results::<S, F, IN, OUT>(simd, self.shape, self.job, tiles, from, self.steps, self.to);
        }
    }
}

/// Transforms the products of neighbouring tiles back, and finishes and writes the output pixels.
#[inline(always)]
fn results<S: Simd, F: Form<IN, OUT>, const IN: usize, const OUT: usize>(
    simd: S,
    shape: &Shape,
    job: &Job,
    tiles: Neighbours,
    from: &[f32],
    steps: [usize; 2],
    output: &mut [f32],
) {
    let (channels, [height, width]) = (shape.outputs, shape.to);
    for tile in 0..tiles.count {
        let [top, left] = [tiles.at[0], tiles.at[1] + tile * OUT];
        let from = &from[tile * steps[0]..];
        for first in (0..channels).step_by(S::LANES) {
            let lanes = (channels - first).min(S::LANES);
            let mut columns = [[simd.splat(0.0); OUT]; IN];
            for (j, column) in columns.iter_mut().enumerate() {
                let mut m = [simd.splat(0.0); IN];
                for (i, value) in m.iter_mut().enumerate() {
                    *value = simd.load(&from[(i * IN + j) * steps[1] + first..][..S::LANES]);
                }
                *column = F::output(simd, &m);
            }
            for i in 0..OUT.min(height - top) {
                let mut line = [simd.splat(0.0); IN];
                for (value, column) in line.iter_mut().zip(&columns) {
                    *value = column[i];
                }
                let line = F::output(simd, &line);
                for (j, value) in line.into_iter().enumerate().take(width - left) {
                    let pixel = (tiles.row * height + top + i) * width + left + j;
                    let at = pixel * channels + first;
                    let value = job.epilogue.finish(simd, value, first, at);
                    simd.store(value, &mut output[at..at + lanes]);
                }
            }
        }
    }
}
