//! Class activation maps: one file for each formula; the way from a layer to the picture is shared
//! here.
//!
//! ```text
//! rows ─▶ forward ─▶ layer outputs a, value y ─▶ pull-back ─▶ G = dy/da ─▶ formula ─▶ ReLU, normalise, enlarge ─▶ mean over layers ─▶ map
//!                                                                           │  ▲
//!                                                                           ▼  │ masked pictures, ablated channels (Score-CAM, Ablation-CAM)
//!                                                                          Probe
//! ```
//!
//! A formula sees one layer of one row as [`Planes`] over a grid and answers with one value for
//! each cell; [`cam!`] gives it the parameters all of them share. Formulas are those of METHODS,
//! section 4; each file names its paper.

mod ablation_cam;
mod deep_feature_factorization;
mod eigen;
mod eigen_cam;
mod eigen_grad_cam;
mod factors;
mod full_grad;
mod grad_cam;
mod grad_cam_elementwise;
mod grad_cam_plus_plus;
mod hi_res_cam;
mod kpca_cam;
mod layer_cam;
mod normalisation;
mod planes;
mod principal;
mod probe;
mod random_cam;
mod runner;
mod score_cam;
mod seg_eigen_cam;
mod shapley_cam;
mod x_grad_cam;

pub use ablation_cam::{Ablation, AblationCam};
pub use deep_feature_factorization::DeepFeatureFactorization;
pub use eigen_cam::EigenCam;
pub use eigen_grad_cam::EigenGradCam;
pub use full_grad::{FullGrad, FullGradForm, InputShare};
pub use grad_cam::GradCam;
pub use grad_cam_elementwise::GradCamElementwise;
pub use grad_cam_plus_plus::GradCamPlusPlus;
pub use hi_res_cam::HiResCam;
pub use kpca_cam::{Kernel, KpcaCam};
pub use layer_cam::LayerCam;
pub use normalisation::Normalisation;
pub use planes::Layout;
pub use principal::Sign;
pub use random_cam::RandomCam;
pub use score_cam::{Enlarge, ScoreCam};
pub use seg_eigen_cam::SegEigenCam;
pub use shapley_cam::ShapleyCam;
pub use x_grad_cam::XGradCam;

use fame_core::{Result, data::Facts};
use planes::Planes;
use probe::Probe;

/// The formula of a class activation map.
trait Cam: Send + Sync {
    /// Whether it reads the gradient. If not, only the forward plan runs, and the gradient it is
    /// given is zero.
    const GRADIENT: bool = true;

    /// The map of one layer of one row, before ReLU: activation `a` and gradient G = dy/da of the
    /// same size, one value for each cell.
    fn map(&self, a: &Planes, g: &Planes, ask: &dyn Probe) -> Result<LayerMap>;
}

/// What a formula says about a layer.
#[derive(Default)]
struct LayerMap {
    /// One value for each cell, signed.
    values: Vec<f32>,
    /// For the record.
    facts: Facts,
    /// What a reader must know.
    warning: Option<String>,
}

impl From<Vec<f32>> for LayerMap {
    fn from(values: Vec<f32>) -> Self {
        Self { values, ..Self::default() }
    }
}

