//! Facts for the record: a small JSON-like value that may cross the plugin line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A fact. It is written to `item.json` and `run.json` as the JSON it looks like.
///
/// It is our own type, not `serde_json::Value`, because a dynamic plugin may have been built with
/// another version of that crate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Default)]
#[serde(untagged)]
pub enum Value {
    /// Nothing to say.
    #[default]
    Null,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number. Not-a-number and infinities are written as JSON `null`.
    Number(f64),
    /// Text.
    Text(String),
    /// Several facts in order.
    List(Vec<Value>),
    /// Named facts, sorted by name so that the record is the same on every run.
    Map(Facts),
}

/// Named facts, sorted by name.
pub type Facts = BTreeMap<String, Value>;

impl Value {
    /// Any serialisable value as a fact. What cannot be expressed in JSON becomes [`Value::Null`].
    pub fn of<T: Serialize>(value: &T) -> Self {
        // Through text, so that an f32 keeps its own digits.
        serde_json::to_string(value)
            .and_then(|text| serde_json::from_str(&text))
            .unwrap_or_default()
    }

    /// The named part of a map.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Map(m) => m.get(name),
            _ => None,
        }
    }

    /// The number behind an integer or a number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Integer(i) => Some(*i as f64),
            Value::Number(n) => Some(*n),
            _ => None,
        }
    }

    /// The text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(t) => Some(t),
            _ => None,
        }
    }
}

macro_rules! from {
    ($($t:ty => |$v:ident| $e:expr),* $(,)?) => { $(impl From<$t> for Value { fn from($v: $t) -> Self { $e } })* };
}

from! {
    bool => |v| Value::Bool(v),
    // An f32 is written with the digits that identify it, not with the tail its f64 image has.
    f32 => |v| Value::Number(v.to_string().parse().unwrap_or(f64::NAN)),
    f64 => |v| Value::Number(v),
    usize => |v| Value::Integer(v as i64),
    i64 => |v| Value::Integer(v),
    &str => |v| Value::Text(v.to_owned()),
    String => |v| Value::Text(v),
    Facts => |v| Value::Map(v),
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(v: Vec<T>) -> Self {
        Value::List(v.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(v: Option<T>) -> Self {
        v.map_or(Value::Null, Into::into)
    }
}

/// Named facts from `(name, value)` pairs.
pub fn facts<const N: usize>(pairs: [(&str, Value); N]) -> Facts {
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_precision_number_keeps_its_digits() {
        assert_eq!(serde_json::to_string(&Value::from(0.1f32)).unwrap(), "0.1");
        assert_eq!(serde_json::to_string(&Value::from(f32::NAN)).unwrap(), "null");
    }

    #[test]
    fn facts_survive_json() {
        let v = Value::Map(facts([
            ("a", 1usize.into()),
            ("b", vec!["x", "y"].into()),
            ("c", Value::Null),
        ]));
        let back: Value = serde_json::from_str(&serde_json::to_string(&v).unwrap()).unwrap();
        assert_eq!(v, back);
    }
}
