//! Columns with types for what datasets know of items, and files that a run wrote as JSON.

use std::{collections::BTreeMap, path::Path};

use fame_core::{
    Error, Result,
    data::{Facts, Value, read_ordinary},
};
use serde::de::DeserializeOwned;

/// The JSON in `path`, a file that the run wrote.
///
/// # Errors
/// `fame::writer::item` when it is none, or says something else.
pub(super) fn json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&read_ordinary(path)?).map_err(|e| {
        let message = format!("`{}` is not as the run wrote it: {e}.", path.display());
        Error::new("fame::writer::item", message)
            .with_help("It was changed afterwards: run again with --force.")
    })
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Truth values.
    Bool,
    /// Whole numbers.
    Whole,
    /// Numbers.
    Number,
    /// Texts; anything else as its JSON.
    Text,
}

impl Kind {
    /// The type of `value`; `None` where there is nothing.
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Null => None,
            Value::Bool(_) => Some(Self::Bool),
            Value::Integer(_) => Some(Self::Whole),
            Value::Number(_) => Some(Self::Number),
            Value::Text(_) | Value::List(_) | Value::Map(_) => Some(Self::Text),
        }
    }

    /// The type that holds values of both.
    fn with(self, other: Self) -> Self {
        match (self, other) {
            _ if self == other => self,
            (Self::Whole, Self::Number) | (Self::Number, Self::Whole) => Self::Number,
            _ => Self::Text,
        }
    }
}

/// The types of marks by name, over all items that were noted: one column holds one type.
#[derive(Debug, Default)]
pub(super) struct MarkKinds(BTreeMap<String, Option<Kind>>);

impl MarkKinds {
    /// Notes the marks of an item.
    pub(super) fn note(&mut self, marks: &Facts) {
        for (name, value) in marks {
            let so_far = self.0.entry(name.clone()).or_default();
            *so_far = match (*so_far, Kind::of(value)) {
                (Some(one), Some(other)) => Some(one.with(other)),
                (one, other) => one.or(other),
            };
        }
    }

    /// Names in order with their types: of a mark that no item has a value of, text.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Kind)> {
        self.0.iter().map(|(name, kind)| (name.as_str(), kind.unwrap_or(Kind::Text)))
    }
}

/// A value as text, for a column that holds other texts too.
pub(super) fn told(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        other => serde_json::to_string(other).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use fame_core::data::facts;

    use super::*;

    #[test]
    fn a_column_holds_what_all_items_have() {
        let mut kinds = MarkKinds::default();
        kinds.note(&facts([("row", 1usize.into()), ("x", 1usize.into()), ("y", true.into())]));
        kinds.note(&facts([("row", 2usize.into()), ("x", 0.5.into()), ("y", 0.5.into())]));
        kinds.note(&facts([("never", Value::Null), ("row", Value::Null)]));
        assert_eq!(
            kinds.iter().collect::<Vec<_>>(),
            [("never", Kind::Text), ("row", Kind::Whole), ("x", Kind::Number), ("y", Kind::Text)]
        );
        assert_eq!([told(&true.into()), told(&"a".into())], ["true", "a"]);
    }
}
