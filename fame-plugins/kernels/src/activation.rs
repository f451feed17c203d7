//! Smooth activations and their derivatives, element by element, in one pass.
//!
//! All of them are made of one exponential and one quotient, so that value and slope share both.
//! The normal distribution function of GELU is `Φ(−t) = exp(−t²/2) · R(t)` for `t ≥ 0`: what R has
//! to fit is smooth, between ½ and 0, and the tails keep their relative precision, which `1 + erf`
//! loses.

#![allow(clippy::inline_always, reason = "inlined into functions that enable the instructions")]

use super::exponential::{exp, fused, polynomial};
use super::vector::{Level, Simd, Task};

/// An activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x Φ(x)`, with the normal distribution function (Hendrycks and Gimpel, 2016).
    Gelu,
    /// `x σ(2√(2/π) (x + 0.044715 x³))`, its approximation by the hyperbolic tangent.
    GeluTanh,
    /// `x σ(x)` with `σ(x) = 1 / (1 + exp(−x))`, also called swish.
    Silu,
}

/// Calls `$run` with the activation's function, so that each gets a loop of its own.
macro_rules! each_activation {
    ($activation:expr, $at:ident, |$f:ident| $run:expr) => {
        match $activation {
            Activation::Gelu => {
                let $f = gelu::$at::<S>;
                $run
            }
            Activation::GeluTanh => {
                let $f = gelu_tanh::$at::<S>;
                $run
            }
            Activation::Silu => {
                let $f = silu::$at::<S>;
                $run
            }
        }
    };
}

impl Activation {
    /// Writes the activation of each value of `from` to `to`, which is as long.
    pub fn map(self, level: Level, from: &[f32], to: &mut [f32]) {
        assert_eq!(from.len(), to.len(), "lengths");
        level.run(Map { activation: self, from, to });
    }

    /// Multiplies each cotangent with the slope at its value of `at`, which is as long.
    pub fn pull(self, level: Level, cotangents: &mut [f32], at: &[f32]) {
        assert_eq!(cotangents.len(), at.len(), "lengths");
        level.run(PullBack { activation: self, cotangents, at });
    }
}

struct Map<'a> {
    activation: Activation,
    from: &'a [f32],
    to: &'a mut [f32],
}

impl Task for Map<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let pairs = self.to.iter_mut().zip(self.from);
        each_activation!(self.activation, value, |f| pairs.for_each(|(to, x)| *to = f(*x)));
    }
}

struct PullBack<'a> {
    activation: Activation,
    cotangents: &'a mut [f32],
    at: &'a [f32],
}

impl Task for PullBack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let pairs = self.cotangents.iter_mut().zip(self.at);
        each_activation!(self.activation, slope, |f| pairs.for_each(|(g, x)| *g *= f(*x)));
    }
}

mod gelu {
    use super::{Simd, exp, fused, polynomial, within};

    /// Behind it `exp(−t²/2)` is 0 in `f32`.
    const FAR: f32 = 14.0;
    /// R's numerator, from the constant on. A minimax fit of the quotient of both, weighted to a
    /// relative error of 6e-9 on 0 … 14; all are positive, so nothing cancels.
    const ABOVE: [f32; 5] = [0.5, 0.437_251_55, 0.182_462_33, 0.040_372_73, 0.004_077_64];
    /// R's denominator, from the constant on.
    const BELOW: [f32; 6] =
        [1.0, 1.672_388_1, 1.199_292_7, 0.467_430_4, 0.101_206_23, 0.010_220_99];
    /// 1 / √(2π).
    const DENSITY: f32 = 0.398_942_3;

    /// `Φ(x)` and `exp(−x²/2)`.
    #[inline(always)]
    fn distribution<S: Simd>(x: f32) -> [f32; 2] {
        let t = within(x, FAR).abs();
        let e = exp::<S>(-0.5 * t * t);
        let tail = e * polynomial::<S, 5>(t, ABOVE) / polynomial::<S, 6>(t, BELOW);
        [if x > 0.0 { 1.0 - tail } else { tail }, e]
    }

    #[inline(always)]
    pub(super) fn value<S: Simd>(x: f32) -> f32 {
        x * distribution::<S>(x)[0]
    }

    /// `Φ(x) + x φ(x)`.
    #[inline(always)]
    pub(super) fn slope<S: Simd>(x: f32) -> f32 {
        let [below, e] = distribution::<S>(x);
        fused::<S>(within(x, FAR) * DENSITY, e, below)
    }
}

mod gelu_tanh {
    use super::{Simd, shares, within};

    /// Behind it the slope is 0 or 1 in `f32`.
    const FAR: f32 = 10.0;
    /// 2√(2/π).
    const SCALE: f32 = 1.595_769_2;
    const CUBE: f32 = 0.044_715;

    /// The logistic function of the approximation's argument, and what it lacks to 1.
    #[inline(always)]
    fn of<S: Simd>(x: f32) -> [f32; 2] {
        shares::<S>(SCALE * (x + CUBE * x * x * x))
    }

    #[inline(always)]
    pub(super) fn value<S: Simd>(x: f32) -> f32 {
        x * of::<S>(x)[0]
    }

    #[inline(always)]
    pub(super) fn slope<S: Simd>(x: f32) -> f32 {
        let x = within(x, FAR);
        let [s, rest] = of::<S>(x);
        s + x * (s * rest) * (SCALE * (1.0 + 3.0 * CUBE * x * x))
    }
}

mod silu {
    use super::{Simd, shares, within};

    /// Behind it the slope is 0 or 1 in `f32`.
    const FAR: f32 = 100.0;

