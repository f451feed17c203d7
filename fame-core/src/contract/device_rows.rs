//! Rows on a device: an optional seam of a backend, so that a walk's pictures stay where the
//! network is.
//!
//! Asked step by step ([`Pass::gradient`](super::Pass::gradient), then
//! [`Walk::step`](super::Walk::step)), every step copies the pictures to the network's device and
//! their gradients back. A [plain walk](mod@super::plain_walk) needs neither: what its step does is one
//! formula, so the device can do it, and what a loss or a stop rule wants to see are the outputs of
//! a layer, which are small. [`Network::device_rows`](super::Network::device_rows) begins such a
//! batch of rows, and [`walk_rows`](crate::ask::walk_rows) drives it:
//!
//! ```text
//! enter ─▶ forward ─▶ outputs, to the host ─▶ loss, stop rules
//!   ▲         ▲                                      │ cotangents
//!   │         └──────────── step: every row moves ◀──┘
//!   └─ keep: rows that have ended leave            place: read at the end, and where it is asked for
//! ```
//!
//! The meaning is that of the walk on the host: [`PlainStep::image`](super::PlainStep::image), a
//! forward pass and a gradient of the same network, [`PlainStep::take`](super::PlainStep::take), in
//! f32 whatever the network computes in. `testkit::check_network` compares the two.

use super::{LayerCotangent, Stop};
use crate::{Result, Tensor};

/// A batch of rows that are walked on a network's device. See the [module docs](self).
///
/// Rows are counted from 0, in the order they entered. After an error nobody knows where the rows
/// are, and they must not be used again.
pub trait DeviceRows {
    /// Takes in rows at `places`, `[N, C, H, W]`, behind those that are there.
    ///
    /// # Errors
    /// When they have not the shape of the network's input.
    fn enter(&mut self, places: &Tensor) -> Result<()>;

    /// Runs all rows forward from where they are. The outputs of the layers that were asked for, in
    /// their order, each `[N, …layer shape]`, on the host. With `to_step` false no
    /// [`DeviceRows::step`] follows, and nothing need be kept for one.
    ///
    /// # Errors
    /// As [`Network::forward`](super::Network::forward).
    fn forward(&mut self, to_step: bool) -> Result<Vec<Tensor>>;

    /// Pulls `cotangents` back through the last [`DeviceRows::forward`], and moves the rows for
    /// which `going`, one for each, is true. For each row `Some` if it should have moved and could
    /// not, for the reasons of [`PlainStep::take`](super::PlainStep::take); it is where it was. One
    /// step for each forward pass.
    ///
    /// # Errors
    /// As [`Pass::gradient`](super::Pass::gradient), or when there was no forward pass to step from.
    fn step(&mut self, cotangents: &[LayerCotangent], going: &[bool]) -> Result<Vec<Option<Stop>>>;

    /// Where `row` is, `[C, H, W]`, in the space of its step.
    ///
    /// # Errors
    /// When there is no such row.
    fn place(&self, row: usize) -> Result<Tensor>;

    /// Lets all rows go but `rows`, in this order, which are counted from 0 again. What the last
    /// forward pass kept is gone.
    ///
    /// # Errors
    /// When one of them is not there.
    fn keep(&mut self, rows: &[usize]) -> Result<()>;
}
