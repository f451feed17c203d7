//! A loaded model: its layers, its plans, and the threads that run them.

use std::sync::Arc;

use fame_core::contract::{Network, Pass};
use fame_core::{Bias, Error, Layer, LoadRequest, Place, Result, Taps, Tensor};
use rayon::prelude::*;
use tract_onnx::prelude::{TValue, TVec, TractResult};

use super::biases::biases;
use super::gradient::rule_for;
use super::loaded::{Kept, Loaded};
use super::onnx::OnnxFile;
use super::pass::{TractPass, failed, to_tract};
use super::plan::Plan;
use super::skeleton::{Skeleton, row_shape};

/// A network run by tract.
pub(super) struct TractNetwork {
    about: Loaded,
    threads: usize,
    pool: rayon::ThreadPool,
    plans: Kept<Plan>,
}

impl TractNetwork {
    pub(super) fn load(request: &LoadRequest, threads: usize) -> Result<Self> {
        Self::new(OnnxFile::read(&request.file)?, request.input_shape.clone(), threads)
    }

    /// A network of a file that is already read and checked.
    pub(super) fn new(
        file: OnnxFile,
        input_shape: Option<Vec<usize>>,
        threads: usize,
    ) -> Result<Self> {
        let about = Loaded::new(file, input_shape, Skeleton::TRACT, |op| rule_for(op).is_some())?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|ix| format!("tract-{ix}"))
            .build();
        let pool = pool.map_err(|e| {
            Error::new("fame::backend::threads", format!("cannot start {threads} threads: {e}."))
        })?;
        Ok(Self { about, threads, pool, plans: Kept::default() })
    }

    pub(super) fn pool(&self) -> &rayon::ThreadPool {
        &self.pool
    }

    fn plan(&self, taps: &Taps, replaced: Option<&str>) -> Result<Arc<Plan>> {
        self.plans.get(taps, replaced, || {
            Plan::compile(&self.about.file, &self.about.skeleton, taps, replaced)
        })
    }

    /// Runs every row, each with its row of every input.
    fn run<'n>(
        &'n self,
        plan: Arc<Plan>,
        inputs: &[(&[usize], &Tensor)],
    ) -> Result<Box<dyn Pass + 'n>> {
        let rows = inputs[0].1.rows();
        let row = |index: usize| -> TractResult<TVec<TValue>> {
            let inputs = inputs
                .iter()
                .map(|(shape, batch)| to_tract(shape, batch.row(index)))
                .collect::<TractResult<_>>()?;
            plan.forward.run(inputs)
        };
        let rows: TractResult<Vec<_>> =
            self.pool.install(|| (0..rows).into_par_iter().with_max_len(1).map(row).collect());
        let rows = rows.map_err(|e| failed("the forward pass", &e))?;
        Ok(Box::new(TractPass { network: self, plan, rows }))
    }
}

impl Network for TractNetwork {
    fn input_shape(&self) -> &[usize] {
        &self.about.input_shape
    }

    fn layers(&self) -> &[Layer] {
        &self.about.skeleton.layers
    }

    fn check_gradient(&self, layer: &str, to: &Place) -> Result<()> {
        self.about.skeleton.check_gradient(layer, to)
    }

    fn preferred_rows(&self) -> usize {
        self.threads
    }

    fn notes(&self) -> &[String] {
        &self.about.notes
    }

    fn forward<'n>(&'n self, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>> {
        self.about.check_input(batch)?;
        let plan = self.plan(taps, None)?;
        self.run(plan, &[(self.about.full_input()?, batch)])
    }

    fn forward_from<'n>(
        &'n self,
        layer: &str,
        value: &Tensor,
        batch: &Tensor,
        taps: &Taps,
    ) -> Result<Box<dyn Pass + 'n>> {
        let shape = self.about.skeleton.shape(layer)?;
        self.about.check_replaced(layer, value, batch, row_shape(shape))?;
        if layer == self.about.skeleton.layers[0].name {
            return self.forward(value, taps);
        }
        let plan = self.plan(taps, Some(layer))?;
        self.run(plan, &[(self.about.full_input()?, batch), (shape, value)])
    }

    fn biases(&self) -> Result<Vec<Bias>> {
        biases(&self.about.file, &self.about.skeleton.layers)
    }
}
