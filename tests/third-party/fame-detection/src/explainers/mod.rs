//! Explainers that know what a detection is.

mod d_rise;
mod masks;

pub use d_rise::{DRise, Fill, Objectness};
