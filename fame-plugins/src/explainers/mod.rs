//! Explainers: from samples to attribution maps, one file each.

mod aimed;
mod cam;
mod fame;
mod gradient;
mod random;

pub use cam::{
    Ablation, AblationCam, EigenCam, EigenGradCam, Enlarge, Finish, FullGrad, FullGradForm, GradCam, GradCamElementwise, GradCamPlusPlus,
    HiResCam, LayerCam, Layout, RandomCam, ScoreCam, Sign, XGradCam,
};
pub use fame::Fame;
pub use gradient::{Baseline, GradientTimesInput, GuidedBackprop, IntegratedGradients, Quadrature, Saliency, SmoothGrad, SmoothGradForm};
