//! The usual walk, so that a perturbation is one function: from a gradient to a move.

use super::{Start, Stop, Walk};
use crate::{
    Error, Result, Tensor,
    data::InputConvention,
    data::{Facts, facts},
};

/// A walk in pixels of 0..=1 that makes no stops of its own.
///
/// `direction` gets d(loss)/d(pixels), `[C, H, W]` row-major, and turns it in place into the move:
/// what is *subtracted* from the pixels. It is never called with a gradient that is zero everywhere
/// or not finite; those end the walk. It may remember (momentum). Pixels are not kept within 0..=1.
///
/// ```
/// use fame_core::{Result, contract::{Start, Walk, pixel_walk}};
///
/// /// Steps along the gradient, `length` long.
/// fn start(from: &Start<'_>, length: f32) -> Result<Box<dyn Walk>> {
///     pixel_walk(from, move |gradient| {
///         let norm = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
///         gradient.iter_mut().for_each(|g| *g *= length / norm);
///     })
/// }
/// ```
///
/// # Errors
/// When the picture has not the model's channels.
pub fn pixel_walk(
    from: &Start<'_>,
    direction: impl FnMut(&mut [f32]) + Send + 'static,
) -> Result<Box<dyn Walk>> {
    let walk = PixelWalk {
        direction: Box::new(direction),
        convention: from.convention.clone(),
        origin: from.pixels.clone(),
        now: from.pixels.clone(),
    };
    // Fails here, not at the first step.
    walk.image()?;
    Ok(Box::new(walk))
}

/// Turns a gradient into the way to go, in place.
type Direction = Box<dyn FnMut(&mut [f32]) + Send>;

struct PixelWalk {
    direction: Direction,
    convention: InputConvention,
    origin: Tensor,
    now: Tensor,
}

impl Walk for PixelWalk {
    fn image(&self) -> Result<Tensor> {
        let mut image = self.now.clone();
        self.convention.normalise(&mut image)?;
        Ok(image)
    }

    fn observe(&mut self, _: f32) -> Result<Option<Stop>> {
        Ok(None)
    }

    fn step(&mut self, gradient: &Tensor) -> Result<Option<Stop>> {
        if gradient.shape() != self.now.shape() {
            return Err(Error::bug(format!(
                "a gradient of shape {:?} cannot move a picture {:?}.",
                gradient.shape(),
                self.now.shape()
            )));
        }
        let mut moves = gradient.clone();
        for channel in 0..moves.rows() {
            // Pixels reach the input through a division by std.
            let std = self.convention.std[channel];
            moves.row_mut(channel).iter_mut().for_each(|g| *g /= std);
        }
        if !moves.is_finite() {
            return Ok(Some(Stop::NotFinite));
        }
        if moves.max_abs() == 0.0 {
            return Ok(Some(Stop::ZeroGradient));
        }
        (self.direction)(moves.data_mut());
        self.now.data_mut().iter_mut().zip(moves.data()).for_each(|(x, m)| *x -= m);
        Ok(None)
    }

    fn field(&self) -> Result<Tensor> {
        let mut field = self.now.clone();
        field.data_mut().iter_mut().zip(self.origin.data()).for_each(|(x, o)| *x -= o);
        Ok(field)
    }

    fn facts(&self) -> Result<Facts> {
        Ok(facts([("largest_move", self.field()?.max_abs().into())]))
    }
}
