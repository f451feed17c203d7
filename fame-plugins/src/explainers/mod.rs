//! Explainers: from samples to attribution maps, one file each.

mod aimed;
mod attention;
mod attention_rollout;
pub mod black_box;
mod cam;
mod enlarge;
pub mod face;
mod fame;
mod finish;
mod gradient;
mod le_grad;
mod meter;
mod paths;
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
    Ablation, AblationCam, DeepFeatureFactorization, EigenCam, EigenGradCam, Enlarge, FullGrad,
    FullGradForm, GradCam, GradCamElementwise, GradCamPlusPlus, HiResCam, InputShare, Kernel,
    KpcaCam, LayerCam, Layout, Normalisation, RandomCam, ScoreCam, SegEigenCam, ShapleyCam, Sign,
    XGradCam,
};
pub use fame::Fame;
pub use gradient::{
    Baseline, Composite, DeepLift, FirstLayer, GradientTimesInput, GuidedBackprop,
    IntegratedGradients, Lrp, Quadrature, Saliency, SmoothGrad, SmoothGradForm,
};
pub use le_grad::{LeGrad, TokenPooling};
pub use precomputed::Precomputed;
pub use product::Product;
pub use random_map::RandomMap;
pub use randomized::{Forgetting, Randomized};
pub use smooth::Smooth;
pub use sum::Sum;
