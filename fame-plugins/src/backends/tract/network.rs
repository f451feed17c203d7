//! A loaded model: its layers, its plans, and the threads that run them.

use std::sync::Arc;

use fame_core::contract::{Network, NodeTime, Pass};
use fame_core::{
    Bias, Error, GradientPlace, Layer, LayerCotangent, LoadRequest, Result, Taps, Tensor,
};
use tract_onnx::prelude::{TValue, TVec, TractResult};
use tract_onnx::tract_core::internal::TypedOp;

use super::gradient::rule_for;
use super::kernel_rates::Rating;
use super::pass::{TractPass, failed, on_threads, to_tract};
use super::plan::{ENGINE, Plan};
use super::profile::profile;
use crate::backends::onnx::biases::biases;
use crate::backends::onnx::cache::CompiledTaps;
use crate::backends::onnx::file::OnnxFile;
use crate::backends::onnx::loaded_model::LoadedModel;
use crate::backends::onnx::operators::OperatorTable;
use crate::backends::onnx::skeleton::row_shape;

/// A network run by tract.
pub(super) struct TractNetwork {
    pub(super) model: LoadedModel,
    rating: Option<Rating>,
    threads: usize,
    pub(super) pool: rayon::ThreadPool,
    /// How many rows at a time are best on each of them.
    together: usize,
    plans: CompiledTaps<Plan>,
}

impl TractNetwork {
    /// The network of `request`, on `threads` threads.
    pub(super) fn load(
        request: &LoadRequest,
        operators: OperatorTable,
        threads: usize,
        rating: Option<Rating>,
    ) -> Result<Self> {
        let file = OnnxFile::read_for(request)?;
        Self::new(file, operators, request.input_shape.clone(), threads, rating)
    }

    /// A network of a file that is already read and checked.
    pub(super) fn new(
        file: OnnxFile,
        operators: OperatorTable,
        input_shape: Option<Vec<usize>>,
        threads: usize,
        rating: Option<Rating>,
    ) -> Result<Self> {
        let has_rule = |op: &dyn TypedOp| rule_for(op).is_some();
        let model = LoadedModel::new(file, operators, input_shape, ENGINE, has_rule)?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|ix| format!("tract-{ix}"))
            .build();
        let pool = pool.map_err(|e| {
            Error::new("fame::backend::threads", format!("cannot start {threads} threads: {e}."))
        })?;
        let together = rating.map_or(1, |_| rows_together(&model));
        Ok(Self { model, rating, threads, pool, together, plans: CompiledTaps::default() })
    }

    pub(super) fn plan(&self, taps: &Taps, replaced: Option<&str>) -> Result<Arc<Plan>> {
        let compile = || Plan::compile(&self.model, self.rating, taps, replaced);
        self.plans.get(taps, replaced, compile)
    }

    /// Runs every row, each with its row of every input.
    fn run<'n>(
        &'n self,
        plan: Arc<Plan>,
        inputs: &[(&[usize], &Tensor)],
    ) -> Result<Box<dyn Pass + 'n>> {
        let rows = inputs[0].1.rows();
        let row = |index: usize| -> TractResult<TVec<TValue>> {
            inputs.iter().map(|(shape, batch)| to_tract(shape, batch.row(index))).collect()
        };
        let rows = (0..rows).map(row).collect::<TractResult<_>>();
        let rows = rows.and_then(|rows| on_threads(&self.pool, &plan.forward, rows));
        let rows = rows.map_err(|e| failed("the forward pass", &e))?;
        Ok(Box::new(TractPass { pool: &self.pool, plan, rows }))
    }
}

/// At most so many rows are asked for on a thread: by four, a convolution of 256 channels on 14×14
/// pixels gains a fifth (`cargo bench -p fame-kernels -- 4`), and each has its values in memory.
const MOST_ROWS: usize = 4;

/// How many rows at a time are best on a thread. Where the weights of a network outweigh the values
/// of a row, rows that go by them together take less time, and as many values as there are weights
/// are kept in memory at most. Elsewhere a row's values are better kept in the cache.
fn rows_together(model: &LoadedModel) -> usize {
    let values = |layer: &Layer| layer.shape.iter().product::<usize>();
    let row = model.skeleton.layers.iter().map(values).sum::<usize>() * size_of::<f32>();
    (model.file.weight_bytes() / row.max(1)).clamp(1, MOST_ROWS)
}

impl Network for TractNetwork {
    fn input_shape(&self) -> &[usize] {
        &self.model.input_shape
    }

    fn layers(&self) -> &[Layer] {
        &self.model.skeleton.layers
    }

    fn why_no_layer(&self, name: &str) -> Option<String> {
        self.model.skeleton.why_no_layer(name)
    }

    fn check_gradient(&self, layer: &str, to: &GradientPlace) -> Result<()> {
        self.model.skeleton.check_gradient(layer, to)
    }

    /// What it compiles is kept, so that the pass that follows need not.
    fn check_relevance(&self, taps: &Taps) -> Result<()> {
        self.plan(taps, None).map(drop)
    }

    /// As for relevance.
    fn check_multipliers(&self, taps: &Taps) -> Result<()> {
        self.plan(taps, None).map(drop)
    }

    fn preferred_rows(&self) -> usize {
        self.threads * self.together
    }

    fn notes(&self) -> &[String] {
        &self.model.notes
    }

    fn forward<'n>(&'n self, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>> {
        self.model.check_input(batch)?;
        let plan = self.plan(taps, None)?;
        self.run(plan, &[(self.model.full_input()?, batch)])
    }

    fn forward_from<'n>(
        &'n self,
        layer: &str,
        value: &Tensor,
        batch: &Tensor,
        taps: &Taps,
    ) -> Result<Box<dyn Pass + 'n>> {
        let shape = self.model.skeleton.shape(layer)?;
        self.model.check_replaced(layer, value, batch, row_shape(shape))?;
        if layer == self.model.skeleton.layers[0].name {
            return self.forward(value, taps);
        }
        let plan = self.plan(taps, Some(layer))?;
        self.run(plan, &[(self.model.full_input()?, batch), (shape, value)])
    }

    fn biases(&self) -> Result<Vec<Bias>> {
        biases(&self.model)
    }

    fn profile(&self, batch: &Tensor, seed: &LayerCotangent, runs: usize) -> Result<Vec<NodeTime>> {
        self.model.check_input(batch)?;
        profile(self, batch, seed, runs)
    }
}
