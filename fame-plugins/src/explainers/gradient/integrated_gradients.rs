//! `IntegratedGradients`: the gradient, averaged on the way from a baseline.

use fame_core::{Result, Tensor, registry::Assembly};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Ended, Gradients, Sums, by_gradient};
use crate::maps::Reduce;

/// Where the way begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Baseline {
    /// 0 in the network's input space: the model's mean colour. Captum's default.
    #[default]
    Zero,
    /// Black: pixels of 0.
    Black,
    /// Each channel's mean over the picture itself.
    Mean,
}

impl Baseline {
    /// The baseline of a row, shaped like its input.
    ///
    /// # Errors
    /// What the model's convention says of such an input.
    pub(super) fn picture(self, at: &At<'_>) -> Result<Tensor> {
        let mut baseline = Tensor::zeros(at.input.shape());
        match self {
            Self::Zero => {}
            // Black pixels are zeros before normalisation.
            Self::Black => at.convention.normalise(&mut baseline)?,
            Self::Mean => {
                for c in 0..at.input.rows() {
                    let channel = at.input.row(c);
                    let mean =
                        channel.iter().map(|v| f64::from(*v)).sum::<f64>() / channel.len() as f64;
                    baseline.row_mut(c).fill(mean as f32);
                }
            }
        }
        Ok(baseline)
    }
}

/// How the integral is approximated. Nodes and weights are on 0..1, from the baseline to the
/// picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Quadrature {
    /// Gauss-Legendre: exact for polynomials of degree 2n − 1. Captum's default.
    #[default]
    GaussLegendre,
    /// The left ends of n equal intervals.
    RiemannLeft,
    /// The right ends.
    RiemannRight,
    /// The middles.
    RiemannMiddle,
    /// The trapezoid rule with n nodes, both ends among them. (Captum divides by n instead of n − 1
    /// here, so its sum falls short by that factor.)
    Trapezoid,
}

by_gradient! {
    /// Integrated gradients: (x − x′) ⊙ ∫ dy/dx (x′ + α (x − x′)) dα from the baseline x′ to x,
    /// approximated at `steps` nodes.
    ///
    /// The attributions add up to y(x) − y(x′). How far the approximation misses is recorded as
    /// `completeness_delta` (sum less difference) and `completeness` (its share of the difference):
    /// above five percent a warning says so, and more steps help where y turns sharply on the way,
    /// as ReLU networks do. For faces take `loss: Similarity(norms: Live)`: a frozen norm is left
    /// out of the derivative, and then no number of steps makes the sum come out. Above zero, what
    /// the channel differs by from the baseline raises y.
    IntegratedGradients {
        /// Nodes on the way; at least 1, for `Trapezoid` at least 2.
        steps: usize = 50,
        /// How the integral is approximated.
        quadrature: Quadrature = Quadrature::default(),
        /// Where the way begins: `Zero`, `Black` or `Mean`.
        baseline: Baseline = Baseline::default(),
    }
    summary: "The gradient averaged on the way from a baseline; attributions add up",
    claim: "Shows how the difference to the baseline picture adds up over the pixels; what it shows depends on that baseline, and pixels that equal it get nothing.",
    example: "IntegratedGradients(steps: 50, quadrature: GaussLegendre, baseline: Black)",
    reference: "Sundararajan, Taly & Yan, Axiomatic Attribution, ICML 2017, arXiv 1703.01365",
}

/// The way of one row.
pub(super) struct Path {
    /// Position and weight of every node.
    nodes: Vec<(f64, f64)>,
    baseline: Vec<f32>,
}

impl Gradients for IntegratedGradients {
    type Plan = Path;
    const CHANNELS: Reduce = Reduce::Sum;

    fn check(&self, assembly: &mut Assembly) {
        let least = if self.quadrature == Quadrature::Trapezoid { 2 } else { 1 };
        assembly.check(
            "steps",
            (least..=100_000).contains(&self.steps),
            "must be at least 1 (2 for Trapezoid) and at most 100000",
        );
    }

    /// The nodes, and both ends for completeness: x first, so that the recorded value is y(x).
    fn points(&self) -> usize {
        self.steps + 2
    }

    fn plan(&self, at: &At<'_>) -> Result<Path> {
        let baseline = self.baseline.picture(at)?.into_data();
        Ok(Path { nodes: nodes(self.quadrature, self.steps), baseline })
    }

    fn point(&self, path: &Path, k: usize, at: &At<'_>) -> Tensor {
        let alpha = match k {
            0 => 1.0,
            1 => 0.0,
            k => path.nodes[k - 2].0 as f32,
        };
        let mut point = at.input.clone();
        point
            .data_mut()
            .iter_mut()
            .zip(&path.baseline)
            .for_each(|(x, b)| *x = b + alpha * (*x - b));
        point
    }

