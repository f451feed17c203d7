//! Is a loss's cotangent the derivative of its value?

use super::{Check, fail};
use crate::{
    Random, Result, Target, TargetRequest, Tensor,
    contract::{Loss, Reference},
    data::{Layout, safe_name},
};

/// How far a cotangent may lie from the central difference, relative to the row's largest. A
/// difference over a step of [`STEP`] of the values' size is off by about its square, 1e-4, and by
/// the rounding of f32 values, 1e-7 / STEP; a wrong formula is off by much more.
pub const GRADIENT_TOLERANCE: f32 = 5e-3;

/// The step of the differences, relative to the root mean square of the layer's values.
pub const STEP: f32 = 1e-2;

/// The targets that `loss` makes for one picture: `clean` are its target layers' clean outputs (no
/// batch axis), `reference` those of the sample's other picture, or of all its others one after
/// another, if the loss wants them. The picture in question is the sample's first.
///
/// # Errors
/// What the loss says.
pub fn targets(loss: &dyn Loss, clean: &[Tensor], reference: &[Tensor]) -> Result<Vec<Target>> {
    let many: Vec<String> = (0..=reference.len() / clean.len().max(1)).map(role).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let roles: &[&str] = match loss.reference() {
        _ if reference.is_empty() => &["image"],
        Reference::EveryOtherRole => &many,
        Reference::None | Reference::OtherRole => &["left", "right"],
    };
    let sample = super::sample("testkit", roles, super::SIZE)?;
    let layers: Vec<String> = (0..clean.len()).map(|i| format!("layer_{i}")).collect();
    loss.targets(&TargetRequest {
        sample: &sample,
        role: roles[0],
        layers: &layers,
        clean,
        reference,
        input_size: (super::SIZE, super::SIZE),
        labels: &[],
        holds_probabilities: false,
        layout: Some(Layout::ChannelsFirst),
    })
}

/// The role of the `n`-th of many pictures.
fn role(n: usize) -> String {
    format!("picture_{n}")
}

/// Everything a loss promises, at and around `clean` (the target layers' outputs for one picture,
/// no batch axis): its targets have names that are safe in a file name, and at the clean outputs
/// and beside them the cotangent is the derivative of the value ([`check_loss_gradient`]). A loss
/// that is measured against another picture, or against all others, gets other values of the same
/// shape: of three others, where it is all.
///
/// Choose values as the layer would have them, away from kinks of the loss.
///
/// # Errors
/// One sentence about the first promise that is broken, with the worst place and both numbers.
pub fn check_loss(loss: &dyn Loss, clean: &[Tensor]) -> Result<Check> {
    let others = |streams: &[usize]| -> Vec<Tensor> {
        streams.iter().flat_map(|s| clean.iter().map(move |t| beside(t, *s, 1.0))).collect()
    };
    let reference = match loss.reference() {
        Reference::None => Vec::new(),
        Reference::OtherRole => others(&[7]),
        Reference::EveryOtherRole => others(&[7, 17, 27]),
    };
    let made = targets(loss, clean, &reference)?;
    if made.is_empty() {
        return Err(fail("the loss made no target: there would be nothing to explain."));
    }
    let names = made.iter().map(|t| t.subject.to_string());
    if let Some(bad) = names.into_iter().find(|n| !n.is_empty() && safe_name(n) != *n) {
        return Err(fail(format!(
            "the target name `{bad}` is not safe in a file name (letters, digits, `.`, `_`, `-`)."
        )));
    }
    let mut worst = Check::new("cotangent against central difference", GRADIENT_TOLERANCE);
    for target in &made {
        let rows: Vec<Tensor> = clean
            .iter()
            .enumerate()
            // One step away the walk has begun, and a frozen target is no longer where the outputs
            // are.
            .map(|(i, t)| Tensor::stack([t, &beside(t, i, 0.2)]))
            .collect::<Result<_>>()?;
        worst.join(check_loss_gradient(loss, &rows, &[target, target])?);
    }
    Ok(worst)
}

