//! A walk down the gradient: what `Lots`, `Sign` and `L2` share. They differ only in how a gradient
//! becomes a move, which is one formula: they are plain walks, which a backend can move on its
//! device.

use fame_core::{
    Result,
    contract::{PlainStep, Start, StepRule, Walk, plain_walk},
    data::InputConvention,
    registry::{Assembly, BuildContext},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stop::{StopRule, Watch};
use crate::{Preset, ask::compares_pictures};

/// The space a step of a given size is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Space {
    /// Pixels in 0..=1: 1/255 is one gray level.
    Pixel,
    /// The network's normalised input, (pixel − mean) / std: 1/255 is std/255 in pixels.
    Normalised,
}

/// Whether the picture may leave 0..=1 (in pixels) as it walks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Clamp {
    /// It may: neither the paper nor the authors' code clamps.
    #[default]
    Off,
    /// It may not: every step is cut to valid pixels, as in the original LOTS.
    Pixels,
}

/// The early stop of the authors' code, which it makes where pictures are compared.
const AUTHORS_STOP: StopRule = StopRule::LossBelow(0.01);

/// Step space and stop rules where the recipe does not say: pixels and none, and under the preset
/// Authors what their two programs do, one for pairs and one for classifiers.
pub(super) fn usual(with: &BuildContext<'_>) -> (Space, Vec<StopRule>) {
    match Preset::of(with) {
        Preset::Paper | Preset::Fast => (Space::Pixel, Vec::new()),
        Preset::Authors if compares_pictures(with) => (Space::Pixel, vec![AUTHORS_STOP]),
        Preset::Authors => (Space::Normalised, Vec::new()),
    }
}

/// The paper's number of steps.
const ITERATIONS: usize = 500;

/// Step size and number of steps where the recipe leaves one or both out: the paper's. Under the
/// preset Fast, for a model that compares two pictures, a walk of which the recipe says neither is
/// the `fast` one, if there is one: half of the two numbers says nothing without the other.
pub(super) fn usual_length(
    with: &BuildContext<'_>,
    step: Option<f32>,
    iterations: Option<usize>,
    paper: f32,
    fast: Option<(f32, usize)>,
) -> (f32, usize) {
    match (Preset::of(with), step, iterations, fast) {
        (Preset::Fast, None, None, Some(fast)) if compares_pictures(with) => fast,
        _ => (step.unwrap_or(paper), iterations.unwrap_or(ITERATIONS)),
    }
}

/// Checks the numbers that all descents share.
pub(super) fn check(assembly: &mut Assembly, step: f32, iterations: usize, stop: &[StopRule]) {
    assembly.check("step", step.is_finite() && step > 0.0, "must be a number above 0");
    for fault in stop.iter().filter_map(StopRule::fault) {
        assembly.report("stop", format!("a stop rule {fault}."));
    }
    assembly.check("iterations", iterations > 0, "must be at least 1");
}

