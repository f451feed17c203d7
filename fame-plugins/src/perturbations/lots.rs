//! `Lots`: Steps along the gradient, its largest component scaled to the step size.

use super::descent::descent;

descent! {
    /// x ← x − η·g / max|g|: the raw gradient, scaled so that its largest component moves by
    /// exactly the step size. Small components keep their proportion, so a step changes few pixels
    /// much and most a little. Invariant to the scale of the loss.
    Lots {
        /// Step size η in the units of `space`; above 0. Default: 1/255, the paper's; under preset
        /// Fast, for models that compare two pictures, 16/255 and 16 iterations if the recipe says
        /// neither.
        step: 1.0 / 255.0,
        fast: Some((16.0 / 255.0, 16)),
    }
    rule: Largest,
    summary: "Steps along the gradient, its largest component scaled to the step size",
    example: "Lots(step: 0.00392157, iterations: 100, stop: [RelativeDrop(0.9)])",
    reference: "Rozsa, Günther & Boult, LOTS, IJCB 2017; Zhang & Günther, FAME (2026), Eq. 3",
}

#[cfg(test)]
mod tests {
    use fame_core::{
        Tensor,
        contract::{Perturbation, Start, Stop},
    };

    use super::{
        super::descent::{Clamp, Space, tests},
        *,
    };

    fn usual() -> Lots {
        fame_core::testkit::parameters("()").unwrap()
    }

    #[test]
    fn the_largest_component_moves_by_exactly_one_step() {
        for (space, moved) in [
            (Space::Normalised, [-1.0 / 3.0, 2.0 / 3.0, 0.0, -1.0 / 6.0, -1.0, 1.0 / 12.0]),
            (Space::Pixel, [-0.5, 1.0, 0.0, -0.125, -0.375, 0.03125]),
        ] {
            let field = tests::one_step(&Lots { step: 0.25, space, ..usual() });
            for (f, m) in field.data().iter().zip(moved) {
                assert!((f - 0.25 * m).abs() < 1e-6, "{space:?}: {f} {m}");
            }
        }
    }

    #[test]
    fn the_scale_of_the_loss_does_not_matter() {
        let (pixels, convention) = (tests::pixels(), tests::convention());
        let walked = |scale: f32| {
            let mut walk = usual()
                .start(&Start { pixels: &pixels, convention: &convention, seed: 0 })
                .unwrap();
            let mut g = tests::gradient();
            g.data_mut().iter_mut().for_each(|g| *g *= scale);
            walk.step(&g).unwrap();
            walk.image().unwrap()
        };
        // Powers of two change no digits, so the walks are equal bit for bit, down to where numbers
        // become subnormal.
        assert_eq!(walked(1.0), walked(2f32.powi(-100)));
        assert_eq!(walked(1.0), walked(2f32.powi(60)));
    }

    #[test]
    fn nothing_moves_without_a_gradient_or_with_a_broken_one() {
        let (pixels, convention) = (tests::pixels(), tests::convention());
        let mut walk =
            usual().start(&Start { pixels: &pixels, convention: &convention, seed: 0 }).unwrap();
        assert_eq!(walk.step(&Tensor::zeros([3, 1, 2])).unwrap(), Some(Stop::ZeroGradient));
        assert_eq!(walk.step(&Tensor::filled([3, 1, 2], f32::NAN)).unwrap(), Some(Stop::NotFinite));
        assert_eq!(walk.field().unwrap(), Tensor::zeros([3, 1, 2]));
        assert!(walk.step(&Tensor::zeros([3, 2, 2])).is_err());
    }

    #[test]
    fn a_clamped_walk_stays_a_picture() {
        for space in [Space::Pixel, Space::Normalised] {
            let (pixels, convention) = (tests::pixels(), tests::convention());
            let lots = Lots { step: 3.0, space, clamp: Clamp::Pixels, ..usual() };
            let mut walk =
                lots.start(&Start { pixels: &pixels, convention: &convention, seed: 0 }).unwrap();
            walk.step(&tests::gradient()).unwrap();
            let mut image = walk.image().unwrap();
            convention.denormalise(&mut image).unwrap();
            assert!(image.data().iter().all(|x| (-1e-6..=1.0 + 1e-6).contains(x)), "{image:?}");
        }
    }
}
