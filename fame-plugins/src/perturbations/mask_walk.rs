//! `MaskWalk`: a walk in a mask between the picture and a plainer one.

use fame_core::{
    Error, Result, Tensor,
    contract::{NO_GRADIENT, Perturbation, Recorded, Start, Stop, Walk},
    data::{Facts, InputConvention, facts},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::maps::{Towards, blur_sigma};

/// x(m) = x + m·(b − x): the picture x walks towards a plainer picture b, each pixel as far as a
/// mask m of one number per pixel says. m is 0 at first, and a step is
/// m ← clip(m − η·ĝ / max|ĝ|, 0, 1) with g = ∂loss/∂m and ĝ = g, blurred. So the picture can only
/// lose detail, in whole regions, and never gain any: unlike a walk in pixels it cannot fool the
/// network with noise.
///
/// What moved is the picture's displacement m·(b − x), in pixels. For `Field(…)` it records, one
/// number per pixel: `mask` (m at the end, 0..=1), `mask_over_steps` (the sum of m after every
/// step, 0..=iterations: high where the walk went early and stayed) and `moves_times_gradients`
/// (−Σ g·Δm with the unblurred g: what every pixel's moves took from the loss, to first order; any
/// number).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MaskWalk {
    /// The plainer picture b: `Blur(sigma: 10)`, `Mean` or `Black`.
    pub towards: Towards,
    /// Step size η, the largest move of the mask; above 0, at most 1.
    pub step: f32,
    /// The most steps to take. More find more than what the loss rests on: 25 are better than 100.
    pub iterations: usize,
    /// Standard deviation, in pixels, of the blur of the gradient; 0 for none.
    pub gradient_blur: f32,
}

impl Default for MaskWalk {
    fn default() -> Self {
        Self { towards: Towards::default(), step: 0.1, iterations: 25, gradient_blur: 6.0 }
    }
}

impl Plugin<dyn Perturbation> for MaskWalk {
    const NAME: &'static str = "MaskWalk";
    const SUMMARY: &'static str = "A walk in a mask between the picture and a plainer one";
    const EXAMPLE: &'static str = "MaskWalk(towards: Blur(sigma: 10), iterations: 25)";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("towards", self.towards.good(), "needs a sigma above 0 and below 10000");
        assembly.check(
            "step",
            self.step > 0.0 && self.step <= 1.0,
            "must be above 0 and at most 1",
        );
        assembly.check("iterations", self.iterations > 0, "must be at least 1");
        let blur = self.gradient_blur;
        assembly.check(
            "gradient_blur",
            (0.0..1e4).contains(&blur),
            "must be 0 or above, below 10000",
        );
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Perturbation>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Perturbation: MaskWalk);

impl Perturbation for MaskWalk {
    fn start(&self, from: &Start<'_>) -> Result<Box<dyn Walk>> {
        let &[_, height, width] = from.pixels.shape() else {
            return Err(Error::bug(format!("a picture has the shape {:?}.", from.pixels.shape())));
        };
        let zero = || Tensor::zeros([1, height, width]);
        if self.gradient_blur > 0.0 {
            // Fails here, not at the first step.
            blur_sigma(&zero(), self.gradient_blur).map_err(|e| e.at("gradient_blur"))?;
        }
        Ok(Box::new(Walking {
            step: self.step,
            gradient_blur: self.gradient_blur,
            convention: from.convention.clone(),
            way: self.towards.way(from.pixels, from.convention).map_err(|e| e.at("towards"))?,
            origin: from.pixels.clone(),
            mask: zero(),
            over_steps: zero(),
            moves_times_gradients: zero(),
        }))
    }

    fn max_steps(&self) -> usize {
        self.iterations
    }
}

struct Walking {
    step: f32,
    gradient_blur: f32,
    convention: InputConvention,
    /// x.
    origin: Tensor,
    /// b − x.
    way: Tensor,
    /// m, `[1, H, W]` as the two that follow.
    mask: Tensor,
    over_steps: Tensor,
    moves_times_gradients: Tensor,
}

