//! A loaded model: its layers, its plans, and the threads that run them.

use std::sync::{Arc, Mutex, PoisonError};

use fame_core::contract::{Network, Pass};
use fame_core::{Bias, Error, Layer, LoadRequest, Place, Result, Taps, Tensor};
use rayon::prelude::*;
use tract_onnx::prelude::{TValue, TVec, TractResult};

use super::biases::biases;
use super::import::declared_shape;
use super::onnx::OnnxFile;
use super::pass::{TractPass, failed, to_tract};
use super::plan::Plan;
use super::skeleton::{Skeleton, row_shape};

/// More values than a picture has: above this an input shape is a mistake that would exhaust memory.
const MOST_INPUT_VALUES: usize = 1 << 28;

/// How many compiled plans are kept: a method that taps many layers one after another must not fill the memory. A plan of ResNet-50
/// holds its weights twice, 200 MB.
const MOST_PLANS: usize = 16;

/// What a plan was compiled for: the taps, and the layer replaced from outside.
type Key = (Taps, Option<String>);

/// A network run by tract.
pub(super) struct TractNetwork {
    file: OnnxFile,
    skeleton: Skeleton,
    input_shape: Vec<usize>,
    notes: Vec<String>,
    threads: usize,
    pool: rayon::ThreadPool,
    /// The one used last comes last.
    plans: Mutex<Vec<(Key, Arc<Plan>)>>,
}

impl TractNetwork {
    pub(super) fn load(request: &LoadRequest, threads: usize) -> Result<Self> {
        Self::new(OnnxFile::read(&request.file)?, request.input_shape.clone(), threads)
    }

    /// A network of a file that is already read and checked.
    pub(super) fn new(file: OnnxFile, input_shape: Option<Vec<usize>>, threads: usize) -> Result<Self> {
        let mut notes = vec![];
        let input_shape = resolve_shape(&file, input_shape, &mut notes)?;
        let mut full = vec![1];
        full.extend(&input_shape);
        let skeleton = Skeleton::of(&file, &full)?;
        note_fixed_batch(&file, &mut notes);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|ix| format!("tract-{ix}")).build();
        let pool = pool.map_err(|e| Error::new("fame::backend::threads", format!("cannot start {threads} threads: {e}.")))?;
        Ok(Self { file, skeleton, input_shape, notes, threads, pool, plans: Mutex::default() })
    }

    pub(super) fn pool(&self) -> &rayon::ThreadPool {
        &self.pool
    }

    /// The plan for these taps, compiled if it is not there yet. The lock is held meanwhile: two threads that want the same plan
    /// shall not both compile it.
    fn plan(&self, taps: &Taps, replaced: Option<&str>) -> Result<Arc<Plan>> {
        let key = (taps.clone(), replaced.map(str::to_owned));
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match plans.iter().position(|(known, _)| *known == key) {
            Some(at) => plans.remove(at),
            None => (key, Arc::new(Plan::compile(&self.file, &self.skeleton, taps, replaced)?)),
        };
        let plan = entry.1.clone();
        if plans.len() >= MOST_PLANS {
            plans.remove(0);
        }
        plans.push(entry);
        Ok(plan)
    }

    /// Runs every row, each with its row of every input.
    fn run<'n>(&'n self, plan: Arc<Plan>, inputs: &[(&[usize], &Tensor)]) -> Result<Box<dyn Pass + 'n>> {
        let rows = inputs[0].1.rows();
        let row = |index: usize| -> TractResult<TVec<TValue>> {
            let inputs = inputs.iter().map(|(shape, batch)| to_tract(shape, batch.row(index))).collect::<TractResult<_>>()?;
            plan.forward.run(inputs)
        };
        let rows: TractResult<Vec<_>> = self.pool.install(|| (0..rows).into_par_iter().with_max_len(1).map(row).collect());
        let rows = rows.map_err(|e| failed("the forward pass", &e))?;
        Ok(Box::new(TractPass { network: self, plan, rows }))
    }

    fn check_batch(what: &str, batch: &Tensor, shape: &[usize]) -> Result<()> {
        if batch.shape().is_empty() || batch.row_shape() != shape || batch.rows() == 0 {
            return Err(Error::new(
                "fame::backend::batch_shape",
                format!("{what} has shape {:?}, but the network takes [N, {}].", batch.shape(), join(shape)),
            ));
        }
        Ok(())
    }
}

