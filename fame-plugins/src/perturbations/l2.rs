//! `L2`: Steps of a given Euclidean length along the gradient.

use super::descent::descent;

descent! {
    /// x ← x − η·g / ‖g‖₂: every step has the same Euclidean length η, however many pixels share
    /// it. Invariant to the scale of the loss.
    L2 {
        /// Length of a step in the units of `space`; above 0. Default: 0.1.
        step: 0.1,
        fast: None,
    }
    rule: Length,
    summary: "Steps of a given Euclidean length along the gradient",
    example: "L2(step: 0.1, iterations: 100, stop: [RelativeDrop(0.9)])",
    reference: "Rozsa, Günther & Boult, LOTS, IJCB 2017 (normalisation varied)",
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
