//! The innermost sums of products of bfloat16: 32 rows by 32 columns at once.
//!
//! bfloat16 is the upper half of an `f32`: 8 bits of a number in place of 24, and the same range. Two
//! factors' product is exact in `f32`, in which all are summed. Instructions take pairs of
//! neighbouring values of a row, and so weights lie in pairs too:
//!
//! ```text
//! a panel's step:  2 tiles × 16 pairs × 16 columns × 2 values     = 32 values of a row, 32 columns
//! ```

#![allow(unsafe_code, reason = "the instructions read through pointers, checked outside")]
#![allow(clippy::inline_always, reason = "inlined into functions that enable the instructions")]

use super::vector::Level;

/// Values of a row in a step of the sum, each of which is one row of a tile.
pub(crate) const STEP: usize = 32;
/// Columns of a panel.
pub(crate) const PANEL: usize = 2 * TILE;
/// Rows and columns of a tile.
pub(crate) const TILE: usize = 16;
/// Rows that are summed at once.
pub(crate) const ROWS: usize = 2 * TILE;
/// Weights of a panel in a step.
pub(crate) const WEIGHTS: usize = STEP * PANEL;

/// The number of bfloat16 that is nearest to `x`, the even one of two. NaN stays NaN.
#[inline]
pub(crate) fn rounded(x: f32) -> f32 {
    f32::from_bits(u32::from(half(x)) << 16)
}

/// The upper half of the nearest number.
#[inline]
pub(crate) fn half(x: f32) -> u16 {
    let bits = x.to_bits();
    let up = 0x7fff + (bits >> 16 & 1);
    let nearest = (bits.wrapping_add(up) >> 16) as u16;
    if x.is_nan() { (bits >> 16) as u16 | 0x40 } else { nearest }
}

/// A sum of products whose argument is where it is said to be.
#[derive(Clone, Copy)]
pub(crate) struct Sum<'a> {
    /// The first row.
    pub(crate) from: *const u16,
    /// From one row to the next.
    pub(crate) stride: usize,
    /// Where the steps of a row begin, from its start.
    pub(crate) steps: &'a [usize],
    /// The weights of each step, [`WEIGHTS`] each.
    pub(crate) panel: *const u16,
}

/// What a CPU multiplies bfloat16 with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instructions(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Amx,
}

impl Instructions {
    /// What this machine has beside the instructions of `level`, the fastest last; may be nothing.
    pub(crate) fn available(level: Level) -> Vec<Self> {
        let mut all = vec![];
        #[cfg(target_arch = "x86_64")]
        if level.is_avx512()
            && is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512bw")
        {
            all.push(Self(Kind::Avx512));
            #[cfg(target_os = "linux")]
            if amx::is_there() {
                all.push(Self(Kind::Amx));
            }
        }
        let _ = level;
        all
    }

    /// Its name in records and reports.
    pub(crate) fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "AVX-512 BF16",
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Kind::Amx => "AMX",
        }
    }

    /// Rounds as many values as `to` has room for, which are all of `from`.
    pub(crate) fn round(self, from: &[f32], to: &mut [u16]) {
        assert_eq!(from.len(), to.len());
        match self.0 {
            // SAFETY: these instructions are only made where the CPU has them.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { avx512::round(from, to) },
            // SAFETY: as above; AMX is only taken where the others are there too.
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Kind::Amx => unsafe { avx512::round(from, to) },
        }
    }

    /// Sets up what [`Instructions::sum`] needs, for as long as the value lives.
    #[inline(always)]
    pub(crate) fn ready(self) -> Ready {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => Ready::Nothing,
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Kind::Amx => Ready::Tiles(amx::Tiles::new()),
        }
    }

    /// Sums `rows ≤ 32` rows by 32 columns into `to`, line by line. Lines behind the last row are
    /// written or left, as it happens.
    ///
    /// # Safety
    /// What [`Instructions::ready`] gave is there. All steps of 32 rows can be read from `sum.from` on, all that
    /// they are multiplied with from `sum.panel` on.
    #[inline(always)]
    pub(crate) unsafe fn sum(self, sum: Sum, rows: usize, to: &mut [f32; ROWS * PANEL]) {
        match self.0 {
            // SAFETY: the caller's promise; the CPU has the instructions.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { avx512::sum(sum, rows, to) },
            // SAFETY: as above.
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Kind::Amx => unsafe { amx::sum(sum, rows, to) },
        }
    }
}

