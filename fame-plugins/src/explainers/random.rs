//! Reproducible randomness: a mask set must be the same on every machine and in every later version, so the generator is our own.

/// `SplitMix64` (Steele, Lea & Flood, OOPSLA 2014): a 64-bit counter through a mixing function. Any seed is a good one, and a neighbouring seed gives an
/// unrelated stream, so mask number i can have a stream of its own.
pub(super) struct Random(u64);

impl Random {
    /// The stream of `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Stream number `index` of `seed`.
    pub(super) fn stream(seed: u64, index: usize) -> Self {
        // The first draw scrambles, so that stream i does not start where stream i + 1 continues.
        Self(Self(seed ^ (index as u64).wrapping_mul(0xD134_2543_DE82_EF95)).bits())
    }

    /// 64 random bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in 0..n; 0 for n = 0. The bias is below n / 2⁶⁴.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// True with probability `p`.
    pub(super) fn chance(&mut self, p: f32) -> bool {
        // 24 bits: as many as a single-precision number below 1 can tell apart.
        ((self.bits() >> 40) as f32) < p * 16_777_216.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // The reference implementation's first two outputs for seed 0.
        let mut random = Random::new(0);
        assert_eq!((random.bits(), random.bits()), (0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4));
    }

    #[test]
    fn draws_stay_in_range_and_streams_differ() {
        let mut random = Random::stream(7, 3);
        assert!((0..1000).all(|_| random.below(5) < 5));
        assert_eq!(random.below(0), 0);
        assert_ne!(Random::stream(7, 3).bits(), Random::stream(7, 4).bits());
        let hits = (0..10_000).filter(|_| random.chance(0.3)).count();
        // Five standard deviations of a binomial around 3000.
        assert!(hits.abs_diff(3000) < 230, "{hits}");
        assert!(!random.chance(0.0) && random.chance(1.0));
    }
}
