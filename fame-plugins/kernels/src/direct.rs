//! Dense convolutions as products over windows: any kernel, stride, dilation and number of groups,
//! forward and backward.
//!
//! The input is copied into a padded picture, in which a window is a few runs of consecutive values
//! at the same distances everywhere. So nothing is unrolled into columns: the product reads the
//! windows where they are. A pointwise convolution is the case of one run, and copies nothing.

#![allow(clippy::inline_always, reason = "inlined into functions that enable the instructions")]

use std::ops::Range;

use super::bf16_tile::rounded;
use super::buffer::{Buffer, Scratch};
use super::epilogue::Epilogue;
use super::geometry::{Phase, Stencil, Tap};
use super::picture::Picture;
use super::product::{Lines, Packed, Product, Rows};
use super::vector::{Level, Simd, Task, each_vector};
use super::windows::Windows;

/// A convolution, or its transposed map, ready to run.
#[derive(Debug)]
pub(crate) struct Direct {
    windows: Windows,
    level: Level,
    channels: Channels,
    /// Whether all factors are rounded to bfloat16 before they are multiplied.
    rounds: bool,
    sums: Vec<Sum>,
}

/// Channels of both sides, of all groups together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channels {
    /// Of the argument.
    pub(crate) from: usize,
    /// Of the result.
    pub(crate) to: usize,
    /// The number of groups.
    pub(crate) groups: usize,
}

/// What the pixels of one phase are summed over.
#[derive(Debug)]
struct Sum {
    /// Where a window's runs begin in the padded picture, from the window's first pixel.
    runs: Vec<usize>,
    /// Values of a run.
    run: usize,
    /// One for each group.
    weights: Vec<Packed>,
}

impl Direct {
    /// Packs the weights `at(group, to, from, tap)`, where `to` and `from` are channels of the
    /// group and `tap` is the index in the kernel.
    pub(crate) fn new(
        level: Level,
        stencil: Stencil,
        channels: Channels,
        at: impl Fn(usize, usize, usize, usize) -> f32,
    ) -> Self {
        let windows = Windows::new(stencil);
        let sum = |phase: &Phase| {
            let group = channels.from / channels.groups;
            let place = |tap: &Tap| windows.place(tap.offset) * channels.from;
            let mut runs: Vec<usize> = phase.taps.iter().map(place).collect();
            let mut run = group;
            // Windows without gaps: what lies side by side in a line is one run.
            let across = phase.taps.iter().take_while(|t| t.offset[0] == phase.taps[0].offset[0]);
            let across = across.count();
            let dense = runs.iter().take(across).is_sorted_by(|a, b| **b == **a + channels.from);
            if channels.groups == 1 && dense && across > 1 {
                runs = runs.into_iter().step_by(across).collect();
                run *= across;
            }
            let weights = (0..channels.groups).map(|g| {
                let depth = phase.taps.len() * group;
                Packed::new(level, depth, channels.to / channels.groups, |step, to| {
                    at(g, to, step % group, phase.taps[step / group].weight)
                })
            });
            Sum { runs, run, weights: weights.collect() }
        };
        let sums = windows.stencil.phases.iter().map(sum).collect();
        Self { windows, level, channels, rounds: false, sums }
    }

    /// The same for a product of factors that are rounded to bfloat16: where a machine has no
    /// instructions for them, it multiplies what they are in `f32`.
    pub(crate) fn rounded(
        level: Level,
        stencil: Stencil,
        channels: Channels,
        at: impl Fn(usize, usize, usize, usize) -> f32,
    ) -> Self {
        let at = |group, to, from, tap| rounded(at(group, to, from, tap));
        Self { rounds: true, ..Self::new(level, stencil, channels, at) }
    }

    /// Bytes of the packed weights.
    pub(crate) fn bytes(&self) -> usize {
        self.sums.iter().flat_map(|sum| &sum.weights).map(Packed::bytes).sum()
    }

    /// Maps pictures to some lines of their results, or pixels where all are [one
    /// line](Windows::is_one_line). `border` is what pixels outside of a picture are, one value for each
    /// channel of the argument; 0 where there is none.
    pub(crate) fn run(
        &self,
        pictures: &mut [Picture],
        results: &Range<usize>,
        border: Option<&[f32]>,
        scratch: &mut Scratch,
    ) {
        if pictures.is_empty() {
            return;
        }
        if self.rounds || self.windows.pads != [0; 4] {
            let mut pictures = self.padded(pictures, results, border, &mut scratch.first);
            self.multiply(&mut pictures, results, 1);
        } else if pictures.len() > 1
            && self.windows.is_one_line()
            && self.windows.pixels() < FEW_PIXELS
            && results.len() == self.windows.pixels()
        {
            self.multiply_together(pictures, scratch);
        } else {
            self.multiply(pictures, results, 1);
        }
    }

    /// Whether the pixels of argument and result lie evenly.
    pub(crate) fn is_one_line(&self) -> bool {
        self.windows.is_one_line()
    }

