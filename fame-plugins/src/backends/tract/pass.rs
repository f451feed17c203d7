//! One forward pass over a batch, ready to be read and differentiated.

use std::sync::Arc;

use fame_core::contract::Pass;
use fame_core::{Error, LayerCotangent, Result, Tensor};
use rayon::prelude::*;
use tract_onnx::prelude::{IntoTValue, TValue, TVec, Tensor as TractTensor, TractResult};
use tract_onnx::tract_core::internal::TractErrorContext as _;

use super::gradient::Row;
use super::ops::with_threads;
use super::plan::Plan;
use super::runner::Runner;
use crate::backends::onnx::file::guarded;
use crate::backends::onnx::refusal::reason;
use crate::backends::onnx::skeleton::row_shape;
use fame_kernels::without_subnormals;

/// Layers and residuals of every row.
pub(super) struct TractPass<'n> {
    /// The threads that rows run on.
    pub(super) pool: &'n rayon::ThreadPool,
    /// The plans that were, and will be, run.
    pub(super) plan: Arc<Plan>,
    /// What the forward plan gave for each row.
    pub(super) rows: Vec<TVec<TValue>>,
}

/// A tensor of tract's over `values` in `shape`.
pub(super) fn to_tract(shape: &[usize], values: &[f32]) -> TractResult<TValue> {
    Ok(TractTensor::from_shape(shape, values)?.into_tvalue())
}

/// Puts one value of each row, each of full shape `shape`, under one another.
fn gather<'a>(shape: &[usize], rows: impl ExactSizeIterator<Item = &'a TValue>) -> Result<Tensor> {
    let row = row_shape(shape);
    let mut full = vec![rows.len()];
    full.extend(row);
    let mut data = Vec::with_capacity(full.iter().product());
    for value in rows {
        let view = value.to_plain_array_view::<f32>().map_err(|e| failed("reading a layer", &e))?;
        match view.as_slice() {
            Some(values) => data.extend_from_slice(values),
            None => data.extend(view.iter()),
        }
    }
    Tensor::new(full, data)
}

/// At most so many rows run together on a thread, for the values of all of them are in memory. With
/// eight, IResNet-50 takes two thirds of the time a row.
const TOGETHER: usize = 8;

/// Runs rows on the threads of `pool`, several together on each where that takes less time.
pub(super) fn on_threads(
    pool: &rayon::ThreadPool,
    plan: &Runner,
    rows: Vec<TVec<TValue>>,
) -> TractResult<Vec<TVec<TValue>>> {
    let together = rows.len().div_ceil(pool.current_num_threads());
    let together = if plan.gains_from_rows() { together.clamp(1, TOGETHER) } else { 1 };
    let mut rows = rows.into_iter();
    let groups: Vec<Vec<_>> = std::iter::from_fn(|| {
        let group: Vec<_> = rows.by_ref().take(together).collect();
        (!group.is_empty()).then_some(group)
    })
    .collect();
    // Threads that have no rows of their own help with those of others.
    let threads = (pool.current_num_threads() / groups.len().max(1)).max(1);
    let run = |group| {
        // On a thread of the pool, which no guard of the plugin's stands on.
        let run = || without_subnormals(|| guarded("running", || plan.run(group)));
        with_threads(threads, run)
    };
    let results: TractResult<Vec<Vec<_>>> =
        pool.install(|| groups.into_par_iter().with_max_len(1).map(run).collect());
    Ok(results?.into_iter().flatten().collect())
}

/// The error for a plan that failed while it ran, which no input should make it do.
pub(super) fn failed(what: &str, error: &tract_onnx::prelude::TractError) -> Error {
    Error::new("fame::backend::run", format!("{what} failed in tract: {}.", reason(error)))
}

