//! Functions of one variable: each is a name, where its derivative is written (its input or its
//! output), and the derivative.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cast::{Cast, cast as to_type};
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_core::ops::math::{
    Abs, Acos, Acosh, Asin, Asinh, Atan, Atanh, Ceil, Cos, Cosh, Erf, Exp, Floor, Ln, Neg,
    PowConst, Recip, Round, RoundHalfToEven, Rsqrt, Sign, Sin, Sinh, Sqrt, Square, Tan, Tanh,
};
use tract_onnx::tract_core::ops::nn::gelu_approximate::GeluApproximate;
use tract_onnx::tract_core::ops::nn::gelu_exact::GeluExact;
use tract_onnx::tract_core::ops::nn::silu::Silu;
use tract_onnx::tract_core::ops::nn::{HardSwish, LeakyRelu, Sigmoid};

use super::rule::Rule;
use super::tape::{Pull, Pulled};
use crate::backends::onnx::prelu::PRelu;
use crate::backends::tract::ops::{PReluGrad, Slope};
use fame_kernels::{Activation, Level};

/// A rule `cotangent · derivative(v)`, where `v` is the function's `input` or `output`. The
/// derivative is inlined into a loop over slices, so that it vectorises.
macro_rules! unary {
    (@input $pull:ident) => {
        $pull.input(0)?
    };
    (@output $pull:ident) => {
        $pull.output()?
    };
    ($op:ident, $at:ident, $derivative:expr) => {
        Rule::unary::<$op>(|pull| {
            let at = unary!(@$at pull);
            let gradient = pull.pointwise(
                stringify!($op),
                |g, v, _| {
                    let derivative: fn(f32) -> f32 = $derivative;
                    g.iter_mut().zip(v).for_each(|(g, v)| *g *= derivative(*v));
                },
                [0.0; 2],
                at,
            )?;
            Ok(tvec!(Some(gradient)))
        })
    };
}

/// The rule of an activation whose slope is one of our kernels'.
macro_rules! smooth {
    ($op:ident, $activation:expr) => {
        Rule::unary::<$op>(|pull| {
            let at = pull.input(0)?;
            let slope: Slope = |g, x, _| $activation.pull(Level::best(), g, x);
            Ok(tvec!(Some(pull.pointwise(stringify!($op), slope, [0.0; 2], at)?)))
        })
    };
}

pub(super) const RULES: &[Rule] = &[
    unary!(Exp, output, |y| y),
    unary!(Sqrt, output, |y| 0.5 / y),
    unary!(Recip, output, |y| -y * y),
    unary!(Rsqrt, output, |y| -0.5 * y * y * y),
    unary!(Sigmoid, output, |y| y * (1.0 - y)),
    // Not `1 − y²`: where the output is rounded to 1 that is rounding only, and Mish multiplies it
    // by x.
    unary!(Tanh, input, tanh_slope),
    unary!(Ln, input, |x| x.recip()),
    unary!(Square, input, |x| 2.0 * x),
    unary!(Abs, input, |x| if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        0.0
    }),
    unary!(Sin, input, f32::cos),
    unary!(Cos, input, |x| -x.sin()),
    unary!(Tan, output, |y| 1.0 + y * y),
    unary!(Asin, input, |x| ((1.0 - x) * (1.0 + x)).sqrt().recip()),
    unary!(Acos, input, |x| -((1.0 - x) * (1.0 + x)).sqrt().recip()),
    unary!(Atan, input, |x| (1.0 + x * x).recip()),
    unary!(Sinh, input, f32::cosh),
    unary!(Cosh, input, f32::sinh),
    unary!(Asinh, input, |x| (1.0 + x * x).sqrt().recip()),
    unary!(Acosh, input, |x| ((x - 1.0) * (x + 1.0)).sqrt().recip()),
    unary!(Atanh, input, |x| ((1.0 - x) * (1.0 + x)).recip()),
    unary!(Erf, input, |x| std::f32::consts::FRAC_2_SQRT_PI * (-x * x).exp()),
    smooth!(GeluExact, Activation::Gelu),
    Rule::unary::<GeluApproximate>(gelu_approximate),
    smooth!(Silu, Activation::Silu),
    unary!(HardSwish, input, |x| if x <= -3.0 {
        0.0
    } else if x >= 3.0 {
        1.0
    } else {
        x / 3.0 + 0.5
    }),
    Rule::unary::<Neg>(neg),
    Rule::unary::<PowConst>(pow_const),
    Rule::unary::<LeakyRelu>(leaky_relu),
    Rule::unary::<Ceil>(flat),
    Rule::unary::<Floor>(flat),
    Rule::unary::<Round>(flat),
    Rule::unary::<RoundHalfToEven>(flat),
    Rule::unary::<Sign>(flat),
    Rule::operator::<PRelu>(prelu),
    Rule::operator::<Identity>(same),
    Rule::operator::<Cast>(cast),
];

