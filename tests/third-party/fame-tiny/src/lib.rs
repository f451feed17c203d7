//! A loss and a perturbation of a third party: the example of fame's guide for plugin authors.
mod loss;
mod perturbation;
pub use {loss::Rather, perturbation::Steepest};
fame_core::export_plugin!();
