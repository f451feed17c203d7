//! Cosine similarity and its derivative: what `Similarity` and `Dissimilarity` share.

use fame_core::{
    Claim, Error, Result, Subject, Target, TargetRequest, Tensor,
    contract::{Evaluation, per_row},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::VectorFile;
use crate::Preset;

/// Whether the embedding's length takes part in the derivative of the cosine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Norms {
    /// Lengths are constants, as the paper says ("we do not compute gradients for the
    /// denominators"): ds/dφ = φ_ref / (‖φ‖·‖φ_ref‖).
    Frozen,
    /// The true derivative, as the authors' code computes when it walks: ds/dφ = (φ̂_ref − s·φ̂) /
    /// ‖φ‖. Their CAMs freeze the lengths.
    Live,
}

impl Norms {
    /// What `preset` stands for where the loss is descended.
    pub(super) fn of(preset: Preset) -> Self {
        match preset {
            Preset::Paper | Preset::Fast => Norms::Frozen,
            Preset::Authors => Norms::Live,
        }
    }
}

/// Declares a loss that is a function of the cosine s: what descending it claims, its value, and
/// the value's slope with respect to s.
macro_rules! cosine {
    (
        $(#[$doc:meta])*
        $name:ident
        claim: $claim:ident,
        value: $value:expr,
        slope: $slope:expr,
        summary: $summary:literal,
        example: $example:literal $(,)?
    ) => {
        fame_core::parameters! {
            $(#[$doc])*
            pub struct $name {
                /// Whether the embedding's length takes part in the derivative. Default: `Frozen`;
                /// under preset Authors `Live` where a walk descends the loss, as in `Fame`, and
                /// `Frozen` where a method explains its value, as CAMs do.
                norms: $crate::losses::Norms = open,
                /// An embedding in a `.npy` file to compare with, such as that of a text or a mean
                /// of several faces. Left out: the embedding of the sample's other picture.
                to: Option<$crate::losses::VectorFile> = None,
            }
        }

        impl fame_core::registry::Parameters for $name {
            type Typed = typed::$name;

            fn fill(
                typed: typed::$name,
                with: &fame_core::registry::BuildContext<'_>,
                _: &mut fame_core::registry::Assembly,
            ) -> Option<Self> {
                Some(typed.or($crate::losses::Norms::of($crate::Preset::of(with))))
            }
        }

        impl fame_core::registry::Plugin<dyn fame_core::contract::Loss> for $name {
            const NAME: &'static str = stringify!($name);
            const SUMMARY: &'static str = $summary;
            const EXAMPLE: &'static str = $example;
            const REFERENCE: &'static str = "Zhang & Günther, FAME (2026), Eq. 6";
            const PRESETS: &'static [&'static str] = $crate::Preset::NAMES;

            fn resolve(
                &mut self,
                with: &fame_core::registry::BuildContext<'_>,
                assembly: &mut fame_core::registry::Assembly,
            ) {
                if let Some(Err(error)) = self.to.as_mut().map(|file| file.read(with.folder)) {
                    assembly.check("to", false, error.message.trim_end_matches('.'));
                }
            }

            fn build(
                self,
                _: &fame_core::registry::BuildContext<'_>,
                _: &mut fame_core::registry::Assembly,
            ) -> Option<Box<dyn fame_core::contract::Loss>> {
                Some(Box::new(self))
            }
        }

        fame_core::register!(Loss: $name);

        impl fame_core::contract::Loss for $name {
            fn reference(&self) -> fame_core::contract::Reference {
                match self.to {
                    Some(_) => fame_core::contract::Reference::None,
                    None => fame_core::contract::Reference::OtherRole,
                }
            }

            fn targets(
                &self,
                about: &fame_core::TargetRequest<'_>,
            ) -> fame_core::Result<Vec<fame_core::Target>> {
                let claim = fame_core::Claim::$claim;
                match &self.to {
                    Some(file) => $crate::losses::cosine::file_target(about, file, claim),
                    None => $crate::losses::cosine::reference_target(about, claim),
                }
            }

            fn evaluate(
                &self,
                outputs: &[fame_core::Tensor],
                targets: &[&fame_core::Target],
            ) -> fame_core::Result<fame_core::contract::Evaluation> {
                let value: fn(f32) -> f32 = $value;
                $crate::losses::cosine::evaluate(outputs, targets, self.norms, value, $slope)
            }
        }
    };
}
pub(super) use cosine;

/// `value(s)` of every row and its derivative, `slope` times that of s.
pub(super) fn evaluate(
    outputs: &[Tensor],
    targets: &[&Target],
    norms: Norms,
    value: fn(f32) -> f32,
    slope: f64,
) -> Result<Evaluation> {
    per_row(outputs, targets, |phi, target, gradient| {
        similarity_and_gradient(phi[0], &target.values, norms, slope, gradient[0]).map(value)
    })
}

/// Below this length a vector has no direction in single precision.
const NO_DIRECTION: f64 = 1e-12;

/// Length in double precision: 512 squares of single-precision numbers lose digits otherwise.
fn length(v: &[f32]) -> f64 {
    v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

/// Whether a vector has no direction.
pub(super) fn length_is_zero(v: &[f32]) -> bool {
    length(v) < NO_DIRECTION
}

/// The frozen reference as the only target. Descending the loss shows what makes the two match
/// ([`Claim::For`]), or what tells them apart ([`Claim::Against`]).
pub(super) fn reference_target(about: &TargetRequest<'_>, claim: Claim) -> Result<Vec<Target>> {
    let [reference] = about.reference else {
        return Err(one_layer(about));
    };
    if length_is_zero(reference.data()) {
        return Err(no_direction());
    }
    let other = about.sample.other_role(about.role)?;
    let s = similarity(about.clean[0].data(), reference.data())?;
    let facts =
        fame_core::data::facts([("reference_role", other.into()), ("similarity_before", s.into())]);
    Ok(vec![Target {
        subject: Subject::Match,
        claim,
        values: reference.data().to_vec(),
        frame: None,
        annotations: Vec::new(),
        facts,
    }])
}

/// The embedding in `file` as the only target.
pub(super) fn file_target(
    about: &TargetRequest<'_>,
    file: &VectorFile,
    claim: Claim,
) -> Result<Vec<Target>> {
    let (clean, values) = (about.clean, file.values());
    let [embedding] = clean else { return Err(one_layer(about)) };
    if embedding.len() != values.len() {
        let text = format!(
            "`{}` holds {} numbers, but layer `{}` has {}.",
            file.name(),
            values.len(),
            about.layers.join("`, `"),
            embedding.len()
        );
        return Err(Error::new("fame::loss::target_length", text)
            .with_help("An embedding can be compared with one of the same network only."));
    }
    if length_is_zero(values) {
        return Err(no_direction());
    }
    let s = similarity(embedding.data(), values)?;
    let facts = fame_core::data::facts([
        ("reference_file", file.name().into()),
        ("similarity_before", s.into()),
    ]);
    Ok(vec![Target {
        subject: Subject::Match,
        claim,
        values: values.to_vec(),
        facts,
        ..Target::default()
    }])
}

pub(super) fn one_layer(about: &TargetRequest<'_>) -> Error {
    Error::new(
        "fame::loss::one_layer",
        format!(
            "face similarity needs one target layer, the embedding, but the recipe names {}.",
            about.layers.len()
        ),
    )
}

fn no_direction() -> Error {
    Error::new(
        "fame::loss::no_direction",
        "the reference embedding is zero, so no similarity to it is defined.",
    )
}

/// cos(φ, reference), −1..=1.
pub(super) fn similarity(phi: &[f32], reference: &[f32]) -> Result<f32> {
    let (p, r) = (length(phi), length(reference));
    if phi.len() != reference.len() {
        return Err(Error::bug(format!(
            "embeddings of {} and {} values cannot be compared.",
            phi.len(),
            reference.len()
        )));
    }
    let dot: f64 = phi.iter().zip(reference).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    Ok((dot / (p * r).max(NO_DIRECTION)) as f32)
}

/// cos(φ, reference), and `scale` times its derivative with respect to φ.
pub(super) fn similarity_and_gradient(
    phi: &[f32],
    reference: &[f32],
    norms: Norms,
    scale: f64,
    gradient: &mut [f32],
) -> Result<f32> {
    let s = similarity(phi, reference)?;
    let (p, r) = (length(phi).max(NO_DIRECTION), length(reference).max(NO_DIRECTION));
    for ((g, a), b) in gradient.iter_mut().zip(phi).zip(reference) {
        let towards = f64::from(*b) / (p * r);
        let along = match norms {
            Norms::Frozen => 0.0,
            Norms::Live => f64::from(s) * f64::from(*a) / (p * p),
        };
        *g = (scale * (towards - along)) as f32;
    }
    Ok(s)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Central differences in f64 of a smooth function, rounded to f32 once: half a unit in the
    /// last place of values below 1, times some.
    const ROUNDING: f64 = 1e-6;

    fn cosine64(a: &[f64], b: &[f64]) -> f64 {
        let dot: f64 = a.iter().zip(b).map(|(x, y)| x * y).sum();
        let n = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        dot / (n(a) * n(b))
    }

    #[test]
    fn live_norms_give_the_true_derivative() {
        let (phi, reference) = ([0.3f32, -1.2, 2.0, 0.7], [1.0f32, 0.4, 0.9, -0.3]);
        let mut gradient = [0.0; 4];
        similarity_and_gradient(&phi, &reference, Norms::Live, 1.0, &mut gradient).unwrap();
        let (p, r) = (phi.map(f64::from), reference.map(f64::from));
        for i in 0..4 {
            let h = 1e-6;
            let (mut up, mut down) = (p, p);
            up[i] += h;
            down[i] -= h;
            let slope = (cosine64(&up, &r) - cosine64(&down, &r)) / (2.0 * h);
            assert!((slope - f64::from(gradient[i])).abs() < ROUNDING, "{slope} {}", gradient[i]);
        }
    }

    #[test]
    fn frozen_norms_point_at_the_reference() {
        let (phi, reference) = ([3.0f32, 4.0], [0.0f32, 2.0]);
        let mut gradient = [0.0; 2];
        let s =
            similarity_and_gradient(&phi, &reference, Norms::Frozen, -1.0, &mut gradient).unwrap();
        assert!((s - 0.8).abs() < 1e-6);
        assert_eq!(gradient, [0.0, -0.2]);
    }
}
