//! `Noise`: any other walk, seen through fresh noise at every step.

use fame_core::{
    Random, Result, Tensor,
    contract::{Perturbation, Recorded, Start, Stop, Walk},
    data::{Facts, InputConvention},
    registry::{Assembly, BuildContext, Built, Plugin},
    seed_of,
    text::Spec,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The walk of another perturbation, with fresh noise N(0, σ²) on every pixel of every picture the
/// network is shown: the gradient is taken at x + ε, and moves x. What moved is the inner walk's,
/// free of noise. Averaged over the steps the walk follows the slope of a smoothed loss, as
/// SmoothGrad does; the losses of the record are those of the noisy pictures.
///
/// Noise follows from the run's seed, the item's id, the row's name and the step's number. σ = 0 is
/// the inner walk, bit for bit.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// How to walk.
    pub of: Spec,
    /// σ in pixels of 0..=1; at least 0. Noisy pixels may leave 0..=1.
    #[serde(default = "sigma")]
    pub sigma: f32,
}

fn sigma() -> f32 {
    0.1
}

impl Plugin<dyn Perturbation> for Noise {
    const NAME: &'static str = "Noise";
    const SUMMARY: &'static str = "Another walk, through fresh pixel noise at every step";
    const EXAMPLE: &'static str = "Noise(of: Lots(step: 0.0157, iterations: 25), sigma: 0.1)";
    const REFERENCE: &'static str =
        "The noise is that of Smilkov et al., SmoothGrad, 2017, arXiv 1706.03825, along a walk";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("sigma", self.sigma.is_finite() && self.sigma >= 0.0, "must be at least 0");
    }

    fn build(
        self,
        with: &BuildContext<'_>,
        assembly: &mut Assembly,
    ) -> Option<Box<dyn Perturbation>> {
        let of = assembly.build::<dyn Perturbation>("of", &self.of, with)?;
        Some(Box::new(Running { of, sigma: self.sigma }))
    }
}

fame_core::register!(Perturbation: Noise);

struct Running {
    of: Built<dyn Perturbation>,
    sigma: f32,
}

impl Perturbation for Running {
    fn start(&self, from: &Start<'_>) -> Result<Box<dyn Walk>> {
        let inner = self.of.plugin.start(from)?;
        if self.sigma == 0.0 {
            return Ok(inner);
        }
        let mut walk = Noisy {
            inner,
            sigma: self.sigma,
            convention: from.convention.clone(),
            seed: seed_of(from.seed, "noise"),
            step: 0,
            noise: Tensor::zeros(from.pixels.shape()),
        };
        walk.draw();
        Ok(Box::new(walk))
    }

    fn max_steps(&self) -> usize {
        self.of.plugin.max_steps()
    }
}

struct Noisy {
    inner: Box<dyn Walk>,
    sigma: f32,
    convention: InputConvention,
    seed: u64,
    step: usize,
    /// Of this step, in the network's input space.
    noise: Tensor,
}

impl Noisy {
    /// Draws the noise of this step: pixels reach the input through a division by std.
    fn draw(&mut self) {
        Random::stream(self.seed, self.step).fill_normal(self.noise.data_mut());
        for c in 0..self.noise.rows() {
            let sigma = self.sigma / self.convention.std[c];
            self.noise.row_mut(c).iter_mut().for_each(|e| *e *= sigma);
        }
    }
}

impl Walk for Noisy {
    fn image(&self) -> Result<Tensor> {
        let mut image = self.inner.image()?;
        image.data_mut().iter_mut().zip(self.noise.data()).for_each(|(x, e)| *x += e);
        Ok(image)
    }

    fn observe(&mut self, loss: f32) -> Result<Option<Stop>> {
        self.inner.observe(loss)
    }

    fn step(&mut self, gradient: &Tensor) -> Result<Option<Stop>> {
        let stop = self.inner.step(gradient)?;
        if stop.is_none() {
            self.step += 1;
            self.draw();
        }
        Ok(stop)
    }

    fn field(&self) -> Result<Tensor> {
        self.inner.field()
    }

    fn recorded(&self) -> Result<Vec<Recorded>> {
        self.inner.recorded()
    }

    fn facts(&self) -> Result<Facts> {
        self.inner.facts()
    }
}

#[cfg(test)]
mod tests {
    use fame_core::testkit::{build, check_perturbation};

    use super::{super::descent::tests, *};

    /// Images before the first step and after each of three.
    fn walked(spec: &str, seed: u64) -> Vec<Tensor> {
        let (pixels, convention) = (tests::pixels(), tests::convention());
        let perturbation = build::<dyn Perturbation>(spec).unwrap().plugin;
        let mut walk =
            perturbation.start(&Start { pixels: &pixels, convention: &convention, seed }).unwrap();
        let mut images = vec![walk.image().unwrap()];
        for _ in 0..3 {
            assert_eq!(walk.step(&tests::gradient()).unwrap(), None);
            images.push(walk.image().unwrap());
        }
        images
    }

    #[test]
    fn without_noise_it_is_the_inner_walk_bit_for_bit() {
        for inner in ["Lots()", "L2(step: 0.5)", "MaskWalk(towards: Mean, gradient_blur: 0)"] {
            let noisy = walked(&format!("Noise(of: {inner}, sigma: 0)"), 1);
            assert_eq!(noisy, walked(inner, 1), "{inner}");
        }
    }

    #[test]
    fn noise_is_fresh_at_every_step_and_belongs_to_the_seed() {
        let spec = "Noise(of: Lots(), sigma: 0.1)";
        let (noisy, clean) = (walked(spec, 1), walked("Lots()", 1));
        assert_eq!(noisy, walked(spec, 1));
        assert_ne!(noisy, walked(spec, 2));
        let noise = |n: usize| -> Vec<f32> {
            noisy[n].data().iter().zip(clean[n].data()).map(|(a, b)| a - b).collect()
        };
        assert_ne!(noise(0), noise(1));
        let perturbation = build::<dyn Perturbation>(spec).unwrap().plugin;
        check_perturbation(perturbation.as_ref(), false, Some(1.0 / 255.0)).unwrap();
    }

    #[test]
    fn the_noise_has_its_sigma_in_pixels() {
        let mut convention = tests::convention();
        (convention.height, convention.width) = (40, 40);
        let pixels = Tensor::filled([3, 40, 40], 0.5);
        let perturbation = build::<dyn Perturbation>("Noise(of: Lots())").unwrap().plugin;
        let walk = perturbation
            .start(&Start { pixels: &pixels, convention: &convention, seed: 4 })
            .unwrap();
        let mut image = walk.image().unwrap();
        convention.denormalise(&mut image).unwrap();
        for c in 0..3 {
            let square = image.row(c).iter().map(|x| f64::from(x - 0.5).powi(2)).sum::<f64>();
            let sigma = (square / 1600.0).sqrt();
            // Four standard errors of the σ of 1600 draws: σ/√(2·1600).
            assert!((sigma - 0.1).abs() < 4.0 * 0.1 / 3200f64.sqrt(), "{sigma}");
        }
    }
}
