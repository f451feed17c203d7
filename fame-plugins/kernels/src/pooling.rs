//! The gradient of max pooling, of pictures whose channels lie last.

#![allow(clippy::inline_always, reason = "inlined into functions that enable the instructions")]

use super::vector::{Level, Simd, Task, each_vector};

/// A line of windows that lie side by side, and the cotangents of their maxima.
///
/// A value's place is where its pixel's first channel is, counted from the start of the picture.
#[derive(Debug)]
pub struct MaxWindows<'a> {
    /// The picture that was pooled.
    pub values: &'a [f32],
    /// Its gradient, where each window's cotangents go to its maxima.
    pub gradient: &'a mut [f32],
    /// The cotangents of the line's windows, one pixel for each.
    pub cotangents: &'a [f32],
    /// Places of the windows' lines in the picture.
    pub lines: &'a [usize],
    /// For each window, the places of its columns in a line.
    pub columns: &'a [Vec<usize>],
    /// How many channels a pixel has.
    pub channels: usize,
    /// Whether windows overlap: what goes to a place is added to what is there. Else it is written,
    /// 0 where a place is not the maximum.
    pub adds: bool,
}

impl MaxWindows<'_> {
    /// Pulls the cotangents back: each goes to the first maximum of its window and channel, or to
    /// the last NaN, where there is one.
    ///
    /// Panics where a place lies outside of the picture, or cotangents are missing.
    pub fn pull_back(self) {
        Level::best().run(self);
    }
}

impl Task for MaxWindows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { values, gradient, cotangents, lines, columns, channels, adds } = self;
        for (columns, cotangents) in columns.iter().zip(cotangents.chunks_exact(channels)) {
            each_vector!(S, channels, |first, lanes| {
                let places = || {
                    let taps =
                        lines.iter().flat_map(|line| columns.iter().map(move |at| line + at));
                    taps.map(|place| place + first).zip(0u32..)
                };
                let mut most = simd.splat(f32::NEG_INFINITY);
                let mut tap = simd.splat(0.0);
                for (at, index) in places() {
                    let value = simd.load(&values[at..at + lanes]);
                    let index = simd.splat(index as f32);
                    tap = simd.if_more(value, most, index, tap);
                    most = simd.if_more(value, most, value, most);
                }
                let cotangent = simd.load(&cotangents[first..first + lanes]);
                let zero = simd.splat(0.0);
                for (at, index) in places() {
                    // Above 0 where the tap is this one: both are whole numbers.
                    let other = simd.sub(tap, simd.splat(index as f32));
                    let other = simd.mul(other, other);
                    let is_this = simd.sub(simd.splat(0.5), other);
                    let mut given = simd.if_positive(is_this, cotangent, zero);
                    let to = &mut gradient[at..at + lanes];
                    if adds {
                        given = simd.add(given, simd.load(to));
                    }
                    simd.store(given, to);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cotangent_goes_to_the_first_maximum_and_to_a_nan() {
        // Two windows of two by two pixels, 19 channels: whole vectors and a rest.
        const CHANNELS: usize = 19;
        let lowest = f32::NEG_INFINITY;
        let picture = [[1.0, 3.0, 2.0, lowest], [3.0, 0.0, f32::NAN, lowest]];
        let place = |y: usize, x: usize| (y * 4 + x) * CHANNELS;
        for level in Level::available() {
            let mut values = vec![0.0; 8 * CHANNELS];
            for (y, line) in picture.iter().enumerate() {
                for (x, value) in line.iter().enumerate() {
                    values[place(y, x)..][..CHANNELS].fill(*value);
                }
            }
            let cotangents: Vec<f32> = (0..2 * CHANNELS).map(|i| 1.0 + i as f32).collect();
            for (adds, before) in [(false, f32::NAN), (true, 0.5)] {
                let mut gradient = vec![before; 8 * CHANNELS];
                level.run(MaxWindows {
                    values: &values,
                    gradient: &mut gradient,
                    cotangents: &cotangents,
                    lines: &[0, place(1, 0)],
                    columns: &[vec![0, CHANNELS], vec![2 * CHANNELS, 3 * CHANNELS]],
                    channels: CHANNELS,
                    adds,
                });
                let start = if adds { before } else { 0.0 };
                for channel in 0..CHANNELS {
                    let of = |y, x| gradient[place(y, x) + channel] - start;
                    let [first, second] = [0, CHANNELS].map(|at| cotangents[at + channel]);
                    assert_eq!([of(0, 0), of(0, 1), of(1, 0), of(1, 1)], [0.0, first, 0.0, 0.0]);
                    assert_eq!([of(0, 2), of(0, 3), of(1, 2), of(1, 3)], [0.0, 0.0, second, 0.0]);
                }
            }
        }
    }
}
