//! What a number depends on.

use std::fmt;

/// What a measurement depends on beside its map: nothing, a point on an axis, or a case.
///
/// Its text (`P=10`, `last_3`) stands in tables and in `metrics.csv`; code that wants the number
/// takes it from here.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Parameter {
    /// Nothing.
    #[default]
    None,
    /// A point on an axis: a quantity measured at several is a curve.
    Point {
        /// Short name of the axis: `P`.
        axis: String,
        /// What the axis counts, and in which unit: `percent of the pixels`.
        unit: String,
        /// Where on the axis.
        value: f64,
    },
    /// One of several cases, by name: a finish, a stage of a randomisation.
    Case(String),
}

impl Parameter {
    /// The point `value` of `axis`, which counts `unit`.
    pub fn at(axis: &str, unit: &str, value: f64) -> Self {
        Parameter::Point { axis: axis.to_owned(), unit: unit.to_owned(), value }
    }

    /// A case, or nothing when it has no name.
    pub fn case(name: impl Into<String>) -> Self {
        let name = name.into();
        if name.is_empty() { Parameter::None } else { Parameter::Case(name) }
    }

    /// The number, if it is a point.
    pub fn value(&self) -> Option<f64> {
        if let Parameter::Point { value, .. } = self { Some(*value) } else { None }
    }
}

/// `P=10`, the case, or nothing.
impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Parameter::None => Ok(()),
            Parameter::Point { axis, value, .. } => write!(f, "{axis}={value}"),
            Parameter::Case(name) => f.write_str(name),
        }
    }
}