/// Declares a CAM: its own parameters, then those that all CAMs share. The struct's [`Cam`] is the
/// formula. `open` names a function for each parameter of its own that the preset decides.
///
/// A macro, because RON cannot flatten one struct into another, and every recipe shall read the
/// same.
macro_rules! cam {
    (
        $(#[$doc:meta])*
        $name:ident { $($own:tt)* }
        $(open: $open:path,)*
        summary: $summary:literal,
        claim: $claim:literal,
        example: $example:literal,
        reference: $reference:literal $(,)?
    ) => {
        fame_core::parameters! {
            $(#[$doc])*
            ///
            /// y is the loss's value as it is: the map shows what raises it. It ends in 0..=1 over
            /// the pixels of the picture.
            pub struct $name {
                $($own)*
                /// The layer or layers to look at; maps of several are averaged. A tensor's name or
                /// an alias in quotes, or `LastConv`, `BeforePooling`.
                layer: fame_core::LayerChoices = fame_core::LayerChoice::BeforePooling.into(),
                /// What to explain: any loss; y is its value, and the map shows what raises it.
                /// Default: what the model's manifest asks for, else `Logit()`.
                loss: fame_core::text::Spec = open,
                /// The layer the loss reads. Default: the one in the model's manifest, else its
                /// `Output`.
                loss_layer: fame_core::LayerChoices = open,
                /// How the layer's values lie over the picture. `Auto` tells `[C, H, W]` from
                /// `[H, W, C]`, and knows tokens with and without a class token.
                layout: $crate::explainers::cam::Layout = $crate::explainers::cam::Layout::default(),
                /// How maps are normalised: `MaxNorm` (preset Paper) or `PytorchGradCam` (preset
                /// Authors).
                finish: $crate::explainers::cam::Normalisation = open,
                /// Which pictures of a sample to explain, by role. Default: all, each against the
                /// other frozen.
                roles: Option<Vec<String>> = None,
            }
        }

        impl fame_core::registry::Parameters for $name {
            type Typed = typed::$name;

            fn fill(
                typed: typed::$name,
                with: &fame_core::registry::BuildContext<'_>,
                _: &mut fame_core::registry::Assembly,
            ) -> Option<Self> {
                use $crate::{Preset, ask, explainers::cam::Normalisation};
                let preset = Preset::of(with);
                let (loss, at) = (ask::usual_loss(with), ask::usual_layer(with));
                Some(typed.or($($open(preset),)* loss, at, Normalisation::of(preset)))
            }
        }

        impl fame_core::registry::Plugin<dyn fame_core::contract::Explainer> for $name {
            const NAME: &'static str = stringify!($name);
            const SUMMARY: &'static str = $summary;
            const CLAIM: &'static str = $claim;
            const EXAMPLE: &'static str = $example;
            const REFERENCE: &'static str = $reference;
            const PRESETS: &'static [&'static str] = $crate::Preset::NAMES;

            fn resolve(
                &mut self,
                _: &fame_core::registry::BuildContext<'_>,
                assembly: &mut fame_core::registry::Assembly,
            ) {
                $crate::explainers::aimed::check_roles(self.roles.as_deref(), assembly);
            }

            fn build(
                self,
                with: &fame_core::registry::BuildContext<'_>,
                assembly: &mut fame_core::registry::Assembly,
            ) -> Option<Box<dyn fame_core::contract::Explainer>> {
                use $crate::explainers::{aimed, cam::runner::OfLayers, finish::Finish};
                let Self { loss, loss_layer, roles, .. } = &self;
                let (at, roles) = (loss_layer.clone(), roles.clone());
                let scalar = aimed::Scalar::build(loss, at, roles, with, assembly)?;
                let (layer, layout, normalisation) =
                    (self.layer.clone(), self.layout, self.finish);
                let method = OfLayers { formula: self, layer, layout, normalisation };
                Some(Box::new(aimed::AimedExplainer { scalar, method, finish: Finish::none() }))
            }
        }

        fame_core::register!(Explainer: $name);
    };
}
use cam;

#[cfg(test)]
mod testing {
    //! Small layers and a probe that answers from a formula, for the tests beside the methods.

    use fame_core::{contract::Explainer, registry::Plugin, testkit};

    use super::*;

    /// `[channels, 1, width]` from one slice a channel.
    pub(super) fn planes(channels: &[&[f32]]) -> Planes {
        Planes {
            channels: channels.len(),
            height: 1,
            width: channels[0].len(),
            data: channels.concat(),
        }
    }

    /// A network that is a formula: y of a masked picture, y of an ablated channel.
    pub(super) struct Formula {
        pub(super) value: f32,
        pub(super) masked: fn(&[f32]) -> f32,
        pub(super) ablated: fn(usize, f32) -> f32,
        /// dy/da with the layer times a factor.
        pub(super) gradient: fn(f32) -> Planes,
    }

    impl Default for Formula {
        fn default() -> Self {
            Self {
                value: 1.0,
                masked: |_| unreachable!(),
                ablated: |_, _| unreachable!(),
                gradient: |_| unreachable!(),
            }
        }
    }

    impl Probe for Formula {
        fn value(&self) -> f32 {
            self.value
        }
        fn seed(&self) -> u64 {
            7
        }
        fn size(&self) -> (usize, usize) {
            (1, 4)
        }
        fn masked(&self, n: usize, mask: &dyn Fn(usize) -> Vec<f32>) -> Result<Vec<f32>> {
            Ok((0..n).map(|i| (self.masked)(&mask(i))).collect())
        }
        fn ablated(&self, n: usize, value: f32) -> Result<Vec<f32>> {
            Ok((0..n).map(|c| (self.ablated)(c, value)).collect())
        }
        fn gradients(&self, scales: &[f32], _: bool) -> Result<Vec<Planes>> {
            Ok(scales.iter().map(|scale| (self.gradient)(*scale)).collect())
        }
        fn is_piecewise_linear(&self) -> bool {
            false
        }
    }

    /// A CAM with its own defaults.
    pub(super) fn usual<P: Plugin<dyn Explainer>>() -> P {
        testkit::parameters("()").unwrap()
    }

    /// The map of the CAM `P` on a layer.
    pub(super) fn map<P: Plugin<dyn Explainer> + Cam>(a: &[&[f32]], g: &[&[f32]]) -> Vec<f32> {
        usual::<P>().map(&planes(a), &planes(g), &Formula::default()).unwrap().values
    }
}
