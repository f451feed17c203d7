//! Depthwise convolutions: every channel with a kernel of its own, any kernel, stride and dilation,
//! forward and backward.
//!
//! Too little is computed for each value read to make a product of it; channels are the lanes of
//! the vectors, and a few neighbouring output pixels share each weight that is loaded. Lines and
//! columns in which taps fall outside of the picture leave these taps out, so nothing is copied.

#![allow(unsafe_code, reason = "a check for each of the many loads would cost more than the loads")]
#![allow(clippy::inline_always, reason = "inlined into functions that enable the instructions")]

use std::ops::Range;

use super::epilogue::Epilogue;
use super::geometry::{Phase, Stencil};
use super::picture::Picture;
use super::vector::{Level, Simd, Task, each_vector};

/// A depthwise convolution, or its transposed map, ready to run.
#[derive(Debug)]
pub(crate) struct Depthwise {
    stencil: Stencil,
    level: Level,
    channels: usize,
    /// `[taps of the kernel][channels]`.
    weights: Vec<f32>,
}

impl Depthwise {
    /// Lays out the weights `at(channel, tap)` of a kernel of `taps` taps.
    pub(crate) fn new(
        level: Level,
        stencil: Stencil,
        channels: usize,
        taps: usize,
        at: impl Fn(usize, usize) -> f32,
    ) -> Self {
        let weights = (0..taps * channels).map(|i| at(i % channels, i / channels)).collect();
        Self { stencil, level, channels, weights }
    }

    /// Bytes of the weights.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.weights.as_slice())
    }

    /// Maps a picture to some lines of its result. Pixels outside of it are 0.
    pub(crate) fn run(&self, picture: &mut Picture, lines: &Range<usize>) {
        let Picture { from: input, to: output, epilogue } = picture;
        self.level.run(Band { map: self, input, lines, output, epilogue });
    }
}

/// Lines of a picture.
struct Band<'a> {
    map: &'a Depthwise,
    input: &'a [f32],
    /// Of the result.
    lines: &'a Range<usize>,
    output: &'a mut [f32],
    epilogue: &'a Epilogue<'a>,
}

/// A tap that lies within the picture for all pixels that are worked on.
#[derive(Clone, Copy)]
struct Reach {
    /// Of the tap's pixel's first channel, in the argument, for the line's pixel 0.
    from: isize,
    /// Offset along the line, in pixels.
    across: isize,
    /// Of the tap's first weight.
    weight: usize,
}

/// How many neighbouring output pixels are summed at once: enough sums to hide the latency of one,
/// and few enough for the sixteen registers of AVX2.
const BLOCK: usize = 6;

impl Task for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let map = self.map;
        let count = map.weights.len() / map.channels;
        let (mut taps, mut inside) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for phase in &map.stencil.phases {
            for y in phase.lines(&map.stencil, self.lines) {
                self.reaches(phase, y, &mut taps);
                self.line(simd, phase, y, &taps, &mut inside);
            }
        }
    }
}

impl Band<'_> {
    /// The taps of line `y` of a phase whose lines lie within the picture.
    fn reaches(&self, phase: &Phase, y: usize, taps: &mut Vec<Reach>) {
        let (stencil, channels) = (&self.map.stencil, self.map.channels as isize);
        let [height, width] = stencil.from.map(|extent| extent as isize);
        let top = (y * stencil.from_step[0]) as isize;
        taps.clear();
        for tap in &phase.taps {
            let line = top + tap.offset[0];
            if (0..height).contains(&line) {
                let across = tap.offset[1];
                let from = (line * width + across) * channels;
                taps.push(Reach { from, across, weight: tap.weight * self.map.channels });
            }
        }
    }

    /// One line of a phase: pixel by pixel where a tap leaves the picture at the left or right.
    #[inline(always)]
    fn line<S: Simd>(
        &mut self,
        simd: S,
        phase: &Phase,
        y: usize,
        taps: &[Reach],
        inside: &mut Vec<Reach>,
    ) {
        let stencil = &self.map.stencil;
        let (step, width) = (stencil.from_step[1] as isize, stencil.from[1] as isize);
        let count = phase.extent[1];
        let (least, most) = phase
            .taps
            .iter()
            .fold((0, 0), |(a, b), tap| (tap.offset[1].min(a), tap.offset[1].max(b)));
        let first = ((-least + step - 1) / step).clamp(0, count as isize) as usize;
        let last = ((width - 1 - most).div_euclid(step) + 1).clamp(first as isize, count as isize);
        let line = phase.origin[0] + y * stencil.to_step[0] - self.lines.start;
        let line = line * stencil.to[1];
        let to = line + phase.origin[1];
        for x in (0..first).chain(last as usize..count) {
            let fits = |tap: &&Reach| (0..width).contains(&(x as isize * step + tap.across));
            inside.clear();
            inside.extend(taps.iter().filter(fits));
            self.pixels::<S, 1>(simd, inside, x, to);
        }
        let mut x = first;
        while x + BLOCK <= last as usize {
            self.pixels::<S, BLOCK>(simd, taps, x, to);
            x += BLOCK;
        }
        for x in x..last as usize {
            self.pixels::<S, 1>(simd, taps, x, to);
        }
    }

    /// `N` neighbouring pixels of a phase's line, from `x` on. `to` is the output pixel of `x = 0`.
    #[inline(always)]
    fn pixels<S: Simd, const N: usize>(&mut self, simd: S, taps: &[Reach], x: usize, to: usize) {
        let (stencil, channels) = (&self.map.stencil, self.map.channels);
        let step = stencil.from_step[1] * channels;
        let to_step = stencil.to_step[1] * channels;
        let to = (to + x * stencil.to_step[1]) * channels;
        assert!(to + (N - 1) * to_step + channels <= self.output.len());
        for tap in taps {
            let from = tap.from + (x * step) as isize;
            let end = from + ((N - 1) * step + channels) as isize;
            assert!(from >= 0 && end as usize <= self.input.len());
            assert!(tap.weight + channels <= self.map.weights.len());
        }
        let input = self.input.as_ptr().wrapping_add(x * step);
        each_vector!(S, channels, |first, lanes| {
            let mut sums = [simd.splat(0.0); N];
            for tap in taps {
                // SAFETY: all values of the tap's pixels and weights lie within their slices, as
                // asserted above; these are `lanes` of them.
                unsafe {
                    let weight =
                        self.map.weights.as_ptr().wrapping_add(tap.weight).wrapping_add(first);
                    let weight = simd.read_lanes(weight, lanes);
                    let from = input.wrapping_offset(tap.from).wrapping_add(first);
                    for (n, sum) in sums.iter_mut().enumerate() {
                        let x = simd.read_lanes(from.wrapping_add(n.wrapping_mul(step)), lanes);
                        *sum = simd.mul_add(x, weight, *sum);
                    }
                }
            }
            for (n, sum) in sums.into_iter().enumerate() {
                let at = to + n * to_step + first;
                let sum = self.epilogue.finish(simd, sum, first, at);
                // SAFETY: the pixel lies within the output, as asserted above.
                unsafe { simd.write_lanes(sum, self.output.as_mut_ptr().add(at), lanes) }
            }
        });
    }
}
