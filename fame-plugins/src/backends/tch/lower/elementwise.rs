//! Functions of one variable.

use tch::Tensor;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_core::ops::math::{
    Abs, Acos, Acosh, Asin, Asinh, Atan, Atanh, Ceil, Cos, Cosh, Erf, Exp, Floor, IsNan, Ln, Neg,
    PowConst, Recip, Round, RoundHalfToEven, Rsqrt, Sign, Sin, Sinh, Sqrt, Square, Tan, Tanh,
};
use tract_onnx::tract_core::ops::nn::gelu_approximate::GeluApproximate;
use tract_onnx::tract_core::ops::nn::gelu_exact::GeluExact;
use tract_onnx::tract_core::ops::nn::silu::Silu;
use tract_onnx::tract_core::ops::nn::{HardSwish, LeakyRelu, Sigmoid};

use super::rule::Rule;
use super::site::{Lower, Lowered};
use crate::backends::onnx::prelu::PRelu;
use crate::backends::tch::values::Layout;

pub(super) const RULES: &[Rule] = &[
    Rule::unary::<Abs>(|l| l.map(Tensor::f_abs)),
    Rule::unary::<Acos>(|l| l.map(Tensor::f_acos)),
    Rule::unary::<Acosh>(|l| l.map(Tensor::f_acosh)),
    Rule::unary::<Asin>(|l| l.map(Tensor::f_asin)),
    Rule::unary::<Asinh>(|l| l.map(Tensor::f_asinh)),
    Rule::unary::<Atan>(|l| l.map(Tensor::f_atan)),
    Rule::unary::<Atanh>(|l| l.map(Tensor::f_atanh)),
    Rule::unary::<Ceil>(|l| l.map(Tensor::f_ceil)),
    Rule::unary::<Cos>(|l| l.map(Tensor::f_cos)),
    Rule::unary::<Cosh>(|l| l.map(Tensor::f_cosh)),
    Rule::unary::<Erf>(|l| l.map(Tensor::f_erf)),
    Rule::unary::<Exp>(|l| l.map(Tensor::f_exp)),
    Rule::unary::<Floor>(|l| l.map(Tensor::f_floor)),
    Rule::unary::<GeluApproximate>(gelu_approximate),
    Rule::unary::<GeluExact>(|l| l.map(|x| x.f_gelu("none"))),
    Rule::unary::<HardSwish>(|l| l.map(Tensor::f_hardswish)),
    Rule::unary::<IsNan>(|l| l.map(Tensor::f_isnan)),
    Rule::unary::<LeakyRelu>(leaky_relu),
    Rule::unary::<Ln>(|l| l.map(Tensor::f_log)),
    Rule::unary::<Neg>(|l| l.map(Tensor::f_neg)),
    Rule::unary::<PowConst>(pow_const),
    Rule::unary::<Recip>(|l| l.map(Tensor::f_reciprocal)),
    // Halves go away from zero; libtorch's own rounding takes them to the even side.
    Rule::unary::<Round>(|l| {
        l.map(|x| x.f_sign()?.f_mul(&x.f_abs()?.f_add_scalar(0.5)?.f_floor()?))
    }),
    Rule::unary::<RoundHalfToEven>(|l| l.map(Tensor::f_round)),
    Rule::unary::<Rsqrt>(|l| l.map(Tensor::f_rsqrt)),
    Rule::unary::<Sigmoid>(|l| l.map(Tensor::f_sigmoid)),
    Rule::unary::<Sign>(|l| l.map(Tensor::f_sign)),
    Rule::unary::<Silu>(|l| l.map(Tensor::f_silu)),
    Rule::unary::<Sin>(|l| l.map(Tensor::f_sin)),
    Rule::unary::<Sinh>(|l| l.map(Tensor::f_sinh)),
    Rule::unary::<Sqrt>(|l| l.map(Tensor::f_sqrt)),
    Rule::unary::<Square>(|l| l.map(Tensor::f_square)),
    Rule::unary::<Tan>(|l| l.map(Tensor::f_tan)),
    Rule::unary::<Tanh>(|l| l.map(Tensor::f_tanh)),
    // `x` where x > 0, else `slope · x`, in one pass.
    Rule::operator::<PRelu>(|l| l.zip(Tensor::f_internal_prelu_kernel)),
    Rule::operator::<Identity>(|l| l.map(|x| Ok(x.shallow_clone()))),
    Rule::operator::<Cast>(cast),
];

/// tract takes `½·x·(1 + tanh(√(2/π)·(x + 0.044715·xⁿ)))` for this operator with n = 2 as well;
/// libtorch has only n = 3.
fn gelu_approximate(l: &mut Lower) -> TractResult<Lowered> {
    if !l.mini::<GeluApproximate>()?.fast_impl {
        return l.map(|x| x.f_gelu("tanh"));
    }
    l.map(|x| {
        let inner = x.f_square()?.f_mul_scalar(0.044_715)?.f_add(x)?;
        let factor = inner.f_mul_scalar((2.0 / std::f64::consts::PI).sqrt())?.f_tanh()?;
        factor.f_add_scalar(1.0)?.f_mul(x)?.f_mul_scalar(0.5)
    })
}

fn leaky_relu(l: &mut Lower) -> TractResult<Lowered> {
    let slope = l.mini::<LeakyRelu>()?.alpha;
    let slope = l.upload(&tensor0(slope), Layout::Plain)?;
    let inputs = vec![l.slot(0)?, slope];
    Ok(Lowered::new(inputs, |t| t[0].f_internal_prelu_kernel(t[1])))
}

fn pow_const(l: &mut Lower) -> TractResult<Lowered> {
    let exponent = f64::from(l.mini::<PowConst>()?.exponent);
    l.map(move |x| x.f_pow_tensor_scalar(exponent))
}

fn cast(l: &mut Lower) -> TractResult<Lowered> {
    let kind = l.slots.weights.kind(l.op::<Cast>()?.to)?;
    l.map(move |x| x.f_to_kind(kind))
}
