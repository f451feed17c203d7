//! The convention by which a picture becomes a model's input, and back.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Error, Result, Tensor};

/// The order of a model's input channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ChannelOrder {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red, as OpenCV reads pictures.
    Bgr,
    /// One channel, 0.299 R + 0.587 G + 0.114 B.
    Gray,
}

impl ChannelOrder {
    /// Number of channels: 3, or 1 for gray.
    pub fn channels(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr => 3,
            Self::Gray => 1,
        }
    }
}

/// The axes of a picture or of a feature map in a model's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Layout {
    /// `[N, channels, rows, columns]`.
    #[default]
    ChannelsFirst,
    /// `[N, rows, columns, channels]`, as TensorFlow and Swin have them.
    ChannelsLast,
}

/// The value of an input that no picture is fed to.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub enum FixedInput {
    /// One number for all of its values; axes that the file leaves open have extent 1.
    Fill(f32),
    /// These values, row by row, in the file's shape; of its open axes the first takes what is left.
    Values(Vec<f32>),
    /// The array in this `.npy` file, whose path starts from the manifest's folder.
    File(PathBuf),
}

/// A model's expectations of its input: size, channel order, normalisation.
///
/// Pictures inside fame are RGB tensors `[3, H, W]` with values in [0, 1]. Two spaces follow from
/// one:
///
/// * **pixels**: the model's channels, still in [0, 1] (what perturbations move in);
/// * **input**: `(pixel - mean) / std`, channel by channel (what the network sees).
///
/// A convention written for bytes is divided by 255: `(px - 127.5) / 128` is
/// `mean: 0.5, std: 0.50196078` (128/255), and `px / 256` is `mean: 0, std: 1.0039216` (256/255).
/// In a manifest `mean` and `std` are one number for all channels, or one per channel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InputConvention {
    /// Channels: 3, or 1 for gray.
    pub channels: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// The order of the channels.
    pub order: ChannelOrder,
    /// Subtracted from pixels in [0, 1]; one value per channel, in the model's channel order.
    pub mean: Vec<f32>,
    /// Divides what is left; one positive value per channel, in the model's channel order.
    pub std: Vec<f32>,
}

impl InputConvention {
    /// The shape of one sample: `[channels, height, width]`.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    /// Turns an RGB picture `[3, height, width]` with values in [0, 1] into the model's input
    /// `[channels, height, width]`.
    ///
    /// # Errors
    /// When the picture has not the model's size: that is the prepare steps' work.
    pub fn to_input(&self, rgb: &Tensor) -> Result<Tensor> {
        let [_, height, width] = self.shape();
        if rgb.shape() != [3, height, width] {
            return Err(Error::new(
                "fame::model::input_shape",
                format!(
                    "a picture of shape {:?} (channels, height, width) cannot be fed to a model that takes {height} x {width} RGB.",
                    rgb.shape()
                ),
            )
            .with_help("Resize, crop or align the picture in the recipe's `prepare` steps."));
        }
        let mut input = self.pixels(rgb)?;
        self.normalise(&mut input)?;
        Ok(input)
    }

    /// The model's channels of an RGB picture `[3, H, W]` of any size, values untouched:
    /// `[channels, H, W]`.
    ///
    /// # Errors
    /// When `rgb` is not `[3, H, W]`.
    pub fn pixels(&self, rgb: &Tensor) -> Result<Tensor> {
        let &[3, height, width] = rgb.shape() else {
            return Err(Error::new(
                "fame::model::input_shape",
                format!("a tensor of shape {:?} is not an RGB picture [3, H, W].", rgb.shape()),
            ));
        };
        let data = match self.order {
            ChannelOrder::Rgb => rgb.data().to_vec(),
            ChannelOrder::Bgr => [rgb.row(2), rgb.row(1), rgb.row(0)].concat(),
            ChannelOrder::Gray => {
                let (red, green, blue) = (rgb.row(0), rgb.row(1), rgb.row(2));
                red.iter()
                    .zip(green)
                    .zip(blue)
                    .map(|((r, g), b)| 0.299 * r + 0.587 * g + 0.114 * b)
                    .collect()
            }
        };
        Tensor::new([self.channels, height, width], data)
    }

    /// Pixels `[…, channels, H, W]` in [0, 1] become input, in place: `(x - mean) / std` per
    /// channel.
    ///
    /// # Errors
    /// When the third axis from the end is not the model's channels.
    pub fn normalise(&self, pixels: &mut Tensor) -> Result<()> {
        self.per_channel(pixels, |x, mean, std| (x - mean) / std)
    }

