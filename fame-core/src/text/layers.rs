//! The names of target layers in recipes and manifests.

use ron::value::RawValue;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::suggestion;

/// A target layer as a recipe names it: a tensor's name or an alias of the manifest in quotes, or a
/// rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerChoice {
    /// The ONNX tensor's name, or an alias such as `"logits"`.
    Named(String),
    /// The last convolution with spatial extent.
    LastConv,
    /// The last layer with spatial extent on the way to the output: what global pooling or
    /// flattening reads. An error in a transformer that ends in tokens; the error names a layer
    /// that serves.
    BeforePooling,
    /// The graph's first output.
    Output,
}

impl LayerChoice {
    /// The rules, as they are written.
    pub(crate) const RULES: [&'static str; 3] = ["LastConv", "BeforePooling", "Output"];
}

impl std::fmt::Display for LayerChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LayerChoice::Named(n) => write!(f, "{n:?}"),
            rule => write!(f, "{rule:?}"),
        }
    }
}

impl<'de> Deserialize<'de> for LayerChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get_ron().trim();
        match raw {
            "LastConv" => Ok(Self::LastConv),
            "BeforePooling" => Ok(Self::BeforePooling),
            "Output" => Ok(Self::Output),
            quoted if quoted.starts_with(['"', 'r']) => {
                super::parse(quoted).map(Self::Named).map_err(|p| D::Error::custom(p.message))
            }
            other => {
                let hint = suggestion(other, &Self::RULES, "rule").unwrap_or_default();
                Err(D::Error::custom(format!(
                    "`{other}` is neither a layer's name in quotes nor a layer rule ({hint})"
                )))
            }
        }
    }
}

impl Serialize for LayerChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            LayerChoice::Named(n) => serializer.serialize_str(n),
            rule => serializer.collect_str(rule),
        }
    }
}

impl JsonSchema for LayerChoice {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LayerChoice".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "title": "\"name\" | LastConv | BeforePooling | Output" })
    }
}

/// One target layer, or several for losses that read more than one: `"logits"`, `LastConv`,
/// `["scores", "boxes"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerChoices(pub Vec<LayerChoice>);

impl std::fmt::Display for LayerChoices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<String> = self.0.iter().map(LayerChoice::to_string).collect();
        match names.as_slice() {
            [one] => f.write_str(one),
            many => write!(f, "[{}]", many.join(", ")),
        }
    }
}

impl From<LayerChoice> for LayerChoices {
    fn from(one: LayerChoice) -> Self {
        Self(vec![one])
    }
}

impl<'de> Deserialize<'de> for LayerChoices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get_ron().trim();
        let parsed = if raw.starts_with('[') {
            super::parse(raw)
        } else {
            super::parse(raw).map(|one| vec![one])
        };
        match parsed {
            Ok(choices) if choices.is_empty() => {
                Err(D::Error::custom("at least one layer is needed"))
            }
            Ok(choices) => Ok(Self(choices)),
            Err(problem) => Err(D::Error::custom(problem.message)),
        }
    }
}

impl Serialize for LayerChoices {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            many => many.serialize(serializer),
        }
    }
}

impl JsonSchema for LayerChoices {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LayerChoices".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "title": "\"name\" | LastConv | BeforePooling | Output | [several]" })
    }
}
