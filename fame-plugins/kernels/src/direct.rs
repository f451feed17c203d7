//! Dense convolutions as products over windows: any kernel, stride, dilation and number of groups,
//! forward and backward.
//!
//! The input is copied into a padded picture, in which a window is a few runs of consecutive values
//! at the same distances everywhere. So nothing is unrolled into columns: the product reads the
//! windows where they are. A pointwise convolution is the case of one run, and copies nothing.

use super::buffer::{Buffer, Scratch};
use super::epilogue::Epilogue;
use super::geometry::{Phase, Stencil};
use super::product::{Lines, Packed, Product, Rows};
use super::vector::Level;

/// A convolution, or its transposed map, ready to run.
#[derive(Debug)]
pub(crate) struct Direct {
    stencil: Stencil,
    level: Level,
    channels: Channels,
    /// Pixels added above, to the left, below and to the right of the argument.
    pads: [usize; 4],
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
        let pads = pads(&stencil);
        let width = pads[1] + stencil.from[1] + pads[3];
        let sum = |phase: &Phase| {
            let group = channels.from / channels.groups;
            let place = |offset: [isize; 2]| {
                let [y, x] = [0, 1].map(|axis| (offset[axis] + pads[axis] as isize) as usize);
                (y * width + x) * channels.from
            };
            let mut runs: Vec<usize> = phase.taps.iter().map(|tap| place(tap.offset)).collect();
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
        let sums = stencil.phases.iter().map(sum).collect();
        Self { stencil, level, channels, pads, sums }
    }

    /// Bytes of the packed weights.
    pub(crate) fn bytes(&self) -> usize {
        self.sums.iter().flat_map(|sum| &sum.weights).map(Packed::bytes).sum()
    }

    /// Maps `rows` pictures. `border` is what pixels outside of a picture are, one value for each
    /// channel of the argument; 0 where there is none.
    pub(crate) fn run(
        &self,
        input: &[f32],
        rows: usize,
        border: Option<&[f32]>,
        output: &mut [f32],
        epilogue: &Epilogue,
        scratch: &mut Scratch,
    ) {
        let input = if self.pads == [0; 4] {
            input
        } else {
            self.padded(input, rows, border, &mut scratch.first)
        };
        let Channels { from, to, groups } = self.channels;
        for (phase, sum) in self.stencil.phases.iter().zip(&self.sums) {
            let stride = self.stencil.from_step[1] * from;
            let rows_of = Rows { values: input, stride, runs: &sum.runs, run: sum.run };
            let mut lines = self.lines(phase, rows);
            for (group, weights) in sum.weights.iter().enumerate() {
                self.level.run(Product {
                    rows: rows_of,
                    lines,
                    weights,
                    to: output,
                    channel: group * (to / groups),
                    epilogue,
                });
                lines.start[0] += from / groups;
                lines.start[1] += to / groups;
            }
        }
    }

    /// Pixels of the padded picture.
    fn extent(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.pads[axis] + self.stencil.from[axis] + self.pads[axis + 2])
    }

    /// The lines of a phase's pixels: one, where all lie evenly in both pictures.
    fn lines(&self, phase: &Phase, rows: usize) -> Lines {
        let ([height, width], stencil) = (self.extent(), &self.stencil);
        let (to, [step_y, step_x]) = (stencil.to, stencil.to_step);
        let Channels { from: inputs, to: outputs, .. } = self.channels;
        let to_stride = step_x * outputs;
        if stencil.from_step == [1, 1] && stencil.to_step == [1, 1] && [height, width] == to {
            return Lines::one(rows * height * width, to_stride);
        }
        Lines {
            rows: phase.extent[1],
            counts: [rows, phase.extent[0]],
            start: [0, (phase.origin[0] * to[1] + phase.origin[1]) * outputs],
            picture: [height * width * inputs, to[0] * to[1] * outputs],
            line: [stencil.from_step[0] * width * inputs, step_y * to[1] * outputs],
            to_stride,
        }
    }

    /// The pictures with padding around them.
    fn padded<'b>(
        &self,
        input: &[f32],
        rows: usize,
        border: Option<&[f32]>,
        buffer: &'b mut Buffer,
    ) -> &'b [f32] {
        let (channels, from, [height, width]) =
            (self.channels.from, self.stencil.from, self.extent());
        let padded = buffer.at_least(rows * height * width * channels);
        let fill = |part: &mut [f32]| match border {
            None => part.fill(0.0),
            Some(border) => {
                part.chunks_exact_mut(channels).for_each(|pixel| pixel.copy_from_slice(border));
            }
        };
        let (first, last) = (self.pads[1] * channels, (self.pads[1] + from[1]) * channels);
        for (index, line) in padded.chunks_exact_mut(width * channels).enumerate() {
            let (row, y) = (index / height, index % height);
            if y < self.pads[0] || y >= self.pads[0] + from[0] {
                fill(line);
                continue;
            }
            let at = (row * from[0] + y - self.pads[0]) * from[1] * channels;
            fill(&mut line[..first]);
            line[first..last].copy_from_slice(&input[at..at + last - first]);
            fill(&mut line[last..]);
        }
        padded
    }
}

/// Pixels that windows reach beyond the argument: above, to the left, below and to the right.
fn pads(stencil: &Stencil) -> [usize; 4] {
    let mut pads = [0; 4];
    for phase in &stencil.phases {
        for tap in &phase.taps {
            for axis in 0..2 {
                let last = (phase.extent[axis] - 1) * stencil.from_step[axis];
                let end = last as isize + tap.offset[axis] + 1 - stencil.from[axis] as isize;
                pads[axis] = pads[axis].max((-tap.offset[axis]).max(0) as usize);
                pads[axis + 2] = pads[axis + 2].max(end.max(0) as usize);
            }
        }
    }
    pads
}