fn join(shape: &[usize]) -> String {
    shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The asked shape, or what the file declares.
fn resolve_shape(file: &OnnxFile, asked: Option<Vec<usize>>, notes: &mut Vec<String>) -> Result<Vec<usize>> {
    let declared = declared_shape(file);
    let row: Option<Vec<Option<usize>>> = declared.as_ref().map(|shape| shape.iter().skip(1).copied().collect());
    if let (Some(asked), Some(row)) = (&asked, &row) {
        let fits = asked.len() == row.len() && asked.iter().zip(row).all(|(a, r)| r.is_none_or(|r| r == *a));
        if !fits && asked.len() != row.len() {
            return Err(file.refuse(format_args!("its input has {} axes without the batch, but {asked:?} was asked for", row.len())));
        }
        if !fits {
            notes.push(format!("the file declares input shape {row:?}; {asked:?} was asked for and is used"));
        }
    }
    let shape = asked.or_else(|| row.and_then(|row| row.into_iter().collect()));
    let Some(shape) = shape else {
        return Err(file
            .refuse("it leaves the shape of its input open")
            .with_help("Give `input_shape` in the manifest or the recipe, such as `[3, 224, 224]`."));
    };
    let volume = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|n| (1..=MOST_INPUT_VALUES).contains(n));
    volume.map(|_| shape.clone()).ok_or_else(|| file.refuse(format_args!("an input of shape {shape:?} cannot be fed")))
}

/// A batch size written into the graph does no harm here, since every plan runs one row; say so for the record.
fn note_fixed_batch(file: &OnnxFile, notes: &mut Vec<String>) {
    let constants = file.constants();
    for node in file.graph().node.iter().filter(|n| n.op_type == "Reshape") {
        let target = node.input.get(1).and_then(|name| constants.get(name.as_str())).and_then(|t| file.tensor(t).ok());
        let target: Option<Vec<i64>> = target.and_then(|t| t.to_plain_array_view::<i64>().ok().map(|view| view.iter().copied().collect()));
        if target.is_some_and(|target| target.first() == Some(&1)) {
            notes.push(format!("Reshape `{}` fixes the batch to 1; rows are run one by one, so any batch works", node.output[0]));
        }
    }
}

impl Network for TractNetwork {
    fn input_shape(&self) -> &[usize] {
        &self.input_shape
    }

    fn layers(&self) -> &[Layer] {
        &self.skeleton.layers
    }

    fn check_gradient(&self, layer: &str, to: &Place) -> Result<()> {
        self.skeleton.check_gradient(layer, to)
    }

    fn preferred_rows(&self) -> usize {
        self.threads
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn forward<'n>(&'n self, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>> {
        Self::check_batch("the batch", batch, &self.input_shape)?;
        let plan = self.plan(taps, None)?;
        self.run(plan, &[(self.skeleton.shape(&self.skeleton.layers[0].name)?, batch)])
    }

    fn forward_from<'n>(&'n self, layer: &str, value: &Tensor, batch: &Tensor, taps: &Taps) -> Result<Box<dyn Pass + 'n>> {
        let input = &self.skeleton.layers[0].name;
        let shape = self.skeleton.shape(layer)?;
        Self::check_batch("the batch", batch, &self.input_shape)?;
        Self::check_batch(&format!("the value of layer `{layer}`"), value, row_shape(shape))?;
        if value.rows() != batch.rows() {
            return Err(Error::new(
                "fame::backend::batch_shape",
                format!("{} rows of layer `{layer}` cannot go with a batch of {} rows.", value.rows(), batch.rows()),
            ));
        }
        if layer == input {
            return self.forward(value, taps);
        }
        let plan = self.plan(taps, Some(layer))?;
        self.run(plan, &[(self.skeleton.shape(input)?, batch), (shape, value)])
    }

    fn biases(&self) -> Result<Vec<Bias>> {
        biases(&self.file, &self.skeleton.layers)
    }
}
