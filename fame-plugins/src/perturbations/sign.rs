//! `Sign`: Steps of equal size in every component, along the sign of the gradient.

use super::descent::descent;

descent! {
    /// x ← x − η·sign(g): every pixel with any gradient moves by the full step (FGSM and PGD move
    /// so). The map it leaves is flatter than that of [`super::Lots`]: how much a pixel matters no
    /// longer shows in how far it moves per step.
    Sign {
        /// Step size η in the units of `space`; above 0. Default: 1/255.
        step: 1.0 / 255.0,
        fast: None,
    }
    rule: Sign,
    summary: "Steps of equal size in every component, along the sign of the gradient",
    example: "Sign(step: 0.00392157, iterations: 100, stop: [RelativeDrop(0.9)])",
    reference: "Madry et al., PGD, ICLR 2018 (as a descent)",
}

#[cfg(test)]
mod tests {
    use super::{super::descent::tests, *};

    fn usual() -> Sign {
        fame_core::testkit::parameters("()").unwrap()
    }

    #[test]
    fn every_component_moves_equally() {
        let field = tests::one_step(&Sign { step: 0.25, ..usual() });
        assert_eq!(
            field.data().iter().map(|f| (f * 4.0).round()).collect::<Vec<_>>(),
            [-1.0, 1.0, 0.0, -1.0, -1.0, 1.0]
        );
    }
}