/// Declares a descent: its step size, its step size and number of steps under the preset Fast if
/// they are others, then the parameters that all of them share, and how a
/// gradient becomes a move.
///
/// A macro, because RON cannot flatten one struct into another, and every recipe shall read the
/// same.
macro_rules! descent {
    (
        $(#[$doc:meta])*
        $name:ident { $(#[$about:meta])* step: $step:expr, fast: $fast:expr $(,)? }
        rule: $rule:ident,
        summary: $summary:literal,
        example: $example:literal,
        reference: $reference:literal $(,)?
    ) => {
        fame_core::parameters! {
            $(#[$doc])*
            pub struct $name {
                $(#[$about])*
                step: f32 = open,
                /// The most steps to take. Default: 500 (of `Lots` under preset Fast: see `step`).
                iterations: usize = open,
                /// `Pixel` or `Normalised`. Default: `Pixel`; under preset Authors `Normalised`,
                /// except for models that compare two pictures and for cells of feature maps.
                space: $crate::perturbations::Space = open,
                /// `Off`, or `Pixels` to keep the picture in 0..=1.
                clamp: $crate::perturbations::Clamp = $crate::perturbations::Clamp::Off,
                /// Reasons to end early. Default: none; under preset Authors, for models that
                /// compare two pictures, `[LossBelow(0.01)]`, but not for cells of feature maps.
                stop: Vec<$crate::perturbations::StopRule> = open,
            }
        }

        impl fame_core::registry::Parameters for $name {
            type Typed = typed::$name;

            fn fill(
                typed: typed::$name,
                with: &fame_core::registry::BuildContext<'_>,
                _: &mut fame_core::registry::Assembly,
            ) -> Option<Self> {
                let (space, stop) = $crate::perturbations::descent::usual(with);
                let (step, iterations) = $crate::perturbations::descent::usual_length(
                    with, typed.step, typed.iterations, $step, $fast,
                );
                Some(typed.or(step, iterations, space, stop))
            }
        }

        impl fame_core::registry::Plugin<dyn fame_core::contract::Perturbation> for $name {
            const NAME: &'static str = stringify!($name);
            const SUMMARY: &'static str = $summary;
            const EXAMPLE: &'static str = $example;
            const REFERENCE: &'static str = $reference;
            const PRESETS: &'static [&'static str] = $crate::Preset::NAMES;

            fn resolve(
                &mut self,
                _: &fame_core::registry::BuildContext<'_>,
                assembly: &mut fame_core::registry::Assembly,
            ) {
                let Self { step, iterations, stop, .. } = self;
                $crate::perturbations::descent::check(assembly, *step, *iterations, stop);
            }

            fn build(
                self,
                _: &fame_core::registry::BuildContext<'_>,
                _: &mut fame_core::registry::Assembly,
            ) -> Option<Box<dyn fame_core::contract::Perturbation>> {
                Some(Box::new(self))
            }
        }

        fame_core::register!(Perturbation: $name);

        impl fame_core::contract::Perturbation for $name {
            fn start(
                &self,
                from: &fame_core::contract::Start<'_>,
            ) -> fame_core::Result<Box<dyn fame_core::contract::Walk>> {
                let rule = fame_core::contract::StepRule::$rule;
                $crate::perturbations::descent::begin(
                    from, (rule, self.step), self.space, self.clamp, &self.stop,
                )
            }

            fn max_steps(&self) -> usize {
                self.iterations
            }
        }
    };
}
pub(super) use descent;

/// Begins a walk that steps against the gradient, in `space`.
pub(super) fn begin(
    from: &Start<'_>,
    (rule, size): (StepRule, f32),
    space: Space,
    clamp: Clamp,
    stop: &[StopRule],
) -> Result<Box<dyn Walk>> {
    let InputConvention { mean, std, .. } = from.convention;
    let mut place = from.pixels.clone();
    let pixels = |mean: &f32, std: &f32| match space {
        Space::Pixel => [0.0, 1.0],
        Space::Normalised => [-mean / std, (1.0 - mean) / std],
    };
    let bounds = match clamp {
        Clamp::Off => None,
        Clamp::Pixels => Some(mean.iter().zip(std).map(|(mean, std)| pixels(mean, std)).collect()),
    };
    let (mean, std) = match space {
        Space::Pixel => (mean.clone(), std.clone()),
        Space::Normalised => {
            from.convention.normalise(&mut place)?;
            (vec![0.0; mean.len()], vec![1.0; std.len()])
        }
    };
    let mut watch = Watch::new(stop.to_vec());
    let step = PlainStep { rule, size, mean, std, bounds };
    plain_walk(place, step, move |loss| watch.observe(loss))
}

#[cfg(test)]
pub(super) mod tests {
    use fame_core::{
        Tensor, contract::Perturbation, data::ChannelOrder, registry::Registry, store::Ask,
        text::Spec,
    };

    use super::*;

    pub(crate) fn convention() -> InputConvention {
        InputConvention {
            channels: 3,
            height: 1,
            width: 2,
            order: ChannelOrder::Rgb,
            mean: vec![0.5, 0.4, 0.3],
            std: vec![0.25, 0.5, 1.0],
        }
    }

    pub(crate) fn pixels() -> Tensor {
        Tensor::new([3, 1, 2], vec![0.1, 0.9, 0.5, 0.5, 0.2, 0.7]).unwrap()
    }

    pub(crate) fn gradient() -> Tensor {
        Tensor::new([3, 1, 2], vec![1.0, -2.0, 0.0, 0.5, 3.0, -0.25]).unwrap()
    }

    /// Starts `p`, takes one step along [`gradient`], and returns the field.
    pub(crate) fn one_step(p: &dyn Perturbation) -> Tensor {
        let (pixels, convention) = (pixels(), convention());
        let mut walk =
            p.start(&Start { pixels: &pixels, convention: &convention, seed: 0 }).unwrap();
        assert_eq!(walk.step(&gradient()).unwrap(), None);
        walk.field().unwrap()
    }
    /// Space and stop rules of the preset `preset` for a model whose manifest asks for `loss`.
    fn usual_of(preset: &str, loss: Option<&str>, former_task: Option<&str>) -> (Space, usize) {
        let registry = Registry::builtin().unwrap();
        let ask = Ask {
            loss: loss.map(|text| Spec::from_text(text).unwrap()),
            former_task: former_task.map(str::to_owned),
            ..Ask::default()
        };
        let with = BuildContext {
            preset,
            ask: &ask,
            ..BuildContext::new(&registry, std::path::Path::new("."))
        };
        let (space, stop) = usual(&with);
        (space, stop.len())
    }

    #[test]
    fn the_authors_two_programs_are_told_apart_by_what_the_manifest_asks() {
        let (pair, classifier) = ((Space::Pixel, 1), (Space::Normalised, 0));
        assert_eq!(usual_of("Authors", Some("Similarity()"), None), pair);
        assert_eq!(usual_of("Authors", Some("Dissimilarity()"), None), pair);
        assert_eq!(usual_of("Authors", Some("Logit()"), None), classifier);
        assert_eq!(usual_of("Authors", None, None), classifier);
        // Manifests of an older form say a task instead.
        assert_eq!(usual_of("Authors", None, Some("FaceRecognition")), pair);
        assert_eq!(usual_of("Authors", None, Some("Classification")), classifier);
        assert_eq!(usual_of("Paper", Some("Similarity()"), None), (Space::Pixel, 0));
        assert_eq!(usual_of("Fast", Some("Similarity()"), None), (Space::Pixel, 0));
        assert_eq!(usual_of("", Some("Similarity()"), None), (Space::Pixel, 0));
    }

    #[test]
    fn a_walk_is_short_under_fast_where_the_recipe_says_nothing_of_its_length() {
        let registry = Registry::builtin().unwrap();
        let asked = |loss, preset, step, iterations| {
            let ask = Ask { loss: Some(Spec::from_text(loss).unwrap()), ..Ask::default() };
            let with = BuildContext {
                preset,
                ask: &ask,
                ..BuildContext::new(&registry, std::path::Path::new("."))
            };
            usual_length(&with, step, iterations, 0.25, Some((4.0, 16)))
        };
        let of = |preset, step, iterations| asked("Similarity()", preset, step, iterations);
        assert_eq!(asked("Logit()", "Fast", None, None), (0.25, ITERATIONS));
        assert_eq!(of("Fast", None, None), (4.0, 16));
        assert_eq!(of("Fast", None, Some(100)), (0.25, 100));
        assert_eq!(of("Fast", Some(1.0), None), (1.0, ITERATIONS));
        assert_eq!(of("Paper", None, None), (0.25, ITERATIONS));
        assert_eq!(of("Authors", None, Some(7)), (0.25, 7));
    }
}
