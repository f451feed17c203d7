//! Perturbations: how a picture walks.
//!
//! A [`Perturbation`] is the recipe's choice with its parameters; [`Perturbation::start`] begins
//! one [`Walk`] per row. The walk owns its state and its stop rule. It usually walks in pixels
//! (LOTS), but it may live elsewhere, say in a mask between the picture and its blurred copy;
//! whoever drives it only ever asks: where are you ([`Walk::image`]), is it time to stop
//! ([`Walk::observe`]), here is the gradient, move ([`Walk::step`]), and at the end: what moved
//! ([`Walk::field`]), and what else was recorded on the way ([`Walk::recorded`])?
//!
//! The usual walks are there already: [`pixel_walk`](super::pixel_walk()) asks only how a gradient
//! becomes a move, and [`plain_walk`](super::plain_walk()) is for moves that are one formula, which
//! a backend can make on its device.

use super::Plain;
use crate::{Error, Result, Tensor, data::Facts, data::InputConvention};

/// A way to walk. See the [module docs](self).
pub trait Perturbation: Send + Sync {
    /// Begins a walk.
    fn start(&self, from: &Start<'_>) -> Result<Box<dyn Walk>>;

    /// The most steps a walk can take; asked once, when the recipe is built.
    fn max_steps(&self) -> usize;
}

/// The start of a walk.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// `[C, H, W]`, values in 0..=1, channels in the *model's* order.
    pub pixels: &'a Tensor,
    /// The convention by which pixels become the network's input.
    pub convention: &'a InputConvention,
    /// Seed for any randomness: derived from the item's id, never from order or thread.
    pub seed: u64,
}

/// One walk, one row.
pub trait Walk: Send {
    /// The picture now, as network input `[C, H, W]`; finite.
    fn image(&self) -> Result<Tensor>;

    /// Tells the walk the loss at [`Walk::image`]; `Some` ends it before the next step. Called once
    /// per position, in order, and once more after the last step.
    fn observe(&mut self, loss: f32) -> Result<Option<Stop>>;

    /// Moves, given d(loss)/d(network input) at [`Walk::image`]. `Some` ends the walk without
    /// having moved (a zero or non-finite gradient).
    fn step(&mut self, gradient: &Tensor) -> Result<Option<Stop>>;

    /// What moved since the start, `[C, H, W]`, signed, in the space the walk steps in. A walk that
    /// does not step in a picture's space, in a mask say, hands out the picture's displacement in
    /// pixels.
    fn field(&self) -> Result<Tensor>;

    /// Further fields that were recorded along the way, in a fixed order: `[C, H, W]` or
    /// `[1, H, W]`, signed. A map step chooses one by its name, which is unique within the walk:
    /// see [`MapSource`](super::MapSource). Default: none.
    fn recorded(&self) -> Result<Vec<Recorded>> {
        Ok(Vec::new())
    }

    /// Facts for the record beyond steps and losses.
    fn facts(&self) -> Result<Facts> {
        Ok(Facts::new())
    }

    /// How this walk steps and where it is, if its step is one formula: then it may be moved where
    /// the network is ([`DeviceRows`](super::DeviceRows)) in place of [`Walk::step`], and is told by
    /// [`Walk::arrive`] where it has come to before it is asked anything but [`Walk::observe`].
    /// Everything that it answers must follow from its start, its place and the losses. Default:
    /// `None`, for a walk that wants to see every gradient.
    fn plain(&self) -> Result<Option<Plain>> {
        Ok(None)
    }

    /// Tells a walk that is [plain](Walk::plain) that its steps have taken it to `place`,
    /// `[C, H, W]`.
    ///
    /// # Errors
    /// When the place cannot be one of this walk's; by default always.
    fn arrive(&mut self, place: Tensor) -> Result<()> {
        let _ = place;
        Err(Error::bug("a walk that is not plain was moved by somebody else."))
    }
}

/// A field that a walk recorded along the way.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Its name, such as `moves_times_gradients`.
    pub name: String,
    /// `[C, H, W]` or `[1, H, W]`.
    pub values: Tensor,
}

/// The reason why a walk ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All steps were taken.
    Iterations,
    /// The loss fell below the stop rule's bound.
    LossBelow,
    /// The loss lost the asked part of its first value.
    RelativeDrop,
    /// The loss no longer improved.
    Plateau,
    /// The gradient was zero: nothing moves this loss.
    ZeroGradient,
    /// The gradient or the loss was NaN or infinite.
    NotFinite,
    /// Another reason of a third party's walk.
    Other(String),
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Stop::Iterations => "iterations",
            Stop::LossBelow => "loss_below",
            Stop::RelativeDrop => "relative_drop",
            Stop::Plateau => "plateau",
            Stop::ZeroGradient => "zero_gradient",
            Stop::NotFinite => "not_finite",
            Stop::Other(s) => s,
        })
    }
}
