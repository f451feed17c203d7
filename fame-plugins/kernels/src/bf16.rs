//! Dense convolutions as products of factors rounded to bfloat16, summed in `f32`.
//!
//! The argument is rounded while it is copied into a padded picture. There, the pixels that one tap
//! reads for neighbouring results lie at equal distances, and so they are the rows of a matrix where
//! they are. Channels are filled up with zeros to whole steps of a sum; where that would be most of
//! them, as of a picture's three, windows are copied together instead.
//!
//! ```text
//! argument ── round ──▶ padded picture ──(windows)──▶ blocks of 32 rows × panels ── epilogue ──▶ result
//! ```

#![allow(unsafe_code, reason = "tiles are read where they lie")]
#![allow(clippy::inline_always, reason = "inlined into functions that enable the instructions")]

use std::ops::Range;

use super::bf16_tile::{Instructions, PANEL, ROWS, STEP, Sum, TILE, WEIGHTS, half};
use super::buffer::{Buffer, Scratch};
use super::epilogue::Epilogue;
use super::geometry::{Phase, Stencil};
use super::picture::Picture;
use super::vector::{Level, Simd, Task, each_vector};
use super::windows::Windows;

/// A convolution of one group, or its transposed map, ready to run.
#[derive(Debug)]
pub(crate) struct Bf16 {
    windows: Windows,
    level: Level,
    instructions: Instructions,
    /// Channels of the argument and of the result.
    channels: [usize; 2],
    /// From one pixel of the padded picture to the next: the argument's channels, and zeros.
    apart: usize,
    /// Whether windows are copied together, rather than read where they lie.
    copies: bool,
    phases: Vec<Weights>,
}

/// What the pixels of one phase are summed over.
#[derive(Debug)]
struct Weights {
    /// Where the steps of a row begin, from its start.
    steps: Vec<usize>,
    /// `[columns / panel][steps][weights of a step]`.
    values: Buffer,
    /// Where each line of a window begins in the padded picture, in front of its first pixel.
    runs: Vec<usize>,
    /// How long these are.
    run: usize,
}

/// Rows of the matrix that lie at equal distances, and the results that they are for: pixels of one
/// picture after the other's, line by line. Behind a line's there may be rows for which there is none.
#[derive(Clone, Copy, Debug)]
struct Strip {
    /// The first row.
    from: usize,
    rows: usize,
    /// The first row's picture, and how many rows each has.
    picture: usize,
    of_picture: usize,
    /// Rows of a line, and how many of them have results.
    of_line: usize,
    width: usize,
    /// The first row's result.
    to: usize,
}

/// Bytes of rows and of their results that go by all panels together: of 128 KiB to 1 MiB, all take
/// the same time within a few percent on a CPU with a second cache of 2 MiB.
const PART: usize = 256 << 10;

/// Pixels that are a multiple of so many bytes apart compete for few places of a first cache: there,
/// the values of one step are put between them.
const COMPETING: usize = 2048;

