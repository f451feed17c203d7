//! The product of rows of activations with packed weights: the heart of all dense convolutions.
//!
//! The weights lie in *panels* of two vectors' width, one line for each step of the sum, so that
//! they are read once from front to back. A register tile of [`Simd::ROWS`] rows and one panel is
//! summed at a time; a row of the left factor is one or several *runs* of consecutive values, which
//! makes a convolution's window a row without copying it together.

#![allow(unsafe_code, reason = "the innermost loop reads through pointers, checked outside of it")]
#![allow(clippy::inline_always, reason = "inlined into functions that enable the instructions")]

use super::buffer::Buffer;
use super::picture::Picture;
use super::vector::{Level, Simd, Task, each_vector};

/// Weights `[depth][columns]` in panels: `[columns / panel][depth][panel]`, the last one filled up
/// with zeros.
#[derive(Debug)]
pub(crate) struct Packed {
    values: Buffer,
    depth: usize,
    columns: usize,
    panel: usize,
}

impl Packed {
    /// Packs the weight `at(step, column)` for `level`.
    pub(crate) fn new(
        level: Level,
        depth: usize,
        columns: usize,
        at: impl Fn(usize, usize) -> f32,
    ) -> Self {
        let mut packed = Self::zeros(level, depth, columns);
        let panel = packed.panel;
        let panels = packed.values.values_mut().chunks_exact_mut((depth * panel).max(1));
        for (index, values) in panels.enumerate() {
            let first = index * panel;
            let width = panel.min(columns - first);
            fill_lines(values, [width, panel], |step, column| at(step, first + column));
        }
        packed
    }

    /// Weights that are all 0.
    pub(crate) fn zeros(level: Level, depth: usize, columns: usize) -> Self {
        let panel = level.panel();
        let values = Buffer::zeros(columns.div_ceil(panel) * depth * panel);
        Self { values, depth, columns, panel }
    }

    /// What a panel has for one step of the sum.
    pub(crate) fn line_mut(&mut self, panel: usize, step: usize) -> &mut [f32] {
        let at = (panel * self.depth + step) * self.panel;
        &mut self.values.values_mut()[at..at + self.panel]
    }

    /// How many panels there are.
    pub(crate) fn panels(&self) -> usize {
        self.columns.div_ceil(self.panel)
    }

    /// How many columns there are with those that fill up the last panel.
    pub(crate) fn padded_columns(&self) -> usize {
        self.panels() * self.panel
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.values.values())
    }
}

/// Writes the weights `at(step, column)` of `width` columns into lines of `stride` values, one for
/// each step.
pub(crate) fn fill_lines(
    lines: &mut [f32],
    [width, stride]: [usize; 2],
    mut at: impl FnMut(usize, usize) -> f32,
) {
    /// Steps whose weights are read one behind the other: where the matrix lies with its columns as
    /// lines, these are the values of a cache line.
    const STEPS: usize = 16;
    for (block, lines) in lines.chunks_mut(STEPS * stride).enumerate() {
        for column in 0..width {
            for (step, line) in lines.chunks_exact_mut(stride).enumerate() {
                line[column] = at(block * STEPS + step, column);
            }
        }
    }
}

/// How the left factor lies in a picture: rows that start `stride` values apart, each a sequence of
/// runs.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// From one row to the next.
    pub(crate) stride: usize,
    /// Where the runs of a row begin, from its start.
    pub(crate) runs: &'a [usize],
    /// How long each run is.
    pub(crate) run: usize,
}

/// Lines of rows of the left factor in every picture, and where their results go: indices of values
/// of the picture's argument and result, and distances.
#[derive(Clone, Copy)]
pub(crate) struct Lines {
    /// How many rows a line has.
    pub(crate) rows: usize,
    /// How many lines a picture has.
    pub(crate) count: usize,
    /// Where the first line begins in the left factor, and the result of its first column.
    pub(crate) start: [usize; 2],
    /// From one line to the next.
    pub(crate) line: [usize; 2],
    /// From one row's result to the next.
    pub(crate) to_stride: usize,
}

impl Lines {
    /// One line that begins where its values do.
    pub(crate) fn one(rows: usize, to_stride: usize) -> Self {
        Self { rows, count: 1, start: [0; 2], line: [0; 2], to_stride }
    }

    /// Where line `y` begins, in the left factor and in the result.
    #[inline(always)]
    fn at(&self, y: usize) -> [usize; 2] {
        [0, 1].map(|side| self.start[side] + y * self.line[side])
    }
}

