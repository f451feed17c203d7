//! Where the windows of a map lie in its argument, with padding around it.

use std::ops::Range;

use super::geometry::Stencil;

/// A map whose argument is read through windows, and the padding that these need.
#[derive(Debug)]
pub(crate) struct Windows {
    pub(crate) stencil: Stencil,
    /// Pixels added above, to the left, below and to the right of the argument.
    pub(crate) pads: [usize; 4],
}

impl Windows {
    /// The windows of `stencil`.
    pub(crate) fn new(stencil: Stencil) -> Self {
        let pads = pads(&stencil);
        Self { stencil, pads }
    }

    /// Pixels of the padded picture.
    pub(crate) fn extent(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.pads[axis] + self.stencil.from[axis] + self.pads[axis + 2])
    }

    /// Where a tap lies in the padded picture, in pixels from a window's first.
    pub(crate) fn place(&self, offset: [isize; 2]) -> usize {
        let [y, x] = [0, 1].map(|axis| (offset[axis] + self.pads[axis] as isize) as usize);
        y * self.extent()[1] + x
    }

    /// Pixels of a result.
    pub(crate) fn pixels(&self) -> usize {
        self.stencil.to[0] * self.stencil.to[1]
    }

    /// Whether the pixels of argument and result lie evenly, as those of a pointwise convolution.
    pub(crate) fn is_one_line(&self) -> bool {
        let stencil = &self.stencil;
        let is_dense = stencil.from_step == [1, 1] && stencil.to_step == [1, 1];
        is_dense && self.pads == [0; 4] && stencil.from == stencil.to
    }

    /// The lines of the padded picture that the lines `results` are computed from, or the pixels
    /// where all are [one line](Self::is_one_line).
    pub(crate) fn needed(&self, results: &Range<usize>) -> Range<usize> {
        if self.is_one_line() {
            let width = self.stencil.to[1];
            return results.start / width..results.end.div_ceil(width);
        }
        let (mut first, mut behind) = (usize::MAX, 0);
        for phase in &self.stencil.phases {
            let lines = phase.lines(&self.stencil, results);
            if lines.is_empty() {
                continue;
            }
            for tap in &phase.taps {
                let at = |y: usize| {
                    let line = (y * self.stencil.from_step[0] + self.pads[0]) as isize;
                    (line + tap.offset[0]) as usize
                };
                first = first.min(at(lines.start));
                behind = behind.max(at(lines.end - 1) + 1);
            }
        }
        first..behind
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
