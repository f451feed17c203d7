//! What both backends know of a model before anything is compiled: the file, its layers, and how it
//! wants to be fed.

use std::sync::{Arc, Mutex, PoisonError};

use fame_core::{Error, Result, Taps, Tensor};
use tract_onnx::tract_core::internal::TypedOp;

use super::import::declared_shape;
use super::onnx::OnnxFile;
use super::skeleton::{Named, Skeleton};

/// More values than a picture has: above this an input shape is a mistake that would exhaust
/// memory.
const MOST_INPUT_VALUES: usize = 1 << 28;

/// How many compiled sets of taps are kept: a method that taps many layers one after another must
/// not fill the memory. A plan of ResNet-50 holds its weights twice, 200 MB.
const MOST_KEPT: usize = 16;

/// What something was compiled for: the taps, and the layer replaced from outside.
type Key = (Taps, Option<String>);

/// What was compiled, by what it was compiled for. The one used last comes last.
pub(in crate::backends) struct Kept<T>(Mutex<Vec<(Key, Arc<T>)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Kept<T> {
    /// What is kept for these taps, compiled if it is not there yet. The lock is held meanwhile:
    /// two threads that want the same shall not both compile it.
    pub(in crate::backends) fn get(
        &self,
        taps: &Taps,
        replaced: Option<&str>,
        compile: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        let key = (taps.clone(), replaced.map(str::to_owned));
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match kept.iter().position(|(known, _)| *known == key) {
            Some(at) => kept.remove(at),
            None => (key, Arc::new(compile()?)),
        };
        let compiled = entry.1.clone();
        if kept.len() >= MOST_KEPT {
            kept.remove(0);
        }
        kept.push(entry);
        Ok(compiled)
    }
}

/// A model whose layers are known.
pub(in crate::backends) struct Loaded {
    /// The file.
    pub(in crate::backends) file: OnnxFile,
    /// Its layers.
    pub(in crate::backends) skeleton: Skeleton,
    /// The shape of one row.
    pub(in crate::backends) input_shape: Vec<usize>,
    /// Remarks for the record.
    pub(in crate::backends) notes: Vec<String>,
}

impl Loaded {
    /// Resolves the input's shape and learns the layers. `has_rule` says through which operators a
    /// gradient of `backend` goes.
    pub(in crate::backends) fn new(
        file: OnnxFile,
        input_shape: Option<Vec<usize>>,
        backend: Named,
        has_rule: fn(&dyn TypedOp) -> bool,
    ) -> Result<Self> {
        let mut notes = vec![];
        let input_shape = resolve_shape(&file, input_shape, &mut notes)?;
        let mut full = vec![1];
        full.extend(&input_shape);
        let skeleton = Skeleton::of(&file, &full, backend, has_rule)?;
        note_fixed_batch(&file, &mut notes);
        Ok(Self { file, skeleton, input_shape, notes })
    }

    /// The shape of the graph's input, its batch axis of 1 included.
    pub(in crate::backends) fn full_input(&self) -> Result<&[usize]> {
        self.skeleton.shape(&self.skeleton.layers[0].name)
    }

    /// Refuses a batch that the network cannot take.
    pub(in crate::backends) fn check_input(&self, batch: &Tensor) -> Result<()> {
        check_batch("the batch", batch, &self.input_shape)
    }

    /// Refuses a replacement of layer `layer`, of row shape `shape`, that does not go with `batch`.
    pub(in crate::backends) fn check_replaced(
        &self,
        layer: &str,
        value: &Tensor,
        batch: &Tensor,
        shape: &[usize],
    ) -> Result<()> {
        self.check_input(batch)?;
        check_batch(&format!("the value of layer `{layer}`"), value, shape)?;
        if value.rows() == batch.rows() {
            return Ok(());
        }
        Err(Error::new(
            "fame::backend::batch_shape",
            format!(
                "{} rows of layer `{layer}` cannot go with a batch of {} rows.",
                value.rows(),
                batch.rows()
            ),
        ))
    }
}

fn check_batch(what: &str, batch: &Tensor, shape: &[usize]) -> Result<()> {
    if batch.shape().is_empty() || batch.row_shape() != shape || batch.rows() == 0 {
        return Err(Error::new(
            "fame::backend::batch_shape",
            format!(
                "{what} has shape {:?}, but the network takes [N, {}].",
                batch.shape(),
                join(shape)
            ),
        ));
    }
    Ok(())
}

fn join(shape: &[usize]) -> String {
    shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The asked shape, or what the file declares.
fn resolve_shape(
    file: &OnnxFile,
    asked: Option<Vec<usize>>,
    notes: &mut Vec<String>,
) -> Result<Vec<usize>> {
    let declared = declared_shape(file);
    let row: Option<Vec<Option<usize>>> =
        declared.as_ref().map(|shape| shape.iter().skip(1).copied().collect());
    if let (Some(asked), Some(row)) = (&asked, &row) {
        let fits = asked.len() == row.len()
            && asked.iter().zip(row).all(|(a, r)| r.is_none_or(|r| r == *a));
        if !fits && asked.len() != row.len() {
            return Err(file.refuse(format_args!(
                "its input has {} axes without the batch, but {asked:?} was asked for",
                row.len()
            )));
        }
        if !fits {
            notes.push(format!(
                "the file declares input shape {row:?}; {asked:?} was asked for and is used"
            ));
        }
    }
    let shape = asked.or_else(|| row.and_then(|row| row.into_iter().collect()));
    let Some(shape) = shape else {
        return Err(file.refuse("it leaves the shape of its input open").with_help(
            "Give `input_shape` in the manifest or the recipe, such as `[3, 224, 224]`.",
        ));
    };
    let volume = shape
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .filter(|n| (1..=MOST_INPUT_VALUES).contains(n));
    volume
        .map(|_| shape.clone())
        .ok_or_else(|| file.refuse(format_args!("an input of shape {shape:?} cannot be fed")))
}

/// A batch size written into the graph does no harm here, since every plan runs one row; say so for
/// the record.
fn note_fixed_batch(file: &OnnxFile, notes: &mut Vec<String>) {
    let constants = file.constants();
    for node in file.graph().node.iter().filter(|n| n.op_type == "Reshape") {
        let target = node
            .input
            .get(1)
            .and_then(|name| constants.get(name.as_str()))
            .and_then(|t| file.tensor(t).ok());
        let target: Option<Vec<i64>> = target.and_then(|t| {
            t.to_plain_array_view::<i64>().ok().map(|view| view.iter().copied().collect())
        });
        if target.is_some_and(|target| target.first() == Some(&1)) {
            notes.push(format!(
                "Reshape `{}` fixes the batch to 1; rows are run one by one, so any batch works",
                node.output[0]
            ));
        }
    }
}