/// A product of lines of rows with packed weights.
pub(crate) struct Product<'a, 'p> {
    /// What is multiplied, where the result is written, and what is done to it before.
    pub(crate) pictures: &'a mut [Picture<'p>],
    /// How the left factor lies in each of them.
    pub(crate) rows: Rows<'a>,
    /// Its lines.
    pub(crate) lines: Lines,
    /// The right factor.
    pub(crate) weights: &'a Packed,
    /// The channel of the weights' first column in the epilogue's vectors: not 0 in a later group.
    pub(crate) channel: usize,
}

impl Task for Product<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        assert_eq!(self.weights.panel, 2 * S::LANES, "weights packed for this level");
        assert_eq!(self.rows.runs.len() * self.rows.run, self.weights.depth, "the sum's length");
        let all = self.lines.rows;
        if all == 0 {
            return;
        }
        let parts = self.parts();
        let Self { pictures, rows, lines, weights, channel } = self;
        for part in 0..parts {
            let [start, end] = [part, part + 1].map(|part| part * all / parts);
            let blocks = (end - start).div_ceil(S::ROWS);
            for panel in 0..weights.panels() {
                let mut ahead = Ahead { blocks: blocks * lines.count * pictures.len(), done: 0 };
                for picture in &mut *pictures {
                    let mut one = One { picture, rows, lines, weights, channel };
                    for y in 0..lines.count {
                        let [from, to] = lines.at(y);
                        let at = [from + start * rows.stride, to + start * lines.to_stride];
                        one.line(simd, panel, at, end - start, &mut ahead);
                    }
                }
            }
        }
    }
}

/// Bytes of a left factor that go by all panels together: half of a second cache of 512 KiB, for
/// the weights and the results pass through it too.
const PART: usize = 256 << 10;

impl Product<'_, '_> {
    /// Into how many parts a single line is cut, each of which goes by all panels before the next
    /// one does: what is read again is the weights for each part, or else all rows for each panel,
    /// whichever is less. A sum is the same in every part.
    #[inline(always)]
    fn parts(&self) -> usize {
        let bytes = |steps: usize| steps * self.weights.depth * size_of::<f32>();
        let left = bytes(self.lines.rows) * self.pictures.len();
        let parts = left.div_ceil(PART).min(self.lines.rows);
        let is_less = parts * self.weights.bytes() < self.weights.panels() * left;
        if self.lines.count == 1 && is_less { parts.max(1) } else { 1 }
    }
}

/// The product of one picture.
struct One<'a, 'p> {
    picture: &'a mut Picture<'p>,
    rows: Rows<'a>,
    lines: Lines,
    weights: &'a Packed,
    channel: usize,
}

impl One<'_, '_> {
    /// One panel's columns of `count` rows of one line.
    #[inline(always)]
    fn line<S: Simd>(
        &mut self,
        simd: S,
        panel: usize,
        [from, to]: [usize; 2],
        count: usize,
        ahead: &mut Ahead,
    ) {
        let (rows, weights) = (self.rows, self.weights);
        let reach = rows.runs.iter().max().map_or(0, |last| last + rows.run);
        let values = self.picture.from;
        assert!(from + (count - 1) * rows.stride + reach <= values.len(), "rows within");
        let size = weights.depth * weights.panel;
        let first = panel * weights.panel;
        let panel = &weights.values.values()[panel * size..][..size];
        let width = (weights.columns - first).min(weights.panel);
        let whole = width == weights.panel && self.picture.epilogue.is_empty();
        let stride = self.lines.to_stride;
        let blocks = count.div_ceil(S::ROWS);
        for block in 0..blocks {
            // Blocks of nearly equal height: a last one of a few rows would wait for its weights.
            let (start, end) = (block * count / blocks, (block + 1) * count / blocks);
            let at = to + start * stride + first;
            let to = &mut self.picture.to[at..at + (end - start - 1) * stride + width];
            let mut sums = [0f32; MOST_ROWS * MOST_COLUMNS];
            let (tile_to, tile_stride) =
                if whole { (to.as_mut_ptr(), stride) } else { (sums.as_mut_ptr(), 2 * S::LANES) };
            // SAFETY: all rows of the line lie within `values`, as asserted above; `to` has room for
            // a tile of whole width, `sums` for the largest tile of any level.
            unsafe {
                let from = values.as_ptr().add(from + start * rows.stride);
                let ask = ahead.next(panel, weights.panel);
                tile(simd, end - start, &rows, from, (panel, ask), tile_to, tile_stride);
            }
            if !whole {
                self.finish(simd, &sums[..(end - start) * 2 * S::LANES], first, width, at);
            }
        }
    }

