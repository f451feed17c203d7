//! Everything built in: one folder per kind, one file per plugin.
//!
//! Each file holds a plugin's parameters, its code, its unit tests and one `register!` line. A
//! program that wants them must name this crate (`use fame_plugins as _;`), or the linker leaves
//! them out.

mod as_typed;
mod ask;
pub mod backends;
pub mod checks;
mod compare;
pub mod datasets;
mod examples;
pub mod explainers;
pub mod losses;
pub mod maps;
pub mod metrics;
mod numpy;
pub mod perturbations;
pub mod pictures;
pub mod prepare;
mod presets;
pub mod synth;
pub mod writers;

pub use compare::compare;
pub use examples::{MANIFEST_EXAMPLE, RECIPE_EXAMPLE};
pub use presets::Preset;

/// The fields that a recipe may leave out, with their values, in RON: what a program that runs
/// recipes with these plugins hands to
/// [`RecipeText::with_defaults`](fame_core::recipe::RecipeText::with_defaults).
pub const RECIPE_DEFAULTS: &str = "(backend: Tract(), preset: Paper, write: [Npy(), Overlay()])";