    /// Input `[…, channels, H, W]` becomes pixels in [0, 1], in place: `x * std + mean` per
    /// channel.
    ///
    /// # Errors
    /// When the third axis from the end is not the model's channels.
    pub fn denormalise(&self, input: &mut Tensor) -> Result<()> {
        self.per_channel(input, |x, mean, std| x * std + mean)
    }

    fn per_channel(
        &self,
        tensor: &mut Tensor,
        change: impl Fn(f32, f32, f32) -> f32,
    ) -> Result<()> {
        let area = match tensor.shape() {
            [.., channels, height, width] if *channels == self.channels => height * width,
            other => {
                let message = format!(
                    "a tensor of shape {other:?} has not the model's {} channels in its third axis from the end.",
                    self.channels
                );
                return Err(Error::new("fame::model::input_shape", message));
            }
        };
        if area == 0 {
            return Ok(());
        }
        for (plane, values) in tensor.data_mut().chunks_exact_mut(area).enumerate() {
            let channel = plane % self.channels;
            let (mean, std) = (self.mean[channel], self.std[channel]);
            for x in values {
                *x = change(*x, mean, std);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convention(order: ChannelOrder, mean: &[f32], std: &[f32]) -> InputConvention {
        InputConvention {
            channels: order.channels(),
            height: 1,
            width: 2,
            order,
            mean: mean.to_vec(),
            std: std.to_vec(),
        }
    }

    fn picture() -> Tensor {
        Tensor::new([3, 1, 2], vec![1.0, 0.0, 0.5, 0.25, 0.0, 1.0]).unwrap()
    }

    #[test]
    fn bgr_turns_the_planes_around_before_it_normalises() {
        let input = convention(ChannelOrder::Bgr, &[0.0, 0.5, 1.0], &[1.0, 0.5, 2.0])
            .to_input(&picture())
            .unwrap();
        assert_eq!(input.shape(), [3, 1, 2]);
        assert_eq!(input.data(), [0.0, 1.0, 0.0, -0.5, 0.0, -0.5]);
    }

    #[test]
    fn rgb_keeps_the_order_and_gray_weighs_the_channels() {
        let rgb = convention(ChannelOrder::Rgb, &[0.0; 3], &[1.0; 3]).to_input(&picture()).unwrap();
        assert_eq!(rgb, picture());
        let gray = convention(ChannelOrder::Gray, &[0.0], &[1.0]).to_input(&picture()).unwrap();
        assert_eq!(gray.shape(), [1, 1, 2]);
        assert!((gray.data()[0] - (0.299 + 0.587 * 0.5)).abs() < 1e-6);
        let white = convention(ChannelOrder::Gray, &[0.0], &[1.0])
            .pixels(&Tensor::filled([3, 1, 2], 1.0))
            .unwrap();
        assert!((white.data()[0] - 1.0).abs() < 1e-6, "the weights add up to one");
    }

    #[test]
    fn a_byte_convention_gives_what_bytes_would_have_given() {
        let convention = convention(ChannelOrder::Rgb, &[0.5; 3], &[128.0 / 255.0; 3]);
        for byte in [0.0f32, 1.0, 77.0, 255.0] {
            let mut pixels = Tensor::filled([3, 1, 2], byte / 255.0);
            convention.normalise(&mut pixels).unwrap();
            assert!((pixels.data()[3] - (byte - 127.5) / 128.0).abs() < 1e-6);
        }
    }

    #[test]
    fn denormalising_undoes_normalising_on_a_batch() {
        let convention =
            convention(ChannelOrder::Rgb, &[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]);
        let batch = Tensor::stack([&picture(), &picture()]).unwrap();
        let mut there_and_back = batch.clone();
        convention.normalise(&mut there_and_back).unwrap();
        assert_eq!(there_and_back.row(0), there_and_back.row(1));
        convention.denormalise(&mut there_and_back).unwrap();
        let worst = batch
            .data()
            .iter()
            .zip(there_and_back.data())
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(worst < 1e-6, "{worst}");
    }

    #[test]
    fn a_picture_of_another_size_is_refused() {
        let convention = convention(ChannelOrder::Rgb, &[0.0; 3], &[1.0; 3]);
        insta::assert_snapshot!(convention.to_input(&Tensor::zeros([3, 5, 7])).unwrap_err(), @"a picture of shape [3, 5, 7] (channels, height, width) cannot be fed to a model that takes 1 x 2 RGB.");
        insta::assert_snapshot!(convention.pixels(&Tensor::zeros([1, 5, 7])).unwrap_err(), @"a tensor of shape [1, 5, 7] is not an RGB picture [3, H, W].");
        assert!(convention.normalise(&mut Tensor::zeros([5, 7])).is_err());
    }
}
