//! The RON dialect of recipes and manifests, with the place of every word.
//!
//! [`Spec`] is `Name(param: value)` as written; [`parse`] reads parameters and answers a mistake
//! with a [`Problem`] that marks the right characters; [`LayerChoice`] names a layer; [`nearest`]
//! finds the name that was meant; [`scan`] cuts brackets into entries, and [`Fields`] a whole file
//! into its fields, which a list of [`Key`]s describes. Recipes and model manifests are read by the
//! same code, so they get the same diagnostics.

mod fields;
mod hint;
mod keys;
mod layers;
mod near;
pub mod scan;
mod spec;

pub use crate::data::{Problem, Problems, SourcedProblem, line_column, offset_of};
pub use fields::{Fields, Placed};
pub use keys::Key;
pub use layers::{LayerChoice, LayerChoices};
pub(crate) use near::{near_file, quoted};
pub use near::{near_names, nearest, suggestion};
pub use spec::{Spec, parse, ron_options};
pub(crate) use spec::{UNKNOWN_CHOICE, value_at};
