//! Gradient methods: one file for each; how gradients are gathered and maps finished is shared
//! here.
//!
//! A method names the points at which it wants dy/dx (one, or the nodes of a path, or noisy copies)
//! and says how to put the gradients together; points of all rows are computed together, as many at
//! once as keep the backend busy. x is the network's **input**: normalised, so that 0 is the
//! model's mean colour.

mod deep_lift;
mod gradient_times_input;
mod guided_backprop;
mod integrated_gradients;
mod lrp;
mod runner;
mod saliency;
mod smooth_grad;

pub use deep_lift::DeepLift;
pub use gradient_times_input::GradientTimesInput;
pub use guided_backprop::GuidedBackprop;
pub use integrated_gradients::{Baseline, IntegratedGradients, Quadrature};
pub use lrp::{Composite, FirstLayer, Lrp};
pub use saliency::Saliency;
pub use smooth_grad::{SmoothGrad, SmoothGradForm};

use fame_core::{
    Model, Result, Tensor,
    contract::{RelevanceRules, ReluRule},
    data::{Facts, InputConvention, facts},
    registry::Assembly,
    text::Spec,
};

use super::finish::specs;
use crate::maps::Reduce;

/// Where gradients are wanted, and what becomes of them.
trait Gradients: Send + Sync {
    /// What is worked out once for each row.
    type Plan;

    /// How channels become one when the recipe does not say.
    const CHANNELS: Reduce;

    /// The map steps when the recipe names none: absolute values, one channel, maximum 1.
    fn map_steps(reduce: Reduce) -> Vec<Spec> {
        specs(&["Abs()", &format!("Channels(reduce: {reduce:?})"), "MaxNormalize()"])
    }

    /// Checks the method's own parameters.
    fn check(&self, _: &mut Assembly) {}

    /// How many gradients a map takes; at least 1.
    fn points(&self) -> usize {
        1
    }

    /// How gradients pass a ReLU.
    fn relu(&self) -> ReluRule {
        ReluRule::Standard
    }

    /// The rules of a method that takes relevance where others take gradients.
    fn relevance(&self, _: &InputConvention) -> Option<RelevanceRules> {
        None
    }

    /// Whether it takes multipliers where others take gradients: its two points are then the
    /// picture and the reference that it is compared with.
    fn compares(&self) -> bool {
        false
    }

