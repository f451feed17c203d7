//! Winograd's transforms over the tiles of a strip: from pictures, and back to them.

#![allow(unsafe_code, reason = "a check for each of the many loads would cost more than the loads")]
#![allow(clippy::inline_always, reason = "inlined into functions that enable the instructions")]

use std::marker::PhantomData;

use super::forms::Form;
use super::picture::Picture;
use super::vector::{Simd, Task, each_vector};
use super::winograd::Shape;

/// Tiles that are worked on at once.
#[derive(Clone, Copy)]
pub(crate) struct Strip {
    /// The first, and the one behind the last, of all pictures' tiles.
    pub(crate) tiles: [usize; 2],
    /// Tiles of a picture along its height and width.
    pub(crate) lines: [usize; 2],
    /// The first line of the results: where a piece of them begins.
    pub(crate) top: usize,
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
            let at = [self.top + line % lines[0] * out, column * out];
            let found = Neighbours { row: line / lines[0], at, index: next - start, count };
            next += count;
            (count > 0).then_some(found)
        })
    }
}

/// Transforms the inputs of one strip.
pub(crate) struct Inputs<'a, 'p, F, const IN: usize, const OUT: usize> {
    pub(crate) shape: &'a Shape,
    pub(crate) pictures: &'a [Picture<'p>],
    /// What pixels outside of a picture are, one value for each channel; 0 where there is none.
    pub(crate) border: Option<&'a [f32]>,
    pub(crate) strip: Strip,
    pub(crate) to: &'a mut [f32],
    /// The distances of tiles and of a tile's elements in `to`.
    pub(crate) steps: [usize; 2],
    pub(crate) form: PhantomData<F>,
}

impl<F: Form<IN, OUT>, const IN: usize, const OUT: usize> Task for Inputs<'_, '_, F, IN, OUT> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        for tiles in self.strip.neighbours(OUT) {
            self.neighbours(simd, tiles);
        }
    }
}

impl<F: Form<IN, OUT>, const IN: usize, const OUT: usize> Inputs<'_, '_, F, IN, OUT> {
    /// Transforms neighbouring tiles, one vector of channels after another.
    #[inline(always)]
    fn neighbours<S: Simd>(&mut self, simd: S, tiles: Neighbours) {
        // Neighbours share `IN − OUT` columns, which are transformed along the height once.
        const { assert!(IN - OUT == 2) }
        let (channels, [_, width]) = (self.shape.inputs, self.shape.from);
        let window = Window::<IN>::new(self.shape, self.pictures[tiles.row].from, tiles);
        let [tile_step, step] = self.steps;
        let to = &mut self.to[tiles.index * tile_step..];
        assert!((tiles.count - 1) * tile_step + (IN * IN - 1) * step + channels <= to.len());
        each_vector!(S, channels, |first, lanes| {
            let outside = self.border.map_or(simd.splat(0.0), |b| simd.load(&b[first..]));
            let mut columns = [[outside; IN]; IN];
            for tile in 0..tiles.count {
                let left = window.left + (tile * OUT) as isize;
                let kept = if tile == 0 { 0 } else { IN - OUT };
                for (j, column) in columns.iter_mut().enumerate().skip(kept) {
                    let x = left + j as isize;
                    let mut pixels = [outside; IN];
                    if x >= 0 && (x as usize) < width {
                        // SAFETY: `x` lies within the picture, and `lanes` channels from `first`
                        // on.
                        unsafe {
                            window.read(simd, x as usize * channels + first, lanes, &mut pixels);
                        }
                    }
                    *column = F::input(simd, &pixels);
                }
                window.ask(simd, (left + (IN - OUT) as isize) * channels as isize, first, OUT);
                // SAFETY: `to` has room for all elements of the last tile, as asserted above.
                unsafe {
                    let mut to = to.as_mut_ptr().add(tile * tile_step + first);
                    for i in 0..IN {
                        let mut line = [outside; IN];
                        for (value, column) in line.iter_mut().zip(&columns) {
                            *value = column[i];
                        }
                        for value in F::input(simd, &line) {
                            simd.write_lanes(value, to, lanes);
                            to = to.wrapping_add(step);
                        }
                    }
                }
                for j in 0..IN - OUT {
                    columns[j] = columns[j + OUT];
                }
            }
        });
    }
}

/// In place of the index of a line that lies outside of the picture.
const OUTSIDE: usize = usize::MAX;

/// The lines of a picture that neighbouring tiles read.
struct Window<'a, const IN: usize> {
    picture: &'a [f32],
    channels: usize,
    /// Where each line begins, or [`OUTSIDE`].
    lines: [usize; IN],
    /// All of them lie within the picture.
    inside: bool,
    /// The index at which the line behind the last would begin, and from one line to the next.
    below: [isize; 2],
    /// The first column.
    left: isize,
}

