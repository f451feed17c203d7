//! What is done to a result before it is stored, while it is still in registers.

#![allow(clippy::inline_always, reason = "inlined into functions that enable the instructions")]

use super::vector::Simd;

/// A bias, a sum with another tensor, and an activation or the derivative of one, in this order.
///
/// Tensors are of the shape and layout of the result, vectors have one value for each channel of
/// it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// Added to every pixel.
    pub bias: Option<&'a [f32]>,
    /// The tensor that is added: a residual, or another cotangent of the same value.
    pub add: Option<&'a [f32]>,
    /// What comes last.
    pub then: Then<'a>,
}

/// The last part of an [`Epilogue`].
#[derive(Clone, Copy, Debug, Default)]
pub enum Then<'a> {
    /// Nothing.
    #[default]
    Keep,
    /// `max(0, v)`.
    Relu,
    /// `min(max(v, low), high)`.
    Clamp {
        /// The least value.
        low: f32,
        /// The largest value.
        high: f32,
    },
    /// `v` where `v > 0`, else `slope · v`.
    PRelu(&'a [f32]),
    /// `v` where the tensor is positive, else 0: the derivative of `max(0, x)`, told by `x` or by
    /// the activation's own output.
    ReluMask(&'a [f32]),
    /// `v` where the tensor lies strictly between both bounds, else 0.
    ClampMask {
        /// The argument of the activation, or its output.
        of: &'a [f32],
        /// The least value.
        low: f32,
        /// The largest value.
        high: f32,
    },
    /// `v` where the tensor is positive, else `slope · v`. The tensor is the activation's argument;
    /// its output has the same signs where no slope is negative.
    PReluMask {
        /// The argument of the activation.
        of: &'a [f32],
        /// One value for each channel.
        slopes: &'a [f32],
    },
}

impl Epilogue<'_> {
    /// Nothing is done.
    pub(crate) fn is_empty(&self) -> bool {
        self.bias.is_none() && self.add.is_none() && matches!(self.then, Then::Keep)
    }

    /// Panics where a tensor is not as long as the result, or a vector not as its channels: a fault
    /// of the caller's, found before anything is written.
    pub(crate) fn check(&self, len: usize, channels: usize) {
        self.check_len(len);
        let slopes = match self.then {
            Then::PRelu(slopes) | Then::PReluMask { slopes, .. } => Some(slopes),
            _ => None,
        };
        let mut vectors = [self.bias, slopes].into_iter().flatten();
        assert!(vectors.all(|vector| vector.len() == channels), "a vector's length");
    }

    /// The part of [`Epilogue::check`] that is about tensors.
    pub(crate) fn check_len(&self, len: usize) {
        let of = match self.then {
            Then::ReluMask(of) | Then::ClampMask { of, .. } | Then::PReluMask { of, .. } => {
                Some(of)
            }
            Then::Keep | Then::Relu | Then::Clamp { .. } | Then::PRelu(_) => None,
        };
        let mut tensors = [self.add, of].into_iter().flatten();
        assert!(tensors.all(|tensor| tensor.len() == len), "a tensor's length");
    }

    /// Finishes the values that begin with channel `channel` and at index `at` of the result.
    #[inline(always)]
    pub(crate) fn finish<S: Simd>(&self, simd: S, v: S::V, channel: usize, at: usize) -> S::V {
        let mut v = v;
        if let Some(bias) = self.bias {
            v = simd.add(v, simd.load(&bias[channel..]));
        }
        if let Some(add) = self.add {
            v = simd.add(v, simd.load(&add[at..]));
        }
        let zero = simd.splat(0.0);
        // NaN stays NaN: `max` and `min` give their second argument where either is NaN.
        match self.then {
            Then::Keep => v,
            Then::Relu => simd.max(zero, v),
            Then::Clamp { low, high } => simd.min(simd.splat(high), simd.max(simd.splat(low), v)),
            Then::PRelu(slopes) => {
                simd.if_positive(v, v, simd.mul(v, simd.load(&slopes[channel..])))
            }
            Then::ReluMask(of) => simd.if_positive(simd.load(&of[at..]), v, zero),
            Then::ClampMask { of, low, high } => {
                let x = simd.load(&of[at..]);
                let v = simd.if_positive(simd.sub(x, simd.splat(low)), v, zero);
                simd.if_positive(simd.sub(simd.splat(high), x), v, zero)
            }
            Then::PReluMask { of, slopes } => {
                let scaled = simd.mul(v, simd.load(&slopes[channel..]));
                simd.if_positive(simd.load(&of[at..]), v, scaled)
            }
        }
    }
}
