//! Gradient methods: one file for each; how gradients are gathered and maps finished is shared
//! here.
//!
//! A method names the points at which it wants dy/dx (one, or the nodes of a path, or noisy copies)
//! and says how to put the gradients together; points of all rows are computed together, as many at
//! once as keep the backend busy. x is the network's **input**: normalised, so that 0 is the
//! model's mean colour.

mod gradient_times_input;
mod guided_backprop;
mod integrated_gradients;
mod runner;
mod saliency;
mod smooth_grad;

pub use gradient_times_input::GradientTimesInput;
pub use guided_backprop::GuidedBackprop;
pub use integrated_gradients::{Baseline, IntegratedGradients, Quadrature};
pub use saliency::Saliency;
pub use smooth_grad::{SmoothGrad, SmoothGradForm};

use fame_core::{
    Model, Result, Tensor,
    contract::ReluRule,
    data::Facts,
    data::InputConvention,
    registry::{BuildContext, Parts},
    text::Spec,
};

use crate::maps::Reduce;

/// Where gradients are wanted, and what becomes of them.
trait Gradients: Send + Sync {
    /// What is worked out once for each row.
    type Plan;

    /// How channels become one when the recipe does not say.
    const CHANNELS: Reduce;

    /// Checks the method's own parameters.
    fn resolve(&mut self, _: &BuildContext<'_>, _: &mut Parts) {}

    /// How many gradients a map takes; at least 1.
    fn points(&self) -> usize {
        1
    }

    /// How gradients pass a ReLU.
    fn relu(&self) -> ReluRule {
        ReluRule::Standard
    }

    /// What a reader of maps of this model must know.
    fn warning(&self, _: &Model) -> Option<String> {
        None
    }

    /// Gets ready for a row.
    fn plan(&self, at: &At<'_>) -> Result<Self::Plan>;

    /// The `k`-th point, shaped like the input.
    fn point(&self, plan: &Self::Plan, k: usize, at: &At<'_>) -> Tensor;

    /// Takes in the gradient at the `k`-th point.
    fn add(&self, plan: &Self::Plan, k: usize, gradient: &[f32], sums: &mut Sums);

    /// What it comes to.
    fn end(&self, plan: &Self::Plan, sums: &Sums, at: &At<'_>) -> Ended;
}

/// What the gradients of a row come to.
struct Ended {
    /// The attribution of every input value.
    attribution: Vec<f32>,
    /// How well attributions add up, for methods whose attributions should.
    completeness: Option<Completeness>,
    /// What else there is to record.
    facts: Facts,
}

/// How far attributions miss the difference of y that they should add up to.
#[derive(Clone, Copy)]
struct Completeness {
    /// Their sum less the difference.
    delta: f64,
    /// The same as a share of the difference's size.
    share: f64,
}

impl From<Vec<f32>> for Ended {
    fn from(attribution: Vec<f32>) -> Self {
        Self { attribution, completeness: None, facts: Facts::new() }
    }
}

/// The row that is explained.
struct At<'a> {
    /// The network's input, `[C, H, W]`.
    input: &'a Tensor,
    /// What the model expects of it.
    convention: &'a InputConvention,
    /// For random numbers.
    seed: u64,
}

/// What has come together of one row.
struct Sums {
    /// y at every point.
    values: Vec<f32>,
    /// One sum for each input value.
    first: Vec<f64>,
    /// Another, for methods that need two; empty until then.
    second: Vec<f64>,
}

/// The map steps of a gradient method when the recipe names none: absolute values, one channel,
/// maximum 1.
fn default_map(
    map: &mut Option<Vec<Spec>>,
    channels: &mut Option<Reduce>,
    default: Reduce,
    parts: &mut Parts,
) {
    if map.is_some() {
        parts.check(
            "channels",
            channels.is_none(),
            "belongs to the default `map`; in a map of your own write Channels(reduce: …)",
        );
        return;
    }
    let reduce = channels.get_or_insert(default);
    let steps =
        ["Abs()".to_owned(), format!("Channels(reduce: {reduce:?})"), "MaxNormalize()".to_owned()];
    *map = Some(steps.iter().filter_map(|s| Spec::from_text(s).ok()).collect());
}

/// Declares a gradient method: its own parameters, then those that all of them share.
///
/// A macro, because RON cannot flatten one struct into another, and every recipe shall read the
/// same.
macro_rules! by_gradient {
    (
        $(#[$doc:meta])*
        $name:ident { $($(#[$about:meta])* $field:ident: $kind:ty = $default:expr),* $(,)? }
        summary: $summary:literal,
        example: $example:literal,
        reference: $reference:literal $(,)?
    ) => {
        $(#[$doc])*
        ///
        /// y is the loss's value as it is. The attribution before the map steps is signed,
        /// `[C, H, W]` in the model's channels; above zero, more of the channel raises y.
        #[derive(Clone, Debug, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$about])* pub $field: $kind,)*
            /// What to explain: any loss; y is its value. Default: `Logit()`, for face models
            /// `Similarity()`.
            pub loss: Option<fame_core::text::Spec>,
            /// The layer the loss reads. Default: the model's `logits` or, for face models,
            /// `embedding`; without that alias, its output.
            pub layer: Option<fame_core::LayerChoices>,
            /// How the default `map` makes one channel of three: `Max`, `Mean` or `Sum` of absolute
            /// values.
            pub channels: Option<$crate::maps::Reduce>,
            /// Steps from the attribution to the map. Default:
            /// `[Abs(), Channels(…), MaxNormalize()]`.
            pub map: Option<Vec<fame_core::text::Spec>>,
            /// Which pictures of a sample to explain, by role. Default: all, each against the other
            /// frozen.
            pub roles: Option<Vec<String>>,
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* loss: None, layer: None, channels: None, map: None, roles: None }
            }
        }

        impl fame_core::registry::Plugin<dyn fame_core::contract::Explainer> for $name {
            const NAME: &'static str = stringify!($name);
            const SUMMARY: &'static str = $summary;
            const EXAMPLE: &'static str = $example;
            const REFERENCE: &'static str = $reference;

            fn resolve(&mut self, with: &fame_core::registry::BuildContext<'_>, parts: &mut fame_core::registry::Parts) {
                use $crate::explainers::{aimed, gradient::{default_map, Gradients}};
                aimed::resolve(&mut self.loss, self.roles.as_ref(), with, parts);
                default_map(&mut self.map, &mut self.channels, <Self as Gradients>::CHANNELS, parts);
                Gradients::resolve(self, with, parts);
            }

            fn build(
                mut self,
                with: &fame_core::registry::BuildContext<'_>,
                parts: &mut fame_core::registry::Parts,
            ) -> Option<Box<dyn fame_core::contract::Explainer>> {
                use $crate::explainers::{aimed, finish::Finish, gradient::runner::AtPoints};
                let (loss, at, roles) = (self.loss.take(), self.layer.take(), self.roles.take());
                let scalar = aimed::Scalar::build(loss, at, roles, with, parts);
                let finish = Finish::build(parts, self.map.take(), with);
                Some(Box::new(aimed::Running { scalar: scalar?, method: AtPoints(self), finish }))
            }
        }

        fame_core::register!(Explainer: $name);
    };
}
use by_gradient;

#[cfg(test)]
mod testing {
    //! Runs a method on a function given by its value and gradient.

    use fame_core::data::ChannelOrder;

    use super::*;

    /// What `method` comes to at `x`, one channel and one row high.
    pub(super) fn run<G: Gradients>(
        method: &G,
        x: &[f32],
        f: impl Fn(&[f32]) -> (f32, Vec<f32>),
    ) -> Ended {
        let convention = InputConvention {
            channels: 1,
            height: 1,
            width: x.len(),
            order: ChannelOrder::Gray,
            mean: vec![0.5],
            std: vec![0.25],
        };
        let input = Tensor::new([1, 1, x.len()], x.to_vec()).unwrap();
        let at = At { input: &input, convention: &convention, seed: 11 };
        let plan = method.plan(&at).unwrap();
        let mut sums = Sums { values: vec![], first: vec![0.0; x.len()], second: vec![] };
        for k in 0..method.points() {
            let (value, gradient) = f(method.point(&plan, k, &at).data());
            sums.values.push(value);
            method.add(&plan, k, &gradient, &mut sums);
        }
        method.end(&plan, &sums, &at)
    }
}