/// What instructions need set up; released when dropped.
#[allow(dead_code, reason = "held, not read")]
pub(crate) enum Ready {
    Nothing,
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Tiles(amx::Tiles),
}

/// What multiplies bfloat16 on this machine: `AMX`, `AVX-512 BF16`, or vectors of `f32`.
pub fn bf16_products() -> &'static str {
    Instructions::available(Level::best()).last().map_or("vectors of f32", |best| best.name())
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    #[allow(clippy::wildcard_imports, reason = "a dozen instructions")]
    use std::arch::x86_64::*;

    use super::{PANEL, ROWS, STEP, Sum, TILE, WEIGHTS};

    /// Rounds all values of `from`.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn round(from: &[f32], to: &mut [u16]) {
        let whole = from.len() / STEP * STEP;
        for at in (0..whole).step_by(STEP) {
            // SAFETY: `STEP` values from `at` on lie within both.
            unsafe {
                let low = _mm512_loadu_ps(from.as_ptr().add(at));
                let high = _mm512_loadu_ps(from.as_ptr().add(at + TILE));
                let both: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
                _mm512_storeu_si512(to.as_mut_ptr().add(at).cast(), both);
            }
        }
        if whole < from.len() {
            let left = from.len() - whole;
            let [low, high] = [left.min(TILE), left.saturating_sub(TILE)];
            let mask = |lanes: usize| ((1u32 << lanes) - 1) as __mmask16;
            // SAFETY: lanes behind a mask are not touched, and those before it lie within both.
            unsafe {
                let from = from.as_ptr().add(whole);
                let high = _mm512_maskz_loadu_ps(mask(high), from.wrapping_add(TILE));
                let low = _mm512_maskz_loadu_ps(mask(low), from);
                let both: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
                let lanes = ((1u64 << left) - 1) as __mmask32;
                _mm512_mask_storeu_epi16(to.as_mut_ptr().add(whole).cast(), lanes, both);
            }
        }
    }

    /// Rows whose sums, two vectors each, are in registers at once.
    const HEIGHT: usize = 12;

    /// [`super::Instructions::sum`].
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn sum(sum: Sum, rows: usize, to: &mut [f32; ROWS * PANEL]) {
        macro_rules! by_height {
            ($first:expr, $height:expr, $($n:literal)*) => {
                match $height {
                    // SAFETY: the caller's promise; `first + height` is at most `rows`.
                    $($n => unsafe { tile::<$n>(sum, $first, to) },)*
                    height => unreachable!("a tile of {height} rows"),
                }
            };
        }
        let tiles = rows.div_ceil(HEIGHT);
        for tile in 0..tiles {
            let [first, end] = [tile, tile + 1].map(|tile| tile * rows / tiles);
            by_height!(first, end - first, 1 2 3 4 5 6 7 8 9 10 11 12);
        }
    }

    /// `R` rows from the `first` on.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn tile<const R: usize>(sum: Sum, first: usize, to: &mut [f32; ROWS * PANEL]) {
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        let from = sum.from.wrapping_add(first * sum.stride);
        let mut weights = sum.panel;
        for &step in sum.steps {
            for pair in 0..STEP / 2 {
                // SAFETY: the caller's promise.
                unsafe {
                    let at = weights.add(pair * 2 * TILE);
                    let both = [at, at.add(WEIGHTS / 2)].map(|at| {
                        std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(at.cast()))
                    });
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let x = from.add(r * sum.stride + step + 2 * pair);
                        let x = _mm512_set1_epi32(i32::from_le_bytes(x.cast::<[u8; 4]>().read()));
                        let x = std::mem::transmute::<__m512i, __m512bh>(x);
                        sums[0] = _mm512_dpbf16_ps(sums[0], x, both[0]);
                        sums[1] = _mm512_dpbf16_ps(sums[1], x, both[1]);
                    }
                }
            }
            weights = weights.wrapping_add(WEIGHTS);
        }
        let to = &mut to[first * PANEL..][..R * PANEL];
        for (line, sums) in to.chunks_exact_mut(PANEL).zip(sums) {
            // SAFETY: a line has room for two vectors.
            unsafe {
                _mm512_storeu_ps(line.as_mut_ptr(), sums[0]);
                _mm512_storeu_ps(line.as_mut_ptr().add(TILE), sums[1]);
            }
        }
    }
}

