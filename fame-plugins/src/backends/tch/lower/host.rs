//! Operators of third parties: computed, and pulled back, on host tensors, row by row.

use fame_core::{Error, Result, Tensor as HostTensor};
use tch::{Kind, Tensor};
use tract_onnx::tract_core::internal::*;

use super::rule::Rule;
use super::site::{Lower, Lowered};
use crate::backends::onnx::host_op::HostOp;
use crate::backends::onnx::host_operator::CheckedOperator;
use crate::backends::tch::failure::failed;
use crate::backends::tch::program::{Computation, CustomFunction};
use crate::backends::tch::values::{dims, download, upload};

pub(super) const RULES: &[Rule] = &[Rule::operator::<HostOp>(host)];

fn host(l: &mut Lower) -> TractResult<Lowered> {
    let operator = l.op::<HostOp>()?.0.clone();
    let mut inputs = vec![];
    for ix in 0..l.arity() {
        let (shape, is_batched) = (l.input_shape(ix)?.to_vec(), l.lead(ix)? == 1);
        inputs.push(HostInput { shape, is_batched });
    }
    let slots = (0..l.arity()).map(|ix| l.slot(ix)).collect::<TractResult<_>>()?;
    let function = HostFunction {
        operator,
        inputs,
        output: l.output_shape()?.to_vec(),
        kind: l.slots.weights.kind(f32::datum_type())?,
    };
    Ok(Lowered { inputs: slots, work: Computation::Custom(Box::new(function)) })
}

/// What is known of an input: the graph's shape, and whether the batch axis is in front of it.
struct HostInput {
    shape: Vec<usize>,
    is_batched: bool,
}

/// A host operator in its graph.
struct HostFunction {
    operator: CheckedOperator,
    inputs: Vec<HostInput>,
    /// The graph's shape of the output.
    output: Vec<usize>,
    /// The numbers of the graph.
    kind: Kind,
}

impl HostFunction {
    /// How many rows the batch has; 1 if nothing here depends on the input.
    fn rows(&self, inputs: &[&Tensor]) -> usize {
        let batched = self.inputs.iter().zip(inputs).find(|(input, _)| input.is_batched);
        batched.map_or(1, |(_, tensor)| usize::try_from(tensor.size()[0]).unwrap_or(1))
    }

    fn read(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        download(tensor).map_err(|e| failed(self.operator.name(), &e))
    }

    /// Row-major `values` of `rows` rows, or of none, each of `shape`, in the graph's numbers on
    /// the device of `like`.
    fn write(
        &self,
        rows: Option<usize>,
        shape: &[usize],
        values: &[f32],
        like: &Tensor,
    ) -> Result<Tensor> {
        let full: Vec<i64> = rows.map(|rows| rows as i64).into_iter().chain(dims(shape)).collect();
        upload(&full, values, like.device())
            .and_then(|tensor| tensor.f_to_kind(self.kind))
            .map_err(|e| failed(self.operator.name(), &e))
    }

    /// The inputs of row `row`, from the values of the whole batch.
    fn row_inputs(&self, values: &[Vec<f32>], row: usize) -> Result<Vec<HostTensor>> {
        let input = |(input, values): (&HostInput, &Vec<f32>)| {
            let row = if input.is_batched { row } else { 0 };
            HostTensor::new(input.shape.clone(), of_row(values, &input.shape, row)?.to_vec())
        };
        self.inputs.iter().zip(values).map(input).collect()
    }
}

/// Row `row` of `values`, whose rows have `shape`.
fn of_row<'v>(values: &'v [f32], shape: &[usize], row: usize) -> Result<&'v [f32]> {
    let count: usize = shape.iter().product();
    values
        .get(row * count..(row + 1) * count)
        .ok_or_else(|| Error::bug(format!("{} values have no row {row}.", values.len())))
}

impl CustomFunction for HostFunction {
    fn forward(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        let values = inputs.iter().map(|x| self.read(x)).collect::<Result<Vec<_>>>()?;
        let rows = self.rows(inputs);
        let mut output = vec![];
        for row in 0..rows {
            let inputs = self.row_inputs(&values, row)?;
            output.extend(self.operator.forward(&inputs, &self.output)?.into_data());
        }
        let batch = self.inputs.iter().any(|input| input.is_batched).then_some(rows);
        let like = inputs.first().ok_or_else(|| Error::bug("a host operator without inputs."))?;
        self.write(batch, &self.output, &output, like)
    }

    fn pull_back(
        &self,
        inputs: &[&Tensor],
        output: &Tensor,
        cotangent: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let values = inputs.iter().map(|x| self.read(x)).collect::<Result<Vec<_>>>()?;
        let (output, arrived) = (self.read(output)?, self.read(cotangent)?);
        let rows = self.rows(inputs);
        let mut gradients: Vec<Vec<f32>> = vec![vec![]; inputs.len()];
        for row in 0..rows {
            let at = |values: &[f32]| -> Result<HostTensor> {
                HostTensor::new(self.output.clone(), of_row(values, &self.output, row)?.to_vec())
            };
            let (inputs, output, arrived) =
                (self.row_inputs(&values, row)?, at(&output)?, at(&arrived)?);
            let pulled = self.operator.pull_back(&inputs, &output, &arrived)?;
            gradients.iter_mut().zip(pulled).for_each(|(all, row)| all.extend(row.into_data()));
        }
        // What does not depend on the input is never differentiated.
        let gradient = |(input, values): (&HostInput, Vec<f32>)| {
            let write = || self.write(Some(rows), &input.shape, &values, cotangent);
            input.is_batched.then(write).transpose()
        };
        self.inputs.iter().zip(gradients).map(gradient).collect()
    }
}
