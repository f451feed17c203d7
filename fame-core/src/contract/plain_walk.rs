//! Plain walks: those whose step is one formula. Whoever knows the formula may take the step where
//! the picture lies, on a device say ([`DeviceRows`](super::DeviceRows)), and tell the walk
//! afterwards where it is.
//!
//! A plain walk is at a **place** `x`, `[C, H, W]`, in a space of its choice: pixels, or the
//! network's input. A [`PlainStep`] says how the network sees the place and how a gradient moves
//! it; its [`image`](PlainStep::image) and [`take`](PlainStep::take) *are* the meaning, in f32 on
//! the host, and any other engine must do the same.

use crate::{
    Error, Result, Tensor,
    contract::{Stop, Walk},
    data::{Facts, facts},
    max_abs,
};

/// The smallest gradient that still has a direction. It is a guard against dividing by zero, not a
/// threshold on size: scaling the loss must not change the walk.
pub const NO_GRADIENT: f32 = f32::MIN_POSITIVE;

/// How a gradient `d` in the walk's space becomes a move of size η, which is subtracted from the
/// place. The scale of `d` does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepRule {
    /// η·d / max|d|: the largest component moves by exactly η.
    Largest,
    /// η·sign(d), with sign(0) = 0.
    Sign,
    /// η·d / ‖d‖₂: the move's Euclidean length is η.
    Length,
}

impl StepRule {
    /// Turns `gradient` in place into the move of size `size`. `None` when it points nowhere: its
    /// largest component is below [`NO_GRADIENT`].
    pub fn direct(self, gradient: &mut [f32], size: f32) -> Option<()> {
        let largest = max_abs(gradient);
        if largest < NO_GRADIENT {
            return None;
        }
        match self {
            // Dividing first keeps the largest component at exactly ±1, whatever the loss's scale.
            Self::Largest => gradient.iter_mut().for_each(|g| *g = *g / largest * size),
            Self::Sign => {
                let sign = |g: f32| if g == 0.0 { 0.0 } else { g.signum() };
                gradient.iter_mut().for_each(|g| *g = sign(*g) * size);
            }
            Self::Length => {
                // Squares of the scaled components can neither overflow nor all vanish.
                let squares = gradient.iter().map(|g| f64::from(*g / largest).powi(2));
                let length = squares.sum::<f64>().sqrt() as f32;
                gradient.iter_mut().for_each(|g| *g = *g / largest / length * size);
            }
        }
        Some(())
    }
}

/// The step of a plain walk.
#[derive(Clone, Debug, PartialEq)]
pub struct PlainStep {
    /// How a gradient becomes a move.
    pub rule: StepRule,
    /// η, the size of a move in the units of the walk's space; above 0.
    pub size: f32,
    /// The network's input is `(x − mean) / std`: one value per channel. All 0 for a walk that
    /// steps in the network's input itself.
    pub mean: Vec<f32>,
    /// See [`PlainStep::mean`]; above 0, all 1 for a walk that steps in the network's input itself.
    pub std: Vec<f32>,
    /// Lower and upper bound of each channel's values, to which every move is cut; none: the place
    /// may go anywhere.
    pub bounds: Option<Vec<[f32; 2]>>,
}

impl PlainStep {
    /// Whether this is the step of a place of shape `[C, H, W]`, and its numbers are in range.
    ///
    /// # Errors
    /// One sentence about what is wrong.
    pub fn check(&self, place: &[usize]) -> Result<()> {
        let Self { size, mean, std, bounds, .. } = self;
        let &[channels, _, _] = place else {
            return Err(Error::bug(format!("a walk is at a place of shape {place:?}.")));
        };
        let lengths = [mean.len(), std.len(), bounds.as_ref().map_or(channels, Vec::len)];
        let positive = |x: &f32| x.is_finite() && *x > 0.0;
        let numbers = positive(size)
            && mean.iter().all(|m| m.is_finite())
            && std.iter().all(positive)
            && bounds.iter().flatten().all(|[low, high]| low <= high);
        if lengths == [channels; 3] && numbers {
            return Ok(());
        }
        Err(Error::bug(format!("a place of shape {place:?} cannot be moved by {self:?}.")))
    }

    /// The network's input at `place`, `[C, H, W]`.
    pub fn image(&self, place: &Tensor) -> Tensor {
        let mut image = place.clone();
        for (c, (mean, std)) in self.mean.iter().zip(&self.std).enumerate() {
            image.row_mut(c).iter_mut().for_each(|x| *x = (*x - mean) / std);
        }
        image
    }

