//! Guard of [`Loss`].

use std::collections::BTreeSet;

use super::{Guard, Guarded, Who, file_name, finite, shaped};
use crate::{
    Result, Target, TargetRequest, Tensor,
    contract::{Evaluation, Loss, Reference},
};

impl Guard for dyn Loss {
    fn guarded(who: Who, inner: Box<Self>) -> Result<Box<Self>> {
        let inner = Guarded::new(who, inner);
        let reference = inner.call("reference", Loss::reference)?;
        Ok(Box::new(GuardedLoss { inner, reference }))
    }
}

struct GuardedLoss {
    inner: Guarded<dyn Loss>,
    reference: Reference,
}

impl Loss for GuardedLoss {
    fn reference(&self) -> Reference {
        self.reference
    }

    fn targets(&self, about: &TargetRequest<'_>) -> Result<Vec<Target>> {
        let targets = self.inner.call("targets", |l| l.targets(about))??;
        check_targets(&targets).map_err(|what| self.inner.wrong("targets", what))?;
        Ok(targets)
    }

    fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation> {
        let evaluation = self.inner.call("evaluate", |l| l.evaluate(outputs, targets))??;
        check(&evaluation, outputs, targets.len())
            .map_err(|what| self.inner.wrong("evaluate", what))?;
        Ok(evaluation)
    }
}

/// A target's subject is a part of its map's name, and with the claim tells it from the others.
fn check_targets(targets: &[Target]) -> std::result::Result<(), String> {
    let mut seen = BTreeSet::new();
    for target in targets {
        let subject = target.subject.to_string();
        if !subject.is_empty() {
            file_name("a target", &subject)?;
        }
        if !seen.insert((&target.subject, target.claim)) {
            return Err(format!("two targets called `{subject}`"));
        }
    }
    Ok(())
}

fn check(
    evaluation: &Evaluation,
    outputs: &[Tensor],
    rows: usize,
) -> std::result::Result<(), String> {
    let Evaluation { values, cotangents } = evaluation;
    if values.len() != rows {
        return Err(format!("{} values for {rows} rows", values.len()));
    }
    if cotangents.len() != outputs.len() {
        return Err(format!("{} cotangents for {} target layers", cotangents.len(), outputs.len()));
    }
    cotangents.iter().zip(outputs).try_for_each(|(c, o)| shaped("a cotangent", c, o.shape()))?;
    // A network that gives NaN for a picture that walked too far is not the loss's fault, and ends
    // that row only.
    if !outputs.iter().all(Tensor::is_finite) {
        return Ok(());
    }
    if let Some(row) = values.iter().position(|v| !v.is_finite()) {
        return Err(format!(
            "the value {} for row {row}, though all outputs are finite",
            values[row]
        ));
    }
    cotangents.iter().try_for_each(|c| finite("a cotangent", c))
}
