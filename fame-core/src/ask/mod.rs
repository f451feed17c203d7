//! Questions to a network: a loss aimed at layers, and rows that walk along its gradient.
//!
//! What explainers and metrics share. [`Aim`] turns "this loss at these layers" into rows with
//! frozen targets; [`walk_rows`] moves rows until each walk stops; [`Question`] asks the loss about
//! altered copies of a row's picture.

mod aim;
mod clean;
mod ground;
mod question;
mod rows;

pub use aim::{Aim, AimedRow};
pub use question::{Answer, Question, broken, softmax};
pub use rows::{Observation, Reading, Row, WalkedRow, walk_rows};
