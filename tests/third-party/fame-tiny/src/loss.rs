use fame_core::contract::{Evaluation, Loss, per_row};
use fame_core::registry::{Assembly, BuildContext, Plugin};
use fame_core::{Error, Result, Target, TargetRequest, Tensor};

/// Descends z_this − z_that: which pixels speak for one class rather than for another?
#[derive(serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rather {
    /// The class spoken for, and the one it is told apart from; counted from 0.
    pub classes: (usize, usize),
}
impl Plugin<dyn Loss> for Rather {
    const NAME: &'static str = "Rather";
    const SUMMARY: &'static str = "One class score minus another, descended";
    const EXAMPLE: &'static str = "Rather(classes: (281, 282))";
    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Loss>> {
        Some(Box::new(self))
    }
}
fame_core::register!(Loss: Rather);

impl Loss for Rather {
    fn targets(&self, about: &TargetRequest<'_>) -> Result<Vec<Target>> {
        let (this, that) = self.classes;
        match about.clean[0].len() {
            n if this < n && that < n => Ok(vec![Target::unnamed()]),
            n => {
                Err(Error::new("rather::class", format!("there are {n} classes, counted from 0.")))
            }
        }
    }
    fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation> {
        per_row(outputs, targets, |scores, _, cotangents| {
            let (this, that) = self.classes;
            cotangents[0][this] += 1.0;
            cotangents[0][that] -= 1.0;
            Ok(scores[0][this] - scores[0][that])
        })
    }
}
