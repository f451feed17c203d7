//! Vectors of `f32` as wide as the machine has them, chosen when the program runs.
//!
//! Every kernel is written once, over [`Simd`], and compiled once for each [`Level`]. A value of a
//! type that implements `Simd` is a *token*: it exists only where the CPU has the instructions, so
//! its arithmetic is safe to call. [`Level::run`] is the only place where tokens are made.

#![allow(unsafe_code, reason = "the instructions of one kind of CPU are unsafe to call")]
#![allow(clippy::inline_always, reason = "inlined into functions that enable the instructions")]

/// Arithmetic on vectors of [`Simd::LANES`] values, and the shape of the product's register tile.
pub(crate) trait Simd: Copy {
    /// The vector.
    type V: Copy;
    /// How many values a vector holds.
    const LANES: usize;
    /// How many rows of a product are summed at once: as many as leave no register unused.
    const ROWS: usize;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::V;
    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a − b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`, rounded once where the machine can.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The smaller of `a` and `b`.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger of `a` and `b`.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `yes` in the lanes where `x > 0`, `no` in the others.
    fn if_positive(self, x: Self::V, yes: Self::V, no: Self::V) -> Self::V;
    /// `yes` in the lanes where `a > b` or `a` is NaN, `no` in the others.
    fn if_more(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;
    /// Reads a whole vector.
    ///
    /// # Safety
    /// `LANES` values from `from` on can be read.
    unsafe fn read(self, from: *const f32) -> Self::V;
    /// Writes a whole vector.
    ///
    /// # Safety
    /// `LANES` values from `to` on can be written.
    unsafe fn write(self, v: Self::V, to: *mut f32);
    /// Reads `n < LANES` values; the other lanes are 0.
    ///
    /// # Safety
    /// `n` values from `from` on can be read.
    unsafe fn read_some(self, from: *const f32, n: usize) -> Self::V;
    /// Writes the first `n < LANES` values.
    ///
    /// # Safety
    /// `n` values from `to` on can be written.
    unsafe fn write_some(self, v: Self::V, to: *mut f32, n: usize);
    /// Reads `lanes ≤ LANES` values; the other lanes are 0.
    ///
    /// # Safety
    /// `lanes` values from `from` on can be read.
    #[inline(always)]
    unsafe fn read_lanes(self, from: *const f32, lanes: usize) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { if lanes == Self::LANES { self.read(from) } else { self.read_some(from, lanes) } }
    }
    /// Writes the first `lanes ≤ LANES` values.
    ///
    /// # Safety
    /// `lanes` values from `to` on can be written.
    #[inline(always)]
    unsafe fn write_lanes(self, v: Self::V, to: *mut f32, lanes: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            if lanes == Self::LANES { self.write(v, to) } else { self.write_some(v, to, lanes) }
        }
    }
    /// Asks for the cache line at `at`, which may lie outside of any allocation. It is brought into the
    /// second cache: products of weights from memory take 1 to 5 % less time than with the first, where
    /// it would push out what is being read (Intel Xeon).
    fn prefetch(self, at: *const f32);

    /// The first values of `from`; lanes for which there are none are 0.
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::V {
        // SAFETY: it stays within the slice.
        unsafe { self.read_lanes(from.as_ptr(), from.len().min(Self::LANES)) }
    }

    /// Writes as many lanes as `to` has room for.
    #[inline(always)]
    fn store(self, v: Self::V, to: &mut [f32]) {
        // SAFETY: it stays within the slice.
        unsafe { self.write_lanes(v, to.as_mut_ptr(), to.len().min(Self::LANES)) }
    }
}

/// Does `body` for each vector of `count` values: with the index of its first value, and how many
/// there are. A macro, so that this number is a constant where a vector is whole, and loads and
/// stores ask nothing.
macro_rules! each_vector {
    ($simd:ty, $count:expr, |$first:ident, $lanes:ident| $body:block) => {{
        let whole = $count - $count % <$simd>::LANES;
        for $first in (0..whole).step_by(<$simd>::LANES) {
            let $lanes = <$simd>::LANES;
            $body
        }
        if whole < $count {
            let ($first, $lanes) = (whole, $count - whole);
            $body
        }
    }};
}
pub(crate) use each_vector;

/// What a [`Level`] can run: a kernel with its arguments.
pub(crate) trait Task {
    /// What it gives.
    type Output;
    /// Runs with the vectors of `S`. Must be `#[inline(always)]`, as must all it calls that
    /// computes with vectors.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// A set of vector instructions that this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// What this machine has, the widest last.
    pub fn available() -> Vec<Self> {
        let mut levels = vec![Self(Kind::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                levels.push(Self(Kind::Avx2));
                if is_x86_feature_detected!("avx512f") {
                    levels.push(Self(Kind::Avx512));
                }
            }
        }
        levels
    }

