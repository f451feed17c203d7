//! Exponentials of whole slices, in arithmetic that the compiler turns into vector loops.
//!
//! The library's `exp` is a call for every element. What stands here is additions, products and bit
//! patterns only, and none of it depends on how many lanes a vector has: a value is the same at
//! every [`Level`](super::vector::Level).

#![allow(clippy::inline_always, reason = "inlined into functions that enable the instructions")]

/// Where `exp` is about the smallest and the largest normal number.
const ENDS: [f32; 2] = [-87.0, 88.0];
/// Adding it rounds to a whole number, which then lies in the lowest bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts, the first short enough that its product with a small number is exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// `exp(x)` to 3e-7, relative, between −87 and 88; below 0, above what it is at 88. NaN stays NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let is_zero = x < ENDS[0];
    // Not `min` and `max`, which would lose NaN.
    let x = if is_zero { ENDS[0] } else { x };
    let x = if x > ENDS[1] { ENDS[1] } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (x - n * LN_2[0]) - n * LN_2[1];
    let tail = 0.5 + r * (0.166_666_66 + r * (0.041_666_66 + r * (0.008_333_45 + r * 0.001_393_2)));
    // 2ⁿ: the whole number becomes the exponent.
    let power = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    if is_zero { 0.0 } else { (1.0 + (r + r * r * tail)) * power }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounding of the polynomial and of the reduced argument, relative.
    const ERROR: f64 = 3e-7;

    #[test]
    fn the_exponential_is_close_everywhere_and_keeps_nan() {
        let mut worst = 0f64;
        for i in -87_000..=88_000 {
            let x = i as f32 / 1000.0;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) / exact - 1.0).abs());
        }
        assert!(worst <= ERROR, "{worst:e}");
        assert_eq!(exp(0.0).to_bits(), 1f32.to_bits());
        assert!(exp(f32::NAN).is_nan());
        assert_eq!(exp(f32::NEG_INFINITY).to_bits(), 0f32.to_bits());
        assert!(exp(f32::INFINITY) > 1e38);
    }
}
