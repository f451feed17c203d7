//! `GaussianBlur`: from single pixels to regions.

use fame_core::{
    AttributionMap, Error, Result,
    contract::MapStep,
    registry::{Assembly, BuildContext, Parameters, Plugin},
};

fame_core::parameters! {
    /// Separable Gaussian blur, channel by channel, as torchvision's: taps w_i = exp(−i²/2σ²) at
    /// integers, normalised to sum 1, reflect padding without repeating the edge. The paper's 49
    /// taps and σ = 7.7 follow torchvision's rule σ = 0.15·k + 0.35, which also fills in whichever
    /// of the two is left out.
    pub struct GaussianBlur {
        /// Number of taps k: odd, and k/2 less than the picture's smaller side. Default: 49, or
        /// what fits `sigma`.
        kernel: usize = open,
        /// Standard deviation σ in pixels, above 0. Default: 7.7, or what fits `kernel`.
        sigma: f32 = open,
    }
}

impl Parameters for GaussianBlur {
    type Typed = typed::GaussianBlur;

    fn fill(typed: typed::GaussianBlur, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Self> {
        let (kernel, sigma) = match (typed.kernel, typed.sigma) {
            (Some(kernel), _) => (kernel, 0.15 * kernel as f32 + 0.35),
            (None, Some(sigma)) => (odd_kernel(sigma), sigma),
            (None, None) => (49, 7.7),
        };
        Some(typed.or(kernel, sigma))
    }
}

impl Plugin<dyn MapStep> for GaussianBlur {
    const NAME: &'static str = "GaussianBlur";
    const SUMMARY: &'static str = "Gaussian blur as torchvision's: regions instead of pixels";
    const EXAMPLE: &'static str = "GaussianBlur(kernel: 49, sigma: 7.7)";
    const REFERENCE: &'static str =
        "Zhang & Günther, FAME (2026), section 4; torchvision.transforms.functional.gaussian_blur";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        let good = self.sigma.is_finite() && self.sigma > 0.0 && self.sigma < 1e4;
        assembly.check("sigma", good, "must be above 0 and below 10000");
        assembly.check("kernel", self.kernel % 2 == 1 && self.kernel < 100_000, "must be odd");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn MapStep>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Map: GaussianBlur);

/// The odd number of taps nearest to what σ = 0.15·k + 0.35 asks, at least 3.
fn odd_kernel(sigma: f32) -> usize {
    // A sigma that `resolve` refuses is cut here, where its kernel would not be a number.
    let k = ((sigma - 0.35) / 0.15).clamp(3.0, 1e5);
    2 * (((k - 1.0) / 2.0).round() as usize) + 1
}

impl MapStep for GaussianBlur {
    fn apply(&self, mut map: AttributionMap) -> Result<AttributionMap> {
        let [c, h, w] = shape3(&map)?;
        let (kernel, sigma) = (self.kernel, self.sigma);
        if kernel / 2 >= h.min(w) {
            return Err(Error::new(
                "fame::map::kernel_too_large",
                format!("a blur of {kernel} taps does not fit a picture of {w}×{h} pixels."),
            )
            .with_help(format!("Use GaussianBlur(kernel: {}) or less.", 2 * (h.min(w) - 1) + 1)));
        }
        let taps = taps(kernel, sigma);
        for channel in 0..c {
            blur_plane(map.values.row_mut(channel), h, w, &taps);
        }
        Ok(map)
    }
}

/// Every plane of `values` `[C, H, W]`, blurred with `kernel` taps, for other rooms.
///
/// # Errors
/// A kernel that does not fit.
pub(crate) fn blur(
    values: &fame_core::Tensor,
    kernel: usize,
    sigma: f32,
) -> Result<fame_core::Tensor> {
    let step = GaussianBlur { kernel, sigma };
    step.apply(AttributionMap { values: values.clone(), channels: Vec::new() }).map(|m| m.values)
}

/// As [`blur`], with the taps that fit `sigma` (above 0), for blurs that are no step of their own.
///
/// # Errors
/// A picture that is too small for it.
pub(crate) fn blur_sigma(values: &fame_core::Tensor, sigma: f32) -> Result<fame_core::Tensor> {
    blur(values, odd_kernel(sigma), sigma).map_err(|e| {
        let help = "Take a smaller sigma: a blur has about sigma / 0.15 taps.";
        e.at(format!("a blur of sigma {sigma}")).with_help(help)
    })
}

/// The normalised kernel.
fn taps(kernel: usize, sigma: f32) -> Vec<f32> {
    let half = (kernel / 2) as f64;
    let raw: Vec<f64> = (0..kernel)
        .map(|i| (-(i as f64 - half).powi(2) / (2.0 * f64::from(sigma).powi(2))).exp())
        .collect();
    let sum: f64 = raw.iter().sum();
    raw.iter().map(|w| (w / sum) as f32).collect()
}

/// Blurs an h×w plane in place, rows then columns.
pub(crate) fn blur_plane(plane: &mut [f32], h: usize, w: usize, taps: &[f32]) {
    let mut line = vec![0.0; h.max(w)];
    for row in plane.chunks_exact_mut(w) {
        line[..w].copy_from_slice(row);
        convolve(&line[..w], taps, |i, v| row[i] = v);
    }
    for x in 0..w {
        for y in 0..h {
            line[y] = plane[y * w + x];
        }
        convolve(&line[..h], taps, |i, v| plane[i * w + x] = v);
    }
}

/// One line under the kernel; beyond its ends the line is mirrored without repeating the end.
fn convolve(line: &[f32], taps: &[f32], mut put: impl FnMut(usize, f32)) {
    let (n, half) = (line.len() as isize, (taps.len() / 2) as isize);
    let mirrored = |i: isize| {
        let i = if i < 0 { -i } else { i };
        (if i >= n { 2 * (n - 1) - i } else { i }) as usize
    };
    for i in 0..n {
        let sum: f64 = taps
            .iter()
            .enumerate()
            .map(|(k, t)| f64::from(*t) * f64::from(line[mirrored(i + k as isize - half)]))
            .sum();
        put(i as usize, sum as f32);
    }
}

/// The map's `[C, H, W]`.
pub(crate) fn shape3(map: &AttributionMap) -> Result<[usize; 3]> {
    let shape = map.values.shape();
    <[usize; 3]>::try_from(shape)
        .map_err(|_| Error::bug(format!("a map must be [C, H, W], not {shape:?}.")))
}

#[cfg(test)]
mod tests {
    use fame_core::Tensor;