    /// Finishes and writes `width` columns of a tile, whose first is `first`, from index `at` on.
    #[inline(always)]
    fn finish<S: Simd>(&mut self, simd: S, sums: &[f32], first: usize, width: usize, at: usize) {
        for (row, sums) in sums.chunks_exact(2 * S::LANES).enumerate() {
            each_vector!(S, width, |column, lanes| {
                let at = at + row * self.lines.to_stride + column;
                let channel = self.channel + first + column;
                let v = simd.load(&sums[column..][..S::LANES]);
                let v = self.picture.epilogue.finish(simd, v, channel, at);
                simd.store(v, &mut self.picture.to[at..at + lanes]);
            });
        }
    }
}

/// The most rows of a tile at any level.
const MOST_ROWS: usize = 12;
/// The most columns of a tile at any level.
const MOST_COLUMNS: usize = 32;

/// How many lines of a panel ahead are asked for while it is read for the first time: where they come
/// from memory, it takes as long to bring them as to multiply some forty of them. On Emerald Rapids
/// 64 take 3 to 5 % less time than 16, and 160 none.
const AHEAD: usize = 64;
/// In at most so many blocks is the next panel asked for. By estimate a panel takes as long to come
/// from memory there as two blocks to be summed, and other machines may be slower; other numbers were
/// not measured.
const ASKING: usize = 4;

/// What is asked for while the blocks of a panel are summed, so that the sums need not wait for
/// memory: in the first block the panel itself, and in those behind it, which have it in the cache,
/// the next one.
struct Ahead {
    blocks: usize,
    done: usize,
}

/// Where to ask, and how much further for each line that is read, in values.
#[derive(Clone, Copy)]
struct Ask {
    from: *const f32,
    step: usize,
}

impl Ahead {
    /// What the next block asks for.
    #[inline(always)]
    fn next(&mut self, panel: &[f32], width: usize) -> Ask {
        let (start, size) = (panel.as_ptr(), panel.len());
        let before = self.done;
        self.done += 1;
        let Some(turn) = before.checked_sub(1) else {
            return Ask { from: start.wrapping_add(AHEAD * width), step: width };
        };
        let turns = (self.blocks - 1).clamp(1, ASKING);
        // Where all of it has been asked for, one place is asked for again and again.
        let step = if turn < turns { width.div_ceil(turns) } else { 0 };
        Ask { from: start.wrapping_add(size + turn.min(turns) * size / turns), step }
    }
}

/// Sums a tile of `height` rows, at most [`Simd::ROWS`].
///
/// # Safety
/// `height` rows that lie as `rows` says can be read from `from` on, `panel` has one line for each step of
/// their sum, and `to` has room for them.
#[inline(always)]
unsafe fn tile<S: Simd>(
    simd: S,
    height: usize,
    rows: &Rows,
    from: *const f32,
    (panel, ask): (&[f32], Ask),
    to: *mut f32,
    to_stride: usize,
) {
    macro_rules! by_height {
        ($($n:literal)*) => {
            match height {
                $($n if $n <= S::ROWS => {
                    // SAFETY: the caller's promise.
                    unsafe { sum::<S, $n>(simd, rows, from, (panel.as_ptr(), ask), to, to_stride) }
                })*
                _ => unreachable!("a tile of {height} rows"),
            }
        };
    }
    by_height!(1 2 3 4 5 6 7 8 9 10 11 12);
}

/// Sums a tile of `R` rows.
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn sum<S: Simd, const R: usize>(
    simd: S,
    rows: &Rows,
    from: *const f32,
    (panel, mut ask): (*const f32, Ask),
    to: *mut f32,
    to_stride: usize,
) {
    let (lanes, stride) = (S::LANES, rows.stride);
    let mut sums = [[simd.splat(0.0); 2]; R];
    let mut line = panel;
    for &run in rows.runs {
        let mut row = from.wrapping_add(run);
        let end = row.wrapping_add(rows.run);
        // Wrapping, and no range: the checks of a debug build would cost several times the sums.
        while row != end {
            // SAFETY: the caller's promise for all reads: every row has every run, and the panel a
            // line for each of their values. What is only asked for may lie outside.
            unsafe {
                let weights = [simd.read(line), simd.read(line.wrapping_add(lanes))];
                simd.prefetch(ask.from);
                if lanes == 16 {
                    simd.prefetch(ask.from.wrapping_add(lanes));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = simd.splat(*row.wrapping_add(r.wrapping_mul(stride)));
                    sums[0] = simd.mul_add(x, weights[0], sums[0]);
                    sums[1] = simd.mul_add(x, weights[1], sums[1]);
                }
            }
            line = line.wrapping_add(2 * lanes);
            ask.from = ask.from.wrapping_add(ask.step);
            row = row.wrapping_add(1);
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            simd.write(sums[0], to.add(r * to_stride));
            simd.write(sums[1], to.add(r * to_stride + lanes));
        }
    }
}
