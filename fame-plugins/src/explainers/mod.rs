//! Explainers: from samples to attribution maps, one file each.

mod fame;

pub use fame::Fame;
