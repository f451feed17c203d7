//! What stands where pixels were taken away.

use fame_core::{Result, Tensor, data::InputConvention};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::maps::blur;

/// What stands where pixels were taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Filling {
    /// 0 in pixels of 0..=1, before normalisation, as the paper.
    #[default]
    Black,
    /// The model's mean colour: 0 after normalisation, as RISE's deletion.
    Mean,
    /// The picture itself, blurred with 11 taps and σ = 5, as RISE's insertion.
    Blur,
}

impl Filling {
    /// A whole picture of it, in the shape of `pixels` `[C, H, W]`.
    pub(super) fn picture(self, pixels: &Tensor, convention: &InputConvention) -> Result<Tensor> {
        let mut filled = pixels.clone();
        for channel in 0..filled.rows() {
            match self {
                Filling::Black => filled.row_mut(channel).fill(0.0),
                Filling::Mean => filled.row_mut(channel).fill(convention.mean[channel]),
                Filling::Blur => {}
            }
        }
        if self == Filling::Blur { blur(&filled, 11, 5.0) } else { Ok(filled) }
    }
}

/// Replaces the pixels of `copy` where `away` says so by those of `filling`.
pub(super) fn replace(copy: &mut Tensor, filling: &Tensor, away: impl Fn(usize) -> bool) {
    for channel in 0..copy.rows() {
        let (plane, from) = (copy.row_mut(channel), filling.row(channel));
        for (i, value) in from.iter().enumerate() {
            if away(i) {
                plane[i] = *value;
            }
        }
    }
}
