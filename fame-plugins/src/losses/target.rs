//! `Target`: LOTS itself, towards any vector at any layer.

use fame_core::{
    Claim, Error, Result, Target as Row, TargetRequest, Tensor,
    contract::{Evaluation, Loss, Reference, per_row},
    data::facts,
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which vector to walk towards.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
pub enum Towards {
    /// The clean output of the sample's other picture: a face walks towards another face.
    #[default]
    OtherRole,
    /// Zero: switch the layer off.
    Zero,
    /// These values, row-major, as many as the layer has.
    Values(Vec<f32>),
}

/// Descends ½‖f − t‖², the distance of a layer's output to a target vector (LOTS, Rozsa, Günther &
/// Boult 2017). The value is ≥ 0. Works at any layer; with `OtherRole` at the embedding it makes
/// one face look like the other to the network.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Target {
    /// `OtherRole`, `Zero` or `Values([…])`.
    pub towards: Towards,
}

impl Plugin<dyn Loss> for Target {
    const NAME: &'static str = "Target";
    const SUMMARY: &'static str = "Half the squared distance to a target vector at any layer: LOTS";
    const EXAMPLE: &'static str = "Target(towards: OtherRole)";
    const REFERENCE: &'static str = "Rozsa, Günther & Boult, LOTS, IJCB 2017, arXiv 1611.06179";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        if let Towards::Values(v) = &self.towards {
            assembly.check(
                "towards",
                !v.is_empty() && v.iter().all(|x| x.is_finite()),
                "must have finite values",
            );
        }
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Loss>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Loss: Target);

impl Loss for Target {
    fn reference(&self) -> Reference {
        if self.towards == Towards::OtherRole { Reference::OtherRole } else { Reference::None }
    }

    fn targets(&self, about: &TargetRequest<'_>) -> Result<Vec<Row>> {
        let n = about.clean.first().map_or(0, Tensor::len);
        let values = match &self.towards {
            Towards::Zero => vec![0.0; n],
            Towards::Values(v) => v.clone(),
            Towards::OtherRole => {
                about.reference.first().map(|r| r.data().to_vec()).unwrap_or_default()
            }
        };
        if values.len() != n {
            let message = format!(
                "the target has {} values, but layer `{}` has {n}.",
                values.len(),
                about.layers.join("`, `")
            );
            return Err(Error::new("fame::loss::target_length", message));
        }
        let distance: f64 =
            about.clean[0].data().iter().zip(&values).map(|(a, t)| f64::from(a - t).powi(2)).sum();
        Ok(vec![Row {
            claim: Claim::Neither,
            values,
            facts: facts([("distance_before", distance.sqrt().into())]),
            ..Row::default()
        }])
    }

    fn evaluate(&self, outputs: &[Tensor], targets: &[&Row]) -> Result<Evaluation> {
        per_row(outputs, targets, |f, target, gradient| {
            let mut value = 0.0f64;
            for ((x, t), g) in f[0].iter().zip(&target.values).zip(gradient[0].iter_mut()) {
                *g = x - t;
                value += f64::from(*g).powi(2) / 2.0;
            }
            Ok(value as f32)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_the_difference() {
        let target = Row { values: vec![1.0, 2.0], ..Row::default() };
        let e = Target::default()
            .evaluate(&[Tensor::new([1, 2], vec![4.0, 6.0]).unwrap()], &[&target])
            .unwrap();
        assert_eq!((e.values[0], e.cotangents[0].data()), (12.5, &[3.0, 4.0][..]));
    }
}
