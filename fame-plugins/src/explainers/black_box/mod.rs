//! Black-box explainers: they alter the picture and watch the loss. No gradient is asked for, so
//! they run on the backend's forward-only plan and on any network, differentiable or not.

pub(super) mod answers;
mod hsic;
mod kernel_shap;
mod lime;
mod occlusion;
pub(super) mod patches;
mod rise;
mod sampling;
mod sobol;
mod tiles;

pub use answers::Fill;
pub use hsic::{HsicAttribution, Width};
pub use kernel_shap::KernelShap;
pub use lime::Lime;
pub use occlusion::Occlusion;
pub use rise::Rise;
pub use sampling::Sampling;
pub use sobol::SobolAttribution;
