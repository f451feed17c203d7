//! Does an operator keep its shapes, and is its rule the derivative of its outputs?

use super::{
    Check, fail,
    loss::{GRADIENT_TOLERANCE, STEP, root_mean_square},
};
use crate::{
    Random, Result, Tensor,
    contract::{Attributes, Operator},
};

/// Everything an operator promises at `inputs` (of a node with these attributes): outputs of the
/// shapes it says, the same again for the same inputs, and cotangents of every input that are the
/// derivatives of its outputs. Each is compared with central differences of Σ ȳ·y over all outputs
/// y, for one random cotangent ȳ of each.
///
/// Choose values as the node would have them, away from kinks of the operator.
///
/// # Errors
/// One sentence about the first promise that is broken; for a wrong cotangent with input, index and
/// both numbers.
pub fn check_operator(
    operator: &dyn Operator,
    attributes: &Attributes,
    inputs: &[Tensor],
) -> Result<Check> {
    let outputs = outputs(operator, attributes, inputs)?;
    let cotangents: Vec<Tensor> = outputs.iter().enumerate().map(|(n, y)| noise(y, n)).collect();
    let pulled = operator.pull_back(attributes, inputs, &outputs, &cotangents)?;
    same_shapes("cotangents", &pulled, inputs.iter().map(Tensor::shape))?;
    if operator.pull_back(attributes, inputs, &outputs, &cotangents)? != pulled {
        return Err(fail("`pull_back` gives other cotangents when it is called again."));
    }
    let scalar = |moved: &[Tensor]| -> Result<f64> {
        let outputs = operator.forward(attributes, moved)?;
        Ok(outputs.iter().zip(&cotangents).map(|(y, c)| dot(y.data(), c.data())).sum())
    };
    let mut worst = Check::new("cotangent against central difference", GRADIENT_TOLERANCE);
    for (n, pulled) in pulled.iter().enumerate() {
        if operator.check_gradient(attributes, n).is_ok() {
            compare(&mut worst, n, pulled, &differences(inputs, n, &scalar)?);
        } else if pulled.data().iter().any(|v| *v != 0.0) {
            return Err(fail(format!(
                "input {n} has no gradient, says `check_gradient`, but a cotangent that is not zero."
            )));
        }
    }
    if worst.compared == 0 {
        return Err(fail("the operator has no gradient with respect to any of its inputs."));
    }
    worst.verdict("the cotangent is not the derivative of the outputs")
}

/// Whether the rows of a batch influence one another: the outputs for `inputs` are those for each
/// row alone. `with_rows` numbers the inputs whose first axis is the batch; the others are
/// constants of the node.
///
/// # Errors
/// The first output and row that differ.
pub fn check_operator_rows(
    operator: &dyn Operator,
    attributes: &Attributes,
    inputs: &[Tensor],
    with_rows: &[usize],
) -> Result<()> {
    let together = outputs(operator, attributes, inputs)?;
    let rows = with_rows.first().and_then(|n| inputs.get(*n)).map_or(0, Tensor::rows);
    if rows < 2 {
        return Err(fail("rows can be compared only in a batch of two or more."));
    }
    for row in 0..rows {
        let alone = |(n, t): (usize, &Tensor)| {
            if with_rows.contains(&n) { Tensor::stack([&t.row_tensor(row)]) } else { Ok(t.clone()) }
        };
        let inputs: Vec<Tensor> = inputs.iter().enumerate().map(alone).collect::<Result<_>>()?;
        let alone = outputs(operator, attributes, &inputs)?;
        let differs = together.iter().zip(&alone).position(|(all, one)| {
            all.rows() != rows || one.rows() != 1 || all.row(row) != one.row(0)
        });
        if let Some(output) = differs {
            return Err(fail(format!(
                "rows influence one another: output {output} of row {row} is another one alone."
            )));
        }
    }
    Ok(())
}

/// The outputs, of the shapes that the operator says, finite, and the same again.
fn outputs(
    operator: &dyn Operator,
    attributes: &Attributes,
    inputs: &[Tensor],
) -> Result<Vec<Tensor>> {
    let shapes: Vec<Vec<usize>> = inputs.iter().map(|t| t.shape().to_vec()).collect();
    let wanted = operator.output_shapes(attributes, &shapes)?;
    let outputs = operator.forward(attributes, inputs)?;
    same_shapes("outputs", &outputs, wanted.iter().map(Vec::as_slice))?;
    if !outputs.iter().all(Tensor::is_finite) {
        return Err(fail("an output is not finite."));
    }
    if operator.forward(attributes, inputs)? != outputs {
        return Err(fail("`forward` gives other outputs when it is called again."));
    }
    Ok(outputs)
}

fn same_shapes<'s>(
    what: &str,
    tensors: &[Tensor],
    wanted: impl Iterator<Item = &'s [usize]>,
) -> Result<()> {
    let given: Vec<&[usize]> = tensors.iter().map(Tensor::shape).collect();
    let wanted: Vec<&[usize]> = wanted.collect();
    if given == wanted {
        return Ok(());
    }
    Err(fail(format!("the {what} have the shapes {given:?} instead of {wanted:?}.")))
}

