//! The embeddings of a pair: directions, products, and derivatives through the normalisation.

use fame_core::{
    Claim, Error, GradientPlace, LayerChoice, LayerChoices, MapId, Model, Result, Sample, Subject,
    Tensor, ask::Aim, data::Value, registry::Assembly,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::losses::{Target, Towards};

/// Which embedding is differentiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Through {
    /// The embedding scaled to length 1, φ̂ = φ/‖φ‖, as the authors' code does.
    #[default]
    Unit,
    /// The embedding as the network gives it, φ.
    Raw,
}

/// Below this length a vector has no direction in single precision.
const NO_DIRECTION: f64 = 1e-12;

/// The layer face explainers read unless the recipe names another.
pub(super) fn embedding_layer() -> LayerChoice {
    LayerChoice::Named("embedding".into())
}

/// Checks that the similarity from which a pair counts as one person can be a cosine.
pub(super) fn check_threshold(threshold: f32, assembly: &mut Assembly) {
    let cosine = (-1.0..=1.0).contains(&threshold);
    assembly.check("threshold", cosine, "must be a cosine, -1 to 1");
}

/// One picture of a pair and the other one's embedding.
pub(super) struct Side {
    /// The picture's map of what speaks for the match.
    pub(super) id: MapId,
    /// φ of the other picture, as the network gives it.
    pub(super) other: Vec<f32>,
}

/// A pair at its embedding.
pub(super) struct Chosen {
    /// The embedding's name.
    pub(super) layer: String,
    /// Its name, operator and shape, for the record.
    pub(super) layer_facts: Value,
    /// Every role that is to be explained.
    pub(super) sides: Vec<Side>,
}

/// The chosen sides of a pair: every role of `roles`, or both.
pub(super) fn sides(
    model: &Model,
    layer: &LayerChoice,
    sample: &Sample,
    roles: Option<&[String]>,
) -> Result<Chosen> {
    // The target of walking towards the other picture is its clean embedding: exactly what is
    // wanted here.
    let loss = Target { towards: Towards::OtherRole };
    let aim = Aim::new(model, &LayerChoices(vec![layer.clone()]), &loss)?;
    let rows = aim.rows(sample, roles)?;
    let side = |row: fame_core::ask::AimedRow| Side {
        id: row.id.about(Subject::Match).claiming(Claim::For),
        other: row.target.values,
    };
    let sides = rows.into_iter().map(side).collect();
    let layer_facts = aim.layer_facts();
    let layer =
        aim.layers.into_iter().next().ok_or_else(|| Error::bug("an aim without layers."))?;
    Ok(Chosen { layer, layer_facts, sides })
}

/// The network's input of the picture in `role`, `[C, H, W]`.
pub(super) fn picture_input(model: &Model, sample: &Sample, role: &str) -> Result<Tensor> {
    let picture = sample
        .picture(role)
        .ok_or_else(|| Error::bug(format!("sample `{}` has no role `{role}`.", sample.id)))?;
    model.manifest.input.to_input(&picture.pixels)
}

/// Refuses a model whose embedding cannot be pulled back to the pixels.
pub(super) fn check(model: &Model, layer: &LayerChoice) -> Result<()> {
    model.network.check_gradient(&model.layer(layer)?.name, &GradientPlace::Input)
}

/// φ̂ and ‖φ‖, in double precision.
///
/// # Errors
/// When φ is zero or not finite: then it has no direction.
pub(super) fn unit(phi: &[f32]) -> Result<(Vec<f64>, f64)> {
    let length = phi.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    if !length.is_finite() || length < NO_DIRECTION {
        return Err(Error::new(
            "fame::loss::no_direction",
            "an embedding is zero or not finite, so no similarity to it is defined.",
        ));
    }
    Ok((phi.iter().map(|v| f64::from(*v) / length).collect(), length))
}

/// What each dimension adds to the cosine similarity: v_k = φ̂_k · φ̂_other,k. They sum to s.
pub(super) fn contributions(unit: &[f64], other: &[f64]) -> Result<Vec<f64>> {
    if unit.len() != other.len() {
        return Err(Error::bug(format!(
            "embeddings of {} and {} values cannot be compared.",
            unit.len(),
            other.len()
        )));
    }
    Ok(unit.iter().zip(other).map(|(a, b)| a * b).collect())
}

/// Turns the derivative of a scalar by φ̂ into its derivative by φ: (c − (c·φ̂)·φ̂) / ‖φ‖; leaves
/// it alone for [`Through::Raw`].
pub(super) fn through(by: Through, cotangent: &mut [f64], unit: &[f64], length: f64) {
    if by == Through::Raw {
        return;
    }
    let along: f64 = cotangent.iter().zip(unit).map(|(c, u)| c * u).sum();
    cotangent.iter_mut().zip(unit).for_each(|(c, u)| *c = (*c - along * u) / length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contributions_sum_to_the_cosine() {
        let (a, b) = ([3.0f32, 4.0, 0.0], [0.0f32, 2.0, 0.0]);
        let v = contributions(&unit(&a).unwrap().0, &unit(&b).unwrap().0).unwrap();
        assert!((v.iter().sum::<f64>() - 0.8).abs() < 1e-12);
        assert!(
            unit(&[0.0, 0.0]).is_err()
                && unit(&[f32::NAN]).is_err()
                && contributions(&[1.0], &[1.0, 0.0]).is_err()
        );
    }

    #[test]
    fn the_derivative_through_the_length_is_the_true_one() {
        let phi = [0.3f32, -1.2, 2.0];
        let (u, length) = unit(&phi).unwrap();
        let weights = [1.0, 0.5, -2.0];
        let mut c = weights.to_vec();
        through(Through::Unit, &mut c, &u, length);
        let value = |p: &[f64]| {
            let n = p.iter().map(|v| v * v).sum::<f64>().sqrt();
            p.iter().zip(&weights).map(|(v, w)| v / n * w).sum::<f64>()
        };
        for i in 0..3 {
            let h = 1e-6;
            let (mut up, mut down) = (phi.map(f64::from), phi.map(f64::from));
            up[i] += h;
            down[i] -= h;
            // Central differences of a smooth function of size 1: h² and rounding / h are both
            // below.
            assert!(((value(&up) - value(&down)) / (2.0 * h) - c[i]).abs() < 1e-8);
        }
    }
}
