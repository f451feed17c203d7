//! A plainer picture to move towards: shared by the walk in a mask and by `Project`.

use fame_core::{Result, Tensor, data::InputConvention};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::blur_sigma;

/// A picture in which nothing can be recognised any more.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Towards {
    /// The picture itself, blurred: what is fine goes, colours and light stay.
    Blur {
        /// Standard deviation in pixels, above 0.
        sigma: f32,
    },
    /// The model's mean colour: 0 after normalisation.
    Mean,
    /// Black: 0 before normalisation.
    Black,
}

impl Default for Towards {
    fn default() -> Self {
        Self::Blur { sigma: 10.0 }
    }
}

impl Towards {
    /// What is wrong with its numbers, if anything: "`towards` …".
    pub(crate) fn good(self) -> bool {
        match self {
            Self::Blur { sigma } => sigma.is_finite() && sigma > 0.0 && sigma < 1e4,
            Self::Mean | Self::Black => true,
        }
    }

    /// b, `[C, H, W]`, values in 0..=1: the plainer picture for x, which is `pixels`.
    ///
    /// # Errors
    /// A picture that is too small for the blur, or without the model's channels.
    pub(crate) fn picture(self, pixels: &Tensor, convention: &InputConvention) -> Result<Tensor> {
        match self {
            Self::Blur { sigma } => blur_sigma(pixels, sigma),
            Self::Black => Ok(Tensor::zeros(pixels.shape())),
            Self::Mean => {
                let mut mean = Tensor::zeros(pixels.shape());
                convention.denormalise(&mut mean)?;
                Ok(mean)
            }
        }
    }

    /// b − x, `[C, H, W]`: the way from the picture x of `pixels` to the plainer one.
    ///
    /// # Errors
    /// As [`Towards::picture`].
    pub(crate) fn way(self, pixels: &Tensor, convention: &InputConvention) -> Result<Tensor> {
        let mut way = self.picture(pixels, convention)?;
        way.data_mut().iter_mut().zip(pixels.data()).for_each(|(b, x)| *b -= x);
        Ok(way)
    }
}

#[cfg(test)]
mod tests {
    use fame_core::data::ChannelOrder;

    use super::*;

    #[test]
    fn a_misspelt_parameter_of_a_choice_is_told() {
        use crate::{explainers::Layout, metrics::Change, perturbations::StopRule};
        let told = |problem: Option<fame_core::text::Problem>, key: &str| {
            let problem = problem.unwrap();
            assert_eq!(problem.code, "fame::recipe::unknown_field", "{problem:?}");
            assert!(problem.message.contains(key), "{problem:?}");
        };
        let parse = fame_core::text::parse::<Towards>;
        assert_eq!(parse("Blur(sigma: 3)").unwrap(), Towards::Blur { sigma: 3.0 });
        told(parse("Blur(sigm: 3, sigma: 3)").err(), "`sigm`");
        let text = "Tokens(skip: 1, rows: 2, columns: 2, cols: 2)";
        told(fame_core::text::parse::<Layout>(text).err(), "`cols`");
        let text = "Noise(sigma: 1, side: 2)";
        told(fame_core::text::parse::<Change>(text).err(), "`side`");
        let text = "Plateau(window: 3, tolerance: 0, windows: 3)";
        told(fame_core::text::parse::<StopRule>(text).err(), "`windows`");
    }

    #[test]
    fn every_way_ends_where_it_says() {
        let convention = InputConvention {
            channels: 3,
            height: 5,
            width: 5,
            order: ChannelOrder::Rgb,
            mean: vec![0.5, 0.4, 0.3],
            std: vec![0.25, 0.5, 1.0],
        };
        let values: Vec<f32> = (0..75).map(|i| (i % 7) as f32 / 8.0).collect();
        let pixels = Tensor::new([3, 5, 5], values).unwrap();
        let end = |towards: Towards, at: usize| {
            pixels.data()[at] + towards.way(&pixels, &convention).unwrap().data()[at]
        };
        for at in [0, 30, 74] {
            assert!(end(Towards::Black, at).abs() < 1e-6);
            assert!((end(Towards::Mean, at) - convention.mean[at / 25]).abs() < 1e-6);
        }
        let blurred = super::super::blur(&pixels, 3, 0.5).unwrap();
        assert!((end(Towards::Blur { sigma: 0.5 }, 12) - blurred.data()[12]).abs() < 1e-6);
        let error = Towards::default().way(&pixels, &convention).unwrap_err();
        assert!(error.message.contains("sigma 10") && error.help.unwrap().contains("smaller"));
        assert!(!Towards::Blur { sigma: 0.0 }.good() && Towards::Mean.good());
    }
}