/// d(scalar)/d(input `n`) by central differences.
fn differences(
    inputs: &[Tensor],
    n: usize,
    scalar: &dyn Fn(&[Tensor]) -> Result<f64>,
) -> Result<Vec<f32>> {
    let step = STEP * root_mean_square(inputs[n].data());
    let at = |index: usize, step: f32| -> Result<(f32, f64)> {
        let mut moved = inputs.to_vec();
        moved[n].data_mut()[index] += step;
        Ok((moved[n].data()[index], scalar(&moved)?))
    };
    let quotient = |index: usize| -> Result<f32> {
        let ((low, before), (high, after)) = (at(index, -step)?, at(index, step)?);
        Ok(((after - before) / f64::from(high - low)) as f32)
    };
    (0..inputs[n].len()).map(quotient).collect()
}

fn compare(worst: &mut Check, n: usize, pulled: &Tensor, differences: &[f32]) {
    let scale = crate::max_abs(differences).max(f32::MIN_POSITIVE);
    for (i, (cotangent, difference)) in pulled.data().iter().zip(differences).enumerate() {
        let off =
            if cotangent == difference { 0.0 } else { (cotangent - difference).abs() / scale };
        worst.see(off, || {
            format!("input {n}, index {i}: the cotangent is {cotangent}, the difference quotient {difference}")
        });
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Normal noise in the shape of `like`, the same for the same `stream`.
fn noise(like: &Tensor, stream: usize) -> Tensor {
    let mut noise = Tensor::zeros(like.shape());
    Random::stream(13, stream).fill_normal(noise.data_mut());
    noise
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, contract::OperatorId};

    /// y = w·x², a weight w for each column; its rule may be off, and its rows may be mixed.
    struct WeightedSquare {
        slope: f32,
        mixed: bool,
        weight_has_gradient: bool,
    }

    const RIGHT: WeightedSquare =
        WeightedSquare { slope: 2.0, mixed: false, weight_has_gradient: true };

    impl Operator for WeightedSquare {
        fn serves(&self) -> OperatorId {
            OperatorId::new("test", "WeightedSquare")
        }

        fn output_shapes(&self, _: &Attributes, inputs: &[Vec<usize>]) -> Result<Vec<Vec<usize>>> {
            Ok(vec![inputs[0].clone()])
        }

        fn forward(&self, _: &Attributes, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
            let (mut y, w) = (inputs[0].clone(), inputs[1].data());
            let extra = if self.mixed { inputs[0].data()[0] } else { 0.0 };
            let columns = w.len();
            y.data_mut()
                .iter_mut()
                .enumerate()
                .for_each(|(i, x)| *x = w[i % columns] * *x * *x + extra);
            Ok(vec![y])
        }

        fn check_gradient(&self, _: &Attributes, input: usize) -> Result<()> {
            if input == 1 && !self.weight_has_gradient {
                return Err(Error::new("test", "the weight is a constant."));
            }
            Ok(())
        }

        fn pull_back(
            &self,
            _: &Attributes,
            inputs: &[Tensor],
            _: &[Tensor],
            cotangents: &[Tensor],
        ) -> Result<Vec<Tensor>> {
            let (w, columns) = (inputs[1].data(), inputs[1].len());
            let (mut to_x, mut to_w) = (inputs[0].clone(), Tensor::zeros(inputs[1].shape()));
            for (i, c) in cotangents[0].data().iter().enumerate() {
                let x = inputs[0].data()[i];
                to_x.data_mut()[i] = self.slope * w[i % columns] * x * c;
                to_w.data_mut()[i % columns] += x * x * c;
            }
            Ok(vec![to_x, to_w])
        }
    }

    fn inputs() -> [Tensor; 2] {
        let x = Tensor::new([2, 3], vec![1.0, -2.0, 0.5, 1.5, -0.7, 2.2]).unwrap();
        [x, Tensor::vector(vec![0.5, -1.0, 2.0])]
    }

    #[test]
    fn a_right_rule_passes_and_a_wrong_one_is_told_where() {
        let check =
            |operator: &WeightedSquare| check_operator(operator, &Attributes::default(), &inputs());
        let right = check(&RIGHT).unwrap();
        assert!(right.worst < GRADIENT_TOLERANCE / 10.0 && right.compared == 9, "{right}");
        let wrong = check(&WeightedSquare { slope: 2.04, ..RIGHT }).unwrap_err();
        assert!(wrong.message.contains("input 0, index"), "{wrong}");
        let constant = check(&WeightedSquare { weight_has_gradient: false, ..RIGHT }).unwrap_err();
        assert!(constant.message.contains("input 1 has no gradient"), "{constant}");
    }

    #[test]
    fn mixed_rows_are_told() {
        let check = |operator: &WeightedSquare| {
            check_operator_rows(operator, &Attributes::default(), &inputs(), &[0])
        };
        check(&RIGHT).unwrap();
        let mixed = check(&WeightedSquare { mixed: true, ..RIGHT }).unwrap_err();
        assert!(mixed.message.contains("output 0 of row 1"), "{mixed}");
    }
}
