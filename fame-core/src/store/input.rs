//! The field `input` of a manifest: a picture's way into the network, as typed.

use std::{collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, SeqAccess, Visitor};

use super::checks::Checks;
use crate::data::{ChannelOrder, FixedInput, InputConvention, Layout};

/// Refuses everything that makes the convention unusable.
pub(super) fn check_convention(input: &InputConvention, checks: &mut Checks<'_>) {
    if input.shape().contains(&0) {
        checks.refuse("input.size", format!("{:?} has an extent of 0", input.shape()));
    }
    if input.channels != input.order.channels() {
        let (has, order, of) = (input.channels, input.order, input.order.channels());
        checks.refuse("input.size", format!("has {has} channels, but order {order:?} has {of}"));
    }
    for (name, values) in [("input.mean", &input.mean), ("input.std", &input.std)] {
        if values.len() != input.channels {
            let (n, of) = (values.len(), input.channels);
            checks.refuse(
                name,
                format!("has {n} values for {of} channels; give one number, or one per channel"),
            );
        }
        if let Some(value) = values.iter().find(|v| !v.is_finite()) {
            checks.refuse(name, format!("holds {value}, which is not a finite number"));
        }
    }
    if let Some(value) = input.std.iter().find(|v| **v <= 0.0) {
        checks.refuse("input.std", format!("holds {value}; it divides, so it must be positive"));
    }
}

/// Refuses values of further inputs that are no numbers.
pub(super) fn check_fixed(fixed: &BTreeMap<String, FixedInput>, checks: &mut Checks<'_>) {
    for (name, value) in fixed {
        let values = match value {
            FixedInput::Fill(value) => std::slice::from_ref(value),
            FixedInput::Values(values) => values,
            FixedInput::File(path) => {
                if path.as_os_str().is_empty() {
                    checks.refuse("input.fixed", format!("names no file for `{name}`"));
                }
                continue;
            }
        };
        if values.is_empty() || values.iter().any(|v| v.is_nan()) {
            checks.refuse(
                "input.fixed",
                format!("has no values for `{name}`, or one that is no number"),
            );
        }
    }
}

/// A picture's way into the network, as typed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Input")]
pub(super) struct InputText {
    /// Channels, height and width in pixels: `(3, 224, 224)`.
    size: (usize, usize, usize),
    /// The order of the channels.
    order: ChannelOrder,
    /// Subtracted from pixels in 0 to 1: one number for all channels, or one per channel in the
    /// network's order. A mean that counts 0 to 255 is divided by 255 here.
    mean: PerChannel,
    /// Divides what is left: above 0, one number or one per channel, as `mean`.
    std: PerChannel,
    /// The axes of the input in the file.
    #[serde(default)]
    pub(super) layout: Layout,
    /// The values of the file's other inputs, by the inputs' names.
    #[serde(default)]
    pub(super) fixed: BTreeMap<String, FixedInput>,
}

impl InputText {
    /// The convention, with one number per channel.
    pub(super) fn resolve(self) -> InputConvention {
        let (channels, height, width) = self.size;
        let (mean, std) = (self.mean.resolve(self.order), self.std.resolve(self.order));
        InputConvention { channels, height, width, order: self.order, mean, std }
    }
}

/// One number for all channels, or a list.
enum PerChannel {
    All(f32),
    Each(Vec<f32>),
}

impl PerChannel {
    /// One number per channel of `order`.
    fn resolve(self, order: ChannelOrder) -> Vec<f32> {
        match self {
            Self::All(value) => vec![value; order.channels()],
            Self::Each(values) => values,
        }
    }
}

impl JsonSchema for PerChannel {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PerChannel".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["number", "array"], "title": "number | (number, …)" })
    }
}

// By hand, because an untagged enum would answer every mistake with "did not match any variant".
impl<'de> Deserialize<'de> for PerChannel {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Numbers;
        impl<'de> Visitor<'de> for Numbers {
            type Value = PerChannel;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or one number per channel")
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<PerChannel, E> {
                Ok(PerChannel::All(value as f32))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<PerChannel, E> {
                Ok(PerChannel::All(value as f32))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<PerChannel, E> {
                Ok(PerChannel::All(value as f32))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<PerChannel, A::Error> {
                let mut all = Vec::new();
                while let Some(value) = values.next_element()? {
                    all.push(value);
                }
                Ok(PerChannel::Each(all))
            }
        }
        deserializer.deserialize_any(Numbers)
    }
}