/// Intel's matrix registers: eight of 16 rows of 64 bytes. Rust has no stable functions for them yet.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx {
    use std::arch::asm;
    use std::arch::x86_64::__cpuid_count;
    use std::sync::LazyLock;

    use super::{PANEL, ROWS, Sum, TILE};

    /// Whether the CPU has tiles of bfloat16, and the kernel lets this process use them.
    pub(super) fn is_there() -> bool {
        static IS_THERE: LazyLock<bool> = LazyLock::new(|| {
            /// Bits of the leaf: tiles, and their products of bfloat16.
            const FEATURES: u32 = 1 << 24 | 1 << 22;
            /// `ARCH_REQ_XCOMP_PERM`: a process must ask before its state may grow by 8 KiB.
            const ASK: libc::c_long = 0x1023;
            /// The part of the state that tiles are.
            const TILES: libc::c_long = 18;
            let has = __cpuid_count(7, 0).edx & FEATURES == FEATURES;
            // SAFETY: the call changes what this process may do, and nothing in its memory.
            has && unsafe { libc::syscall(libc::SYS_arch_prctl, ASK, TILES) } == 0
        });
        *IS_THERE
    }

    /// The shape of each register.
    #[repr(C, align(64))]
    struct Shapes {
        palette: u8,
        start: u8,
        reserved: [u8; 14],
        bytes_of_a_row: [u16; 16],
        rows: [u8; 16],
    }

    /// All tiles set up; released when dropped, so that a thread's state is small again.
    pub(crate) struct Tiles;

    impl Tiles {
        pub(super) fn new() -> Self {
            let of_eight = |i: usize, value: u8| if i < 8 { value } else { 0 };
            let shapes = Shapes {
                palette: 1,
                start: 0,
                reserved: [0; 14],
                bytes_of_a_row: std::array::from_fn(|i| of_eight(i, 64).into()),
                rows: std::array::from_fn(|i| of_eight(i, 16)),
            };
            // SAFETY: the CPU has tiles, or this would not be called; it reads 64 bytes.
            unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(nostack)) }
            Self
        }
    }

    impl Drop for Tiles {
        fn drop(&mut self) {
            // SAFETY: as above; nothing is kept in tiles outside of one `asm!`.
            unsafe { asm!("tilerelease", options(nostack, nomem)) }
        }
    }

    /// [`super::Instructions::sum`].
    #[inline(always)]
    pub(super) unsafe fn sum(sum: Sum, rows: usize, to: &mut [f32; ROWS * PANEL]) {
        // Two columns of tiles by two rows, or by one where the others would be empty.
        macro_rules! tiles {
            ($($both:literal)?) => {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "test {count}, {count}",
                    "jz 3f",
                    "2:",
                    "mov {at}, [{steps}]",
                    "lea {at}, [{from} + 2*{at}]",
                    "lea {next}, [{at} + {below}]",
                    "tileloadd tmm4, [{at} + {stride}]",
                    "tileloadd tmm6, [{weights} + {line}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{weights} + {line} + 1024]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    $(concat!("tileloadd tmm5, [{next} + {stride}]", $both),
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",)?
                    "add {weights}, 2048",
                    "add {steps}, 8",
                    "dec {count}",
                    "jnz 2b",
                    "3:",
                    "shl {line}, 1",
                    "tilestored [{to} + {line}], tmm0",
                    "tilestored [{to} + {line} + 64], tmm1",
                    $(concat!("tilestored [{to} + {line} + 2048], tmm2", $both),
                    "tilestored [{to} + {line} + 2112], tmm3",)?
                    from = in(reg) sum.from,
                    stride = in(reg) 2 * sum.stride,
                    below = in(reg) 2 * TILE * sum.stride,
                    steps = inout(reg) sum.steps.as_ptr() => _,
                    count = inout(reg) sum.steps.len() => _,
                    weights = inout(reg) sum.panel => _,
                    line = inout(reg) 64usize => _,
                    to = in(reg) to.as_mut_ptr(),
                    at = out(reg) _,
                    next = out(reg) _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                )
            };
        }
        // SAFETY: tiles are set up, and what is read can be, by the caller's promise; `to` has 32 lines
        // of 128 bytes.
        unsafe {
            if rows > TILE {
                tiles!("");
            } else {
                tiles!();
            }
        }
    }
}
