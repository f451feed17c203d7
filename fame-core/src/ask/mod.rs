//! Questions to a network: a loss aimed at layers, and rows that walk along its gradient.
//!
//! What explainers and metrics share. [`Aim`] turns "this loss at these layers" into rows with
//! frozen targets; [`walk_rows`] moves rows until each walk stops.

mod aim;
mod rows;

pub use aim::{Aim, AimedRow};
pub use rows::{Row, Seen, WalkedRow, walk_rows};