impl Bf16 {
    /// Rounds and packs the weights `at(to, from, tap)`, where `to` and `from` are channels and `tap`
    /// is the index in the kernel.
    pub(crate) fn new(
        level: Level,
        instructions: Instructions,
        stencil: Stencil,
        channels: [usize; 2],
        at: impl Fn(usize, usize, usize) -> f32,
    ) -> Self {
        let [from, to] = channels;
        let windows = Windows::new(stencil);
        let has_taps = windows.stencil.phases.iter().any(|phase| phase.taps.len() > 1);
        let copies = from % STEP != 0 && has_taps;
        // Values of a pixel that are summed over.
        let pixel = if copies { from } else { from.next_multiple_of(STEP) };
        let competes = (pixel * size_of::<u16>()).is_multiple_of(COMPETING);
        let apart = if competes { pixel + STEP } else { pixel };
        let pack = |phase: &Phase| {
            let places: Vec<usize> =
                phase.taps.iter().map(|tap| windows.place(tap.offset) * apart).collect();
            let depth = (places.len() * pixel).next_multiple_of(STEP);
            let steps = if copies {
                (0..depth).step_by(STEP).collect()
            } else {
                let of = |&place: &usize| (place..place + pixel).step_by(STEP);
                places.iter().flat_map(of).collect()
            };
            let values = packed(depth, to, |step, column| {
                let (tap, channel) = (step / pixel, step % pixel);
                let is_there = tap < phase.taps.len() && channel < from;
                half(if is_there { at(column, channel, phase.taps[tap].weight) } else { 0.0 })
            });
            // What lies side by side in a line is copied at once.
            let across = phase.taps.iter().take_while(|t| t.offset[0] == phase.taps[0].offset[0]);
            let across = across.count().max(1);
            let dense = places.iter().take(across).is_sorted_by(|a, b| **b == **a + apart);
            let across = if dense { across } else { 1 };
            let runs = places.into_iter().step_by(across).collect();
            Weights { steps, values, runs, run: across * pixel }
        };
        let phases = windows.stencil.phases.iter().map(pack).collect();
        Self { windows, level, instructions, channels, apart, copies, phases }
    }

    /// Bytes of the packed weights.
    pub(crate) fn bytes(&self) -> usize {
        self.phases.iter().map(|phase| size_of_val(phase.values.values())).sum()
    }

    /// How many panels the result's channels are in, and how many channels each has: what can be
    /// shared among threads where there is a single pixel.
    pub(crate) fn panels(&self) -> [usize; 2] {
        [self.channels[1].div_ceil(PANEL), PANEL]
    }

    /// Whether the pixels of argument and result lie evenly.
    pub(crate) fn is_one_line(&self) -> bool {
        self.windows.is_one_line()
    }

    /// Maps pictures to some lines of their results, or pixels where all are [one
    /// line](Windows::is_one_line). `border` is what pixels outside of a picture are, one value for
    /// each channel of the argument; 0 where there is none.
    pub(crate) fn run(
        &self,
        pictures: &mut [Picture],
        results: &Range<usize>,
        border: Option<&[f32]>,
        scratch: &mut Scratch,
    ) {
        let panels = 0..self.channels[1].div_ceil(PANEL);
        // Of few channels, the weights are few too: nothing is gained from rows that go together, and
        // windows copied together are many times as much memory.
        let together = if self.copies { 1 } else { pictures.len().max(1) };
        for pictures in pictures.chunks_mut(together) {
            self.multiply(pictures, results, panels.clone(), border, scratch);
        }
    }

    /// Maps pictures whose results are a single pixel to the channels of some panels.
    pub(crate) fn run_panels(
        &self,
        pictures: &mut [Picture],
        panels: Range<usize>,
        scratch: &mut Scratch,
    ) {
        self.multiply(pictures, &(0..1), panels, None, scratch);
    }

    fn multiply(
        &self,
        pictures: &mut [Picture],
        results: &Range<usize>,
        panels: Range<usize>,
        border: Option<&[f32]>,
        scratch: &mut Scratch,
    ) {
        let Windows { stencil, .. } = &self.windows;
        let rounded = self.rounded(pictures, results, border, &mut scratch.first);
        for (phase, weights) in stencil.phases.iter().zip(&self.phases) {
            let mut strips = self.strips(phase, results, pictures.len());
            let (rows, stride) = if self.copies {
                let stride = weights.steps.len() * STEP;
                let strip = self.copied(&strips, weights, rounded, &mut scratch.second);
                strips = vec![strip];
                (halves(scratch.second.values()), stride)
            } else {
                (rounded, stencil.from_step[1] * self.apart)
            };
            let [line, pixel] = stencil.to_step;
            self.level.run(Product {
                pictures,
                strips: &strips,
                rows,
                stride,
                weights,
                panels: panels.clone(),
                columns: self.channels[1],
                to_step: [line * stencil.to[1], pixel].map(|pixels| pixels * self.channels[1]),
                instructions: self.instructions,
            });
        }
    }

