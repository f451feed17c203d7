//! `SmoothGrad`: the gradient, averaged over noisy copies of the picture.

use fame_core::{Result, Tensor, data::facts, registry::Assembly};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Ended, Gradients, Sums, by_gradient};
use crate::{explainers::random::Random, maps::Reduce};

/// What is made of the gradients at the noisy copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum SmoothGradForm {
    /// Their mean.
    #[default]
    Mean,
    /// The mean of their squares.
    Squared,
    /// Their variance (divided by n).
    VarGrad,
}

by_gradient! {
    /// SmoothGrad: dy/dx at n noisy copies x + N(0, σ²) of the picture, σ a share of the input's
    /// range, put together as their mean, mean square or variance.
    ///
    /// Noise follows from the run's seed, the item's id, the row's name and the copy's number, so
    /// it does not depend on batches or order. Before the map steps, a `Mean` above zero says that
    /// more of the channel would raise y; the other two forms have no sign.
    SmoothGrad {
        /// `Mean`, `Squared` or `VarGrad`.
        form: SmoothGradForm = SmoothGradForm::default(),
        /// Noisy copies; at least 1, for `VarGrad` at least 2. The paper takes 50.
        n: usize = 50,
        /// σ as a share of max x − min x; the paper takes 0.1 to 0.2.
        noise: f32 = 0.15,
    }
    summary: "The gradient averaged over noisy copies; also squared, and its variance",
    claim: "Shows the gradient averaged over noisy copies of the picture; not the network's behaviour on the picture itself alone.",
    example: "SmoothGrad(form: VarGrad, n: 20, noise: 0.1)",
    reference: "Smilkov et al., SmoothGrad, 2017, arXiv 1706.03825; VarGrad: Adebayo et al., 2018, arXiv 1810.03292",
}

impl Gradients for SmoothGrad {
    type Plan = f32;
    const CHANNELS: Reduce = Reduce::Max;

    fn check(&self, assembly: &mut Assembly) {
        let least = if self.form == SmoothGradForm::VarGrad { 2 } else { 1 };
        assembly.check(
            "n",
            (least..=100_000).contains(&self.n),
            "must be at least 1 (2 for VarGrad) and at most 100000",
        );
        assembly.check("noise", self.noise.is_finite() && self.noise > 0.0, "must be above 0");
    }

    /// The picture itself, for its value, and the copies.
    fn points(&self) -> usize {
        self.n + 1
    }

    /// σ in the network's input space.
    fn plan(&self, at: &At<'_>) -> Result<f32> {
        let ends = at
            .input
            .data()
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
        Ok(self.noise * (ends.1 - ends.0))
    }

    fn point(&self, sigma: &f32, k: usize, at: &At<'_>) -> Tensor {
        let mut point = at.input.clone();
        if k > 0 {
            let mut noise = vec![0.0; point.len()];
            Random::stream(at.seed, k).fill_normal(&mut noise);
            point.data_mut().iter_mut().zip(noise).for_each(|(x, e)| *x += sigma * e);
        }
        point
    }

    fn add(&self, _: &f32, k: usize, gradient: &[f32], sums: &mut Sums) {
        if k == 0 {
            return;
        }
        sums.second.resize(gradient.len(), 0.0);
        for ((first, second), g) in sums.first.iter_mut().zip(&mut sums.second).zip(gradient) {
            *first += f64::from(*g);
            *second += f64::from(*g).powi(2);
        }
    }

    fn end(&self, sigma: &f32, sums: &Sums, _: &At<'_>) -> Ended {
        let n = self.n as f64;
        let of = |(first, second): (&f64, &f64)| match self.form {
            SmoothGradForm::Mean => first / n,
            SmoothGradForm::Squared => second / n,
            // In f64 the difference of two sums of f32 squares keeps at least half of its digits.
            SmoothGradForm::VarGrad => (second / n - (first / n).powi(2)).max(0.0),
        };
        let map: Vec<f32> =
            sums.first.iter().zip(&sums.second).map(|sums| of(sums) as f32).collect();
        Ended { facts: facts([("sigma", (*sigma).into())]), ..map.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn of(form: SmoothGradForm) -> Vec<f32> {
        let method = SmoothGrad { form, n: 2000, noise: 0.5, ..usual() };
        // y = x²: the gradient is 2x, sigma is 0.5 · 2.
        run(&method, &[-1.0, 1.0], |x| {
            (x.iter().map(|v| v * v).sum(), x.iter().map(|v| 2.0 * v).collect())
        })
        .attribution
    }

    #[test]
    fn forms_are_mean_mean_square_and_variance_of_the_gradient() {
        // Four standard errors at n = 2000: of the mean 2/√n, of the variance 4 √(2/n); of squares,
        // with mean 2 and σ 2, at most 0.9.
        let (mean, squared, variance) =
            (of(SmoothGradForm::Mean), of(SmoothGradForm::Squared), of(SmoothGradForm::VarGrad));
        assert!((mean[0] + 2.0).abs() < 0.18 && (mean[1] - 2.0).abs() < 0.18, "{mean:?}");
        assert!(
            (squared[1] - 8.0).abs() < 0.9 && (variance[0] - 4.0).abs() < 0.51,
            "{squared:?} {variance:?}"
        );
        assert!((squared[0] - mean[0] * mean[0] - variance[0]).abs() < 1e-4);
        assert_eq!(of(SmoothGradForm::Mean), mean, "the same seed gives the same noise");
    }
}