    #[inline(always)]
    pub(super) fn value<S: Simd>(x: f32) -> f32 {
        x * shares::<S>(x)[0]
    }

    #[inline(always)]
    pub(super) fn slope<S: Simd>(x: f32) -> f32 {
        let x = within(x, FAR);
        let [s, rest] = shares::<S>(x);
        s * (1.0 + x * rest)
    }
}

/// `x`, or the number next to it that is no farther than `far` from zero: where a slope's density
/// is 0, x may be infinite. NaN stays NaN.
#[inline(always)]
fn within(x: f32, far: f32) -> f32 {
    let x = if x > far { far } else { x };
    if x < -far { -far } else { x }
}

/// `σ(x)` and `1 − σ(x)`, neither of them made by a subtraction.
#[inline(always)]
fn shares<S: Simd>(x: f32) -> [f32; 2] {
    let e = exp::<S>(-x);
    let s = 1.0 / (1.0 + e);
    [s, e * s]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a value or slope, relative to the largest of 1 and |x|: a few roundings of `f32`.
    const ERROR: f64 = 3e-7;
    /// Of `Φ` itself in its lower tail, relative: what squaring the argument rounds, times 18.
    const TAIL: f64 = 3e-6;

    /// The complementary error function in double precision: its series near zero, its continued
    /// fraction elsewhere.
    fn erfc(x: f64) -> f64 {
        if x < 0.0 {
            return 2.0 - erfc(-x);
        }
        if x < 2.5 {
            let (mut term, mut sum) = (x, x);
            for n in 1..120 {
                let n = f64::from(n);
                term *= -x * x / n;
                sum += term / (2.0 * n + 1.0);
            }
            return 1.0 - std::f64::consts::FRAC_2_SQRT_PI * sum;
        }
        let fraction = (1..160).rev().fold(0.0, |rest, k| f64::from(k) / 2.0 / (x + rest));
        (-x * x).exp() / std::f64::consts::PI.sqrt() / (x + fraction)
    }

    fn normal(x: f64) -> f64 {
        0.5 * erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
    }

    fn logistic(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    /// Value and slope by the formula, in double precision.
    fn exact(activation: Activation, x: f64) -> [f64; 2] {
        match activation {
            Activation::Gelu => {
                let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
                [x * normal(x), normal(x) + x * density]
            }
            Activation::GeluTanh => {
                let c = (2.0 / std::f64::consts::PI).sqrt();
                let t = (c * (x + 0.044_715 * x.powi(3))).tanh();
                let slope =
                    0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * c * (1.0 + 3.0 * 0.044_715 * x * x);
                [0.5 * x * (1.0 + t), slope]
            }
            Activation::Silu => {
                let s = logistic(x);
                [x * s, s * (1.0 + x * (1.0 - s))]
            }
        }
    }

    const ALL: [Activation; 3] = [Activation::Gelu, Activation::GeluTanh, Activation::Silu];

    #[test]
    fn the_reference_is_the_error_function() {
        // Known to all digits (DLMF 7.2).
        for (x, known) in [(0.5, 0.479_500_122_186_953_5), (3.0, 2.209_049_699_858_544e-5)] {
            assert!((erfc(x) / known - 1.0).abs() < 1e-12, "{x}: {}", erfc(x));
        }
    }

    #[test]
    fn values_and_slopes_are_the_formulas_at_every_level() {
        let x: Vec<f32> = (-30_000..=30_000).map(|i| i as f32 / 1500.0).collect();
        for level in Level::available() {
            for activation in ALL {
                let (mut y, mut g) = (vec![f32::NAN; x.len()], vec![1.0; x.len()]);
                activation.map(level, &x, &mut y);
                activation.pull(level, &mut g, &x);
                for ((x, y), g) in x.iter().zip(y).zip(g) {
                    let [value, slope] = exact(activation, f64::from(*x));
                    let bound = ERROR * f64::from(x.abs().max(1.0));
                    assert!((f64::from(y) - value).abs() <= bound, "{activation:?} {x}: {y}");
                    assert!((f64::from(g) - slope).abs() <= bound, "{activation:?}' {x}: {g}");
                }
            }
        }
    }

    #[test]
    fn the_lower_tail_of_gelu_keeps_its_relative_precision() {
        for i in 1..=600 {
            let x = -(i as f32) / 100.0;
            let mut y = [0.0];
            Activation::Gelu.map(Level::best(), &[x], &mut y);
            let apart = f64::from(y[0]) / exact(Activation::Gelu, f64::from(x))[0] - 1.0;
            assert!(apart.abs() <= TAIL, "{x}: {apart:e}");
        }
    }

    #[test]
    fn nan_stays_nan_and_what_is_far_from_zero_has_a_slope() {
        for (activation, level) in
            ALL.into_iter().flat_map(|of| Level::available().into_iter().map(move |l| (of, l)))
        {
            let mut y = [0.0; 2];
            activation.map(level, &[f32::NAN, 1.0], &mut y);
            assert!(y[0].is_nan() && !y[1].is_nan(), "{activation:?}");
            let mut g = [1.0];
            activation.pull(level, &mut g, &[f32::NAN]);
            assert!(g[0].is_nan(), "{activation:?}'");
            for far in [50.0, 1e6, 1e20, f32::MAX, f32::INFINITY] {
                let mut g = [1.0; 2];
                activation.pull(level, &mut g, &[far, -far]);
                let apart = [g[0] - 1.0, g[1]].map(f32::abs);
                assert!(apart.iter().all(|d| *d < 1e-6), "{activation:?}' at ±{far}: {g:?}");
            }
        }
    }
}