    /// The rows of one phase in the padded pictures.
    fn strips(&self, phase: &Phase, results: &Range<usize>, count: usize) -> Vec<Strip> {
        let Windows { stencil, .. } = &self.windows;
        let [height, width] = self.windows.extent();
        let picture = height * width * self.apart;
        if self.windows.is_one_line() {
            let (each, apart) = (results.len(), results.start * self.apart);
            let strip = |picture: usize, count: usize, from: usize| Strip {
                from,
                rows: count * each,
                picture,
                of_picture: each,
                of_line: each,
                width: each,
                to: 0,
            };
            if each == self.windows.pixels() {
                return vec![strip(0, count, 0)];
            }
            return (0..count).map(|row| strip(row, 1, row * picture + apart)).collect();
        }
        let within = phase.lines(stencil, results);
        let (lines, each) = (within.len(), phase.extent[1]);
        if lines == 0 || each == 0 {
            return vec![];
        }
        let line = stencil.from_step[0] * width;
        let first = phase.origin[0] + within.start * stencil.to_step[0] - results.start;
        let to = (first * stencil.to[1] + phase.origin[1]) * self.channels[1];
        let strip = |picture_index: usize, y: usize, rows: usize, of_line: usize| Strip {
            from: picture_index * picture + (within.start + y) * line * self.apart,
            rows,
            picture: picture_index,
            of_picture: usize::MAX,
            of_line,
            width: each,
            to: to + y * stencil.to_step[0] * stencil.to[1] * self.channels[1],
        };
        // All lines of a picture as one strip, where fewer rows of tiles are lost between its lines
        // than at the ends of each.
        let of_line = line / stencil.from_step[1];
        let flat = (lines - 1) * of_line + each;
        let is_even = line.is_multiple_of(stencil.from_step[1]) && of_line >= each;
        let is_flat = is_even && flat.div_ceil(TILE) <= lines * each.div_ceil(TILE);
        let pictures = 0..count;
        if is_flat && !self.copies {
            return pictures.map(|picture| strip(picture, 0, flat, of_line)).collect();
        }
        let lines = |picture| (0..lines).map(move |y| (picture, y));
        pictures.flat_map(lines).map(|(picture, y)| strip(picture, y, each, each)).collect()
    }