impl<'a, const IN: usize> Window<'a, IN> {
    #[inline(always)]
    fn new(shape: &Shape, picture: &'a [f32], tiles: Neighbours) -> Self {
        let (channels, [height, width]) = (shape.inputs, shape.from);
        let picture = &picture[..height * width * channels];
        let [top, left] = [0, 1].map(|axis| tiles.at[axis] as isize - shape.before[axis] as isize);
        let mut lines = [OUTSIDE; IN];
        for (i, line) in lines.iter_mut().enumerate() {
            let y = top + i as isize;
            if y >= 0 && (y as usize) < height {
                *line = y as usize * width * channels;
            }
        }
        let step = (width * channels) as isize;
        let inside = !lines.contains(&OUTSIDE);
        Self { picture, channels, lines, inside, below: [(top + IN as isize) * step, step], left }
    }

    /// Reads one column's `lanes` values at index `at` of each line that lies within the picture.
    ///
    /// # Safety
    /// `at + lanes` is at most the length of a line.
    #[inline(always)]
    unsafe fn read<S: Simd>(&self, simd: S, at: usize, lanes: usize, to: &mut [S::V; IN]) {
        let picture = self.picture.as_ptr();
        if self.inside {
            for (value, line) in to.iter_mut().zip(&self.lines) {
                // SAFETY: a line of the picture begins at `line`; the rest is the caller's promise.
                unsafe { *value = simd.read_lanes(picture.add(line + at), lanes) }
            }
        } else {
            for (value, &line) in to.iter_mut().zip(&self.lines) {
                if line != OUTSIDE {
                    // SAFETY: as above.
                    unsafe { *value = simd.read_lanes(picture.add(line + at), lanes) }
                }
            }
        }
    }

    /// Asks for `count` pixels of as many lines below, from index `at` of a line on: what the tiles
    /// below will read. No CPU foresees these jumps.
    #[inline(always)]
    fn ask<S: Simd>(&self, simd: S, at: isize, first: usize, count: usize) {
        let [mut line, step] = self.below;
        for _ in 0..count {
            let mut pixel = self.picture.as_ptr().wrapping_offset(line + at).wrapping_add(first);
            for _ in 0..count {
                simd.prefetch(pixel);
                pixel = pixel.wrapping_add(self.channels);
            }
            line += step;
        }
    }
}

/// Transforms the products of one strip back, finishes the pixels and writes them.
pub(crate) struct Results<'a, 'p, F, const IN: usize, const OUT: usize> {
    pub(crate) shape: &'a Shape,
    pub(crate) pictures: &'a mut [Picture<'p>],
    pub(crate) strip: Strip,
    pub(crate) from: &'a [f32],
    /// The distances of tiles and of a tile's elements in `from`.
    pub(crate) steps: [usize; 2],
    /// The line behind the last one.
    pub(crate) bottom: usize,
    pub(crate) form: PhantomData<F>,
}

impl<F: Form<IN, OUT>, const IN: usize, const OUT: usize> Task for Results<'_, '_, F, IN, OUT> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        for tiles in self.strip.neighbours(OUT) {
            for tile in 0..tiles.count {
                let index = (tiles.index + tile) * self.steps[0];
                let at = [tiles.at[0], tiles.at[1] + tile * OUT];
                self.tile(simd, index, tiles.row, at);
            }
        }
    }
}

impl<F: Form<IN, OUT>, const IN: usize, const OUT: usize> Results<'_, '_, F, IN, OUT> {
    /// Transforms the tile at `index` back, whose first pixel is `[top, left]` of picture `row`.
    #[inline(always)]
    fn tile<S: Simd>(&mut self, simd: S, index: usize, row: usize, [top, left]: [usize; 2]) {
        let (channels, [_, width]) = (self.shape.outputs, self.shape.to);
        let step = self.steps[1];
        let from = &self.from[index..];
        // Columns that fill up the last panel are there too.
        let padded = channels.next_multiple_of(S::LANES);
        assert!((IN * IN - 1) * step + padded <= from.len());
        let [high, wide] = [OUT.min(self.bottom - top), OUT.min(width - left)];
        let corner = ((top - self.strip.top) * width + left) * channels;
        let end = corner + ((high - 1) * width + wide) * channels;
        let Picture { to, epilogue, .. } = &mut self.pictures[row];
        assert!(end <= to.len());
        each_vector!(S, channels, |first, lanes| {
            for i in 0..OUT {
                for j in 0..OUT {
                    let at = corner + (i * width + j) * channels + first;
                    simd.prefetch(to.as_ptr().wrapping_add(at));
                }
            }
            let mut lines = [[simd.splat(0.0); OUT]; IN];
            let mut element = from.as_ptr().wrapping_add(first);
            for line in &mut lines {
                let mut m = [simd.splat(0.0); IN];
                for value in &mut m {
                    // SAFETY: all elements of the tile lie within `from`, as asserted above.
                    unsafe { *value = simd.read(element) }
                    element = element.wrapping_add(step);
                }
                *line = F::output(simd, &m);
            }
            for j in 0..wide {
                let mut column = [simd.splat(0.0); IN];
                for (value, line) in column.iter_mut().zip(&lines) {
                    *value = line[j];
                }
                let column = F::output(simd, &column);
                for (i, value) in column.into_iter().enumerate().take(high) {
                    let at = corner + (i * width + j) * channels + first;
                    let value = epilogue.finish(simd, value, first, at);
                    // SAFETY: the pixel lies before `end`, which lies within `to`.
                    unsafe { simd.write_lanes(value, to.as_mut_ptr().add(at), lanes) }
                }
            }
        });
    }
}
