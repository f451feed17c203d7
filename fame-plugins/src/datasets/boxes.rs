//! Rectangles in lists.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::list::Wrong;

/// The meaning of the far corner of a listed box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum BoxEnd {
    /// `x_max` and `y_max` are the first pixels outside, as the FAME authors read them.
    #[default]
    Exclusive,
    /// `x_max` and `y_max` are the last pixels inside.
    Inclusive,
}

impl BoxEnd {
    /// A listed box with its far corner beyond the last pixel.
    pub(super) fn corners(self, [x0, y0, x1, y1]: [f32; 4]) -> Result<[f32; 4], Wrong> {
        let more = if self == Self::Inclusive { 1.0 } else { 0.0 };
        let corners = [x0, y0, x1 + more, y1 + more];
        if corners[0] < corners[2] && corners[1] < corners[3] {
            Ok(corners)
        } else {
            Err(("the box holds no pixel", format!("{x0} {y0} {x1} {y1}")))
        }
    }
}

/// Four cells as numbers.
pub(super) fn numbers(cells: &[&str]) -> Result<[f32; 4], Wrong> {
    let mut numbers = [0.0; 4];
    for (number, cell) in numbers.iter_mut().zip(cells) {
        *number = cell
            .parse()
            .ok()
            .filter(|n: &f32| n.is_finite())
            .ok_or(("a corner of a box is no number", (*cell).to_owned()))?;
    }
    Ok(numbers)
}
