//! `Gray`: from three colour channels to one map of how much moved.

use fame_core::{
    AttributionMap, Error, Result, Tensor,
    contract::MapStep,
    registry::{Assembly, BuildContext, Parameters, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Preset;

/// The order of absolute value and gray.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Order {
    /// gray(|x̄ − x|), as the paper's text says: any move counts.
    AbsThenGray,
    /// |gray(x̄) − gray(x)|, as the authors' code does: moves of opposite sign in different channels cancel.
    GrayThenAbs,
}

/// The weights of the channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Weights {
    /// By colour, whatever the model's channel order.
    ByColour,
    /// By position, as the authors' code does: in a BGR model blue gets red's weight.
    ByPosition,
}

fame_core::parameters! {
    /// One gray channel from three, weights 0.2989 R + 0.587 G + 0.114 B (torchvision's). The
    /// result is ≥ 0.
    ///
    /// The two orders differ by up to half of the full scale on real perturbations, so the choice
    /// is never silent: the record shows it.
    pub struct Gray {
        /// Default: `AbsThenGray` (preset Paper), `GrayThenAbs` (preset Authors).
        order: Order = open,
        /// Default: `ByColour` (preset Paper), `ByPosition` (preset Authors).
        weights: Weights = open,
    }
}

const RGB: [(&str, f32); 3] = [("R", 0.2989), ("G", 0.587), ("B", 0.114)];

impl Parameters for Gray {
    type Typed = typed::Gray;

    fn fill(typed: typed::Gray, with: &BuildContext<'_>, _: &mut Assembly) -> Option<Self> {
        Some(match Preset::of(with) {
            Preset::Paper | Preset::Fast => typed.or(Order::AbsThenGray, Weights::ByColour),
            Preset::Authors => typed.or(Order::GrayThenAbs, Weights::ByPosition),
        })
    }
}

impl Plugin<dyn MapStep> for Gray {
    const NAME: &'static str = "Gray";
    const SUMMARY: &'static str = "One channel from three: how much moved";
    const EXAMPLE: &'static str = "Gray(order: AbsThenGray)";
    const REFERENCE: &'static str =
        "Zhang & Günther, FAME (2026), Eq. 4; order and weights: the authors' code";
    const PRESETS: &'static [&'static str] = Preset::NAMES;

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn MapStep>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Map: Gray);

impl MapStep for Gray {
    fn apply(&self, map: AttributionMap) -> Result<AttributionMap> {
        let weights = self.channel_weights(&map.channels)?;
        let [_, h, w] = super::gaussian_blur::shape3(&map)?;
        let mut gray = vec![0.0f32; h * w];
        let abs_first = self.order == Order::AbsThenGray;
        for (c, weight) in weights.iter().enumerate() {
            for (g, v) in gray.iter_mut().zip(map.values.row(c)) {
                *g += weight * if abs_first { v.abs() } else { *v };
            }
        }
        gray.iter_mut().for_each(|g| *g = g.abs());
        Ok(AttributionMap { values: Tensor::new([1, h, w], gray)?, channels: vec!["Y".into()] })
    }
}

impl Gray {
    fn channel_weights(&self, channels: &[String]) -> Result<Vec<f32>> {
        if let [only] = channels
            && only == "Y"
        {
            return Ok(vec![1.0]);
        }
        let by_name = |name: &String| RGB.iter().find(|(n, _)| n == name).map(|(_, w)| *w);
        let weights: Option<Vec<f32>> = match self.weights {
            Weights::ByPosition if channels.len() == 3 => {
                Some(RGB.iter().map(|(_, w)| *w).collect())
            }
            _ => channels.iter().map(by_name).collect(),
        };
        weights.ok_or_else(|| {
            Error::new("fame::map::channels", format!("Gray() needs channels R, G and B (or one channel Y), but the map has {channels:?}."))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gray(order: Order, weights: Weights, names: [&str; 3]) -> f32 {
        let map = AttributionMap {
            values: Tensor::new([3, 1, 1], vec![0.5, -0.25, 1.0]).unwrap(),
            channels: names.map(String::from).to_vec(),
        };
        Gray { order, weights }.apply(map).unwrap().values.data()[0]
    }

    #[test]
    fn order_and_weights_matter() {
        let close = |a: f32, b: f32| assert!((a - b).abs() < 1e-6, "{a} {b}");
        let rgb = ["R", "G", "B"];
        close(
            gray(Order::AbsThenGray, Weights::ByColour, rgb),
            0.5 * 0.2989 + 0.25 * 0.587 + 0.114,
        );
        close(
            gray(Order::GrayThenAbs, Weights::ByColour, rgb),
            (0.5 * 0.2989 - 0.25 * 0.587 + 0.114f32).abs(),
        );
        close(
            gray(Order::AbsThenGray, Weights::ByColour, ["B", "G", "R"]),
            0.5 * 0.114 + 0.25 * 0.587 + 0.2989,
        );
        close(
            gray(Order::AbsThenGray, Weights::ByPosition, ["B", "G", "R"]),
            gray(Order::AbsThenGray, Weights::ByColour, rgb),
        );
    }
}