    /// The arguments of pictures, rounded and with padding around them: those lines of them that
    /// `results` are computed from.
    fn rounded<'b>(
        &self,
        pictures: &[Picture],
        results: &Range<usize>,
        border: Option<&[f32]>,
        buffer: &'b mut Buffer,
    ) -> &'b [u16] {
        let Windows { stencil, pads } = &self.windows;
        let ([height, width], from) = (self.windows.extent(), stencil.from);
        let needed = self.windows.needed(results);
        let picture = height * width * self.apart;
        // Rows behind the last are read along with it, and multiplied for nothing.
        let behind = ROWS * stencil.from_step[1] * self.apart;
        let all = halves_mut(buffer.at_least((pictures.len() * picture + behind).div_ceil(2)));
        let fill = |part: &mut [u16]| {
            part.fill(0);
            let Some(border) = border else { return };
            for pixel in part.chunks_exact_mut(self.apart) {
                pixel.iter_mut().zip(border).for_each(|(to, x)| *to = half(*x));
            }
        };
        let channels = self.channels[0];
        for (Picture { from: values, .. }, to) in pictures.iter().zip(all.chunks_exact_mut(picture))
        {
            for y in needed.clone() {
                let line = &mut to[y * width * self.apart..][..width * self.apart];
                if y < pads[0] || y >= pads[0] + from[0] {
                    fill(line);
                    continue;
                }
                let (before, line) = line.split_at_mut(pads[1] * self.apart);
                let (inside, after) = line.split_at_mut(from[1] * self.apart);
                fill(before);
                fill(after);
                let values = &values[(y - pads[0]) * from[1] * channels..][..from[1] * channels];
                if channels == self.apart {
                    self.instructions.round(values, inside);
                    continue;
                }
                let pixels = values.chunks_exact(channels);
                for (values, to) in pixels.zip(inside.chunks_exact_mut(self.apart)) {
                    let (to, zeros) = to.split_at_mut(channels);
                    self.instructions.round(values, to);
                    zeros.fill(0);
                }
            }
        }
        all
    }

    /// The windows of one picture copied together: each a row, filled up with zeros.
    fn copied(
        &self,
        lines: &[Strip],
        weights: &Weights,
        from: &[u16],
        buffer: &mut Buffer,
    ) -> Strip {
        let (row, step) =
            (weights.steps.len() * STEP, self.windows.stencil.from_step[1] * self.apart);
        let width = lines.first().map_or(0, |line| line.width);
        let rows = lines.len() * width;
        let to = halves_mut(buffer.at_least(((rows + ROWS) * row).div_ceil(2)));
        let mut all = to.chunks_exact_mut(row.max(1));
        for line in lines {
            for (x, to) in (0..width).zip(&mut all) {
                let (taps, zeros) = to.split_at_mut(weights.runs.len() * weights.run);
                let window = &from[line.from + x * step..];
                for (to, &run) in taps.chunks_exact_mut(weights.run).zip(&weights.runs) {
                    to.copy_from_slice(&window[run..run + weights.run]);
                }
                zeros.fill(0);
            }
        }
        let to = lines.first().map_or(0, |line| line.to);
        Strip { from: 0, rows, picture: 0, of_picture: usize::MAX, of_line: width, width, to }
    }
}

/// Weights in panels of 32 columns, in the order in which tiles take them: for each step of the sum
/// two tiles, each of 16 pairs of neighbouring values for each of 16 columns.
fn packed(depth: usize, columns: usize, at: impl Fn(usize, usize) -> u16) -> Buffer {
    let panels = columns.div_ceil(PANEL);
    let mut packed = Buffer::zeros((panels * depth * PANEL).div_ceil(2));
    let steps = halves_mut(packed.values_mut()).chunks_exact_mut(WEIGHTS).enumerate();
    for (index, weights) in steps {
        let (panel, step) = (index / (depth / STEP), index % (depth / STEP));
        for (i, weight) in weights.iter_mut().enumerate() {
            let (tile, pair, lane) = (i / (STEP * TILE), i / (2 * TILE) % TILE, i % (2 * TILE));
            let column = panel * PANEL + tile * TILE + lane / 2;
            if column < columns {
                *weight = at(step * STEP + 2 * pair + lane % 2, column);
            }
        }
    }
    packed
}

/// The same memory as numbers of 16 bits.
fn halves(values: &[f32]) -> &[u16] {
    // SAFETY: all bits are a valid number of either kind.
    let (before, halves, after) = unsafe { values.align_to::<u16>() };
    assert!(before.is_empty() && after.is_empty());
    halves
}

/// The same memory as numbers of 16 bits, to change.
fn halves_mut(values: &mut [f32]) -> &mut [u16] {
    // SAFETY: all bits are a valid number of either kind.
    let (before, halves, after) = unsafe { values.align_to_mut::<u16>() };
    assert!(before.is_empty() && after.is_empty());
    halves
}

/// The products of one phase.
struct Product<'a, 'p> {
    pictures: &'a mut [Picture<'p>],
    strips: &'a [Strip],
    /// The left factor, and from one row of it to the next.
    rows: &'a [u16],
    stride: usize,
    weights: &'a Weights,
    /// Which columns: those of some panels, whose first is the first that is written.
    panels: Range<usize>,
    columns: usize,
    /// From one line, and one pixel of it, to the next in the result.
    to_step: [usize; 2],
    instructions: Instructions,
}

/// Rows of a strip that are summed at once.
#[derive(Clone, Copy)]
struct Block {
    strip: Strip,
    first: usize,
    rows: usize,
}

