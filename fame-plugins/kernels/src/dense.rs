//! Dense layers: products of pictures of one pixel with a matrix.
//!
//! Each weight is used once for each picture, so what takes the time is to bring the weights from
//! memory. The matrix lies in *panels* of columns, each with one line for each value of the
//! argument, and the lines of values that are 0 in all pictures are not read. Behind a ReLU, or the
//! derivative of one, that is half of them and more.

#![allow(unsafe_code, reason = "the innermost loop reads through pointers, checked outside of it")]
#![allow(clippy::inline_always, reason = "inlined into functions that enable the instructions")]

use std::ops::Range;

use super::bf16_tile::rounded;
use super::buffer::{Buffer, LINE};
use super::picture::Picture;
use super::product::fill_lines;
use super::vector::{Level, Simd, Task, each_vector};

/// Columns of a panel at most: their lines are pages of 4 KiB. A CPU reads ahead within a page, and
/// of shorter lines it would bring those that are left out: of a matrix of 411 MB whose every
/// second line counts, lines of 512 bytes take 17 ms, of 1 KiB 16, of 4 KiB 12 (Intel Xeon; all
/// lines 25).
const COLUMNS: usize = 1024;

/// Lines that are added up at once: fewer reads and writes of the sums, and several places of
/// memory to read ahead at (1 at once takes a quarter longer than 8 there, 4 as long).
const AT_ONCE: usize = 8;

/// A matrix `[depth][columns]`, ready to be multiplied from the left.
#[derive(Debug)]
pub(crate) struct Dense {
    level: Level,
    /// `[panel][depth][columns of the panel]`.
    values: Buffer,
    depth: usize,
    columns: usize,
    /// Columns of all panels but the last.
    panel: usize,
    /// Whether all weights are finite: others make NaN of 0.
    skips: bool,
    /// Whether all factors are rounded to bfloat16 before they are multiplied.
    rounds: bool,
}

impl Dense {
    /// Lays out the weights `at(step, column)`.
    pub(crate) fn new(
        level: Level,
        [depth, columns]: [usize; 2],
        at: impl Fn(usize, usize) -> f32,
    ) -> Self {
        // Two threads share even a small one, by whole cache lines.
        let panel = columns.div_ceil(2).next_multiple_of(LINE).min(COLUMNS);
        let mut values = Buffer::zeros(depth * columns);
        let mut skips = true;
        for (first, values) in
            (0..columns).step_by(panel).zip(values.values_mut().chunks_mut(depth * panel))
        {
            let width = panel.min(columns - first);
            fill_lines(values, [width; 2], |step, column| {
                let weight = at(step, first + column);
                skips &= weight.is_finite();
                weight
            });
        }
        Self { level, values, depth, columns, panel, skips, rounds: false }
    }

    /// The same for a product of factors that are rounded to bfloat16, as
    /// [`Direct::rounded`](super::direct::Direct::rounded).
    pub(crate) fn rounded(
        level: Level,
        extent: [usize; 2],
        at: impl Fn(usize, usize) -> f32,
    ) -> Self {
        let at = |step, column| rounded(at(step, column));
        Self { rounds: true, ..Self::new(level, extent, at) }
    }

    /// Bytes of the weights.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.values.values())
    }

    /// How many panels there are, and how many columns each but the last has: what can be shared
    /// among threads.
    pub(crate) fn panels(&self) -> [usize; 2] {
        [self.columns.div_ceil(self.panel), self.panel]
    }

    /// Maps pictures to the columns of some panels. `steps` is memory to work in.
    pub(crate) fn run(
        &self,
        pictures: &mut [Picture],
        panels: Range<usize>,
        steps: &mut Vec<usize>,
    ) {
        steps.clear();
        let counts = |&step: &usize| {
            // NaN counts, too.
            !self.skips || pictures.iter().any(|picture| picture.from[step] != 0.0)
        };
        steps.extend((0..self.depth).filter(counts));
        self.level.run(Columns { dense: self, pictures, panels, steps });
    }
}

/// The columns of some panels.
struct Columns<'a, 'p> {
    dense: &'a Dense,
    pictures: &'a mut [Picture<'p>],
    panels: Range<usize>,
    /// The values of the argument that count.
    steps: &'a [usize],
}

impl Task for Columns<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { dense, pictures, panels, steps } = self;
        let before = panels.start * dense.panel;
        for panel in panels {
            let first = panel * dense.panel;
            let width = dense.panel.min(dense.columns - first);
            let values = &dense.values.values()[first * dense.depth..][..width * dense.depth];
            let within = first - before..first - before + width;
            pictures.iter_mut().for_each(|picture| picture.to[within.clone()].fill(0.0));
            let (many, few) = steps.as_chunks::<AT_ONCE>();
            for steps in many {
                let lines = Lines { values, width, steps, rounds: dense.rounds };
                pictures.iter_mut().for_each(|picture| lines.add(simd, picture, &within));
            }
            for step in few {
                let steps = std::array::from_ref(step);
                let lines = Lines { values, width, steps, rounds: dense.rounds };
                pictures.iter_mut().for_each(|picture| lines.add(simd, picture, &within));
            }
            for Picture { to, epilogue, .. } in &mut *pictures {
                if epilogue.is_empty() {
                    continue;
                }
                each_vector!(S, width, |column, lanes| {
                    let at = within.start + column;
                    let sum = simd.load(&to[at..at + lanes]);
                    let sum = epilogue.finish(simd, sum, first + column, at);
                    simd.store(sum, &mut to[at..at + lanes]);
                });
            }
        }
    }
}

/// Some lines of a panel.
struct Lines<'a, const N: usize> {
    values: &'a [f32],
    width: usize,
    steps: &'a [usize; N],
    rounds: bool,
}

impl<const N: usize> Lines<'_, N> {
    /// Adds the lines, each times its value of the argument, to the values `within` of the result.
    /// A sum adds up in the order of the steps, so that its bytes do not depend on how many are
    /// added at once, or left out.
    #[inline(always)]
    fn add<S: Simd>(&self, simd: S, picture: &mut Picture, within: &Range<usize>) {
        let lines = self.steps.map(|step| &self.values[step * self.width..][..self.width]);
        let factors = self.steps.map(|step| {
            let x = picture.from[step];
            simd.splat(if self.rounds { rounded(x) } else { x })
        });
        let to = &mut picture.to[within.clone()];
        assert_eq!(to.len(), self.width, "as many sums as columns");
        let to = to.as_mut_ptr();
        each_vector!(S, self.width, |column, lanes| {
            // SAFETY: `lanes` columns from `column` on are within the width, which is how long
            // every line and the sums are.
            unsafe {
                let to = to.add(column);
                let mut sum = simd.read_lanes(to, lanes);
                for (line, x) in lines.iter().zip(factors) {
                    let weights = simd.read_lanes(line.as_ptr().add(column), lanes);
                    sum = simd.mul_add(x, weights, sum);
                }
                simd.write_lanes(sum, to, lanes);
            }
        });
    }
}
