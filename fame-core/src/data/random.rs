//! Random numbers that are the same on every machine: SplitMix64, seeded from the run's seed and
//! the item's id.

/// A stream of random numbers, the same on every machine.
///
/// SplitMix64 (Steele, Lea & Flood, OOPSLA 2014): a counter through a mixing function, so that near
/// seeds give unrelated streams.
pub struct Random(u64);

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The `n`-th of many independent streams of `seed`, whatever order they are asked for in.
    pub fn stream(seed: u64, n: usize) -> Self {
        Self(Self(seed ^ (n as u64).wrapping_mul(0xD605_BBB5_8C8A_BC03)).next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in 0..1, 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in 0..n; 0 for n = 0.
    pub fn below(&mut self, n: usize) -> usize {
        // The upper half of a 128-bit product; its bias is below n / 2⁶⁴.
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// Fills `out` with standard normal numbers (Box-Muller).
    pub fn fill_normal(&mut self, out: &mut [f32]) {
        for pair in out.chunks_mut(2) {
            // 1 - u is in (0, 1], so the logarithm is finite.
            let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
            let (sin, cos) = (std::f64::consts::TAU * self.uniform()).sin_cos();
            for (value, side) in pair.iter_mut().zip([cos, sin]) {
                *value = (radius * side) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_published_ones_and_look_normal() {
        // The first output of SplitMix64 for seed 0, as its reference implementation prints it.
        assert_eq!(Random::new(0).next(), 0xE220_A839_7B1D_CDAF);
        let mut values = vec![0.0; 20_001];
        Random::stream(7, 3).fill_normal(&mut values);
        let n = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let variance = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / n - mean * mean;
        // Four standard errors of either.
        assert!(
            mean.abs() < 4.0 / n.sqrt() && (variance - 1.0).abs() < 4.0 * (2.0 / n).sqrt(),
            "{mean} {variance}"
        );
    }

    #[test]
    fn whole_numbers_stay_in_range() {
        let mut random = Random::new(1);
        let draws: Vec<usize> = (0..1000).map(|_| random.below(5)).collect();
        assert!((0..5).all(|k| draws.contains(&k)) && draws.iter().all(|d| *d < 5));
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn streams_differ() {
        assert_ne!(Random::stream(1, 0).next(), Random::stream(1, 1).next());
        assert_ne!(Random::stream(1, 0).next(), Random::stream(2, 0).next());
    }
}
