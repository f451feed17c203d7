//! What a convolution and its input gradient are, free of how they are computed.

use std::ops::Range;

/// The shape of a two-dimensional convolution. Pairs are `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Geometry {
    /// Channels of the input, of all groups together.
    pub inputs: usize,
    /// Channels of the output, of all groups together.
    pub outputs: usize,
    /// How many groups the channels fall into; divides both.
    pub groups: usize,
    /// Pixels of the input.
    pub extent: [usize; 2],
    /// Taps of the kernel.
    pub kernel: [usize; 2],
    /// Pixels from one output to the next.
    pub stride: [usize; 2],
    /// Pixels from one tap to the next.
    pub dilation: [usize; 2],
    /// Pixels of padding above and to the left.
    pub before: [usize; 2],
    /// Pixels of padding below and to the right.
    pub after: [usize; 2],
}

/// Which of the two linear maps of a convolution is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the input to the output.
    Forward,
    /// From the output's cotangent to the input's: the transposed map.
    Backward,
}

impl Geometry {
    /// The usual layer: a square picture and square windows, padded so that a stride of 1 keeps the
    /// side.
    pub fn square(
        [inputs, outputs]: [usize; 2],
        side: usize,
        taps: usize,
        stride: usize,
        groups: usize,
    ) -> Self {
        Self {
            inputs,
            outputs,
            groups,
            extent: [side; 2],
            kernel: [taps; 2],
            stride: [stride; 2],
            dilation: [1; 2],
            before: [taps / 2; 2],
            after: [taps / 2; 2],
        }
    }

    /// Pixels of the output.
    pub fn output(&self) -> [usize; 2] {
        let padded = self.padded();
        std::array::from_fn(|axis| {
            let reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1;
            (padded[axis] - reach) / self.stride[axis] + 1
        })
    }

    /// Pixels of the input with its padding, some of which no window may reach.
    pub(crate) fn padded(&self) -> [usize; 2] {
        std::array::from_fn(|axis| self.before[axis] + self.extent[axis] + self.after[axis])
    }

    /// Every channel is convolved with one kernel of its own.
    pub(crate) fn is_depthwise(&self) -> bool {
        self.groups == self.inputs && self.inputs == self.outputs
    }

    /// Argument and result are a single pixel, as a dense layer's.
    pub(crate) fn is_one_pixel(&self) -> bool {
        self.extent == [1, 1]
            && self.kernel == [1, 1]
            && self.output() == [1, 1]
            && self.groups == 1
    }

    /// Multiplications and additions of a direct computation of one row, without those with padding
    /// left out: what rates in FLOP/s are counted by.
    pub fn flops(&self) -> f64 {
        let [h, w] = self.output();
        let taps = self.kernel[0] * self.kernel[1];
        2.0 * (h * w * taps * self.outputs) as f64 * (self.inputs / self.groups) as f64
    }

    /// The map from `direction`'s argument to its result, as sums over taps.
    pub(crate) fn stencil(&self, direction: Direction) -> Stencil {
        let [rows, columns] = [0, 1].map(|axis| self.axis(axis, direction));
        let phases = rows.iter().flat_map(|row| {
            columns.iter().map(|column| Phase {
                origin: [row.origin, column.origin],
                extent: [row.extent, column.extent],
                taps: row
                    .taps
                    .iter()
                    .flat_map(|&(y, i)| {
                        column.taps.iter().map(move |&(x, j)| Tap {
                            offset: [y, x],
                            weight: i * self.kernel[1] + j,
                        })
                    })
                    .collect(),
            })
        });
        let phases = phases.collect();
        let whole = [1, 1];
        match direction {
            Direction::Forward => Stencil {
                from: self.extent,
                to: self.output(),
                from_step: self.stride,
                to_step: whole,
                phases,
            },
            Direction::Backward => Stencil {
                from: self.output(),
                to: self.extent,
                from_step: whole,
                to_step: self.stride,
                phases,
            },
        }
    }

    /// The phases of one axis.
    fn axis(&self, axis: usize, direction: Direction) -> Vec<AxisPhase> {
        let (before, dilation) = (self.before[axis] as isize, self.dilation[axis] as isize);
        let taps = 0..self.kernel[axis];
        if direction == Direction::Forward {
            let taps = taps.map(|i| (i as isize * dilation - before, i)).collect();
            return vec![AxisPhase { origin: 0, extent: self.output()[axis], taps }];
        }
        // `to = stride · from + i · dilation − before`, solved for `from`.
        let stride = self.stride[axis] as isize;
        let phase = |origin: usize| {
            let place = |i: usize| origin as isize + before - i as isize * dilation;
            let mut taps: Vec<(isize, usize)> = taps
                .clone()
                .filter(|&i| place(i).rem_euclid(stride) == 0)
                .map(|i| (place(i).div_euclid(stride), i))
                .collect();
            taps.sort_unstable();
            AxisPhase {
                origin,
                extent: (self.extent[axis] - origin).div_ceil(stride as usize),
                taps,
            }
        };
        (0..self.stride[axis].min(self.extent[axis])).map(phase).collect()
    }
}

/// What [`Phase`] is in two dimensions, along one.
struct AxisPhase {
    origin: usize,
    extent: usize,
    /// Offset in the argument and index in the kernel, by growing offset.
    taps: Vec<(isize, usize)>,
}

/// A linear map between pictures: the pixel at `origin + to_step · m` of the result is the sum over
/// the phase's taps of the pixel at `from_step · m + offset` of the argument, times a weight.
/// Pixels outside of the argument count as padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stencil {
    /// Pixels of the argument.
    pub(crate) from: [usize; 2],
    /// Pixels of the result.
    pub(crate) to: [usize; 2],
    /// Pixels of the argument from one `m` to the next.
    pub(crate) from_step: [usize; 2],
    /// Pixels of the result from one `m` to the next.
    pub(crate) to_step: [usize; 2],
    /// The result's pixels, by their coordinates modulo `to_step`.
    pub(crate) phases: Vec<Phase>,
}

/// The pixels of the result that are sums over the same taps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    /// The first of them.
    pub(crate) origin: [usize; 2],
    /// How many there are.
    pub(crate) extent: [usize; 2],
    /// What they are summed over, row by row; may be none.
    pub(crate) taps: Vec<Tap>,
}

impl Phase {
    /// Which of its lines are among the lines `results` of the result.
    pub(crate) fn lines(&self, stencil: &Stencil, results: &Range<usize>) -> Range<usize> {
        let before = |line: usize| {
            let behind = line.saturating_sub(self.origin[0]).div_ceil(stencil.to_step[0]);
            behind.min(self.extent[0])
        };
        before(results.start)..before(results.end)
    }
}

/// One tap of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tap {
    /// Where it reads, from the argument's pixel of `m`.
    pub(crate) offset: [isize; 2],
    /// Its index in the kernel, row by row.
    pub(crate) weight: usize,
}