impl Walking {
    /// ∂loss/∂m from d(loss)/d(network input): pixels reach the input through a division by std.
    fn mask_gradient(&self, gradient: &Tensor) -> Tensor {
        let mut sum = Tensor::zeros(self.mask.shape());
        for c in 0..gradient.rows() {
            let std = self.convention.std[c];
            for ((s, g), way) in sum.data_mut().iter_mut().zip(gradient.row(c)).zip(self.way.row(c))
            {
                *s += g / std * way;
            }
        }
        sum
    }

    /// Moves the mask along `direction`, whose largest component is `largest`.
    fn advance(&mut self, gradient: &[f32], direction: &[f32], largest: f32) {
        let mask = self.mask.data_mut().iter_mut();
        let sums = self.over_steps.data_mut().iter_mut().zip(self.moves_times_gradients.data_mut());
        for (((m, d), g), (over_steps, product)) in mask.zip(direction).zip(gradient).zip(sums) {
            let before = *m;
            *m = (before - self.step * (d / largest)).clamp(0.0, 1.0);
            *over_steps += *m;
            *product -= g * (*m - before);
        }
    }
}

impl Walk for Walking {
    fn image(&self) -> Result<Tensor> {
        let mut image = self.field()?;
        image.data_mut().iter_mut().zip(self.origin.data()).for_each(|(d, x)| *d += x);
        self.convention.normalise(&mut image)?;
        Ok(image)
    }

    fn observe(&mut self, _: f32) -> Result<Option<Stop>> {
        Ok(None)
    }

    fn step(&mut self, gradient: &Tensor) -> Result<Option<Stop>> {
        if gradient.shape() != self.origin.shape() {
            return Err(Error::bug(format!(
                "a gradient of shape {:?} cannot move a picture of shape {:?}.",
                gradient.shape(),
                self.origin.shape()
            )));
        }
        let g = self.mask_gradient(gradient);
        if !g.is_finite() {
            return Ok(Some(Stop::NotFinite));
        }
        let direction = if self.gradient_blur > 0.0 && g.max_abs() >= NO_GRADIENT {
            blur_sigma(&g, self.gradient_blur)?
        } else {
            g.clone()
        };
        let largest = direction.max_abs();
        if largest < NO_GRADIENT {
            return Ok(Some(Stop::ZeroGradient));
        }
        self.advance(g.data(), direction.data(), largest);
        Ok(None)
    }

    fn field(&self) -> Result<Tensor> {
        let mut field = self.way.clone();
        for c in 0..field.rows() {
            field.row_mut(c).iter_mut().zip(self.mask.data()).for_each(|(w, m)| *w *= m);
        }
        Ok(field)
    }

    fn recorded(&self) -> Result<Vec<Recorded>> {
        let all = [
            ("mask", &self.mask),
            ("mask_over_steps", &self.over_steps),
            ("moves_times_gradients", &self.moves_times_gradients),
        ];
        let record = |(name, values): (&str, &Tensor)| Recorded {
            name: name.to_owned(),
            values: values.clone(),
        };
        Ok(all.map(record).to_vec())
    }

    fn facts(&self) -> Result<Facts> {
        let mask = self.mask.data();
        let mean = mask.iter().map(|m| f64::from(*m)).sum::<f64>() / mask.len().max(1) as f64;
        Ok(facts([("mask_mean", mean.into()), ("mask_largest", self.mask.max_abs().into())]))
    }
}

#[cfg(test)]
mod tests {
    use fame_core::Random;

    use super::{super::descent::tests, *};

    fn begin(walk: &MaskWalk, pixels: &Tensor) -> Box<dyn Walk> {
        let convention = InputConvention {
            height: pixels.shape()[1],
            width: pixels.shape()[2],
            ..tests::convention()
        };
        walk.start(&Start { pixels, convention: &convention, seed: 0 }).unwrap()
    }

    fn recorded(walk: &dyn Walk, name: &str) -> Vec<f32> {
        let all = walk.recorded().unwrap();
        all.into_iter().find(|field| field.name == name).unwrap().values.into_data()
    }

