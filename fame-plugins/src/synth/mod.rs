//! Synthetic data whose truth is known: shapes on textured ground with exact boxes, and faces of
//! made-up people.
//!
//! Everything is drawn from a seed with additions, multiplications, divisions and square roots
//! only, which every machine rounds alike, so the same seed gives the same pixels everywhere.
//! [`Synthetic::write`] puts such data on disk in each layout that a dataset reads.

mod canvas;
mod faces;
mod layouts;
mod shapes;

pub use faces::face;
pub use layouts::{Layout, Synthetic};
pub use shapes::{CLASSES, Shape, shape};
