//! The registry: every kind of plugin by name, and the way from recipe text to a running part.
//!
//! A plugin is a struct of parameters that serde can read. It implements [`Plugin`] for the
//! contract it serves and is registered with one line:
//!
//! ```
//! use fame_core::{Result, Target, TargetRequest, Tensor, contract::{Evaluation, Loss, per_row}, registry::{BuildContext, Assembly, Plugin, Registry}, text::Problem};
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//!
//! /// Descends `weight` times the mean of the target layer.
//! #[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
//! #[serde(deny_unknown_fields, default)]
//! struct Mean {
//!     /// Multiplies the value; any number above 0.
//!     weight: f32,
//! }
//!
//! impl Default for Mean {
//!     fn default() -> Self {
//!         Self { weight: 1.0 }
//!     }
//! }
//!
//! impl Plugin<dyn Loss> for Mean {
//!     const NAME: &'static str = "Mean";
//!     const SUMMARY: &'static str = "The mean of the target layer";
//!     const EXAMPLE: &'static str = "Mean(weight: 2.0)";
//!
//!     fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
//!         assembly.check("weight", self.weight > 0.0, "must be above 0");
//!     }
//!
//!     fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Loss>> {
//!         Some(Box::new(self))
//!     }
//! }
//!
//! impl Loss for Mean {
//!     fn targets(&self, _: &TargetRequest<'_>) -> Result<Vec<Target>> {
//!         Ok(vec![Target::unnamed()])
//!     }
//!     fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation> {
//!         per_row(outputs, targets, |out, _, grad| {
//!             let n = out[0].len() as f32;
//!             grad[0].fill(self.weight / n);
//!             Ok(self.weight * out[0].iter().sum::<f32>() / n)
//!         })
//!     }
//! }
//!
//! fame_core::register!(Loss: Mean);
//!
//! let registry = Registry::builtin().unwrap();
//! assert!(registry.names(fame_core::registry::Kind::Loss).contains(&"Mean"));
//! ```
//!
//! A default that only the preset or the model's manifest knows is no constant: then the parameters
//! as a recipe types them are another type ([`Parameters::Typed`]), and
//! [`parameters!`](crate::parameters) writes both from one list.
//!
//! `inventory` collects the registrations at link time. Nothing reads that list behind your back:
//! [`Registry::builtin`] makes a value from it, and the value is handed to whoever parses.

mod collection;
pub(crate) mod guard;
mod kind;
mod parameters;
mod part;
mod registration;

pub(crate) use collection::UNKNOWN_PLUGIN;
pub use collection::{Library, Registry};
pub use guard::quietly;
#[doc(hidden)]
pub use inventory;
pub use kind::{Contract, Kind};
#[doc(hidden)]
pub use kind::{Factory, FactoryOf, contracts};
pub use part::{Assembly, BuildContext, Built, Parameters, Plugin};
pub use registration::{Absent, Registration};