impl Task for Product<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let reach = self.weights.steps.iter().max().map_or(0, |last| last + STEP);
        let mut blocks = vec![];
        for &strip in self.strips.iter().filter(|strip| strip.rows > 0) {
            let end = strip.from + (strip.rows.next_multiple_of(ROWS) - 1) * self.stride + reach;
            assert!(end <= self.rows.len(), "rows within");
            let starts = (0..strip.rows).step_by(ROWS);
            blocks.extend(starts.map(|first| Block {
                strip,
                first,
                rows: (strip.rows - first).min(ROWS),
            }));
        }
        let part = self.part(blocks.len());
        let panel = self.weights.steps.len() * WEIGHTS;
        let weights = halves(self.weights.values.values());
        let mut sums = Sums([0.0; ROWS * PANEL]);
        let instructions = self.instructions;
        let _ready = instructions.ready();
        for blocks in blocks.chunks(part.max(1)) {
            for index in self.panels.clone() {
                let weights = &weights[index * panel..][..panel];
                for block in blocks {
                    let from = block.strip.from + block.first * self.stride;
                    let sum = Sum {
                        from: self.rows[from..].as_ptr(),
                        stride: self.stride,
                        steps: &self.weights.steps,
                        panel: weights.as_ptr(),
                    };
                    // SAFETY: all rows of the block with those that fill it up lie within, as
                    // asserted above; the panel has weights for all steps.
                    unsafe { instructions.sum(sum, block.rows, &mut sums.0) }
                    self.finish(simd, block, index, &sums.0);
                }
            }
        }
    }
}

/// The sums of a block, in whole cache lines.
#[repr(align(64))]
struct Sums([f32; ROWS * PANEL]);

impl Product<'_, '_> {
    /// How many of `count` blocks go by all panels before the next ones do: what is read again is the
    /// weights for each part, or else all rows for each panel, whichever is less.
    fn part(&self, count: usize) -> usize {
        let panels = self.panels.len();
        let rows = ROWS * self.stride * size_of::<u16>();
        let results = ROWS * panels * PANEL * size_of::<f32>();
        let parts = (count * (rows + results)).div_ceil(PART);
        let weights = panels * self.weights.steps.len() * WEIGHTS * size_of::<u16>();
        let is_less = parts * weights < panels * count * rows;
        if is_less { count.div_ceil(parts.max(1)) } else { count }
    }

    /// Finishes and writes the sums of a block's rows.
    #[inline(always)]
    fn finish<S: Simd>(&mut self, simd: S, block: &Block, panel: usize, sums: &[f32]) {
        let Block { strip, first, rows } = *block;
        let column = panel * PANEL;
        let width = (self.columns - column).min(PANEL);
        let written = column - self.panels.start * PANEL;
        let [line, pixel] = self.to_step;
        let mut picture = strip.picture + first / strip.of_picture;
        let mut row = first % strip.of_picture;
        let (mut y, mut x) = (row / strip.of_line, row % strip.of_line);
        for sums in sums.chunks_exact(PANEL).take(rows) {
            if x < strip.width {
                let at = strip.to + y * line + x * pixel + written;
                let Picture { to, epilogue, .. } = &mut self.pictures[picture];
                let to = &mut to[at..at + width];
                let epilogue: &Epilogue = epilogue;
                let is_plain = epilogue.is_empty();
                each_vector!(S, width, |from, lanes| {
                    let mut v = simd.load(&sums[from..][..S::LANES]);
                    if !is_plain {
                        v = epilogue.finish(simd, v, column + from, at + from);
                    }
                    simd.store(v, &mut to[from..from + lanes]);
                });
            }
            (row, x) = (row + 1, x + 1);
            if row == strip.of_picture {
                (picture, row, y, x) = (picture + 1, 0, 0, 0);
            } else if x == strip.of_line {
                (y, x) = (y + 1, 0);
            }
        }
    }
}