    use super::*;

    fn blur(values: Vec<f32>, h: usize, w: usize, kernel: usize, sigma: f32) -> Result<Vec<f32>> {
        let map = AttributionMap {
            values: Tensor::new([1, h, w], values).unwrap(),
            channels: vec!["Y".into()],
        };
        GaussianBlur { kernel, sigma }.apply(map).map(|m| m.values.into_data())
    }

    #[test]
    fn a_constant_map_stays_constant() {
        // Taps are rounded to f32 once each: 49 of them may miss 1 by a few units in the last
        // place, twice.
        const ROUNDING: f32 = 1e-6;
        assert!(
            blur(vec![0.7; 60 * 50], 60, 50, 49, 7.7)
                .unwrap()
                .iter()
                .all(|v| (v - 0.7).abs() < ROUNDING)
        );
    }

    #[test]
    fn a_point_becomes_the_kernel() {
        let mut point = vec![0.0; 81];
        point[40] = 1.0;
        let out = blur(point, 9, 9, 5, 1.1).unwrap();
        let t = taps(5, 1.1);
        assert!(
            (out[40] - t[2] * t[2]).abs() < 1e-7
                && (out[39] - t[2] * t[1]).abs() < 1e-7
                && (out[22] - t[2] * t[0]).abs() < 1e-7
        );
        assert!((out.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn edges_are_mirrored_without_repeating_the_last_pixel() {
        let out = blur(vec![1.0, 2.0, 4.0], 3, 1, 1, 1.0);
        assert_eq!(out.unwrap(), [1.0, 2.0, 4.0]);
        let mut line = Vec::new();
        convolve(&[1.0, 2.0, 4.0], &[0.25, 0.5, 0.25], |_, v| line.push(v));
        assert_eq!(line, [1.5, 2.25, 3.0]);
    }

    #[test]
    fn kernel_and_sigma_follow_torchvision() {
        assert_eq!((odd_kernel(7.7), odd_kernel(0.1)), (49, 3));
        assert!(blur(vec![0.0; 9], 3, 3, 7, 1.0).unwrap_err().help.unwrap().contains("kernel: 5"));
    }

    proptest::proptest! {
        /// Blurring is linear: blur(a + 3b) = blur(a) + 3·blur(b), up to rounding of the sums.
        #[test]
        fn blur_is_linear(a in proptest::collection::vec(-1f32..1.0, 30), b in proptest::collection::vec(-1f32..1.0, 30)) {
            let sum: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + 3.0 * b).collect();
            let (fa, fb, fs) = (blur(a, 6, 5, 5, 1.3).unwrap(), blur(b, 6, 5, 5, 1.3).unwrap(), blur(sum, 6, 5, 5, 1.3).unwrap());
            for i in 0..30 {
                assert!((fa[i] + 3.0 * fb[i] - fs[i]).abs() < 1e-5);
            }
        }
    }
}
