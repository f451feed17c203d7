//! Explainers: from samples to attribution maps, one file each.

mod aimed;
mod attention_rollout;
pub mod black_box;
mod cam;
mod enlarge;
pub mod face;
mod fame;
mod finish;
mod gradient;
mod meter;
mod precomputed;
mod product;
mod random;
mod random_map;
mod randomized;
mod smooth;
mod sum;
mod terms;

pub use attention_rollout::{AttentionRollout, Heads};
pub use cam::{
    Ablation, AblationCam, EigenCam, EigenGradCam, Enlarge, FullGrad, FullGradForm, GradCam,
    GradCamElementwise, GradCamPlusPlus, HiResCam, InputShare, Kernel, KpcaCam, LayerCam, Layout,
    Normalisation, RandomCam, ScoreCam, SegEigenCam, Sign, XGradCam,
};
pub use fame::Fame;
pub use gradient::{
    Baseline, GradientTimesInput, GuidedBackprop, IntegratedGradients, Quadrature, Saliency,
    SmoothGrad, SmoothGradForm,
};
pub use precomputed::Precomputed;
pub use product::Product;
pub use random_map::RandomMap;
pub use randomized::{Forgetting, Randomized};
pub use smooth::Smooth;
pub use sum::Sum;
