//! `Finer`: one class against those that are nearly as likely.

use fame_core::{
    Claim, Error, Result, Subject, Target, TargetRequest, Tensor,
    ask::softmax,
    contract::{Evaluation, Loss, per_row},
    data::facts,
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::logit::{Class, argmax, one_vector};

/// Keeps the weights' sum from zero, as in pytorch-grad-cam.
const EPSILON: f64 = 1e-9;

/// Finer-CAM's target: Σ_i p_i·(z_o − α·z_i) / Σ_i p_i over the classes i whose clean scores are
/// nearest to that of class o, p their softmax probabilities. It is high for what tells the class from
/// its likes, and does not care for what all of them share: `GradCam(loss: Finer())` is Finer-CAM, and
/// every other method may be asked the same. The value is in logits, any number; the similar classes are
/// settled on the clean picture.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Finer {
    /// Which class o: `Predicted`, `Label`, `Index(n)`, `Other`, or a label of the manifest in quotes.
    pub class: Class,
    /// How much of the similar classes' scores is taken away, from 0: α.
    pub alpha: f32,
    /// How many similar classes there are, at least 1; all others, where there are fewer.
    pub similar: usize,
}

impl Default for Finer {
    fn default() -> Self {
        Self { class: Class::default(), alpha: 1.0, similar: 3 }
    }
}

impl Plugin<dyn Loss> for Finer {
    const NAME: &'static str = "Finer";
    const SUMMARY: &'static str =
        "A class logit less those of the most similar classes: Finer-CAM's target";
    const EXAMPLE: &'static str = "Finer(class: Index(281), alpha: 1.0, similar: 3)";
    const REFERENCE: &'static str =
        "Zhang et al., Finer-CAM, CVPR 2025, arXiv 2501.11309; pytorch-grad-cam 1.5.7";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("alpha", self.alpha.is_finite() && self.alpha >= 0.0, "must be 0 or above");
        assembly.check("similar", self.similar > 0, "must be at least 1");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Loss>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Loss: Finer);

impl Loss for Finer {
    fn targets(&self, about: &TargetRequest<'_>) -> Result<Vec<Target>> {
        let logits = one_vector(about)?;
        if logits.iter().any(|z| z.is_nan()) {
            return Err(Error::new("fame::loss::not_finite", "the clean logits are not finite."));
        }
        if logits.len() < 2 {
            return Err(Error::new("fame::loss::one_class", "one class has none that is similar.")
                .with_help("Use Logit()."));
        }
        let class = self.class.index(about, logits.len(), || argmax(logits))?;
        let mut others: Vec<usize> = (0..logits.len()).filter(|c| *c != class).collect();
        let apart = |c: &usize| (logits[*c] - logits[class]).abs();
        others.sort_by(|a, b| apart(a).total_cmp(&apart(b)));
        others.truncate(self.similar);
        let facts = facts([("class", class.into()), ("similar", others.clone().into())]);
        let values = std::iter::once(class).chain(others).map(|c| c as f32).collect();
        let (subject, claim) = (Subject::Class(class), Claim::For);
        Ok(vec![Target { subject, claim, values, facts, ..Target::default() }])
    }

    fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation> {
        per_row(outputs, targets, |logits, target, gradient| {
            let (z, p) = (logits[0], softmax(logits[0]));
            let class = target.values[0] as usize;
            let similar: Vec<usize> = target.values[1..].iter().map(|c| *c as usize).collect();
            let alpha = f64::from(self.alpha);
            let gap = |i: usize| f64::from(z[class]) - alpha * f64::from(z[i]);
            let weights: f64 = similar.iter().map(|i| p[*i]).sum();
            let all = weights + EPSILON;
            let value = similar.iter().map(|i| p[*i] * gap(*i)).sum::<f64>() / all;
            // ∂p_i/∂z_k = p_i·(δ_ik − p_k): the weights move with every score.
            let rest: f64 = similar.iter().map(|i| p[*i] * (gap(*i) - value)).sum::<f64>() / all;
            let mut slopes: Vec<f64> = p.iter().map(|p| -p * rest).collect();
            for i in similar {
                slopes[i] += p[i] * (gap(i) - value - alpha) / all;
            }
            slopes[class] += weights / all;
            gradient[0].iter_mut().zip(slopes).for_each(|(g, s)| *g = s as f32);
            Ok(value as f32)
        })
    }
}

#[cfg(test)]
mod tests {
    use fame_core::testkit;

    use super::*;

    fn value(loss: &Finer, logits: &[f32]) -> f32 {
        let clean = Tensor::vector(logits.to_vec());
        let target = testkit::targets(loss, std::slice::from_ref(&clean), &[]).unwrap().remove(0);
        let rows = clean.reshaped([1, logits.len()]).unwrap();
        loss.evaluate(&[rows], &[&target]).unwrap().values[0]
    }

    #[test]
    fn the_value_is_the_weighted_gap_to_the_similar_classes() {
        // Class 0 at 3; nearest are 2 (2.5) and 1 (1). With equal weights of e^2.5 and e^1:
        let logits = [3.0f32, 1.0, 2.5, -4.0];
        let (a, b) = (2.5f64.exp(), 1f64.exp());
        let expected = (a * 0.5 + b * 2.0) / (a + b);
        let loss = Finer { similar: 2, ..Finer::default() };
        assert!((f64::from(value(&loss, &logits)) - expected).abs() < 1e-5);
        // Without α it is the class's own logit.
        let own = Finer { alpha: 0.0, ..Finer::default() };
        assert!((value(&own, &logits) - 3.0).abs() < 1e-5);
        // A shift of all scores changes nothing.
        let shifted = logits.map(|z| z + 7.0);
        assert!((value(&loss, &shifted) - value(&loss, &logits)).abs() < 1e-5);
    }

    #[test]
    fn one_class_has_no_likes() {
        let one = Tensor::vector(vec![1.0]);
        let error = testkit::targets(&Finer::default(), &[one], &[]).unwrap_err();
        assert_eq!(error.code, "fame::loss::one_class");
    }
}
