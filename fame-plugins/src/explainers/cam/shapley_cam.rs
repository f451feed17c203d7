//! `ShapleyCam`: channels weighted by their mean share of y to second order.

use fame_core::{Result, data::facts};

use super::{Cam, LayerMap, cam, planes::Planes, probe::Probe};

cam! {
    /// ShapleyCAM: Σ_c mean_hw(G_c − ½·(H·a)_c) · a_c with G = dy/da and H·a the Hessian of y by
    /// the layer times the layer's own output; then ReLU. G ⊙ a − ½·a ⊙ H·a is the Shapley value
    /// of each value of the layer where y is its Taylor polynomial of second order around a.
    ///
    /// H·a is the derivative of G as the whole layer grows. It is taken from central differences
    /// between G at (1 ± 1/32)·a and (1 ± 1/64)·a, extrapolated to a step of 0: four passes more
    /// than Grad-CAM. Where what follows the layer is smooth (GELU, softmax, normalisations) the
    /// weights agree with automatic differentiation to about 1e-5. How far the two steps are
    /// apart, as a share of G, is recorded as `curvature_error`; beyond 0.1 there is a warning.
    ///
    /// Where only operators follow that are linear but for kinks (convolutions, ReLU, pooling,
    /// additions), the network has no second derivative: its kinks stay where they are and only
    /// the loss is differentiated twice (`kinks_frozen`), as automatic differentiation has it, with
    /// steps of 1/256 and 1/512, and eight passes. So for a logit of a ResNet or a DenseNet H·a is
    /// 0, and the map is Grad-CAM's.
    ///
    /// Where kinks and bent operators both follow the layer (ReLU beside sigmoid gates), kinks lie
    /// between the steps and H·a is a mean over them, which no automatic differentiation gives:
    /// that is what the warning is for. A layer closer to the output has fewer behind it.
    ShapleyCam {}
    summary: "Channels weighted by their mean gradient less half of how it changes as the layer grows",
    claim: "Shows which cells of one layer raise the asked value, each channel weighted by its mean share of it to second order; not detail finer than a cell, nor what other layers see.",
    example: "ShapleyCam(layer: BeforePooling, loss: Logit(class: Label))",
    reference: "Cai, CAMs as Shapley Value-based Explainers, 2025, arXiv 2501.06261; pytorch-grad-cam 1.5.7",
}

/// The larger of the two steps, as a share of the layer's output. The extrapolated difference is
/// wrong by the fourth power of it, and rounding by its inverse: in single precision this is where
/// both are small (5e-6 of the weights on a vision transformer, 1e-4 at a step of 1/1024).
const STEP: f32 = 1.0 / 32.0;
/// The same where kinks are frozen. What the loss reads still passes them on its way to the step's
/// end, fewer the shorter the step; the loss's own derivative is rounded to about 1e-4 over this
/// one.
const FROZEN_STEP: f32 = 1.0 / 256.0;
/// Two steps that are farther apart than this share of the gradient have not found a derivative. On
/// smooth networks they differ by about 1e-3, with kinks in between by more than 1.
const APART: f64 = 0.1;

impl Cam for ShapleyCam {
    fn map(&self, a: &Planes, g: &Planes, ask: &dyn Probe) -> Result<LayerMap> {
        let frozen = ask.is_piecewise_linear();
        let step = if frozen { FROZEN_STEP } else { STEP };
        let half = step / 2.0;
        let around = ask.gradients(&[1.0 + step, 1.0 - step, 1.0 + half, 1.0 - half], frozen)?;
        let around: Vec<Vec<f64>> = around.iter().map(means).collect();
        let slope = |up: usize, step: f32| -> Vec<f64> {
            let pairs = around[up].iter().zip(&around[up + 1]);
            pairs.map(|(up, down)| (up - down) / (2.0 * f64::from(step))).collect()
        };
        let (coarse, fine) = (slope(0, step), slope(2, half));
        let curvature: Vec<f64> =
            coarse.iter().zip(&fine).map(|(coarse, fine)| (4.0 * fine - coarse) / 3.0).collect();
        let gradient = means(g);
        let weights: Vec<f32> =
            gradient.iter().zip(&curvature).map(|(g, h)| (g - 0.5 * h) as f32).collect();
        let share = |of: &[f64]| {
            let all = length(&gradient);
            if all > 0.0 { length(of) / all } else { 0.0 }
        };
        let apart: Vec<f64> = coarse.iter().zip(&fine).map(|(c, f)| f - c).collect();
        let error = share(&apart);
        let warning = (error > APART).then(|| {
            format!(
                "the gradient's change as the layer grows cannot be told: two steps differ by {error:.1} \
                 of the gradient. Kinks such as ReLU's lie between them; a layer closer to the output has fewer."
            )
        });
        let facts = facts([
            ("curvature", share(&curvature).into()),
            ("curvature_error", error.into()),
            ("kinks_frozen", frozen.into()),
        ]);
        Ok(LayerMap { values: a.weighted_sum(&weights), facts, warning })
    }
}