    /// Moves `place`, `[C, H, W]`, given d(loss)/d(network input) there. `Some` if it stays where
    /// it is: [`Stop::NotFinite`] for a gradient with NaN or infinite values, else
    /// [`Stop::ZeroGradient`] for one that points nowhere ([`StepRule::direct`]) in the walk's
    /// space, where it is divided by `std`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn take(&self, place: &mut Tensor, gradient: &Tensor) -> Result<Option<Stop>> {
        if gradient.shape() != place.shape() {
            return Err(Error::bug(format!(
                "a gradient of shape {:?} cannot move a picture of shape {:?}.",
                gradient.shape(),
                place.shape()
            )));
        }
        self.check(place.shape())?;
        if !gradient.is_finite() {
            return Ok(Some(Stop::NotFinite));
        }
        let mut moves = gradient.clone();
        for (c, std) in self.std.iter().enumerate() {
            moves.row_mut(c).iter_mut().for_each(|g| *g /= std);
        }
        if self.rule.direct(moves.data_mut(), self.size).is_none() {
            return Ok(Some(Stop::ZeroGradient));
        }
        place.data_mut().iter_mut().zip(moves.data()).for_each(|(x, m)| *x -= m);
        for (c, [low, high]) in self.bounds.iter().flatten().enumerate() {
            place.row_mut(c).iter_mut().for_each(|x| *x = x.clamp(*low, *high));
        }
        Ok(None)
    }
}

/// What a plain walk says of itself: [`Walk::plain`].
#[derive(Clone, Debug, PartialEq)]
pub struct Plain {
    /// How it steps: the same for as long as it lives.
    pub step: PlainStep,
    /// Where it is, `[C, H, W]`; finite.
    pub place: Tensor,
}

/// The plain walk that starts at `place`, `[C, H, W]`, steps as `step` says, and ends where
/// `observe`, which is told each loss in order, says so. What moved is told in the space of
/// `place`. A backend that can takes its steps on its device.
///
/// ```
/// use fame_core::{Result, contract::{PlainStep, Start, StepRule, Walk, plain_walk}};
///
/// /// Steps of one gray level along the sign of the gradient, in pixels of 0..=1.
/// fn start(from: &Start<'_>) -> Result<Box<dyn Walk>> {
///     let (mean, std) = (from.convention.mean.clone(), from.convention.std.clone());
///     let bounds = Some(vec![[0.0, 1.0]; mean.len()]);
///     let step = PlainStep { rule: StepRule::Sign, size: 1.0 / 255.0, mean, std, bounds };
///     plain_walk(from.pixels.clone(), step, |_| None)
/// }
/// ```
///
/// # Errors
/// When `step` is not one for `place`.
pub fn plain_walk(
    place: Tensor,
    step: PlainStep,
    observe: impl FnMut(f32) -> Option<Stop> + Send + 'static,
) -> Result<Box<dyn Walk>> {
    step.check(place.shape())?;
    Ok(Box::new(PlainWalk { step, origin: place.clone(), now: place, observe: Box::new(observe) }))
}

/// Notes a loss, and says whether the walk ends.
type Observe = Box<dyn FnMut(f32) -> Option<Stop> + Send>;

struct PlainWalk {
    step: PlainStep,
    origin: Tensor,
    now: Tensor,
    observe: Observe,
}

impl Walk for PlainWalk {
    fn image(&self) -> Result<Tensor> {
        Ok(self.step.image(&self.now))
    }

    fn observe(&mut self, loss: f32) -> Result<Option<Stop>> {
        Ok((self.observe)(loss))
    }

    fn step(&mut self, gradient: &Tensor) -> Result<Option<Stop>> {
        self.step.take(&mut self.now, gradient)
    }

    fn field(&self) -> Result<Tensor> {
        let mut field = self.now.clone();
        field.data_mut().iter_mut().zip(self.origin.data()).for_each(|(x, o)| *x -= o);
        Ok(field)
    }

    fn facts(&self) -> Result<Facts> {
        Ok(facts([("largest_move", self.field()?.max_abs().into())]))
    }

    fn plain(&self) -> Result<Option<Plain>> {
        Ok(Some(Plain { step: self.step.clone(), place: self.now.clone() }))
    }

    fn arrive(&mut self, place: Tensor) -> Result<()> {
        self.step.check(place.shape())?;
        if place.shape() != self.origin.shape() {
            return Err(Error::bug(format!(
                "a walk in {:?} cannot have come to a place of shape {:?}.",
                self.origin.shape(),
                place.shape()
            )));
        }
        self.now = place;
        Ok(())
    }
}
