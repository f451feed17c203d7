//! Losses about a detection, one file each.

mod box_coordinate;
mod detection_score;

pub use box_coordinate::{BoxCoordinate, Coordinate, Direction};
pub use detection_score::{DetectionScore, Form};
