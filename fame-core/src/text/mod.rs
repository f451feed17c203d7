//! The RON dialect of recipes and manifests, with the place of every word.
//!
//! [`Spec`] is `Name(param: value)` as written; [`parse`] reads parameters and answers a mistake
//! with a [`Problem`] that marks the right characters; [`LayerChoice`] names a layer; [`nearest`] finds the name that was meant;
//! [`scan`] cuts brackets into entries. Recipes and model manifests are read by the same code, so
//! they get the same diagnostics.

mod diagnostics;
mod layers;
pub mod scan;
mod spec;

pub(crate) use diagnostics::near_file;
pub use diagnostics::{
    Problem, Problems, SourcedProblem, line_column, nearest, offset_of, suggestion,
};
pub use layers::{LayerChoice, LayerChoices};
pub use spec::{Spec, parse, ron_options};
