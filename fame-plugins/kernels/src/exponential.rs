//! Exponentials of whole slices, in arithmetic that the compiler turns into vector loops.
//!
//! The library's `exp` is a call for every element; what stands here is additions, products and bit
//! patterns only.

#![allow(clippy::inline_always, reason = "inlined into functions that enable the instructions")]

use super::vector::Simd;

/// Levels with more lanes have fused multiplication and addition.
const WITHOUT_FUSED: usize = 4;

/// Where `exp` is about the smallest and the largest normal number.
const ENDS: [f32; 2] = [-87.0, 88.0];
/// Adding it rounds to a whole number, which then lies in the lowest bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts, the first short enough that its product with a small number is exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// `a · b + c`, rounded once where the CPU has an instruction for it. Elsewhere the library's is a
/// call for every element.
#[inline(always)]
pub(crate) fn fused<S: Simd>(a: f32, b: f32, c: f32) -> f32 {
    if S::LANES > WITHOUT_FUSED || cfg!(target_arch = "aarch64") {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

/// The polynomial with these coefficients, from the constant on.
#[inline(always)]
pub(crate) fn polynomial<S: Simd, const N: usize>(x: f32, of: [f32; N]) -> f32 {
    let mut sum = of[N - 1];
    for coefficient in of[..N - 1].iter().rev() {
        sum = fused::<S>(sum, x, *coefficient);
    }
    sum
}

/// `exp(x)` to 3e-7, relative, between −87 and 88; below 0, above what it is at 88. NaN stays NaN.
#[inline(always)]
pub(crate) fn exp<S: Simd>(x: f32) -> f32 {
    /// Of `(exp(r) − 1 − r) / r²`.
    const TAIL: [f32; 5] = [0.5, 0.166_666_66, 0.041_666_66, 0.008_333_45, 0.001_393_2];
    let is_zero = x < ENDS[0];
    // Not `min` and `max`, which would lose NaN.
    let x = if is_zero { ENDS[0] } else { x };
    let x = if x > ENDS[1] { ENDS[1] } else { x };
    let rounded = fused::<S>(x, std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = fused::<S>(n, -LN_2[1], fused::<S>(n, -LN_2[0], x));
    let above = fused::<S>(r * r, polynomial::<S, 5>(r, TAIL), r);
    // 2ⁿ: the whole number becomes the exponent.
    let power = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    if is_zero { 0.0 } else { fused::<S>(above, power, power) }
}

#[cfg(test)]
mod tests {
    use super::super::vector::{Level, Task};
    use super::*;

    /// Rounding of the polynomial and of the reduced argument, relative.
    const ERROR: f64 = 3e-7;

    struct All<'a>(&'a mut [f32]);

    impl Task for All<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, _: S) {
            self.0.iter_mut().for_each(|x| *x = exp::<S>(*x));
        }
    }

    #[test]
    fn the_exponential_is_close_everywhere_and_keeps_nan() {
        let x: Vec<f32> = (-87_000..=88_000).map(|i| i as f32 / 1000.0).collect();
        for level in Level::available() {
            let mut y = x.clone();
            level.run(All(&mut y));
            let apart = |(x, y): (&f32, &f32)| (f64::from(*y) / f64::from(*x).exp() - 1.0).abs();
            let worst = x.iter().zip(&y).map(apart).fold(0.0, f64::max);
            assert!(worst <= ERROR, "{}: {worst:e}", level.name());
            let mut ends = [0.0, f32::NEG_INFINITY, f32::INFINITY, f32::NAN];
            level.run(All(&mut ends));
            assert_eq!([ends[0], ends[1]].map(f32::to_bits), [1f32, 0.0].map(f32::to_bits));
            assert!(ends[2] > 1e38 && ends[3].is_nan());
        }
    }
}
