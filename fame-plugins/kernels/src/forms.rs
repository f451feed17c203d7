//! The transforms of Winograd's minimal filtering: 3 taps, 2 or 4 outputs.
//!
//! `Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A` (Lavin and Gray, *Fast Algorithms for Convolutional Neural
//! Networks*, 2016). F(2×2, 3×3) multiplies 16 times where a direct sum does 36 times; F(4×4, 3×3)
//! 36 times where it does 144 times, with larger factors and thus more rounding.

#![allow(clippy::inline_always, reason = "inlined into functions that enable the instructions")]

use super::vector::Simd;

/// Taps of the kernel along one axis.
pub(crate) const TAPS: usize = 3;

/// One form: tiles of `IN` inputs give `OUT = IN − 2` outputs along each axis.
pub(crate) trait Form<const IN: usize, const OUT: usize>: Copy {
    /// `G`, by which a kernel is transformed.
    const G: [[f64; TAPS]; IN];
    /// `Bᵀ d` along one axis.
    fn input<S: Simd>(simd: S, d: &[S::V; IN]) -> [S::V; IN];
    /// `Aᵀ m` along one axis.
    fn output<S: Simd>(simd: S, m: &[S::V; IN]) -> [S::V; OUT];
}

/// F(2×2, 3×3), of the points 0, 1, −1 and ∞.
#[derive(Clone, Copy, Debug)]
pub(crate) struct F2;

impl Form<4, 2> for F2 {
    const G: [[f64; TAPS]; 4] =
        [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

    #[inline(always)]
    fn input<S: Simd>(simd: S, d: &[S::V; 4]) -> [S::V; 4] {
        [simd.sub(d[0], d[2]), simd.add(d[1], d[2]), simd.sub(d[2], d[1]), simd.sub(d[1], d[3])]
    }

    #[inline(always)]
    fn output<S: Simd>(simd: S, m: &[S::V; 4]) -> [S::V; 2] {
        let (sum, difference) = (simd.add(m[1], m[2]), simd.sub(m[1], m[2]));
        [simd.add(m[0], sum), simd.sub(difference, m[3])]
    }
}

/// F(4×4, 3×3), of the points 0, 1, −1, 2, −2 and ∞.
#[derive(Clone, Copy, Debug)]
pub(crate) struct F4;

impl Form<6, 4> for F4 {
    const G: [[f64; TAPS]; 6] = [
        [1.0 / 4.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ];

    #[inline(always)]
    fn input<S: Simd>(simd: S, d: &[S::V; 6]) -> [S::V; 6] {
        let of = |x: f32| simd.splat(x);
        let (even, odd) = (simd.mul_add(of(-4.0), d[2], d[4]), simd.mul_add(of(-4.0), d[1], d[3]));
        let (far, near) = (simd.sub(d[4], d[2]), simd.sub(d[3], d[1]));
        [
            simd.mul_add(of(4.0), d[0], simd.mul_add(of(-5.0), d[2], d[4])),
            simd.add(even, odd),
            simd.sub(even, odd),
            simd.mul_add(of(2.0), near, far),
            simd.mul_add(of(-2.0), near, far),
            simd.mul_add(of(4.0), d[1], simd.mul_add(of(-5.0), d[3], d[5])),
        ]
    }

    #[inline(always)]
    fn output<S: Simd>(simd: S, m: &[S::V; 6]) -> [S::V; 4] {
        let (sum1, difference1) = (simd.add(m[1], m[2]), simd.sub(m[1], m[2]));
        let (sum2, difference2) = (simd.add(m[3], m[4]), simd.sub(m[3], m[4]));
        let of = |x: f32| simd.splat(x);
        [
            simd.add(m[0], simd.add(sum1, sum2)),
            simd.mul_add(of(2.0), difference2, difference1),
            simd.mul_add(of(4.0), sum2, sum1),
            simd.add(m[5], simd.mul_add(of(8.0), difference2, difference1)),
        ]
    }
}

/// `G g Gᵀ` of as many kernels as a panel has columns, in double precision. `g` has the kernels'
/// taps, row by row; `each` is called with the index and the values of each of a tile's elements.
#[inline(always)]
pub(crate) fn kernels<F: Form<IN, OUT>, const IN: usize, const OUT: usize, const N: usize>(
    g: &[[f64; N]; TAPS * TAPS],
    mut each: impl FnMut(usize, &[f64; N]),
) {
    for (i, down) in F::G.iter().enumerate() {
        let mut left = [[0.0; N]; TAPS];
        for (j, left) in left.iter_mut().enumerate() {
            for (t, factor) in down.iter().enumerate() {
                add_scaled(left, *factor, &g[t * TAPS + j]);
            }
        }
        for (j, across) in F::G.iter().enumerate() {
            let mut both = [0.0; N];
            for (left, factor) in left.iter().zip(across) {
                add_scaled(&mut both, *factor, left);
            }
            each(i * IN + j, &both);
        }
    }
}

#[inline(always)]
fn add_scaled<const N: usize>(to: &mut [f64; N], factor: f64, from: &[f64; N]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += factor * from;
    }
}