/// `exp` to 2e-7, relative. The library's is a call for each element; this is arithmetic only, so
/// the loops around it vectorise.
fn exp(x: f32) -> f32 {
    /// Adding and subtracting it rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    // x − n ln 2, with ln 2 in two parts so that the first product is exact.
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let tail = 0.5 + r * (0.166_666_66 + r * (0.041_666_66 + r * (0.008_333_45 + r * 0.001_393_2)));
    let scale = f32::from_bits(((n as i32 + 127) as u32) << 23);
    (1.0 + r + r * r * tail) * scale
}

/// `1 / cosh² x`.
fn tanh_slope(x: f32) -> f32 {
    let e = exp(-2.0 * x.abs());
    4.0 * e / ((1.0 + e) * (1.0 + e))
}

/// tract knows two: with x³, which everybody means, and with x² in its place.
fn gelu_approximate(pull: &mut Pull) -> TractResult<Pulled> {
    let squares = mini::<GeluApproximate>(pull)?.fast_impl;
    let slope: Slope = if squares {
        |g, x, _| g.iter_mut().zip(x).for_each(|(g, x)| *g *= gelu_of_squares_slope(*x))
    } else {
        |g, x, _| Activation::GeluTanh.pull(Level::best(), g, x)
    };
    let at = pull.input(0)?;
    let name = if squares { "GeluOfSquares" } else { "GeluApproximate" };
    Ok(tvec!(Some(pull.pointwise(name, slope, [0.0; 2], at)?)))
}

/// Of `x (1 + tanh(√(2/π) (x + 0.044715 x²))) / 2`.
fn gelu_of_squares_slope(x: f32) -> f32 {
    const SCALE: f32 = 0.797_884_6;
    let inner = (SCALE * (x + 0.044_715 * x * x)).tanh();
    0.5 * (1.0 + inner) + 0.5 * x * (1.0 - inner * inner) * SCALE * (1.0 + 0.089_43 * x)
}

fn neg(pull: &mut Pull) -> TractResult<Pulled> {
    let g = pull.cotangent;
    Ok(tvec!(Some(pull.wire(tract_onnx::tract_core::ops::math::neg(), &[g])?)))
}

fn mini<'n, O: ElementWiseMiniOp>(pull: &Pull<'_, '_, 'n>) -> TractResult<&'n O> {
    pull.op::<ElementWiseOp>()?
        .0
        .downcast_ref::<O>()
        .context("a rule was called for another function")
}

fn pow_const(pull: &mut Pull) -> TractResult<Pulled> {
    let exponent = mini::<PowConst>(pull)?.exponent;
    let x = pull.input(0)?;
    let gradient = pull.pointwise(
        "PowConst",
        |g, x, [exponent, _]| {
            g.iter_mut().zip(x).for_each(|(g, x)| *g *= exponent * x.powf(exponent - 1.0));
        },
        [exponent, 0.0],
        x,
    )?;
    Ok(tvec!(Some(gradient)))
}

fn leaky_relu(pull: &mut Pull) -> TractResult<Pulled> {
    let alpha = mini::<LeakyRelu>(pull)?.alpha;
    // A slope that is not negative keeps the sign, so the output serves and the function may stay
    // fused.
    let sign = if alpha >= 0.0 { pull.output()? } else { pull.input(0)? };
    let gradient = pull.pointwise(
        "LeakyRelu",
        |g, v, [alpha, _]| {
            g.iter_mut().zip(v).for_each(|(g, v)| *g = if *v > 0.0 { *g } else { alpha * *g });
        },
        [alpha, 0.0],
        sign,
    )?;
    Ok(tvec!(Some(gradient)))
}

fn prelu(pull: &mut Pull) -> TractResult<Pulled> {
    let slope = pull.constant(1)?;
    let keeps_sign = slope.to_plain_array_view::<f32>()?.iter().all(|s| *s >= 0.0);
    let sign = if keeps_sign { pull.output()? } else { pull.input(0)? };
    let (g, slope) = (pull.cotangent, pull.konst(slope)?);
    Ok(tvec!(Some(pull.wire(PReluGrad, &[g, sign, slope])?), None))
}