    /// The products, of pictures that are `count` times as high as this is for.
    fn multiply(&self, pictures: &mut [Picture], results: &Range<usize>, count: usize) {
        let Channels { from, to, groups } = self.channels;
        for (phase, sum) in self.windows.stencil.phases.iter().zip(&self.sums) {
            let stride = self.windows.stencil.from_step[1] * from;
            let mut lines = self.lines(phase, results);
            lines.rows *= count;
            for (group, weights) in sum.weights.iter().enumerate() {
                self.level.run(Product {
                    pictures,
                    rows: Rows { stride, runs: &sum.runs, run: sum.run },
                    lines,
                    weights,
                    channel: group * (to / groups),
                });
                lines.start[0] += from / groups;
                lines.start[1] += to / groups;
            }
        }
    }

    /// The products of pictures of so few pixels that each alone would leave most of a register tile
    /// empty, such as a dense layer's, of which each is a single one: copied together, and back.
    fn multiply_together(&self, pictures: &mut [Picture], scratch: &mut Scratch) {
        let (count, pixels) = (pictures.len(), self.windows.pixels());
        let [from_len, to_len] = [self.channels.from, self.channels.to].map(|len| len * pixels);
        let from = scratch.first.at_least(count * from_len);
        let to = scratch.second.at_least(count * to_len);
        for (together, picture) in from.chunks_exact_mut(from_len).zip(&*pictures) {
            together.copy_from_slice(picture.from);
        }
        let mut together = [Picture { from, to, epilogue: Epilogue::default() }];
        self.multiply(&mut together, &(0..pixels), count);
        let [Picture { to: sums, .. }] = together;
        for (sums, picture) in sums.chunks_exact(to_len).zip(pictures) {
            self.level.run(Finish { sums, channels: self.channels.to, picture });
        }
    }

    /// The lines of a phase's pixels among the lines `results` of one picture's result.
    fn lines(&self, phase: &Phase, results: &Range<usize>) -> Lines {
        let ([_, width], stencil) = (self.windows.extent(), &self.windows.stencil);
        let (to, [step_y, step_x]) = (stencil.to, stencil.to_step);
        let Channels { from: inputs, to: outputs, .. } = self.channels;
        let to_stride = step_x * outputs;
        if self.windows.is_one_line() {
            let mut lines = Lines::one(results.len(), to_stride);
            lines.start[0] = results.start * inputs;
            return lines;
        }
        let line = [stencil.from_step[0] * width * inputs, step_y * to[1] * outputs];
        let within = phase.lines(stencil, results);
        let first = phase.origin[0] + within.start * step_y;
        let start = [
            within.start * line[0],
            // Where there are none, the first would be behind the last.
            (first.saturating_sub(results.start) * to[1] + phase.origin[1]) * outputs,
        ];
        Lines { rows: phase.extent[1], count: within.len(), start, line, to_stride }
    }

    /// The pictures with padding around their arguments: those lines of them that `results` are
    /// computed from, rounded where that is asked for.
    fn padded<'b>(
        &self,
        pictures: &'b mut [Picture],
        results: &Range<usize>,
        border: Option<&[f32]>,
        buffer: &'b mut Buffer,
    ) -> Vec<Picture<'b>> {
        let (channels, from, [height, width]) =
            (self.channels.from, self.windows.stencil.from, self.windows.extent());
        let needed = self.windows.needed(results);
        let padded = buffer.at_least(pictures.len() * height * width * channels);
        let fill = |part: &mut [f32]| match border {
            None => part.fill(0.0),
            Some(border) => {
                part.chunks_exact_mut(channels).for_each(|pixel| pixel.copy_from_slice(border));
            }
        };
        let pads = self.windows.pads;
        let (first, last) = (pads[1] * channels, (pads[1] + from[1]) * channels);
        for (index, line) in padded.chunks_exact_mut(width * channels).enumerate() {
            let (row, y) = (index / height, index % height);
            if !needed.contains(&y) {
                continue;
            }
            if y < pads[0] || y >= pads[0] + from[0] {
                fill(line);
                self.round(line);
                continue;
            }
            let at = (y - pads[0]) * from[1] * channels;
            fill(&mut line[..first]);
            line[first..last].copy_from_slice(&pictures[row].from[at..at + last - first]);
            fill(&mut line[last..]);
            self.round(line);
        }
        let padded = padded.chunks_exact(height * width * channels);
        pictures.iter_mut().zip(padded).map(|(picture, from)| picture.reading(from)).collect()
    }

    /// Rounds factors, where that is asked for.
    fn round(&self, values: &mut [f32]) {
        if self.rounds {
            values.iter_mut().for_each(|value| *value = rounded(*value));
        }
    }
}

/// Fewer pixels than this leave more than half of a register tile empty at the widest level.
const FEW_PIXELS: usize = 6;

/// Finishes sums that lie elsewhere.
struct Finish<'a, 'p> {
    sums: &'a [f32],
    channels: usize,
    picture: &'a mut Picture<'p>,
}

impl Task for Finish<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Picture { to, epilogue, .. } = self.picture;
        for (pixel, sums) in self.sums.chunks_exact(self.channels).enumerate() {
            each_vector!(S, self.channels, |first, lanes| {
                let at = pixel * self.channels + first;
                let sum = simd.load(&sums[first..][..lanes]);
                let sum = epilogue.finish(simd, sum, first, at);
                simd.store(sum, &mut to[at..at + lanes]);
            });
        }
    }
}