    /// On a linear loss the gradient of the mask is the same at every step, so after n steps
    /// m = clip(−n·η·g / max|g|, 0, 1).
    #[test]
    fn a_linear_loss_is_walked_in_closed_form() {
        const ROUNDING: f32 = 1e-6;
        let (pixels, gradient) = (tests::pixels(), tests::gradient());
        let walk = MaskWalk { towards: Towards::Mean, gradient_blur: 0.0, ..MaskWalk::default() };
        let mut walked = begin(&walk, &pixels);
        for _ in 0..4 {
            assert_eq!(walked.step(&gradient).unwrap(), None);
        }
        // Σ_c g_c / std_c · (mean_c − x_c), by hand: 1/0.25·0.4 + 0 + 3·0.1; −2/0.25·−0.4 +
        // 0.5/0.5·−0.1 − 0.25·−0.4.
        let g = [1.6 + 0.0 * -0.1 + 3.0 * 0.1, 3.2 - 0.1 + 0.1];
        assert!(g.iter().all(|g| *g > 0.0));
        assert_eq!(recorded(walked.as_ref(), "mask"), [0.0, 0.0], "all moves would raise the loss");
        let mut minus = gradient.clone();
        minus.data_mut().iter_mut().for_each(|g| *g = -*g);
        for _ in 0..4 {
            walked.step(&minus).unwrap();
        }
        let m = [0.4 * g[0] / g[1], 0.4];
        for (name, wanted) in [
            ("mask", m),
            // 1 + 2 + 3 + 4 quarters.
            ("mask_over_steps", m.map(|m| 2.5 * m)),
            ("moves_times_gradients", [g[0] * m[0], g[1] * m[1]]),
        ] {
            for (is, wanted) in recorded(walked.as_ref(), name).iter().zip(wanted) {
                assert!((is - wanted).abs() <= ROUNDING * 10.0, "{name}: {is} {wanted}");
            }
        }
        let field = walked.field().unwrap();
        assert!((field.data()[0] - m[0] * 0.4).abs() < ROUNDING);
    }

    #[test]
    fn the_mask_stays_within_0_and_1_and_the_picture_between_its_ends() {
        let noise = |n: usize| {
            let mut values = Tensor::zeros([3, 12, 9]);
            Random::stream(5, n).fill_normal(values.data_mut());
            values
        };
        let mut pixels = noise(99);
        pixels.data_mut().iter_mut().for_each(|x| *x = x.abs().min(1.0));
        let walk = MaskWalk {
            towards: Towards::Black,
            step: 0.7,
            gradient_blur: 0.6,
            ..MaskWalk::default()
        };
        let mut walked = begin(&walk, &pixels);
        for n in 0..20 {
            walked.step(&noise(n)).unwrap();
            let mask = recorded(walked.as_ref(), "mask");
            assert!(mask.iter().all(|m| (0.0..=1.0).contains(m)));
            for (d, x) in walked.field().unwrap().data().iter().zip(pixels.data()) {
                assert!((-x..=0.0).contains(d), "{d} {x}");
            }
        }
        let mask = recorded(walked.as_ref(), "mask");
        assert!(mask.contains(&0.0) && mask.contains(&1.0), "both ends were reached");
    }

    #[test]
    fn nothing_moves_without_a_gradient_and_a_small_picture_is_refused_at_the_start() {
        let (pixels, walk) = (
            tests::pixels(),
            MaskWalk { towards: Towards::Mean, gradient_blur: 0.0, ..MaskWalk::default() },
        );
        let mut walked = begin(&walk, &pixels);
        let (zero, nan) = (Tensor::zeros([3, 1, 2]), Tensor::filled([3, 1, 2], f32::NAN));
        assert_eq!(walked.step(&zero).unwrap(), Some(Stop::ZeroGradient));
        assert_eq!(walked.step(&nan).unwrap(), Some(Stop::NotFinite));
        assert!(walked.step(&Tensor::zeros([3, 2, 2])).is_err());
        let convention = tests::convention();
        let from = Start { pixels: &pixels, convention: &convention, seed: 0 };
        let refused = |walk: MaskWalk| walk.start(&from).err().unwrap().message;
        assert!(refused(MaskWalk::default()).starts_with("gradient_blur: "));
        let towards = MaskWalk { gradient_blur: 0.0, ..MaskWalk::default() };
        assert!(refused(towards).starts_with("towards: "));
    }
}