    /// The way out where attributions do not add up.
    fn mend(&self) -> &'static str {
        "take more steps, or a loss with live norms"
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

impl Ended {
    /// Each value's way from `baseline` times its sum, which add up to what y differs by between
    /// the picture and the baseline: the first two points.
    fn from_baseline(baseline: &[f32], sums: &Sums, at: &At<'_>) -> Self {
        /// Below it a difference counts as none.
        const LEAST: f64 = 1e-12;
        let way = at.input.data().iter().zip(baseline).map(|(x, b)| f64::from(*x) - f64::from(*b));
        let attribution: Vec<f64> = way.zip(&sums.first).map(|(d, sum)| d * sum).collect();
        let difference = f64::from(sums.values[0]) - f64::from(sums.values[1]);
        let delta = attribution.iter().sum::<f64>() - difference;
        let share = delta.abs() / difference.abs().max(LEAST);
        Self {
            attribution: attribution.iter().map(|a| *a as f32).collect(),
            completeness: Some(Completeness { delta, share }),
            facts: facts([("value_at_baseline", sums.values[1].into())]),
        }
    }
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
    /// What relevance is shared out of: the target layers' values times their cotangents, summed.
    /// 0 for gradients.
    shared_out: f64,
    /// One sum for each input value.
    first: Vec<f64>,
    /// Another, for methods that need two; empty until then.
    second: Vec<f64>,
}

/// Declares a gradient method: its own parameters, then those that all of them share. The method's
/// doc comment says what the attribution's sign means. A method whose [`Gradients::map_steps`] are
/// its own says so in docs of `channels` and `map` behind its parameters.
///
/// A macro, because RON cannot flatten one struct into another, and every recipe shall read the
/// same.
macro_rules! by_gradient {
    (
        $(#[$doc:meta])*
        $name:ident { $($own:tt)* }
        summary: $summary:literal,
        claim: $claim:literal,
        example: $example:literal,
        reference: $reference:literal $(,)?
    ) => {
        $crate::explainers::gradient::by_gradient! {
            $(#[$doc])*
            $name { $($own)* }
            /// How the default `map` makes one channel of three: `Max`, `Mean` or `Sum` of
            /// absolute values.
            channels,
            /// Steps from the attribution to the map. Default:
            /// `[Abs(), Channels(…), MaxNormalize()]`.
            map,
            summary: $summary,
            claim: $claim,
            example: $example,
            reference: $reference,
        }
    };
    (
        $(#[$doc:meta])*
        $name:ident { $($own:tt)* }
        $(#[$channels:meta])*
        channels,
        $(#[$map:meta])*
        map,
        summary: $summary:literal,
        claim: $claim:literal,
        example: $example:literal,
        reference: $reference:literal $(,)?
    ) => {
        fame_core::parameters! {
            $(#[$doc])*
            ///
            /// y is the loss's value as it is. The attribution before the map steps is `[C, H, W]`,
            /// in the model's channels.
            pub struct $name {
                $($own)*
                /// What to explain: any loss; y is its value. Default: what the model's manifest
                /// asks for, else `Logit()`.
                loss: fame_core::text::Spec = open,
                /// The layer the loss reads. Default: the one in the model's manifest, else its
                /// `Output`.
                layer: fame_core::LayerChoices = open,
                $(#[$channels])*
                channels: $crate::maps::Reduce = hint,
                $(#[$map])*
                map: Vec<fame_core::text::Spec> = open,
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
                assembly: &mut fame_core::registry::Assembly,
            ) -> Option<Self> {
                use $crate::{ask, explainers::gradient::Gradients};
                if typed.map.is_some() {
                    assembly.check(
                        "channels",
                        typed.channels.is_none(),
                        "belongs to the default `map`; in a map of your own write Channels(reduce: …)",
                    );
                }
                let reduce = typed.channels.unwrap_or(<Self as Gradients>::CHANNELS);
                let map = <Self as Gradients>::map_steps(reduce);
                Some(typed.or(ask::usual_loss(with), ask::usual_layer(with), map))
            }
        }

        impl fame_core::registry::Plugin<dyn fame_core::contract::Explainer> for $name {
            const NAME: &'static str = stringify!($name);
            const SUMMARY: &'static str = $summary;
            const CLAIM: &'static str = $claim;
            const EXAMPLE: &'static str = $example;
            const REFERENCE: &'static str = $reference;

            fn resolve(
                &mut self,
                _: &fame_core::registry::BuildContext<'_>,
                assembly: &mut fame_core::registry::Assembly,
            ) {
                $crate::explainers::aimed::check_roles(self.roles.as_deref(), assembly);
                $crate::explainers::gradient::Gradients::check(self, assembly);
            }

            fn build(
                self,
                with: &fame_core::registry::BuildContext<'_>,
                assembly: &mut fame_core::registry::Assembly,
            ) -> Option<Box<dyn fame_core::contract::Explainer>> {
                use $crate::explainers::{aimed, finish::Finish, gradient::runner::AtPoints};
                let Self { loss, layer, map, roles, .. } = &self;
                let (at, roles) = (layer.clone(), roles.clone());
                let scalar = aimed::Scalar::build(loss, at, roles, with, assembly);
                let finish = Finish::build(assembly, map, with);
                let method = AtPoints(self);
                Some(Box::new(aimed::AimedExplainer { scalar: scalar?, method, finish }))
            }
        }

        fame_core::register!(Explainer: $name);
    };
}
use by_gradient;

#[cfg(test)]
mod testing {
    //! Runs a method on a function given by its value and gradient.

    use fame_core::{contract::Explainer, data::ChannelOrder, registry::Plugin, testkit};

    use super::*;

    /// A method with its own defaults.
    pub(super) fn usual<P: Plugin<dyn Explainer>>() -> P {
        testkit::parameters("()").unwrap()
    }

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
        let mut sums =
            Sums { values: vec![], shared_out: 0.0, first: vec![0.0; x.len()], second: vec![] };
        for k in 0..method.points() {
            let (value, gradient) = f(method.point(&plan, k, &at).data());
            sums.values.push(value);
            method.add(&plan, k, &gradient, &mut sums);
        }
        method.end(&plan, &sums, &at)
    }
}
