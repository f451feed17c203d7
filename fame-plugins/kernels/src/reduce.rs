//! Sums and extremes of rows of values.
//!
//! Plain loops over pieces of a row, of which the compiler makes vector loops wherever they are
//! inlined into a [`Task`](super::vector::Task), with as many lanes as it has.

#![allow(clippy::inline_always, reason = "inlined into functions that enable the instructions")]

/// How many sums are added up beside one another: enough vectors to hide the latency of an
/// addition.
const SUMS: usize = 64;

/// The sum of `term` over two rows that are equally long.
#[inline(always)]
pub(crate) fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0.0; SUMS];
    // Not `as_chunks`: loops of a known length are unrolled before they could become vector loops.
    for (a, b) in a.chunks(SUMS).zip(b.chunks(SUMS)) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += term(*a, *b));
    }
    folded(sums, |a, b| a + b)
}

/// The largest value; −∞ of none. NaN is passed over.
#[inline(always)]
pub(crate) fn largest(of: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut most = [f32::NEG_INFINITY; SUMS];
    for of in of.chunks(SUMS) {
        most.iter_mut().zip(of).for_each(|(most, x)| *most = larger(*most, *x));
    }
    folded(most, larger)
}

/// One of all lanes, halves put together until one is left.
#[inline(always)]
fn folded(mut lanes: [f32; SUMS], of: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = SUMS;
    while width > 1 {
        width /= 2;
        let (lower, upper) = lanes.split_at_mut(width);
        lower.iter_mut().zip(upper).for_each(|(a, b)| *a = of(*a, *b));
    }
    lanes[0]
}