    /// The widest this machine has.
    pub fn best() -> Self {
        *Self::available().last().expect("the portable level is always there")
    }

    /// Its name, as part of keys and reports.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
        }
    }

    /// Whether its vectors are those of AVX-512.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn is_avx512(self) -> bool {
        self.0 == Kind::Avx512
    }

    /// How many columns of packed weights lie side by side: two vectors.
    pub(crate) fn panel(self) -> usize {
        match self.0 {
            Kind::Portable => 2 * Portable::LANES,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => 2 * x86::Avx2::LANES,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => 2 * x86::Avx512::LANES,
        }
    }

    /// Runs `task` with the vectors of this level.
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        match self.0 {
            Kind::Portable => task.run(Portable),
            // SAFETY: `available` makes this level only where the CPU has AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { x86::avx2(task) },
            // SAFETY: `available` makes this level only where the CPU has AVX-512F.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { x86::avx512(task) },
        }
    }
}

/// Plain arrays, which the compiler turns into what every machine of the target has (SSE2, NEON).
#[derive(Clone, Copy)]
struct Portable;

/// Lanes of [`Portable`]: one register of SSE2 or NEON.
const PORTABLE_LANES: usize = 4;

impl Portable {
    #[inline(always)]
    fn each(f: impl Fn(usize) -> f32) -> [f32; PORTABLE_LANES] {
        std::array::from_fn(f)
    }
}

