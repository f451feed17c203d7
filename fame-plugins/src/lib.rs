//! Everything built in: one folder per kind, one file per plugin.
//!
//! Each file holds a plugin's parameters, its code, its unit tests and one `register!` line. A
//! program that wants them must name this crate (`use fame_plugins as _;`), or the linker leaves
//! them out.

pub mod backends;
pub mod checks;
pub mod datasets;
pub mod explainers;
pub mod losses;
pub mod maps;
pub mod metrics;
pub mod perturbations;
pub mod pictures;
pub mod prepare;
pub mod synth;
pub mod writers;