/// Steps: no gradient anywhere.
fn flat(_: &mut Pull) -> TractResult<Pulled> {
    Ok(tvec!(None))
}

fn same(pull: &mut Pull) -> TractResult<Pulled> {
    Ok(tvec!(Some(pull.cotangent)))
}

/// Whole numbers and truth values do not move with what they were made of.
fn cast(pull: &mut Pull) -> TractResult<Pulled> {
    let (from, to) = (pull.input_fact(0)?.datum_type, pull.output_fact()?.datum_type);
    if !from.is_float() || !to.is_float() {
        return Ok(tvec!(None));
    }
    let g = pull.cotangent;
    Ok(tvec!(Some(if from == to { g } else { pull.wire(to_type(from), &[g])? })))
}

#[cfg(test)]
mod tests {
    use tract_onnx::tract_core::ops::{math, nn};

    use super::*;
    use crate::backends::rule_check::{CURVED, KINKED, POSITIVE, check};

    #[test]
    fn prelu_with_slopes_of_either_sign() {
        for slopes in [[0.25f32, 0.1, 0.0], [0.25, -0.5, 1.5]] {
            check(&[1, 3, 2, 2], &KINKED, |m, x| {
                let slope = m.add_const("slope", Tensor::from_shape(&[1, 3, 1, 1], &slopes)?)?;
                Ok(m.wire_node("prelu", PRelu, &[x, slope])?[0])
            });
            check(&[1, 2, 3], &KINKED, |m, x| {
                let slope = m.add_const("slope", Tensor::from_shape(&[1, 1, 3], &slopes)?)?;
                Ok(m.wire_node("prelu", PRelu, &[x, slope])?[0])
            });
        }
    }

    #[test]
    fn the_slope_of_gelu_with_squares_is_that_of_differences() {
        /// Truncation at this step, in double precision, and rounding of the slope in single.
        const STEP: f64 = 1e-4;
        const APART: f64 = 1e-6;
        let value = |x: f64| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x);
            0.5 * x * (1.0 + inner.tanh())
        };
        for x in [-3.0f32, -0.7, 0.0, 0.4, 2.5] {
            let at = f64::from(x);
            let want = (value(at + STEP) - value(at - STEP)) / (2.0 * STEP);
            let got = f64::from(gelu_of_squares_slope(x));
            assert!((got - want).abs() <= APART, "{x}: {got} {want}");
        }
    }

    #[test]
    fn functions_of_one_variable() {
        let smooth = [
            math::exp(),
            math::square(),
            math::sin(),
            math::cos(),
            math::atan(),
            math::tanh(),
            math::neg(),
            math::erf(),
            math::tan(),
            math::sinh(),
            math::cosh(),
            math::asinh(),
            nn::sigmoid(),
            nn::silu::silu(),
            nn::gelu_exact::gelu_exact(),
            nn::gelu_approximate::gelu_approximate(false),
            nn::gelu_approximate::gelu_approximate(true),
            nn::hard_swish(),
        ];
        for op in smooth {
            check(&[3, 7], &CURVED, |m, x| Ok(m.wire_node("f", op.clone(), &[x])?[0]));
        }
        for op in [math::ln(), math::sqrt(), math::recip(), math::rsqrt(), math::pow_const(1.7)] {
            check(&[3, 7], &POSITIVE, |m, x| Ok(m.wire_node("f", op.clone(), &[x])?[0]));
        }
        // Defined between −1 and 1, and above 1: away from where the slope is infinite.
        for op in [math::asin(), math::acos(), math::atanh()] {
            check(&[3, 7], &CURVED, |m, x| {
                let half = m.add_const("half", tensor2(&[[0.5f32]]))?;
                let inside = m.wire_node("inside", math::mul(), &[x, half])?;
                Ok(m.wire_node("f", op.clone(), &inside)?[0])
            });
        }
        check(&[3, 7], &POSITIVE, |m, x| {
            let one = m.add_const("one", tensor2(&[[1f32]]))?;
            let above = m.wire_node("above", math::add(), &[x, one])?;
            Ok(m.wire_node("f", math::acosh(), &above)?[0])
        });
        for op in [math::abs(), nn::leaky_relu(0.1), nn::leaky_relu(-0.3)] {
            check(&[1, 16], &KINKED, |m, x| Ok(m.wire_node("f", op.clone(), &[x])?[0]));
        }
    }
}