/// Each channel's mean.
fn means(planes: &Planes) -> Vec<f64> {
    let mean =
        |plane: &[f32]| plane.iter().map(|v| f64::from(*v)).sum::<f64>() / plane.len() as f64;
    planes.iter().map(mean).collect()
}

fn length(v: &[f64]) -> f64 {
    v.iter().map(|v| v * v).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            GradCam,
            testing::{Formula, map, planes, usual},
        },
        *,
    };

    /// Differences of numbers near 4 in single precision, over a step of 1/64.
    const ROUNDING: f32 = 1e-4;

    fn mapped(a: &[&[f32]], gradient: fn(f32) -> Planes) -> LayerMap {
        let probe = Formula { gradient, ..Formula::default() };
        usual::<ShapleyCam>().map(&planes(a), &gradient(1.0), &probe).unwrap()
    }

    fn assert_near(found: &[f32], wanted: &[f32]) {
        let near = found.iter().zip(wanted).all(|(f, w)| (f - w).abs() <= ROUNDING);
        assert!(near && found.len() == wanted.len(), "{found:?} is not {wanted:?}");
    }

    #[test]
    fn shares_of_a_quadratic_score_add_up_to_it() {
        // y = p² + 3·p·q + 2·q at p = 2, q = −1, one cell each: y = −4, and y(0) = 0.
        // G = (2p + 3q, 3p + 2) = (1, 8); as p and q grow, its part that is not constant does.
        let gradient = |s: f32| planes(&[&[s], &[6.0 * s + 2.0]]);
        let found = mapped(&[&[2.0], &[-1.0]], gradient);
        assert_near(&found.values, &[-4.0]);
        // H·a = (1, 6) beside G = (1, 8).
        let curvature =
            found.facts.get("curvature").and_then(fame_core::data::Value::as_f64).unwrap();
        assert!((curvature - (37.0f64 / 65.0).sqrt()).abs() < 1e-4, "{curvature}");
        assert!(found.warning.is_none());
    }

    #[test]
    fn weights_are_means_over_the_cells() {
        // y = Σ p²/2 + Σ q: w = (½·mean p, 1).
        let gradient = |s: f32| planes(&[&[1.0 * s, 3.0 * s], &[1.0, 1.0]]);
        assert_near(&mapped(&[&[1.0, 3.0], &[5.0, 7.0]], gradient).values, &[6.0, 10.0]);
    }

    #[test]
    fn the_extrapolated_step_is_exact_for_a_score_of_the_fourth_power() {
        // y = p⁴ at p = 1: G = 4, H·a = 12, w = −2. The finer step alone would be off by 1e-3.
        let found = mapped(&[&[1.0]], |s: f32| planes(&[&[4.0 * s * s * s]]));
        assert_near(&found.values, &[-2.0]);
    }

    #[test]
    fn a_linear_score_is_grad_cam() {
        let (a, g): ([&[f32]; 2], [&[f32]; 2]) = ([&[1., 0.], &[3., 1.]], [&[4., 0.], &[-1., -1.]]);
        let found = mapped(&a, |_| planes(&[&[4., 0.], &[-1., -1.]]));
        assert_eq!(found.values, map::<GradCam>(&a, &g));
    }

    #[test]
    fn a_kink_between_the_steps_is_told() {
        let found = mapped(&[&[1.0]], |s: f32| planes(&[&[if s > 1.0 { 2.0 } else { 1.0 }]]));
        assert!(found.warning.unwrap().contains("two steps differ"));
    }
}
