//! RISE's soft random masks, made on demand.

use fame_core::Random;

/// A set of soft masks: mask i depends on the seed and i only.
pub(super) struct SoftMasks {
    pub(super) seed: u64,
    /// Cells along each side.
    pub(super) grid: usize,
    /// Probability that a cell is open.
    pub(super) probability: f64,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl SoftMasks {
    /// Writes mask `index`, values 0..=1, row-major, into `mask`: grid × grid cells, enlarged
    /// bilinearly to one cell more than the picture (centres half a cell in, mirrored at the edge),
    /// and a window of the picture's size cut out at a random shift below one cell.
    pub(super) fn fill(&self, index: usize, mask: &mut [f32]) {
        let mut random = Random::stream(self.seed, index);
        let open: Vec<f32> = (0..self.grid * self.grid).map(|_| if random.uniform() < self.probability { 1.0 } else { 0.0 }).collect();
        let (rows, columns) = (self.axis(self.height, &mut random), self.axis(self.width, &mut random));
        for ((above, below, t), line) in rows.iter().zip(mask.chunks_exact_mut(self.width)) {
            for ((left, right, u), value) in columns.iter().zip(line) {
                let across = |row: usize| open[row * self.grid + left] * (1.0 - u) + open[row * self.grid + right] * u;
                *value = across(*above) * (1.0 - t) + across(*below) * t;
            }
        }
    }

    /// For each pixel along an axis the two cells it lies between, and how far it is towards the
    /// second.
    fn axis(&self, extent: usize, random: &mut Random) -> Vec<(usize, usize, f32)> {
        let cell = extent.div_ceil(self.grid);
        let shift = random.below(cell);
        let scale = self.grid as f64 / ((self.grid + 1) * cell) as f64;
        let place = |pixel: usize| {
            let at = (((pixel + shift) as f64 + 0.5) * scale - 0.5).max(0.0);
            let first = (at as usize).min(self.grid - 1);
            (first, (first + 1).min(self.grid - 1), at.fract() as f32)
        };
        (0..extent).map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASKS: SoftMasks = SoftMasks { seed: 5, grid: 4, probability: 0.5, height: 18, width: 26 };

    fn mask(index: usize) -> Vec<f32> {
        let mut m = vec![9.0; 18 * 26];
        MASKS.fill(index, &mut m);
        m
    }

    #[test]
    fn masks_are_soft_repeatable_and_open_half_the_time() {
        assert_eq!(mask(3), mask(3));
        assert_ne!(mask(3), mask(4));
        assert!((0..20).all(|i| mask(i).iter().all(|m| (0.0..=1.0).contains(m))) && mask(0).iter().any(|m| *m > 0.0 && *m < 1.0));
        let mean = (0..400).map(|i| mask(i).iter().sum::<f32>() / 468.0).sum::<f32>() / 400.0;
        // A mask's mean is that of at most 16 coin flips (sd 1/8 or somewhat more); of 400 masks
        // five times that over 20.
        assert!((mean - 0.5).abs() < 0.04, "{mean}");
    }
}
