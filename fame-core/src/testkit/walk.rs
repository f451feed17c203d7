//! Does a walk keep its promises?

use super::{Check, SIZE, fail, relative};
use crate::{
    Random, Result, Tensor,
    contract::{Perturbation, Start, Walk},
    data::InputConvention,
    max_abs,
};

/// The picture that a walk starts at: pixels → input → pixels, rounded twice in f32.
const START_TOLERANCE: f32 = 1e-5;
/// A sum of at most ten steps, rounded in f32.
const BOUND_SLACK: f32 = 1e-4;
/// At most this many steps are walked.
const STEPS: usize = 10;

/// Walks a picture and checks: it starts at the picture with a field of zero (a walk that starts
/// beside the picture, with noise say, passes `from_picture: false`); the field never exceeds
/// `step_bound` × steps in any component (`None`: no bound is promised); fields and images are
/// finite, shaped like the picture, and the same again for the same seed; a zero gradient and one
/// that is NaN stop it without a move; it ends within [`Perturbation::max_steps`], which is at
/// least 1; a gradient of another shape is an error or a stop, not a panic.
///
/// # Errors
/// One sentence about the first promise that is broken.
pub fn check_perturbation(
    perturbation: &dyn Perturbation,
    from_picture: bool,
    step_bound: Option<f32>,
) -> Result<Check> {
    if perturbation.max_steps() == 0 {
        return Err(fail("max_steps is 0: the walk can never move."));
    }
    let model = super::model()?;
    let (convention, picture) = (&model.manifest.input, super::picture(SIZE, 1)?);
    let pixels = convention.pixels(&picture.pixels)?;
    let mut check = starts(perturbation, convention, &pixels, from_picture)?;
    let (first, second) = (
        walked(perturbation, convention, &pixels, step_bound)?,
        walked(perturbation, convention, &pixels, step_bound)?,
    );
    if first != second {
        return Err(fail("two walks with the same seed went different ways."));
    }
    check.compared += 1;
    for (name, value) in [("zero", 0.0), ("NaN", f32::NAN)] {
        stops(perturbation, convention, &pixels, name, value)?;
    }
    let mut walk = begin(perturbation, convention, &pixels)?;
    if matches!(walk.step(&Tensor::filled([1, 1, 1], 1.0)), Ok(None)) {
        return Err(fail("a gradient of another shape than the picture moved the walk."));
    }
    Ok(check)
}

fn begin(
    perturbation: &dyn Perturbation,
    convention: &InputConvention,
    pixels: &Tensor,
) -> Result<Box<dyn Walk>> {
    perturbation.start(&Start { pixels, convention, seed: 3 })
}

fn starts(
    perturbation: &dyn Perturbation,
    convention: &InputConvention,
    pixels: &Tensor,
    from_picture: bool,
) -> Result<Check> {
    let mut check = Check::new("the start of a walk against the picture", START_TOLERANCE);
    let walk = begin(perturbation, convention, pixels)?;
    if !from_picture {
        return Ok(check);
    }
    let mut input = pixels.clone();
    convention.normalise(&mut input)?;
    check.see(relative(walk.image()?.data(), input.data()), || "the image at the start".to_owned());
    check.see(max_abs(walk.field()?.data()), || "the field at the start".to_owned());
    check.verdict("the walk does not start at the picture")
}

/// The last field and image of a short walk along fixed gradients.
fn walked(
    perturbation: &dyn Perturbation,
    convention: &InputConvention,
    pixels: &Tensor,
    bound: Option<f32>,
) -> Result<(Vec<f32>, Vec<f32>)> {
    let mut walk = begin(perturbation, convention, pixels)?;
    for step in 0..perturbation.max_steps().min(STEPS) {
        // A loss that falls, so that no honest stop rule for plateaus has a reason.
        if walk.observe(1.0 / (step + 1) as f32)?.is_some() {
            break;
        }
        let mut gradient = Tensor::zeros(pixels.shape());
        Random::stream(9, step).fill_normal(gradient.data_mut());
        if walk.step(&gradient)?.is_some() {
            break;
        }
        let (field, image) = (walk.field()?, walk.image()?);
        if field.shape() != pixels.shape() || image.shape() != pixels.shape() {
            let message = format!(
                "a walk of a picture {:?} has an image {:?} and a field {:?}.",
                pixels.shape(),
                image.shape(),
                field.shape()
            );
            return Err(fail(message));
        }
        if !(field.is_finite() && image.is_finite()) {
            return Err(fail(format!("after {} steps the walk is not finite.", step + 1)));
        }
        let most = bound.map(|b| b * (step + 1) as f32 * (1.0 + BOUND_SLACK));
        if let Some(most) = most.filter(|most| field.max_abs() > *most) {
            return Err(fail(format!(
                "after {} steps the field reaches {}, beyond its bound {most}.",
                step + 1,
                field.max_abs()
            )));
        }
    }
    let field = walk.field()?;
    if field.max_abs() == 0.0 {
        return Err(fail("the walk took its steps and did not move."));
    }
    Ok((field.into_data(), walk.image()?.into_data()))
}

fn stops(
    perturbation: &dyn Perturbation,
    convention: &InputConvention,
    pixels: &Tensor,
    name: &str,
    value: f32,
) -> Result<()> {
    let mut walk = begin(perturbation, convention, pixels)?;
    let before = walk.image()?;
    if walk.observe(1.0)?.is_some() {
        return Ok(());
    }
    if walk.step(&Tensor::filled(pixels.shape(), value))?.is_none() {
        return Err(fail(format!("a gradient that is {name} everywhere did not stop the walk.")));
    }
    if walk.image()? != before {
        return Err(fail(format!("a gradient that is {name} everywhere moved the picture.")));
    }
    Ok(())
}