/// Compares every cotangent of `loss` at `outputs` (one `[N, …]` per target layer, N targets) with
/// central differences of its value, and makes sure that shapes are right, everything is finite and
/// rows do not influence one another.
///
/// # Errors
/// One sentence about what is wrong; for a wrong gradient it names the row, the layer, the index
/// and both numbers.
pub fn check_loss_gradient(
    loss: &dyn Loss,
    outputs: &[Tensor],
    targets: &[&Target],
) -> Result<Check> {
    let said = loss.evaluate(outputs, targets)?;
    let shapes_fit = said.cotangents.len() == outputs.len()
        && said.cotangents.iter().zip(outputs).all(|(c, o)| c.shape() == o.shape());
    if said.values.len() != targets.len() || !shapes_fit {
        let given: Vec<_> = said.cotangents.iter().map(Tensor::shape).collect();
        let wanted: Vec<_> = outputs.iter().map(Tensor::shape).collect();
        return Err(fail(format!(
            "the loss returned {} values and cotangents {given:?} for {} rows of outputs {wanted:?}.",
            said.values.len(),
            targets.len()
        )));
    }
    if !(said.values.iter().all(|v| v.is_finite()) && said.cotangents.iter().all(Tensor::is_finite))
    {
        return Err(fail(format!("the loss is not finite: values {:?}.", said.values)));
    }
    let mut worst = Check::new("cotangent against central difference", GRADIENT_TOLERANCE);
    for n in 0..targets.len() {
        let differences = differences(loss, outputs, targets, n, &said.values)?;
        let scale = differences.iter().flatten().fold(0f32, |m, d| m.max(d.abs()));
        for (layer, of_layer) in differences.iter().enumerate() {
            for (i, difference) in of_layer.iter().enumerate() {
                let cotangent = said.cotangents[layer].row(n)[i];
                let off = (cotangent - difference).abs() / scale.max(f32::MIN_POSITIVE);
                let off = if cotangent == *difference { 0.0 } else { off };
                worst.see(off, || {
                    format!("row {n}, layer {layer}, index {i}: the cotangent is {cotangent}, the difference quotient {difference}")
                });
            }
        }
    }
    worst.verdict("the cotangent is not the derivative of the value")
}

/// d(value of row n)/d(output) by central differences, for each layer.
fn differences(
    loss: &dyn Loss,
    outputs: &[Tensor],
    targets: &[&Target],
    n: usize,
    clean: &[f32],
) -> Result<Vec<Vec<f32>>> {
    let mut all = Vec::with_capacity(outputs.len());
    for layer in 0..outputs.len() {
        let h = STEP * root_mean_square(outputs[layer].row(n));
        let mut of_layer = Vec::new();
        for i in 0..outputs[layer].row(n).len() {
            let value_at = |step: f32| -> Result<(f32, f32)> {
                let mut moved = outputs.to_vec();
                moved[layer].row_mut(n)[i] += step;
                let at = moved[layer].row(n)[i];
                let values = loss.evaluate(&moved, targets)?.values;
                if values.iter().zip(clean).enumerate().any(|(m, (a, b))| m != n && a != b) {
                    return Err(fail(format!(
                        "rows influence one another: a change of row {n} changed the value of another row."
                    )));
                }
                Ok((at, values[n]))
            };
            let ((low, before), (high, after)) = (value_at(-h)?, value_at(h)?);
            of_layer.push((after - before) / (high - low));
        }
        all.push(of_layer);
    }
    Ok(all)
}

/// The root mean square of `values`; 1 where it is 0.
pub(super) fn root_mean_square(values: &[f32]) -> f32 {
    let square: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
    let size = (square / values.len().max(1) as f64).sqrt() as f32;
    if size > 0.0 { size } else { 1.0 }
}

/// Values near `around`, `far` of their own size away.
fn beside(around: &Tensor, stream: usize, far: f32) -> Tensor {
    let mut noise = vec![0.0; around.len()];
    Random::stream(11, stream).fill_normal(&mut noise);
    let size = far * root_mean_square(around.data());
    let mut moved = around.clone();
    moved.data_mut().iter_mut().zip(noise).for_each(|(v, n)| *v += size * n);
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Evaluation, per_row};

    /// ½ Σ y², with a slope that may be wrong, and rows that may be mixed.
    struct Square {
        slope: f32,
        mixed: bool,
    }

    impl Loss for Square {
        fn targets(&self, _: &TargetRequest<'_>) -> Result<Vec<Target>> {
            Ok(vec![Target::unnamed()])
        }
        fn evaluate(&self, outputs: &[Tensor], targets: &[&Target]) -> Result<Evaluation> {
            let mut said = per_row(outputs, targets, |y, _, g| {
                g[0].iter_mut().zip(y[0]).for_each(|(g, y)| *g = self.slope * y);
                Ok(0.5 * y[0].iter().map(|y| y * y).sum::<f32>())
            })?;
            if self.mixed {
                let mean = said.values.iter().sum::<f32>() / said.values.len() as f32;
                said.values.fill(mean);
            }
            Ok(said)
        }
    }

    #[test]
    fn a_right_loss_passes_and_a_wrong_one_is_told_where() {
        let clean = [Tensor::vector(vec![1.0, -2.0, 0.5])];
        let right = check_loss(&Square { slope: 1.0, mixed: false }, &clean).unwrap();
        assert!(right.worst < GRADIENT_TOLERANCE / 10.0 && right.compared == 6, "{right}");
        // Two per cent is what a forgotten factor never is, and what the tolerance still sees.
        let wrong = check_loss(&Square { slope: 1.02, mixed: false }, &clean).unwrap_err();
        assert!(
            wrong.message.contains(
                "row 0, layer 0, index 1: the cotangent is -2.04, the difference quotient -"
            ),
            "{wrong}"
        );
        let mixed = check_loss(&Square { slope: 1.0, mixed: true }, &clean).unwrap_err();
        assert!(mixed.message.contains("rows influence one another"), "{mixed}");
    }
}
