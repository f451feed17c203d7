//! `L2`: Steps of a given Euclidean length along the gradient.

use super::descent::{NO_GRADIENT, descent};

descent! {
    /// x ← x − η·g / ‖g‖₂: every step has the same Euclidean length η, however many pixels share
    /// it. Invariant to the scale of the loss.
    L2 {
        /// Length of a step in the units of `space`; above 0. Default: 0.1.
        step: 0.1,
        fast: None,
    }
    direction: direction,
    summary: "Steps of a given Euclidean length along the gradient",
    example: "L2(step: 0.1, iterations: 100, stop: [RelativeDrop(0.9)])",
    reference: "Rozsa, Günther & Boult, LOTS, IJCB 2017 (normalisation varied)",
}

/// η·g / ‖g‖₂.
fn direction(gradient: &mut [f32], step: f32) -> Option<()> {
    let largest = fame_core::max_abs(gradient);
    if largest < NO_GRADIENT {
        return None;
    }
    // Squares of the scaled components can neither overflow nor all vanish.
    let length =
        gradient.iter().map(|g| f64::from(*g / largest).powi(2)).sum::<f64>().sqrt() as f32;
    gradient.iter_mut().for_each(|g| *g = *g / largest / length * step);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{super::descent::tests, *};

    fn usual() -> L2 {
        fame_core::testkit::parameters("()").unwrap()
    }

    #[test]
    fn every_step_is_equally_long() {
        let field = tests::one_step(&L2 { step: 0.5, ..usual() });
        let length = field.data().iter().map(|f| f * f).sum::<f32>().sqrt();
        assert!((length - 0.5).abs() < 1e-6, "{length}");
    }
}