impl TractPass<'_> {
    fn position(&self, layer: &str) -> Result<usize> {
        self.plan.layers.iter().position(|(name, _)| name == layer).ok_or_else(|| {
            let tapped: Vec<&str> =
                self.plan.layers.iter().map(|(name, _)| name.as_str()).collect();
            Error::new(
                "fame::backend::not_tapped",
                format!("layer `{layer}` was not tapped in this pass."),
            )
            .with_help(format!("Tapped are: {}.", tapped.join(", ")))
        })
    }

    /// The sum of the seeds of each tapped layer, `None` where there are none.
    fn cotangents(&self, seeds: &[LayerCotangent]) -> Result<Vec<Option<Tensor>>> {
        let mut sums: Vec<Option<Tensor>> = vec![None; self.plan.layers.len()];
        for seed in seeds {
            let at = self.position(&seed.layer)?;
            let mut expected = vec![self.rows.len()];
            expected.extend(row_shape(&self.plan.layers[at].1));
            if seed.cotangent.shape() != expected {
                return Err(Error::new(
                    "fame::backend::cotangent_shape",
                    format!(
                        "the cotangent of layer `{}` has shape {:?}, but the layer has {expected:?}.",
                        seed.layer,
                        seed.cotangent.shape()
                    ),
                ));
            }
            match &mut sums[at] {
                None => sums[at] = Some(seed.cotangent.clone()),
                Some(sum) => {
                    sum.data_mut().iter_mut().zip(seed.cotangent.data()).for_each(|(s, c)| *s += c);
                }
            }
        }
        Ok(sums)
    }

    /// The inputs of each run of the backward plan, with the cotangents of `seeds`.
    pub(super) fn backward_inputs(&self, seeds: &[LayerCotangent]) -> Result<Vec<TVec<TValue>>> {
        let layers = self.plan.layers.iter().zip(self.cotangents(seeds)?);
        let cotangents = layers.map(|((_, shape), given)| match given {
            Some(given) => Ok((shape, Cotangent::Rows(given))),
            None => {
                let zero = TractTensor::zero::<f32>(shape)?;
                Ok((shape, Cotangent::Zero(zero.into_tvalue())))
            }
        });
        let cotangents = cotangents.collect::<TractResult<Vec<_>>>();
        let cotangents = cotangents.map_err(|e| failed("the gradient", &e))?;
        let step = self.plan.rows_of_a_gradient();
        let inputs = |(pair, rows): (usize, &[TVec<TValue>])| -> TractResult<TVec<TValue>> {
            let residual = |(row, at): &(Row, usize)| {
                let of = if *row == Row::Own { rows.first() } else { rows.last() };
                of.and_then(|of| of.get(self.plan.layers.len() + at)).cloned()
            };
            let inputs: Option<TVec<TValue>> = self.plan.reads.iter().map(residual).collect();
            let mut inputs = inputs.context("a residual is missing")?;
            for (shape, cotangent) in &cotangents {
                inputs.push(match cotangent {
                    Cotangent::Rows(given) => to_tract(shape, given.row(pair * step))?,
                    Cotangent::Zero(zero) => zero.clone(),
                });
            }
            Ok(inputs)
        };
        let rows = self.rows.chunks(step).enumerate().map(inputs).collect::<TractResult<_>>();
        rows.map_err(|e| failed("the gradient", &e))
    }
}

/// What a tapped layer is given in the backward pass.
enum Cotangent {
    /// A row for each row of the batch.
    Rows(Tensor),
    /// The same for all: nothing was seeded there.
    Zero(TValue),
}

impl Pass for TractPass<'_> {
    fn output(&self, layer: &str) -> Result<Tensor> {
        let at = self.position(layer)?;
        gather(&self.plan.layers[at].1, self.rows.iter().map(|row| &row[at]))
    }

    fn gradient(&self, seeds: &[LayerCotangent]) -> Result<Vec<Tensor>> {
        let Some(backward) = &self.plan.backward else {
            return Err(Error::new(
                "fame::backend::no_places",
                "no gradient was asked for when this pass was run.",
            )
            .with_help("Name the places with `Taps::with_gradient`."));
        };
        let rows = on_threads(self.pool, backward, self.backward_inputs(seeds)?);
        let rows = rows.map_err(|e| failed("the gradient", &e))?;
        let step = self.plan.rows_of_a_gradient();
        self.plan
            .places
            .iter()
            .enumerate()
            .map(|(ix, shape)| {
                // Both rows of a pair get what is theirs together.
                let all = (0..self.rows.len()).map(|row| &rows[row / step][ix]);
                gather(shape, all)
            })
            .collect()
    }
}