impl Simd for Portable {
    type V = [f32; PORTABLE_LANES];
    const LANES: usize = PORTABLE_LANES;
    const ROWS: usize = 6;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; PORTABLE_LANES]
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        Self::each(|l| a[l] + b[l])
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        Self::each(|l| a[l] - b[l])
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        Self::each(|l| a[l] * b[l])
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Without the instruction, `f32::mul_add` would be a call for every lane.
        if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
            Self::each(|l| a[l].mul_add(b[l], c[l]))
        } else {
            Self::each(|l| a[l] * b[l] + c[l])
        }
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        Self::each(|l| if a[l] < b[l] { a[l] } else { b[l] })
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        Self::each(|l| if a[l] > b[l] { a[l] } else { b[l] })
    }
    #[inline(always)]
    fn if_positive(self, x: Self::V, yes: Self::V, no: Self::V) -> Self::V {
        Self::each(|l| if x[l] > 0.0 { yes[l] } else { no[l] })
    }
    #[inline(always)]
    fn if_more(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V {
        Self::each(|l| if a[l] > b[l] || a[l].is_nan() { yes[l] } else { no[l] })
    }
    #[inline(always)]
    unsafe fn read(self, from: *const f32) -> Self::V {
        // SAFETY: the caller's promise; an unaligned read asks for no alignment.
        unsafe { from.cast::<Self::V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn write(self, v: Self::V, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<Self::V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn read_some(self, from: *const f32, n: usize) -> Self::V {
        // SAFETY: the caller's promise: only the first `n` are read.
        Self::each(|l| if l < n { unsafe { *from.add(l) } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn write_some(self, v: Self::V, to: *mut f32, n: usize) {
        for (l, x) in v.into_iter().enumerate().take(n) {
            // SAFETY: the caller's promise: only the first `n` are written.
            unsafe { *to.add(l) = x }
        }
    }
    #[inline(always)]
    fn prefetch(self, _: *const f32) {}
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #[allow(clippy::wildcard_imports, reason = "dozens of instructions")]
    use std::arch::x86_64::*;

    use super::{Simd, Task};

    /// The token of AVX2 and FMA: 16 registers of 8 values.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(());

    /// The token of AVX-512F: 32 registers of 16 values.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(());

    /// Runs `task`, compiled for AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(crate) fn avx2<T: Task>(task: T) -> T::Output {
        task.run(Avx2(()))
    }

    /// Runs `task`, compiled for AVX-512F.
    #[target_feature(enable = "avx2,fma,avx512f")]
    pub(crate) fn avx512<T: Task>(task: T) -> T::Output {
        task.run(Avx512(()))
    }

    /// The mask of the first `n < 8` lanes, for instructions that look at the sign of each lane.
    #[inline(always)]
    fn first_of_8(n: usize) -> __m256i {
        let bits: [i32; 8] = std::array::from_fn(|lane| -i32::from(lane < n));
        // SAFETY: both are 32 bytes, and all bit patterns are valid.
        unsafe { std::mem::transmute(bits) }
    }

    /// The mask of the first `n < 16` lanes.
    #[inline(always)]
    fn first_of_16(n: usize) -> __mmask16 {
        (1 << n) - 1
    }

    /// Implements [`Simd`] from the instructions of one kind. SAFETY of all of it: a token proves
    /// that the CPU has the instructions, and the pointers are the caller's promise.
    macro_rules! simd {
        ($token:ty, $v:ty, $lanes:literal, rows: $rows:literal,
         $splat:ident, $add:ident, $sub:ident, $mul:ident, $mul_add:ident, $min:ident, $max:ident,
         $read:ident, $write:ident,
         if_positive: |$x:ident, $yes:ident, $no:ident| $if_positive:expr,
         if_more: |$a:ident, $b:ident, $then:ident, $else:ident| $if_more:expr,
         read_some: |$from:ident, $n:ident| $read_some:expr,
         write_some: |$value:ident, $to:ident, $m:ident| $write_some:expr $(,)?) => {
            impl Simd for $token {
                type V = $v;
                const LANES: usize = $lanes;
                const ROWS: usize = $rows;

                #[inline(always)]
                fn splat(self, x: f32) -> $v {
                    // SAFETY: see the macro.
                    unsafe { $splat(x) }
                }
                #[inline(always)]
                fn add(self, a: $v, b: $v) -> $v {
                    // SAFETY: see the macro.
                    unsafe { $add(a, b) }
                }
                #[inline(always)]
                fn sub(self, a: $v, b: $v) -> $v {
                    // SAFETY: see the macro.
                    unsafe { $sub(a, b) }
                }
                #[inline(always)]
                fn mul(self, a: $v, b: $v) -> $v {
                    // SAFETY: see the macro.
                    unsafe { $mul(a, b) }
                }
                #[inline(always)]
                fn mul_add(self, a: $v, b: $v, c: $v) -> $v {
                    // SAFETY: see the macro.
                    unsafe { $mul_add(a, b, c) }
                }
                #[inline(always)]
                fn min(self, a: $v, b: $v) -> $v {
                    // SAFETY: see the macro.
                    unsafe { $min(a, b) }
                }
                #[inline(always)]
                fn max(self, a: $v, b: $v) -> $v {
                    // SAFETY: see the macro.
                    unsafe { $max(a, b) }
                }
                #[inline(always)]
                fn if_positive(self, $x: $v, $yes: $v, $no: $v) -> $v {
                    // SAFETY: see the macro.
                    unsafe { $if_positive }
                }
                #[inline(always)]
                fn if_more(self, $a: $v, $b: $v, $then: $v, $else: $v) -> $v {
                    // SAFETY: see the macro.
                    unsafe { $if_more }
                }
                #[inline(always)]
                unsafe fn read(self, from: *const f32) -> $v {
                    // SAFETY: see the macro.
                    unsafe { $read(from) }
                }
                #[inline(always)]
                unsafe fn write(self, v: $v, to: *mut f32) {
                    // SAFETY: see the macro.
                    unsafe { $write(to, v) }
                }
                #[inline(always)]
                unsafe fn read_some(self, $from: *const f32, $n: usize) -> $v {
                    // SAFETY: see the macro; lanes behind the mask are not touched.
                    unsafe { $read_some }
                }
                #[inline(always)]
                unsafe fn write_some(self, $value: $v, $to: *mut f32, $m: usize) {
                    // SAFETY: see the macro; lanes behind the mask are not touched.
                    unsafe { $write_some }
                }
                #[inline(always)]
                fn prefetch(self, at: *const f32) {
                    // SAFETY: a prefetch reads nothing that the program could see.
                    unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
                }
            }
        };
    }

    simd!(
        Avx2, __m256, 8, rows: 6,
        _mm256_set1_ps, _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps, _mm256_fmadd_ps,
        _mm256_min_ps, _mm256_max_ps, _mm256_loadu_ps, _mm256_storeu_ps,
        if_positive: |x, yes, no| {
            let positive = _mm256_cmp_ps::<_CMP_GT_OQ>(x, _mm256_setzero_ps());
            _mm256_blendv_ps(no, yes, positive)
        },
        if_more: |a, b, yes, no| {
            let more = _mm256_cmp_ps::<_CMP_GT_OQ>(a, b);
            let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a);
            _mm256_blendv_ps(no, yes, _mm256_or_ps(more, nan))
        },
        read_some: |from, n| _mm256_maskload_ps(from, first_of_8(n)),
        write_some: |v, to, n| _mm256_maskstore_ps(to, first_of_8(n), v),
    );
    simd!(
        Avx512, __m512, 16, rows: 12,
        _mm512_set1_ps, _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps, _mm512_fmadd_ps,
        _mm512_min_ps, _mm512_max_ps, _mm512_loadu_ps, _mm512_storeu_ps,
        if_positive: |x, yes, no| {
            let positive = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_setzero_ps());
            _mm512_mask_blend_ps(positive, no, yes)
        },
        if_more: |a, b, yes, no| {
            let more = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b);
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
            _mm512_mask_blend_ps(more | nan, no, yes)
        },
        read_some: |from, n| _mm512_maskz_loadu_ps(first_of_16(n), from),
        write_some: |v, to, n| _mm512_mask_storeu_ps(to, first_of_16(n), v),
    );
}
