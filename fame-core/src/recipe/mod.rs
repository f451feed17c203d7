//! Recipes: RON text in, a checked [`crate::Plan`] out.
//!
//! A recipe is a RON struct; every pluggable slot holds `Name(param: value)`. Parsing has two
//! phases. First [`RecipeFile`] cuts the text into its fields and specs, each with its place. Then
//! the registry, which the caller passes in, finds the factory of every spec and lets it parse its
//! own parameters. Both phases collect problems instead of stopping, so a recipe with five mistakes
//! shows five.
//!
//! `--set path=value` overrides change the text before it is parsed ([`RecipeText`]), so they get
//! the same diagnostics as the file.

mod file;
mod text;

pub use crate::text::Placed;
pub use file::RecipeFile;
pub use text::RecipeText;
