//! Marks: what a dataset knows about a sample and other plugins read, by name and type.
//!
//! A dataset sets a mark, a metric or a writer reads it; what they share is one constant:
//!
//! ```
//! use fame_core::{Mark, Sample};
//!
//! /// Whether the picture was taken at night.
//! const NIGHT: Mark<bool> = Mark::new("night");
//!
//! let mut sample = Sample::default();
//! sample.marks.set(&NIGHT, true);
//! assert_eq!(sample.marks.get(&NIGHT), Some(true));
//! ```

use std::{fmt, marker::PhantomData, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Facts, Value};

/// The name and type of something that datasets may know about a sample.
pub struct Mark<T> {
    name: &'static str,
    of: PhantomData<fn() -> T>,
}

impl<T> Mark<T> {
    /// A mark called `name`, which is its key in `item.json` and its column in `metrics.csv`.
    pub const fn new(name: &'static str) -> Self {
        Self { name, of: PhantomData }
    }

    /// The name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<T> fmt::Debug for Mark<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mark({})", self.name)
    }
}

/// A type that a mark may have.
pub trait MarkType: Sized {
    /// The value as a fact.
    fn to_value(self) -> Value;

    /// The value behind a fact; `None` when the fact has another type.
    fn from_value(value: &Value) -> Option<Self>;
}

impl MarkType for bool {
    fn to_value(self) -> Value {
        self.into()
    }

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(yes) => Some(*yes),
            _ => None,
        }
    }
}

impl MarkType for usize {
    fn to_value(self) -> Value {
        self.into()
    }

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(number) => usize::try_from(*number).ok(),
            _ => None,
        }
    }
}

impl MarkType for String {
    fn to_value(self) -> Value {
        self.into()
    }

    fn from_value(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

/// The marks of one sample, sorted by name. A copy shares them: every row that was measured of the
/// sample has one. They are few, and there may be a million samples, so they are no map.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marks(Arc<[(String, Value)]>);

impl Serialize for Marks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Marks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Facts::deserialize(deserializer).map(Self::of)
    }
}

impl Marks {
    fn of(facts: Facts) -> Self {
        Self(facts.into_iter().collect())
    }

    /// The value of `mark`; `None` when the dataset does not know it, or knows it under this name
    /// as something of another type.
    pub fn get<T: MarkType>(&self, mark: &Mark<T>) -> Option<T> {
        let value = self.iter().find_map(|(name, value)| (name == mark.name).then_some(value));
        value.and_then(T::from_value)
    }

    /// Sets `mark`, in place of what it was.
    pub fn set<T: MarkType>(&mut self, mark: &Mark<T>, value: T) {
        let mut facts: Facts = self.0.iter().cloned().collect();
        facts.insert(mark.name.to_owned(), value.to_value());
        *self = Self::of(facts);
    }

    /// These marks with `mark` set, if there is a value.
    #[must_use]
    pub fn with<T: MarkType>(mut self, mark: &Mark<T>, value: impl Into<Option<T>>) -> Self {
        if let Some(value) = value.into() {
            self.set(mark, value);
        }
        self
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl From<Marks> for Value {
    fn from(marks: Marks) -> Self {
        Value::Map(marks.0.iter().cloned().collect())
    }
}

impl From<&Value> for Marks {
    /// The marks that were written as `value`; none when it is no map.
    fn from(value: &Value) -> Self {
        match value {
            Value::Map(facts) => Self::of(facts.clone()),
            _ => Self::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NIGHT: Mark<bool> = Mark::new("night");
    const LINE: Mark<usize> = Mark::new("line");

    #[test]
    fn a_mark_comes_back_with_its_type_and_only_with_it() {
        let marks = Marks::default().with(&NIGHT, true).with(&LINE, 7).with(&LINE, None);
        assert_eq!((marks.get(&NIGHT), marks.get(&LINE)), (Some(true), Some(7)));
        assert_eq!(marks.get(&Mark::<String>::new("night")), None);
        let written = serde_json::to_string(&Value::from(marks.clone())).unwrap();
        assert_eq!(written, r#"{"line":7,"night":true}"#);
        let read: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(Marks::from(&read), marks);
    }
}
