//! Inputs to verify a network with.

use fame_core::data::InputConvention;
use fame_core::{Random, Result, Tensor};

use crate::synth::shape;

/// An input of a network, with a name for messages.
#[derive(Clone, Debug)]
pub struct Input {
    /// What it is.
    pub name: String,
    /// One row, without the batch axis.
    pub value: Tensor,
}

impl Input {
    /// Rounds every value to a whole number.
    pub fn round(&mut self) {
        self.value.data_mut().iter_mut().for_each(|x| *x = x.round());
    }
}

/// The seed of every random input, cotangent and direction: a verification says the same each time.
pub(super) const SEED: u64 = 17;

/// `count` inputs of noise: every pixel uniform in 0..1, then as the model wants it.
///
/// # Errors
/// When the convention contradicts itself.
pub fn random(convention: &InputConvention, count: usize) -> Result<Vec<Input>> {
    let one = |n: usize| {
        let mut random = Random::stream(SEED, n);
        let size = convention.height * convention.width;
        let pixels = (0..3 * size).map(|_| random.uniform() as f32).collect();
        let pixels = Tensor::new([3, convention.height, convention.width], pixels)?;
        Ok(Input { name: format!("noise {}", n + 1), value: convention.to_input(&pixels)? })
    };
    (0..count).map(one).collect()
}

/// `count` drawn pictures with edges, areas and textures, as the model wants them.
///
/// # Errors
/// When the convention contradicts itself.
pub fn pictures(convention: &InputConvention, count: usize) -> Result<Vec<Input>> {
    let (width, height) = (convention.width, convention.height);
    let one = |n: usize| {
        let drawn = shape(SEED, n, width as u32, height as u32).picture;
        let mut pixels = Tensor::zeros([3, height, width]);
        for (x, y, colour) in drawn.enumerate_pixels() {
            for (channel, byte) in colour.0.iter().enumerate() {
                let at = (channel * height + y as usize) * width + x as usize;
                pixels.data_mut()[at] = f32::from(*byte) / 255.0;
            }
        }
        Ok(Input { name: format!("drawing {}", n + 1), value: convention.to_input(&pixels)? })
    };
    (0..count).map(one).collect()
}