    fn add(&self, path: &Path, k: usize, gradient: &[f32], sums: &mut Sums) {
        if let Some(k) = k.checked_sub(2) {
            let weight = path.nodes[k].1;
            sums.first.iter_mut().zip(gradient).for_each(|(s, g)| *s += weight * f64::from(*g));
        }
    }

    fn end(&self, path: &Path, sums: &Sums, at: &At<'_>) -> Ended {
        Ended::from_baseline(&path.baseline, sums, at)
    }
}

/// Positions on 0..1 and weights that add up to 1.
fn nodes(quadrature: Quadrature, n: usize) -> Vec<(f64, f64)> {
    let share = 1.0 / n as f64;
    let equal = |offset: f64| (0..n).map(move |k| ((k as f64 + offset) * share, share)).collect();
    match quadrature {
        Quadrature::GaussLegendre => gauss_legendre(n),
        Quadrature::RiemannLeft => equal(0.0),
        Quadrature::RiemannRight => equal(1.0),
        Quadrature::RiemannMiddle => equal(0.5),
        Quadrature::Trapezoid => {
            let last = (n - 1).max(1);
            (0..n)
                .map(|k| {
                    (
                        k as f64 / last as f64,
                        if k == 0 || k == last { 0.5 } else { 1.0 } / last as f64,
                    )
                })
                .collect()
        }
    }
}

/// The roots of the Legendre polynomial `P_n` by Newton's method, moved from −1..1 to 0..1, with
/// weights 1 / ((1 − r²) P′_n(r)²).
pub(super) fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    // P_n and its derivative by the three-term recurrence.
    let legendre = |x: f64| {
        let (mut before, mut now) = (0.0, 1.0);
        for k in 0..n {
            let k = k as f64;
            (before, now) = (now, ((2.0 * k + 1.0) * x * now - k * before) / (k + 1.0));
        }
        (now, n as f64 * (x * now - before) / (x * x - 1.0))
    };
    let node = |i: usize| {
        // Close to the i-th root from the right (Abramowitz & Stegun 22.16.6); five rounds are
        // enough, the rest costs nothing.
        let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (n as f64 + 0.5)).cos();
        for _ in 0..50 {
            let (p, slope) = legendre(x);
            let step = p / slope;
            x -= step;
            if step.abs() < 1e-16 {
                break;
            }
        }
        let slope = legendre(x).1;
        (0.5 * (1.0 + x), 1.0 / ((1.0 - x * x) * slope * slope))
    };
    (0..n).rev().map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    #[test]
    fn three_gauss_nodes_are_the_known_ones_and_many_are_exact_for_high_powers() {
        let three = gauss_legendre(3);
        let at = 0.5 - 0.5 * 0.6f64.sqrt();
        assert!(
            (three[0].0 - at).abs() < 1e-15
                && (three[0].1 - 5.0 / 18.0).abs() < 1e-15
                && (three[1].0 - 0.5).abs() < 1e-15
        );
        for quadrature in
            [Quadrature::GaussLegendre, Quadrature::RiemannMiddle, Quadrature::Trapezoid]
        {
            assert!((nodes(quadrature, 50).iter().map(|n| n.1).sum::<f64>() - 1.0).abs() < 1e-13);
        }
        let power = gauss_legendre(50).iter().map(|(x, w)| w * x.powi(99)).sum::<f64>();
        assert!((power - 0.01).abs() < 1e-14, "{power}");
    }

    #[test]
    fn attributions_of_a_cubic_add_up_from_every_baseline() {
        let f = |x: &[f32]| (x[0].powi(3) + x[0] * x[1], vec![3.0 * x[0] * x[0] + x[1], x[0]]);
        for baseline in [Baseline::Zero, Baseline::Black, Baseline::Mean] {
            let about =
                run(&IntegratedGradients { steps: 4, baseline, ..usual() }, &[1.5, -0.5], f);
            // Rounding of y in f32.
            let share = about.completeness.unwrap().share;
            assert!(share < 1e-6, "{baseline:?}: {share}");
        }
        let map = run(&usual::<IntegratedGradients>(), &[2.0, 3.0], f).attribution;
        // Along the diagonal from 0: x² · x and half of the product each.
        assert!((map[0] - 11.0).abs() < 1e-5 && (map[1] - 3.0).abs() < 1e-5, "{map:?}");
    }

    #[test]
    fn riemann_sums_miss_by_the_end_they_leave_out() {
        let f = |x: &[f32]| (x[0] * x[0], vec![2.0 * x[0]]);
        let delta = |quadrature| {
            let about = run(&IntegratedGradients { steps: 10, quadrature, ..usual() }, &[1.0], f);
            about.completeness.unwrap().delta
        };
        assert!(
            (delta(Quadrature::RiemannLeft) + 0.1).abs() < 1e-6
                && (delta(Quadrature::RiemannRight) - 0.1).abs() < 1e-6
        );
        assert!(
            delta(Quadrature::Trapezoid).abs() < 1e-6
                && delta(Quadrature::RiemannMiddle).abs() < 1e-6
        );
    }
}
