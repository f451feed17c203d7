//! Comparisons, logic and selection. No gradient goes through a comparison; one goes through the
//! selected value.

use tch::Tensor;
use tract_onnx::tract_core::ops::logic::{
    And, CompEq, CompGT, CompGTE, CompLT, CompLTE, CompNE, Iff, Not, Or, Xor,
};

use super::rule::Rule;

pub(super) const RULES: &[Rule] = &[
    Rule::binary::<CompEq>(|l| l.zip(Tensor::f_eq_tensor)),
    Rule::binary::<CompNE>(|l| l.zip(Tensor::f_ne_tensor)),
    Rule::binary::<CompGT>(|l| l.zip(Tensor::f_gt_tensor)),
    Rule::binary::<CompGTE>(|l| l.zip(Tensor::f_ge_tensor)),
    Rule::binary::<CompLT>(|l| l.zip(Tensor::f_lt_tensor)),
    Rule::binary::<CompLTE>(|l| l.zip(Tensor::f_le_tensor)),
    Rule::binary::<And>(|l| l.zip(Tensor::f_logical_and)),
    Rule::binary::<Or>(|l| l.zip(Tensor::f_logical_or)),
    Rule::binary::<Xor>(|l| l.zip(Tensor::f_logical_xor)),
    Rule::unary::<Not>(|l| l.map(Tensor::f_logical_not)),
    Rule::operator::<Iff>(|l| l.on(&[0, 1, 2], |t| t[1].f_where_self(t[0], t[2]))),
];
