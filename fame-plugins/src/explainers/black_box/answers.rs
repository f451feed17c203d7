//! What black-box methods ask about, and what stands where they hide pixels.

use fame_core::data::InputConvention;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::maps::Towards;

/// What stands where pixels were taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Fill {
    /// 0 in pixels of 0..=1, before normalisation.
    Black,
    /// The model's mean colour: 0 after normalisation.
    Mean,
}

impl Fill {
    /// The value of `channel`, in pixels of 0..=1.
    pub(crate) fn value(self, convention: &InputConvention, channel: usize) -> f32 {
        match self {
            Fill::Black => 0.0,
            Fill::Mean => convention.mean[channel],
        }
    }
}

impl From<Fill> for Towards {
    fn from(fill: Fill) -> Self {
        match fill {
            Fill::Black => Towards::Black,
            Fill::Mean => Towards::Mean,
        }
    }
}
